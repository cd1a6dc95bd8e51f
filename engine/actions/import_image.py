"""Making an image of one layer from a folder or an archive."""

from __future__ import annotations

import os

from imq.engine.layers.compression import decompress, detect_compression
from imq.engine.layers.pack import pack_tree
from imq.engine.layers.rooted_fs import MAX_DEPTH, too_deep_error
from imq.engine.oci import media_types
from imq.engine.oci.dockerfile_changes import apply_instructions
from imq.engine.progress import Watched
from imq.engine.store.atomic_files import told
from imq.engine.store.image_builder import make_image
from imq.grammar.errors import NotFound
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, BinaryIO

    from imq.engine.layers.tar_entry import TarEntry
    from imq.engine.oci.digest import Digest
    from imq.engine.oci.manifest import Descriptor
    from imq.engine.store.ingest import Ingest

    from .base import Import

_PIECE = 1 << 20


def import_image(ingest: Ingest, action: Import, now: int, moved: Callable[[int], None]) -> tuple[Descriptor, Digest]:
    """Store the image that the action describes; return its manifest's descriptor and its id.

    `moved` is called with the number of bytes, whenever some of the file or folder were taken in.
    """
    runtime: dict[str, Any] = {}
    apply_instructions(runtime, action.changes)
    if os.path.isdir(action.path):
        layer = ingest.adopt(_watched(pack_tree(action.path, max_depth=MAX_DEPTH), moved), "", repack="gzip")
    else:
        with Watched(_opened(action.path), moved) as source:
            head = source.read(_PIECE)
            packed = detect_compression(head)
            if packed in media_types.LAYER_TYPES and packed:
                layer = ingest.adopt(_pieces(head, source), packed, on_entry=_check_depth)
            else:
                plain = decompress(packed, _pieces(head, source)) if packed else _pieces(head, source)
                layer = ingest.adopt(plain, "", repack="gzip", on_entry=_check_depth)
    return make_image(ingest, layer, runtime, action.platform, now, action.message)


def _check_depth(entry: TarEntry) -> None:
    """Refuse an entry that export would refuse for its depth."""
    if entry.path.count("/") >= MAX_DEPTH:
        path = entry.path.strip("/")
        if sum(name not in ("", ".") for name in path.split("/")) > MAX_DEPTH:
            raise too_deep_error(path, MAX_DEPTH)


def _watched(pieces: Iterable[bytes | memoryview], moved: Callable[[int], None]) -> Iterator[bytes | memoryview]:
    for piece in pieces:
        moved(len(piece))
        yield piece


def _opened(path: str) -> BinaryIO:
    if path == "-":
        return os.fdopen(os.dup(0), "rb")
    with told(f"read {path}"):
        try:
            return open(path, "rb")
        except FileNotFoundError:
            raise NotFound(
                f"no such file or folder: {path}", hints=("import takes a folder or a tar archive",)
            ) from None


def _pieces(head: bytes, source: Watched) -> Iterator[bytes]:
    yield head
    while piece := source.read(_PIECE):
        yield piece
