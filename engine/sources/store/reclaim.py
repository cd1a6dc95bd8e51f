"""The rows of `reclaim` of the store: an index is removed with all its platforms, and a blob with its last image."""

from __future__ import annotations

from imq.engine.sources.reclaim import USED_IMAGE, ReclaimScan
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imq.engine.catalog.schema import Raw
    from imq.engine.query.source import ScanRequest
    from imq.engine.store.store import Store

_NAMES = """
SELECT root, id, name, registry, repository, tag FROM entry WHERE root IN (
    SELECT root FROM temp.reclaim_requested AS one JOIN entry ON entry.id = one.id) ORDER BY entry.key
"""
_ALL_NAMES = "SELECT root, id, name, registry, repository, tag FROM entry ORDER BY entry.key"
_USED = """
SELECT DISTINCT removed.image FROM temp.reclaim_removed AS removed
CROSS JOIN entry ON entry.root = removed.image
JOIN container ON container.image_id = entry.id OR container.manifest = entry.manifest
"""
"""The images that containers were made from: rm leaves them."""
_ADD_PARTS = """
INSERT INTO temp.reclaim_parts SELECT removed.image, part.digest, part.size
FROM temp.reclaim_removed AS removed
CROSS JOIN descriptor AS root ON root.digest = removed.image
CROSS JOIN reaching ON reaching.root = root.key
CROSS JOIN descriptor AS part ON part.key = reaching.blob
"""
_ADD_KEPT = """
INSERT INTO temp.reclaim_kept SELECT own.part FROM (SELECT DISTINCT part FROM temp.reclaim_parts) AS own WHERE EXISTS (
    SELECT 1 FROM descriptor AS part
    CROSS JOIN reaching ON reaching.blob = part.key
    CROSS JOIN descriptor AS root ON root.key = reaching.root
    WHERE part.digest = own.part AND root.digest NOT IN (SELECT image FROM temp.reclaim_removed))
"""
"""A cross join keeps the order of the tables: from the images that go to their blobs."""


class StoreReclaim(ReclaimScan):
    """The rows of `reclaim` of the store."""

    def __init__(self, store: Store, request: ScanRequest) -> None:
        super().__init__(store.index.connection, request)
        self._store = store
        self.places = self.places or ("store",)

    def measure_place(self, place: str, requested: Sequence[tuple[Raw, Raw]] | None) -> None:
        """Insert the rows for these IDs and names."""
        names = _ALL_NAMES if requested is None else _NAMES
        removed = self.choose(lambda: self.connection.execute(names).fetchall(), requested)
        used = [root for (root,) in self.connection.execute(_USED)] if self._store.has_containers() else []
        self.keep(used)
        removed = [root for root in removed if root not in used]
        notes = dict.fromkeys(used, USED_IMAGE)
        incomplete = self._store.index.find_incomplete_roots()
        if unreadable := [name for root, name in incomplete.items() if root not in removed]:
            notes |= dict.fromkeys(removed, f"no blob is removed while {unreadable[0]} cannot be read")
        else:
            self.connection.execute(_ADD_PARTS)
            self.connection.execute(_ADD_KEPT)
        self.add_rows(place, notes)
