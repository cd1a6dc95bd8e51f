"""The blobs of the store, by their files; the index has what reaches them."""

from __future__ import annotations

from imq.engine.sources.scan_rows import ScanRows
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imq.engine.catalog.schema import Raw
    from imq.engine.query.source import FetchRequest, ScanRequest
    from imq.engine.store.store import Store

_REFERENCED_BY = """
SELECT json_group_array(image) FROM (
    SELECT DISTINCT coalesce(entry.name, root.digest) AS image
    FROM main.descriptor AS blob
    JOIN main.reaching ON reaching.blob = blob.key
    JOIN main.descriptor AS root ON root.key = reaching.root
    LEFT JOIN main.entry ON entry.root = root.digest
    WHERE blob.digest = t.digest
    ORDER BY 1
)
"""
_UNREADABLE = """
SELECT json_group_array(image) FROM (
    SELECT DISTINCT coalesce(entry.name, unreadable.root) AS image
    FROM main.unreadable LEFT JOIN main.entry ON entry.root = unreadable.root
    WHERE NOT unreadable.is_config
    ORDER BY 1
)
"""
"""The images whose blobs are not all known."""


class StoreBlobs(ScanRows):
    """The rows of `blobs` of the store."""

    columns = ("source", "digest", "size")
    fetched_columns = ("media_type", "referenced_by")

    def __init__(self, store: Store, request: ScanRequest) -> None:
        super().__init__(store.index.connection, request)
        self._store = store

    def list_rows(self, _names: Sequence[tuple[Raw, ...]], /) -> None:
        """List the files of the blobs, and look up what reaches them."""
        self._store.index.sync_with_layout()
        self.connection = self._store.index.connection  # the index may have been rebuilt
        self.create({})
        if not self._store.layout.exists:
            return
        self.insert(("store", digest, size, None) for digest, size in self._store.layout.iter_blob_sizes())
        unreadable = self.connection.execute(_UNREADABLE).fetchone()[0]
        self.connection.execute(
            f"UPDATE temp.{self.rows} AS t SET"
            " media_type = (SELECT min(media_type) FROM main.descriptor WHERE digest = t.digest),"
            f" referenced_by = ({_REFERENCED_BY})"
        )
        self.connection.execute(
            f"UPDATE temp.{self.rows} SET referenced_by = ? WHERE referenced_by = '[]'", (unreadable,)
        )

    def fetch(self, _request: FetchRequest, /) -> None:
        """Fetch nothing: the rows are listed whole."""
