"""Tables of this machine, loaded into SQLite for one statement: lines and rows of files, the sources, the usage."""

from __future__ import annotations

from imq.engine.catalog.tables import LINES, ROWS, SOURCES, USAGE, DataType, Field
from imq.engine.query.source import LoadedTable
from imq.engine.units.paths import expand_path
from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import TextIO

    from imq.engine.catalog.schema import Raw, Table
    from imq.engine.query.source import Estimator, SourceRef, TableProvider
    from imq.engine.query.sqlite_executor import SqliteExecutor
    from imq.engine.sources.action import Planner
    from imq.engine.sources.context import SourceContext
    from imq.grammar.errors import ImqError

STDIN = "stdin"
_USAGE = """SELECT 'Images', (SELECT count(DISTINCT id) FROM images),
  (SELECT count(DISTINCT id) FROM images WHERE in_use),
  (SELECT coalesce(sum(size), 0) FROM (SELECT DISTINCT digest, size FROM reach)),
  (SELECT coalesce(sum(size), 0) FROM (SELECT DISTINCT digest, size FROM reach WHERE digest NOT IN (
    SELECT digest FROM reach WHERE root IN (SELECT _root FROM images WHERE in_use))))
UNION ALL VALUES ('Containers', 0, 0, 0, 0), ('Local Volumes', 0, 0, 0, 0), ('Build Cache', 0, 0, 0, 0)"""


class LocalSource:
    """The files and lists that statements name; each is read once in a statement."""

    name = "local"

    def __init__(self, context: SourceContext) -> None:
        self._context = context
        self._loaded: dict[tuple[str, tuple[str, ...]], Table] = {}
        self._count = 0
        self._old: set[str] = set()
        self._runner: SqliteExecutor | None = None
        self.tables: Mapping[str, TableProvider] = {
            table.name: LoadedTable(table.replace(source=self.name), self._load)
            for table in (LINES, ROWS, SOURCES, USAGE)
        }
        self.planners: Mapping[str, Planner] = {}

    def resolve(self, _text: str) -> SourceRef | None:
        """Return nothing: no statement names this source."""
        return None

    def names(self) -> Sequence[str]:
        """Return nothing: no statement names this source."""
        return ()

    def holds(self, _target: str) -> bool:
        """Return no: the names behind `of` are files."""
        return False

    def ping(self) -> Sequence[tuple[str, str, str, bool, int | None]]:
        """Return nothing: it holds no images."""
        return ()

    def estimator(self, _now: int, _fresh: int) -> Estimator | None:
        """Return nothing: it takes no requests."""
        return None

    def problems(self) -> tuple[tuple[str, str, ImqError], ...]:
        """Return nothing: what is wrong is raised where it happens."""
        return ()

    def close(self) -> None:
        """Do nothing: nothing is kept open."""

    def begin(self) -> None:
        """Forget what earlier statements read, but for what an answer is still being read from."""
        runner = self._context.runner
        self._old |= {loaded.view for loaded in self._loaded.values()}
        self._old = {view for view in self._old if self._runner is runner and not runner.drop_table(view)}
        self._loaded = {}
        self._runner = runner

    def _load(self, table: Table, paths: tuple[str, ...]) -> Table:
        """Return the table with what it holds now, under the name that SQL knows it by."""
        known = self._loaded.get((table.name, paths))
        if known is None:
            known = self._loaded[table.name, paths] = getattr(self, f"_{table.name}")(table, paths)
        return known

    def _stored(self, table: Table, columns: list[str], rows: Iterable[tuple[Raw, ...]]) -> Table:
        self._count += 1
        view = f"local_{self._count}"
        self._context.runner.load_rows(view, columns, rows)
        return table.replace(view=view)

    def _path(self, text: str) -> tuple[str, TextIO | None]:
        """Return a file's path, and the stream to read instead of it when standard input is meant."""
        if text in (STDIN, "-"):
            if self._context.stdin is None:
                raise StatementError(
                    "standard input cannot be read as a list: the statement itself came from there",
                    code="stdin",
                    hints=("give the statement as an argument, or with -f FILE",),
                )
            return text, self._context.stdin
        return expand_path(text, self._context.folder, self._context.home), None

    def _lines(self, table: Table, paths: tuple[str, ...]) -> Table:
        from .file_rows import read_lines

        lines = (line for path in paths for line in read_lines(*self._path(path)))
        return self._stored(table, ["line", "number"], ((line, at) for at, line in enumerate(lines, 1)))

    def _rows(self, table: Table, paths: tuple[str, ...]) -> Table:
        from .file_rows import read_rows

        if len(paths) > 1:
            raise StatementError(
                "rows are of one file", code="target", hints=("put them together: rows of A union rows of B",)
            )
        records = read_rows(*self._path(paths[0]))
        if any(name.lower() == "_row" for name, _ in records.columns):
            raise StatementError(f'{paths[0]} has a column called "_row", which is reserved', code="columns")
        fields = tuple(Field(name, kind, f"as {paths[0]} has it") for name, kind in records.columns)
        made = self._stored(table, [name for name, _ in records.columns], records.rows)
        named = any(field.name.lower() == "name" and field.type is DataType.TEXT for field in fields)
        shown = tuple(field.name for field in fields)
        return made.replace(fields=fields, default_columns=shown, relations=made.relations if named else ())

    def _sources(self, table: Table, _paths: tuple[str, ...]) -> Table:
        rows: list[tuple[Raw, ...]] = [
            (name, kind, address, int(answers), images)
            for source in self._context.sources
            for name, kind, address, answers, images in source.ping()
        ]
        return self._stored(table, [field.name for field in table.fields], rows)

    def _usage(self, table: Table, _paths: tuple[str, ...]) -> Table:
        rows = self._context.store.index.connection.execute(_USAGE).fetchall()
        return self._stored(table, [field.name for field in table.fields], rows)


open_source = LocalSource
