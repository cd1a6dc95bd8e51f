"""The table `changes` of engines: containers are listed, and each is replaced by the paths that it changed."""

from __future__ import annotations

from imq.grammar.errors import ImqError, NotFound
from imq.grammar.record import TYPE_CHECKING

from .container_changes import list_changes, read_stat
from .container_rows import ContainerRowsScan
from .tables import CHANGED_PATHS

if TYPE_CHECKING:
    from imq.engine.catalog.schema import Raw
    from imq.engine.query.source import FetchRequest

_DETAIL_COLUMNS = ("type", "size", "mode", "mtime", "link_target")


class Changes(ContainerRowsScan):
    """The rows of `changes`."""

    row_columns = ("path", "name", "directory", "status")
    fetched_columns = _DETAIL_COLUMNS

    def fetch(self, request: FetchRequest, /) -> None:
        """Replace the chosen containers by the paths that they changed, or fetch what the chosen paths are."""
        if request.level is CHANGED_PATHS:
            self._fetch_paths()
        else:
            self._fetch_details()

    def _fetch_paths(self) -> None:
        containers = self.choose_containers()
        for container, changes in self.reader.each_item(containers, self._list_changes):
            if isinstance(changes, ImqError):
                self.report_failure(container, changes, "the changes of", len(containers))
            else:
                self.insert((*container[1:], 0, *change, None) for change in changes)
            self.drop_container(container)

    def _list_changes(self, container: tuple[Raw, ...]) -> list[tuple[str, str, str, str]]:
        client = self.reader.client(str(container[2]))
        rows = []
        for path, kind in list_changes(client, str(container[4])):
            directory, _, name = path.rpartition("/")
            rows.append((path, name, directory or "/", kind))
        return rows

    def _fetch_details(self) -> None:
        chosen = self.read_selected("is_container = 0 AND status <> 'deleted'", "_row, source, container_id, path")
        rows = []
        for (row, _, _, path), stat in self.reader.each_item(chosen, self._read_stat):
            if isinstance(stat, NotFound):
                continue  # it is gone by now
            if isinstance(stat, ImqError):
                self.reader.add_problem(stat, str(path), self.scan.view)
            else:
                rows.append((*stat, row))
        assignments = ", ".join(f'"{column}" = ?' for column in _DETAIL_COLUMNS)
        self.connection.executemany(f"UPDATE temp.{self.rows} SET {assignments} WHERE _row = ?", rows)

    def _read_stat(self, row: tuple[Raw, ...]) -> tuple[Raw, ...]:
        """Return the values of `_DETAIL_COLUMNS` of a path."""
        _, source, id_, path = row
        stat = read_stat(self.reader.client(str(source)), str(id_), str(path))
        return stat.kind, stat.size, f"{stat.mode:04o}", stat.mtime, stat.link_target
