"""Brings layers into the index of files: those that a statement needs and the index does not have."""

from __future__ import annotations

import os
import tempfile

from imq.engine.layer_index.scan import scan_layer
from imq.engine.progress import make_item_counter
from imq.engine.store.atomic_files import store_errors
from imq.engine.store.file_index import open_file_index
from imq.grammar.errors import DigestMismatch, ImqError, Interrupted, NotFound
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from imq.engine.layer_index.index import FileIndex
    from imq.engine.oci.digest import Digest
    from imq.engine.sources.context import SourceContext

    from .protocol import Chunks, ImageLayers, LayerContents


class LayerIndexer:
    """Scans layers into the index of files of a session."""

    def __init__(self, context: SourceContext) -> None:
        self._context = context
        self.index: FileIndex = open_file_index(context.store)

    def prepare(self, contents: LayerContents, images: Sequence[ImageLayers]) -> dict[int, ImqError]:
        """Scan the layers that the index lacks; return the errors of images that cannot be read, by position."""
        missing = set(self.index.list_missing(diff_id for image in images for diff_id in image.diff_ids))
        failed: dict[int, ImqError] = {}
        if not missing:
            return failed
        report = make_item_counter(self._context.progress, "scan", len(missing))
        with store_errors("make a folder for the index of files"), _open_folder(self._context) as folder:
            for position, image in enumerate(images):
                wanted = [diff_id for diff_id in dict.fromkeys(image.diff_ids) if diff_id in missing]
                if not wanted:
                    continue
                reader = _LayerReader(self.index, folder, wanted, self._context)
                try:
                    contents.read_layers(image, wanted, reader.read)
                    reader.check_complete()
                except Interrupted:
                    raise
                except ImqError as error:
                    failed[position] = error
                finally:
                    for diff_id in reader.done:
                        missing.discard(diff_id)
                        report(1)
        return failed


def _open_folder(context: SourceContext) -> tempfile.TemporaryDirectory[str]:
    folder = context.environment.get("TMPDIR") or ("/var/tmp" if os.path.isdir("/var/tmp") else None)  # noqa: S108
    return tempfile.TemporaryDirectory(prefix="imq-", dir=folder)


class _LayerReader:
    """Scans the layers of one image that are `wanted`."""

    def __init__(self, index: FileIndex, folder: str, wanted: Iterable[Digest], context: SourceContext) -> None:
        self.done: list[Digest] = []
        self._index = index
        self._folder = folder
        self._wanted = set(wanted)
        self._context = context

    def read(self, diff_id: Digest | None, chunks: Chunks) -> None:
        """Scan one layer. Raises `DigestMismatch` when it is not the layer with this diff ID."""
        from imq.engine.layer_index.readers import find_reader

        descriptor, path = tempfile.mkstemp(dir=self._folder)
        os.close(descriptor)
        try:
            algorithm = diff_id.algorithm if diff_id is not None else "sha256"
            actual = scan_layer(chunks, path, find_reader, algorithm=algorithm)
            if diff_id is not None and actual != diff_id:
                raise DigestMismatch(
                    f"a layer unpacks to {actual}, but the config says {diff_id}",
                    code="diff-id-mismatch",
                    hints=("the image is damaged or forged; remove it",),
                )
            if actual in self._wanted:
                self._index.add(path, self._context.clock())
                self._wanted.discard(actual)
                self.done.append(actual)
        finally:
            os.unlink(path)

    def check_complete(self) -> None:
        """Raise `NotFound` when a layer was not read."""
        if self._wanted:
            raise NotFound(f"the layer {min(self._wanted)} of the image was not found", code="blob-missing")
