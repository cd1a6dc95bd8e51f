"""What a source offers so that the contents of its images can be read."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any, Protocol

    from imq.engine.catalog.schema import Raw
    from imq.engine.oci.digest import Digest
    from imq.engine.query.source import ScanRequest
    from imq.grammar.errors import ImqError

    Chunks = Iterable[bytes | memoryview]
    """The bytes of one layer, compressed or not. Each chunk is valid until the next one."""
else:
    Protocol = object  # typing is slow to import, and a Protocol has no effect at run time


class ImageLayers(Record):
    """One image whose contents a scan needs.

    `lookup` is the value by which the image was looked up, `id` its ID, `name` the name in the statement, and
    `diff_ids` its layers, bottom first. `handle` is what the source needs to open them.
    """

    lookup: str | None
    source: str
    id: str
    name: str | None
    diff_ids: tuple[Digest, ...]
    handle: Any = None


class LayerContents(Protocol):
    """The layers of the images of a source."""

    def list_images(self, request: ScanRequest, names: Sequence[tuple[Raw, ...]], /) -> Iterator[ImageLayers]:
        """Yield the images of a scan: those of its targets and of `names`. A single image that fails is an error."""

    def read_layers(
        self, image: ImageLayers, wanted: Sequence[Digest], read: Callable[[Digest | None, Chunks], None], /
    ) -> None:
        """Pass the bytes of the `wanted` layers of an image to `read`, in any order, with their diff IDs.

        The diff ID is None when only the bytes tell it. `read` verifies them. Raises `ImqError`.
        """

    def add_problem(self, view: str, subject: str, error: ImqError, /) -> None:
        """Record that the image `subject` of a scan could not be read."""
