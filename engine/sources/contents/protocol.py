"""What a source offers so that the contents of its images can be read."""

from __future__ import annotations

from functools import partial

from imq.grammar.errors import ImqError, Interrupted, NotFound
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from typing import Any, Protocol

    from imq.engine.catalog.schema import Raw
    from imq.engine.layers.table_of_contents import ReadRange, TableLocation
    from imq.engine.oci.digest import Digest
    from imq.engine.oci.manifest import Descriptor
    from imq.engine.query.source import ScanRequest

    Chunks = Iterable[bytes | memoryview]
    """The bytes of one layer, compressed or not. Each chunk is valid until the next one."""
    ReadLayer = Callable[[Digest | None, Chunks], Digest | None]
    """Reads one layer, with its diff ID, None if only the bytes tell it; returns the diff ID when it is known then."""
else:
    Protocol = object  # typing is slow to import, and a Protocol has no effect at run time


ARTIFACT = "artifact"
"""The code of the `problem` of a manifest that is no image: no condition on files holds for it, in either way."""


NO_LOCATION = "no-location"
"""The code of the error of a task whose files no worker has: the process with the statement may have them."""
WORKER_CRASHED = "worker-crashed"
"""The code of the error of a layer that ended its workers."""
OUT_OF_MEMORY = "out-of-memory"
"""The code of the error of a task that needs more memory than a scan process may use."""
RESULT_TOO_LARGE = "result-too-large"
"""The code of the error of a task whose result is too large: the process with the statement reads the layer itself."""
REPOSITORY_SCHEME = "docker://"
"""The scheme of the URL of a repository, as in skopeo."""


class LayerTable(Record):
    """The table of contents of a layer. `read` yields a range of the compressed layer.

    `read` raises `RangesIgnored` when the source sends no ranges.
    """

    location: TableLocation
    read: ReadRange

    @property
    def digest(self) -> Digest:
        """The digest of the table: the key by which the index of files has the layer."""
        return self.location.digest


class RangesIgnored(Exception):
    """A source sends whole layers only."""


class ImageLayers(Record):
    """One image whose contents a scan needs.

    `lookup` is the value by which the image was looked up, `id` its ID, `name` the name in the statement, `digest` that
    of its manifest where the source knows it, and `diff_ids` its layers, bottom first. `handle` is what the source
    needs to open them. `problem` is why the layers of the image are not known; it has none then. `tables` are the
    tables of contents of layers, by diff ID.

    `keys` are the names of the layers in the index of files: diff IDs, and the digests of tables for those that are
    listed by them. () means `diff_ids`.

    `is_container`: it is a container. Its highest layer has its changes, and those below are the layers of its image.
    """

    lookup: str | None
    source: str
    id: str
    name: str | None
    diff_ids: tuple[Digest, ...]
    handle: Any = None
    problem: ImqError | None = None
    tables: Mapping[Digest, LayerTable] = {}
    keys: tuple[Digest, ...] = ()
    digest: str | None = None
    is_container: bool = False

    @property
    def indexed(self) -> tuple[Digest, ...]:
        """The names of the layers in the index of files."""
        return self.keys or self.diff_ids

    def find_table(self, key: Digest) -> LayerTable | None:
        """Return the table of contents by which the index has a layer; None for a diff ID."""
        if key in self.diff_ids:
            return None
        return next((table for table in self.tables.values() if table.digest == key), None)


class LayerPlace(Record):
    """Where any process can read the blob of a layer. The descriptor is that of the blob, compressed or not.

    `locations` are URLs, tried in this order: `docker://HOST/REPOSITORY` for a repository, or that of a file, which may
    be on another machine: `file:///…`, `s3://…`. They contain no credentials.
    """

    descriptor: Descriptor
    locations: tuple[str, ...]


class LayerRead(Record):
    """One pass over some layers of a source: `size` bytes, 0 if unknown.

    `run` passes the bytes of some of the `layers` to `read`, as `LayerContents.read_layers` does. It may run in any
    thread, in parallel with other reads. `place` is where another process can read the only layer; None if it
    cannot.
    """

    layers: tuple[Digest, ...]
    size: int
    run: Callable[[Sequence[Digest], ReadLayer], None]
    place: LayerPlace | None = None


class LayerTask(Record):
    """One layer for a worker to read.

    `kind` is `scan`, `verify`, or `read` or `search` with what is needed of the contents in `body`.
    """

    kind: str
    diff_id: Digest
    place: LayerPlace
    body: Mapping[str, Any] = {}

    def __hash__(self) -> int:
        """Hash without the body: a mapping is unhashable."""
        return hash((self.kind, self.diff_id))


class LayerResult(Record):
    """What a worker returns: a JSON document, and bytes."""

    document: Mapping[str, Any]
    content: bytes

    def __hash__(self) -> int:
        """Hash by identity: a mapping is unhashable."""
        return id(self)


class LayerWorkers(Protocol):
    """Processes that read layers for this one, on this machine or on others."""

    def run(self, tasks: Iterable[LayerTask], folder: str, /) -> Iterator[tuple[LayerTask, LayerResult | ImqError]]:
        """Yield each task with its result or its error, in any order. `folder` is for files of results.

        Closing this generator cancels the other tasks. Raises `ImqError` when no worker can be reached any more.
        """

    @property
    def is_remote(self) -> bool:
        """Whether results come over a network."""

    def describe(self) -> str:
        """Return what reads the layers, in words; nothing is connected for it."""


class LayerContents(Protocol):
    """The layers of the images of a source."""

    def list_images(self, request: ScanRequest, names: Sequence[tuple[Raw, ...]], /) -> Iterator[ImageLayers]:
        """Yield the images of a scan: those of its targets and of `names`. A single image that fails is an error.

        An image that is looked up and cannot be read has a `problem`.
        """

    def plan_reads(self, images: Sequence[ImageLayers], missing: AbstractSet[Digest], /) -> Iterator[LayerRead]:
        """Yield the reads by which the `missing` layers of images can be had.

        A layer that lies in several places has a read for each, which is used when those before it fail.
        """

    def read_layers(self, image: ImageLayers, diff_ids: Sequence[Digest], read: ReadLayer, /) -> None:
        """Pass the bytes of layers of an image to `read`, in any order, with their diff IDs.

        The diff ID is None when only the bytes tell it. `read` verifies them. Raises `ImqError`.
        """

    def read_config(self, image: ImageLayers, /) -> Mapping[str, Any]:
        """Return the config of an image, by the keys of the OCI image specification. Raises `ImqError`."""

    def add_problem(self, view: str, subject: str, error: ImqError, /) -> None:
        """Record that the image `subject` of a scan could not be read."""


def make_image_removed_error(container: str, source: str) -> NotFound:
    """Return the error for the files of a container whose image is not there any more; `source` has its changes."""
    return NotFound(
        f"the files of the container {container} are unknown: its image was removed, and only its changes are left",
        code="no-such-image",
        hints=(f"to see its changes: changes of {container} in {source}",) if source else (),
    )


def plan_single_reads(
    contents: LayerContents,
    images: Sequence[ImageLayers],
    missing: AbstractSet[Digest],
    locate: Callable[[ImageLayers, Digest], tuple[Hashable, int]],
    find_place: Callable[[ImageLayers, Digest], LayerPlace | None] = lambda _image, _diff_id: None,
) -> Iterator[LayerRead]:
    """Yield a read for each place of each missing layer.

    `locate` returns what identifies the place, and its size in bytes; `find_place` where other processes can read it.
    """
    seen: set[tuple[Digest, Hashable]] = set()
    for image in images:
        for diff_id in image.diff_ids:
            if diff_id not in missing:
                continue
            place, size = locate(image, diff_id)
            if (diff_id, place) not in seen:
                seen.add((diff_id, place))
                yield LayerRead((diff_id,), size, partial(contents.read_layers, image), find_place(image, diff_id))


def read_each(layers: Iterable[Digest], read: Callable[[Digest], None]) -> None:
    """Read layers of one pass. One that fails does not keep the others from being read; the first error is raised."""
    problem: ImqError | None = None
    for diff_id in layers:
        try:
            read(diff_id)
        except Interrupted:
            raise
        except ImqError as error:
            problem = problem or error
    if problem is not None:
        raise problem


_PLACES = 10_000
"""The reads among which the locations of a layer are collected: those of images that share layers are close."""


def iterate_places(reads: Iterable[LayerRead]) -> Iterator[tuple[Digest, LayerPlace]]:
    """Yield layers that other processes can read, with all locations of the same blob. `reads` may be endless.

    A layer is yielded once for `_PLACES` reads. Reads without a place are left out.
    """
    from itertools import islice

    waiting = iter(reads)
    while batch := list(islice(waiting, _PLACES)):
        places: dict[Digest, LayerPlace] = {}
        for read in batch:
            if read.place is None:
                continue
            (diff_id,) = read.layers
            known = places.get(diff_id)
            if known is None:
                places[diff_id] = read.place
            elif known.descriptor.digest == read.place.descriptor.digest:
                locations = dict.fromkeys((*known.locations, *read.place.locations))
                places[diff_id] = known.replace(locations=tuple(locations))
        yield from places.items()
