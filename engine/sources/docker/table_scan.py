"""The common part of the scans of engines."""

from __future__ import annotations

from imq.engine.sources.scan_rows import ScanRows
from imq.engine.store.index_rows import replace_surrogates
from imq.grammar.errors import ImqError, NotFound
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any, TypeVar

    from imq.engine.catalog.schema import Raw
    from imq.engine.query.source import FetchRequest, ScanRequest

    from .reader import EngineReader

    T = TypeVar("T")


class EngineScan(ScanRows):
    """The rows of one scan of engines. `_lookup` is the name or ID of the image that a row was looked up by."""

    def __init__(self, reader: EngineReader, request: ScanRequest) -> None:
        super().__init__(reader.connection, request)
        self.reader = reader
        self.sources = tuple(dict.fromkeys(ref.text for ref in request.refs))

    def list_rows(self, names: Sequence[tuple[Raw, ...]], /) -> None:
        """Make the view and list its rows."""
        raise NotImplementedError

    def fetch(self, _request: FetchRequest, /) -> None:
        """Fetch nothing: a table without levels is listed whole."""

    def group_lookups(self, names: Sequence[tuple[Raw, ...]]) -> Iterator[tuple[str, str]]:
        """Yield the images that the scan is of, each with its engine: looked-up values, or names behind `of`.

        A name without an engine is looked up in each engine of the scan.
        """
        for name, *source in names:
            sources = (str(source[0]),) if source and source[0] is not None else self.sources
            yield from ((one, str(name)) for one in sources)
        for target in self.scan.targets:
            yield from ((source, target) for source in self.sources)

    def inspect_targets(self, names: Sequence[tuple[Raw, ...]]) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Yield engine, name and inspected image of each image that the scan is of.

        A name that none of the engines knows is a problem. The error for the only name is raised.
        """
        targets = list(dict.fromkeys(self.group_lookups(names)))
        failed: dict[str, ImqError] = {}
        found: set[str] = set()
        for (source, name), document in self.reader.each_item(targets, lambda one: self.reader.inspect_image(*one)):
            if not isinstance(document, ImqError):
                found.add(name)
                yield source, name, document
            elif isinstance(document, NotFound):
                failed[name] = document
            else:
                self.reader.add_problem(document, source, self.scan.view)
        for name, error in failed.items():
            if name not in found:
                if len(targets) == len(self.sources) and not names:
                    raise error
                self.reader.add_problem(error, name, self.scan.view)

    def chosen_by_source(self, columns: str = "id") -> dict[str, list[tuple[Raw, ...]]]:
        """Return columns of the chosen rows by engine."""
        rows: dict[str, list[tuple[Raw, ...]]] = {}
        for source, *values in self.read_selected("problem IS NULL", f"source, {columns}"):
            rows.setdefault(str(source), []).append(tuple(values))
        return rows

    def list_from_engines(self, sources: Sequence[str], work: Callable[[str], T]) -> Iterator[tuple[str, T]]:
        """Yield what `work` returns for each engine.

        An engine that fails is a problem. The error is raised when the rows are looked up for other rows: without them
        a condition such as `no containers` would hold.
        """
        for source, result in self.reader.each_result(sources, work):
            if not isinstance(result, ImqError):
                yield source, result
            elif len(sources) == 1 or self.scan.lookup_fields:
                raise result
            else:
                self.reader.add_problem(result, source, self.scan.view)

    def add_row_problem(self, error: ImqError, source: str, id_: str) -> str:
        """Record why the rows of an ID could not be fetched, under their first name; return the message."""
        text = f"SELECT name FROM temp.{self.rows} WHERE source = ? AND id = ? AND name IS NOT NULL LIMIT 1"
        name = self.connection.execute(text, (source, id_)).fetchone()
        return self.reader.add_problem(error, name[0] if name else id_, self.scan.view)

    def fetch_from_engines(self, work: Callable[[str], Any]) -> Iterator[tuple[str, Any]]:
        """Yield what `work` returns for each engine of the chosen rows.

        The rows of an engine that does not respond are dropped: an unknown value must not select more rows.
        """
        sources = tuple(self.chosen_by_source("NULL"))
        answered = []
        for source, result in self.reader.each_source(sources, work, self.scan.view):
            answered.append(source)
            yield source, result
        for source in set(sources) - set(answered):
            self.connection.execute(f"DELETE FROM temp.{self.rows} WHERE source = ?", (source,))

    def insert(self, rows: Iterable[tuple[object, ...]]) -> None:
        """Insert rows, as `ScanRows.insert`; their strings may be such as JSON alone can have."""
        super().insert(map(replace_surrogates, rows))

    def update(self, columns: Sequence[str], rows: Iterable[tuple[object, ...]], key: str = "id") -> None:
        """Set columns of the rows with an engine and a key: each row of values ends with these two."""
        assignments = ", ".join(f'"{column}" = ?' for column in columns)
        text = f"UPDATE temp.{self.rows} SET {assignments} WHERE source = ? AND {key} = ?"
        self.connection.execute(f"CREATE INDEX IF NOT EXISTS temp.{self.rows}_key ON {self.rows} (source, {key})")
        self.connection.execute("SAVEPOINT fetching")
        try:
            self.connection.executemany(text, map(replace_surrogates, rows))
        finally:
            self.connection.execute("RELEASE fetching")
