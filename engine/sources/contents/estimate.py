"""Estimates which layers a scan of contents reads, for `explain`: those that no index has."""

from __future__ import annotations

from imq.engine.sources.contents import CONTENT_TABLES
from imq.engine.store.file_index import find_file_index
from imq.engine.units.size import human_size
from imq.grammar.errors import ImqError
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from imq.engine.oci.digest import Digest
    from imq.engine.query.source import FetchRequest, ScanRequest, SourceRef
    from imq.engine.sources.context import SourceContext

    from .protocol import LayerContents


class LayerEstimator:
    """Counts the layers of the images of a scan; those of all images when its own are known only later.

    `open_contents` returns what lists the images of a scan; None where that takes more than reading a few documents.
    """

    def __init__(self, context: SourceContext, open_contents: Callable[[ScanRequest], LayerContents | None]) -> None:
        self._context = context
        self._open_contents = open_contents
        self._refs: dict[SourceRef, None] = {}
        """The places of which earlier stages list images."""

    def upper_bound(self, request: ScanRequest, fetch: FetchRequest | None) -> str:
        """Return the most layers and bytes that listing the contents of images reads; "" for anything else."""
        if fetch is not None:
            return ""
        if request.table.name not in CONTENT_TABLES:
            self._refs |= dict.fromkeys(request.refs)
            return ""
        request = request.replace(
            refs=request.refs or tuple(self._refs), lookup_fields=(), has_target_queries=False
        )  # of the images that other stages select, all may be
        contents = self._open_contents(request)
        if contents is None:
            return ""
        try:
            images = list(contents.list_images(request, ()))
        except ImqError:
            return ""
        reads = contents.plan_reads(images, {diff_id for image in images for diff_id in image.diff_ids})
        sizes: dict[Digest, int] = {}
        for read in reads:
            for diff_id in read.layers:
                sizes.setdefault(diff_id, read.size)
        return describe_unread_layers(self._context, sizes)

    def describe_cached(self) -> str:
        """Return nothing: the stages say it."""
        return ""


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
