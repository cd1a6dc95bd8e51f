"""Estimates which layers of the store a statement reads, for `explain`."""

from __future__ import annotations

from imq.engine.sources.contents import CONTENT_TABLES
from imq.engine.sources.contents.estimate import describe_unread_layers
from imq.grammar.errors import ImqError
from imq.grammar.record import TYPE_CHECKING

from .contents import StoreContents

if TYPE_CHECKING:
    from imq.engine.query.source import FetchRequest, ScanRequest
    from imq.engine.sources.context import SourceContext


class LayerEstimator:
    """Counts the layers of the images of a scan; those of all images when its own are known only later."""

    def __init__(self, context: SourceContext, source: str) -> None:
        self._context = context
        self._source = source

    def upper_bound(self, request: ScanRequest, fetch: FetchRequest | None) -> str:
        """Return the most layers and bytes that listing the contents of images reads; "" for anything else."""
        if fetch is not None or request.table.name not in CONTENT_TABLES:
            return ""
        store = self._context.store
        contents = StoreContents(store, self._source, [], {}, self._context.environment)
        try:
            images = list(contents.list_images(request.replace(lookup_fields=(), has_target_queries=False), ()))
        except ImqError:
            return ""
        blobs = {diff_id: blob for image in images for diff_id, blob in image.handle.items()}
        sizes = {diff_id: store.layout.blob_size(blob) or 0 for diff_id, blob in blobs.items()}
        return describe_unread_layers(self._context, sizes)

    def describe_cached(self) -> str:
        """Return nothing: the stages say it."""
        return ""
