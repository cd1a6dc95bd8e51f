"""The layers that a scan of contents reads, for `explain`: those that no index has."""

from __future__ import annotations

from imq.engine.store.file_index import find_file_index
from imq.engine.units.size import human_size
from imq.grammar.errors import ImqError
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
    shared, problem = _find_shared(context, missing)
    unread = [one for one in missing if one not in shared]
    size = human_size(sum(sizes[one] for one in unread))
    tables = f", {listed} of them by their tables of contents" if listed else ""
    parts = [f"; at most {_count(len(unread), 'layer')} with {size}{tables}" if unread else "; no layer"]
    if shared:
        saved = human_size(sum(sizes[one] for one in shared))
        parts.append(f"; the index cache has {_count(len(shared), 'layer')} with {saved}")
    if problem:
        parts.append(f"; {problem}")
    if unread and (workers := context.workers) is not None:
        parts.append(f"; {_count(len(unread), 'task')} for {workers.describe()}")
    return "".join(parts)


def _find_shared(context: SourceContext, missing: list[Digest]) -> tuple[set[Digest], str]:
    """Return the layers that the shared cache has, and why that is not known."""
    try:
        cache = context.index_cache
        return (cache.list_known(missing) if cache is not None else set()), ""
    except ImqError as error:
        return set(), error.message


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
