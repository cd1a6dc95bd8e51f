"""Tables of the local machine, loaded into SQLite for one statement: lines and rows of files, sources, disk usage."""

from __future__ import annotations

from imq.engine.catalog.tables import DataType, Field
from imq.engine.catalog.tables.local import LINES, ROWS, SOURCES, USAGE
from imq.engine.query.source import LoadedTable, Source
from imq.engine.units.paths import expand_path
from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import TextIO

    from imq.engine.catalog.schema import Raw, Table
    from imq.engine.query.source import TableProvider
    from imq.engine.query.sqlite_executor import SqliteExecutor
    from imq.engine.sources.context import SourceContext

STDIN = "stdin"
STORE = "store"
# every blob once, although manifests may describe it differently; CROSS JOIN: few images are in use
_USAGE = """WITH used AS MATERIALIZED (
  SELECT blob.digest FROM (SELECT DISTINCT _root FROM images WHERE in_use)
  CROSS JOIN descriptor AS root ON root.digest = _root CROSS JOIN reaching ON reaching.root = root.key
  CROSS JOIN descriptor AS blob ON blob.key = reaching.blob),
 blobs AS (SELECT digest, size FROM descriptor
  WHERE EXISTS (SELECT 1 FROM reaching WHERE blob = descriptor.key) GROUP BY digest, size)
SELECT 'Images', (SELECT count(DISTINCT id) FROM entry), (SELECT count(DISTINCT id) FROM images WHERE in_use),
  coalesce(sum(size), 0), coalesce(sum(size) FILTER (WHERE digest NOT IN (SELECT digest FROM used)), 0) FROM blobs
UNION ALL SELECT 'Containers', count(*), coalesce(sum(status IN ('running', 'paused', 'restarting')), 0),
  coalesce(sum(size_rw), 0),
  coalesce(sum(size_rw) FILTER (WHERE status NOT IN ('running', 'paused', 'restarting')), 0) FROM containers"""
_UNPACKED = "UNION ALL VALUES ('Unpacked Layers', ?1, ?2, ?3, ?4)"
"""The unpacked layers of containers: only a store that had containers has this row, which docker does not."""


_AFTER_CONTAINERS = 2
"""Where docker has the row of volumes, which only a store with volumes has here."""


class LocalSource(Source):
    """The files that statements read, the sources, and the disk usage. A statement reads each of them once."""

    name = "local"

    def __init__(self, context: SourceContext) -> None:
        self._context = context
        self._loaded: dict[tuple[str, tuple[str, ...], tuple[str, ...]], Table] = {}
        self._count = 0
        self._old_views: set[str] = set()
        self._runner: SqliteExecutor | None = None
        self.tables: Mapping[str, TableProvider] = {
            table.name: LoadedTable(table.replace(source=self.name), self._load)
            for table in (LINES, ROWS, SOURCES, USAGE)
        }

    def begin(self) -> None:
        """Drop the tables of earlier statements, except those that a cursor still reads."""
        runner = self._context.runner
        self._old_views |= {loaded.view for loaded in self._loaded.values()}
        self._old_views = {view for view in self._old_views if self._runner is runner and not runner.drop_table(view)}
        self._loaded = {}
        self._runner = runner

    def _load(self, table: Table, paths: tuple[str, ...], at: tuple[str, ...]) -> Table:
        """Load the rows of a table into SQLite, and return the table with its name in SQL."""
        loaded = self._loaded.get((table.name, paths, at))
        if loaded is None:
            further = (at,) if table.name == ROWS.name else ()
            loaded = getattr(self, f"_load_{table.name}")(table, paths, *further)
            self._loaded[table.name, paths, at] = loaded
        return loaded

    def _create_table(self, table: Table, columns: list[str], rows: Iterable[tuple[Raw, ...]]) -> Table:
        self._count += 1
        view = f"local_{self._count}"
        self._context.runner.load_rows(view, columns, rows)
        return table.replace(view=view)

    def _open_input(self, text: str) -> tuple[str, TextIO | None]:
        """Return the path of a file, and the stream to read instead if the path is that of standard input."""
        if text in (STDIN, "-"):
            if self._context.stdin is None:
                raise StatementError(
                    "standard input cannot be read as a file: the statement itself was read from it",
                    code="stdin",
                    hints=("give the statement as an argument, or with -f FILE",),
                )
            return text, self._context.stdin
        return expand_path(text, self._context.folder, self._context.home), None

    def _load_lines(self, table: Table, paths: tuple[str, ...]) -> Table:
        from .file_rows import read_lines

        lines = (line for path in paths for line in read_lines(*self._open_input(path)))
        return self._create_table(table, ["line", "number"], ((line, number) for number, line in enumerate(lines, 1)))

    def _load_rows(self, table: Table, paths: tuple[str, ...], at: tuple[str, ...]) -> Table:
        from .file_rows import PARENT, read_rows

        if len(paths) > 1:
            raise StatementError(
                "rows of takes one file", code="target", hints=("to combine files: rows of A union rows of B",)
            )
        records = read_rows(*self._open_input(paths[0]), at)
        if any(name.lower() == "_row" for name, _ in records.columns):
            raise StatementError(f'{paths[0]} has a column called "_row", which is reserved', code="columns")
        fields = tuple(
            Field(name, kind, f"as {paths[0]} has it", on_request=bool(at) and name == PARENT)
            for name, kind in records.columns
        )
        loaded = self._create_table(table, [name for name, _ in records.columns], records.rows)
        has_names = any(field.name.lower() == "name" and field.type is DataType.TEXT for field in fields)
        columns = tuple(field.name for field in fields if not field.on_request)
        return loaded.replace(fields=fields, default_columns=columns, relations=loaded.relations if has_names else ())

    def _load_sources(self, table: Table, _paths: tuple[str, ...]) -> Table:
        from .places import list_place_rows

        return self._create_table(table, [field.name for field in table.fields], list_place_rows(self._context.sources))

    def _load_usage(self, table: Table, _paths: tuple[str, ...]) -> Table:
        store, containers = self._context.store, None
        if not store.layout.has_unpacked():
            rows = store.index.connection.execute(_USAGE)
        else:
            from imq.engine.containers.factory import make_containers
            from imq.engine.containers.unpacked import measure_usage

            containers = make_containers(store, "", self._context.environment)
            containers.measure_all()
            rows = store.index.connection.execute(f"{_USAGE} {_UNPACKED}", measure_usage(store))
        counted = rows.fetchall()
        if containers is not None and (volumes := containers.measure_volumes()) is not None:
            counted.insert(_AFTER_CONTAINERS, ("Local Volumes", *volumes))
        from imq.engine.store.file_index import find_file_index

        if (files := find_file_index(store)) is not None:
            files.mark_held()
            layers, held, size, other = files.measure()
            counted.append(("Index of Files", layers, held, size, other))
        if (cache := self._context.index_cache) is not None:
            usage = cache.measure()
            counted.append(("Index Cache", usage.layers, None, usage.size, usage.other_size))
        return self._create_table(table, [field.name for field in table.fields], [(*row, STORE) for row in counted])


open_source = LocalSource
