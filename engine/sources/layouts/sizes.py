"""Measures uncompressed layers: reads the tar headers and seeks over the content between them."""

from __future__ import annotations

import os

from imq.engine.layers.tar_walker import TarLimits, TarWalker
from imq.engine.store.archive_files import Archive
from imq.grammar.errors import Malformed
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import BinaryIO

    from imq.engine.oci.digest import Digest
    from imq.engine.store.archive_files import ImageFiles

    from .content import LayerContent

_READ_SIZE = 64 << 10
_LIMITS = TarLimits(max_entries=10_000_000)


def measure_layers(files: ImageFiles, layers: Iterable[LayerContent]) -> dict[Digest, int | None]:
    """Return the bytes of the files in each layer, by diff ID; None for a compressed or unreadable layer."""
    if isinstance(files, Archive) and files.is_compressed:
        return {layer.diff_id: None for layer in layers}
    sizes: dict[Digest, int | None] = {}
    for layer in layers:
        source = files.open(layer.path) if layer.path else None
        if source is None:
            sizes[layer.diff_id] = None
            continue
        with source:
            try:
                sizes[layer.diff_id] = sum_file_sizes(source)
            except Malformed:
                sizes[layer.diff_id] = None
    return sizes


def sum_file_sizes(source: BinaryIO) -> int:
    """Return the bytes of the files in a tar archive. Raises `Malformed`."""
    walker = TarWalker(None, _LIMITS)
    while not walker.has_ended and (piece := source.read(_READ_SIZE)):
        walker.feed(piece)
        if ahead := walker.skip_content():
            source.seek(ahead, os.SEEK_CUR)
    walker.finish()
    return walker.size
