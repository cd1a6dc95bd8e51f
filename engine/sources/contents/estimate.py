"""The layers that a scan of contents reads, for `explain`: those that the index of files does not have."""

from __future__ import annotations

from imq.engine.store.file_index import find_file_index
from imq.engine.units.size import human_size
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from imq.engine.oci.digest import Digest
    from imq.engine.sources.context import SourceContext


def describe_unread_layers(context: SourceContext, sizes: Mapping[Digest, int], listed: int = 0) -> str:
    """Describe the layers of images that are not in the index, by the sizes of all of them. Nothing is created.

    `listed`: so many of the layers have a table of contents.
    """
    index = find_file_index(context.store)
    missing = index.list_missing(sizes) if index is not None else list(sizes)
    if not missing:
        return "; none: all are in the index"
    noun = "layer" if len(missing) == 1 else "layers"
    tables = f", {listed} of them by their tables of contents" if listed else ""
    return f"; at most {len(missing):,} {noun} with {human_size(sum(sizes[one] for one in missing))}{tables}"
