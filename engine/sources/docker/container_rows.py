"""Scans of tables whose rows belong to containers: containers are listed, and each is replaced by its rows."""

from __future__ import annotations

from imq.grammar.errors import Conflict, NotFound
from imq.grammar.record import TYPE_CHECKING

from .container_listing import name_container
from .json_documents import read_text
from .podman_documents import BUILD_STATE
from .table_scan import EngineScan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from imq.engine.catalog.schema import Raw
    from imq.engine.query.source import ScanRequest
    from imq.grammar.errors import ImqError

    from .reader import EngineReader

_CONTAINER_COLUMNS = ("_lookup", "source", "container", "container_id", "image", "is_container")


class ContainerRowsScan(EngineScan):
    """A listed row is a container, marked by `is_container`, until its rows replace it.

    `row_columns` are the columns of those rows that are known when they are inserted.
    """

    row_columns: tuple[str, ...] = ()

    def __init__(self, reader: EngineReader, request: ScanRequest) -> None:
        super().__init__(reader, request)
        self.columns = (*_CONTAINER_COLUMNS, *self.row_columns)

    def list_rows(self, names: Sequence[tuple[Raw, ...]], /) -> None:
        """List the containers: all, or those of looked-up rows or names."""
        self.create({})
        if not self.scan.lookup_fields and not self.scan.targets and not self.scan.has_target_queries:
            for source, items in self.list_from_engines(self.sources, self.reader.list_containers):
                self._add_containers(source, ((None, item) for item in items))
            return
        requested: dict[str, list[str]] = {}
        for source, name in dict.fromkeys(self.group_lookups(names)):
            requested.setdefault(source, []).append(name)
        missing = dict.fromkeys(name for of_source in requested.values() for name in of_source)
        for source, items in self.list_from_engines(tuple(requested), self.reader.list_containers):
            found = {name: item for name in requested[source] if (item := _find(items, name)) is not None}
            self._add_containers(source, found.items())
            for name in found:
                missing.pop(name, None)
        for name in missing:
            error = NotFound(f"No such container: {name}", code="no-such-container")
            if len(missing) == 1 and self.scan.targets == (name,) and not names:
                raise error
            self.reader.add_problem(error, name, self.scan.view)

    def _add_containers(self, source: str, items: Any) -> None:
        unknown = (None,) * (len(self.row_columns) + 1)
        self.insert(
            (name, source, name_container(item), item["Id"], read_text(item.get("Image")), 1, *unknown)
            for name, item in items
            if item.get("State") != BUILD_STATE  # a working container of a build has run nothing
        )

    def choose_containers(self) -> list[tuple[Raw, ...]]:
        """Return the chosen containers: `_row`, and the first five columns."""
        columns = ", ".join(("_row", *_CONTAINER_COLUMNS[:-1]))
        return [tuple(row) for row in self.read_selected("is_container = 1", columns)]

    def drop_container(self, container: tuple[Raw, ...]) -> None:
        """Delete the row of a container, which its rows have replaced."""
        self.connection.execute(f"DELETE FROM temp.{self.rows} WHERE _row = ?", (container[0],))

    def report_failure(self, container: tuple[Raw, ...], error: ImqError, subject: str, count: int) -> None:
        """Record that the rows of one of `count` containers could not be read.

        The error is raised when it is the only one, and for the rows of a relation: without them a condition such as
        `no logs` would hold.
        """
        error.message = f"{subject} {container[3]}: {error.message}"
        if count == 1 or self.scan.lookup_fields:
            raise error
        self.reader.add_problem(error, str(container[3]), self.scan.view)


def _find(items: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any] | None:
    """Return the container with a name or an ID, or the only one whose ID begins with it. Raises `Conflict`."""
    for item in items:
        if item["Id"] == name or f"/{name}" in (item.get("Names") or ()) or name in (item.get("Names") or ()):
            return item
    found = [item for item in items if name and item["Id"].startswith(name)]
    if len(found) > 1:
        raise Conflict(f'"{name}" is the beginning of several IDs of containers', code="ambiguous")
    return found[0] if found else None
