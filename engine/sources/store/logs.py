"""The table `logs` of the store: the lines of the logs of its containers."""

from __future__ import annotations

import os

from imq.engine.containers.folder import FOLDER, LOG
from imq.engine.containers.log_file import read_log
from imq.engine.sources.scan_rows import ScanRows
from imq.grammar.errors import Conflict, NotFound
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from imq.engine.catalog.schema import Raw
    from imq.engine.containers.log_file import LogLine
    from imq.engine.query.source import FetchRequest, ScanRequest
    from imq.engine.store.store import Store

_COLUMNS = "id, name, image"


class StoreLogs(ScanRows):
    """The rows of `logs` of the store."""

    columns = ("_lookup", "source", "container", "container_id", "image", "time", "stream", "text")

    def __init__(self, store: Store, request: ScanRequest) -> None:
        super().__init__(store.index.connection, request)
        self._store = store

    def list_rows(self, names: Sequence[tuple[Raw, ...]], /) -> None:
        """List the lines of all containers, or those of the containers that are named. Raises `NotFound`."""
        self.create({})
        targets = [*self.scan.targets, *(str(name[0]) for name in names)]
        if not targets and not self.scan.has_target_queries and not self.scan.lookup_fields:
            rows = self.connection.execute(f"SELECT {_COLUMNS} FROM main.container").fetchall()
            containers = [(None, *row) for row in rows]
        else:
            containers = [(name, *self._find(name)) for name in dict.fromkeys(targets)]
        for looked_up, id_, name, image in containers:
            path = os.path.join(self._store.root, FOLDER, id_, LOG)
            self.insert(
                (looked_up, "store", name, id_, image, line.time, line.stream, line.text.rstrip("\r\n"), None)
                for line in _join(read_log(path))
            )

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


def _join(lines: Iterator[LogLine]) -> Iterator[LogLine]:
    """Yield whole lines: the parts of a long line are joined, each stream for itself."""
    pending: dict[str, LogLine] = {}
    for line in lines:
        part = pending.pop(line.stream, None)
        whole = line if part is None else part.replace(text=part.text + line.text)
        if line.text.endswith("\n"):
            yield whole
        else:
            pending[line.stream] = whole
    yield from pending.values()
