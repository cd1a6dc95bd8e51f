"""Tables of the store with rows of containers: those that a statement names, or all."""

from __future__ import annotations

from imq.engine.sources.scan_rows import ScanRows
from imq.grammar.errors import Conflict, NotFound
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imq.engine.catalog.schema import Raw
    from imq.engine.query.source import FetchRequest, ScanRequest
    from imq.engine.store.store import Store

_COLUMNS = "id, name, image"


class ContainerRows(ScanRows):
    """The rows of one scan, which are listed whole."""

    def __init__(self, store: Store, request: ScanRequest) -> None:
        super().__init__(store.index.connection, request)
        self.store = store

    def choose_containers(self, names: Sequence[tuple[Raw, ...]]) -> list[tuple[str | None, str, str, str]]:
        """Return what was looked up, the ID, the name and the image of each container. Raises `NotFound`."""
        targets = [*self.scan.targets, *(str(name[0]) for name in names)]
        if not targets and not self.scan.has_target_queries and not self.scan.lookup_fields:
            rows = self.connection.execute(f"SELECT {_COLUMNS} FROM main.container").fetchall()
            return [(None, *row) for row in rows]
        return [(name, *self._find(name)) for name in dict.fromkeys(targets)]

    def _find(self, text: str) -> tuple[str, str, str]:
        rows = self.connection.execute(
            f"SELECT {_COLUMNS} FROM main.container WHERE name = ?1 OR (?1 <> '' AND id >= ?1 AND id < ?1 || 'g')"
            " ORDER BY name = ?1 DESC",
            (text.removeprefix("/"),),
        ).fetchall()
        if not rows:
            raise NotFound(f"No such container: {text}", code="no-such-container")
        if len(rows) > 1 and text not in (rows[0][0], rows[0][1]):
            raise Conflict(f'"{text}" is the beginning of several IDs of containers', code="ambiguous")
        id_, name, image = rows[0]
        return id_, name, image

    def fetch(self, _request: FetchRequest, /) -> None:
        """Fetch nothing: the rows are listed whole."""
