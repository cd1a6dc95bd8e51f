"""Tables that no image store fills, brought into SQLite for one statement: lists of files, the sources, the usage."""

from __future__ import annotations

import os

from imq.engine.catalog.tables import Field, Kind, Table
from imq.engine.units.paths import located
from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TextIO

    from imq.engine.query.sqlite_executor import Runner
    from imq.engine.render.values import Raw
    from imq.engine.store.store import Store

STDIN = "stdin"
_USAGE = """SELECT 'Images', (SELECT count(DISTINCT id) FROM images),
  (SELECT count(DISTINCT id) FROM images WHERE in_use),
  (SELECT coalesce(sum(size), 0) FROM (SELECT DISTINCT digest, size FROM reach)),
  (SELECT coalesce(sum(size), 0) FROM (SELECT DISTINCT digest, size FROM reach WHERE digest NOT IN (
    SELECT digest FROM reach WHERE root IN (SELECT _root FROM images WHERE in_use))))
UNION ALL VALUES ('Containers', 0, 0, 0, 0), ('Local Volumes', 0, 0, 0, 0), ('Build Cache', 0, 0, 0, 0)"""


class Outside:
    """Reads what statements name beside images; each list once in a statement, however often it is named.

    `home` is what `~` stands for. `stdin` None: it is not there to be read, because the statement came from it.
    `registries` tells of those that have a name of their own: the name, where it is, and whether it answers.
    """

    def __init__(
        self,
        store: Store,
        stdin: TextIO | None,
        home: str | None,
        registries: Callable[[], Iterable[tuple[str, str, bool]]] = tuple,
    ) -> None:
        self._store = store
        self._registries = registries
        self._home = home
        self._stdin = stdin
        self._folder = os.curdir
        self._made: dict[tuple[str, tuple[str, ...]], Table] = {}
        self._count = 0
        self._old: set[str] = set()
        self.runner: Runner | None = None

    def begin(self, runner: Runner, folder: str) -> None:
        """Forget what earlier statements read. Paths are meant from `folder`."""
        self._old |= {made.view for made in self._made.values()}
        self._old = {view for view in self._old if self.runner is runner and not runner.drop(view)}
        self._made = {}
        self._folder = folder
        self.runner = runner

    def table(self, table: Table, paths: tuple[str, ...]) -> Table:
        """Return the table with what it holds now, under the name that SQL knows it by."""
        known = self._made.get((table.name, paths))
        if known is None:
            known = self._made[table.name, paths] = getattr(self, f"_{table.name}")(table, paths)
        return known

    def _stored(self, table: Table, columns: list[str], rows: Iterable[tuple[Raw, ...]]) -> Table:
        assert self.runner is not None
        self._count += 1
        view = f"outside_{self._count}"
        self.runner.bring(view, columns, rows)
        return table.replace(view=view)

    def _path(self, text: str) -> tuple[str, TextIO | None]:
        """Return a file's path, and the stream to read instead of it when standard input is meant."""
        if text in (STDIN, "-"):
            if self._stdin is None:
                raise StatementError(
                    "standard input cannot be read as a list: the statement itself came from there",
                    code="stdin",
                    hints=("give the statement as an argument, or with -f FILE",),
                )
            return text, self._stdin
        return located(text, self._folder, self._home), None

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
            raise StatementError(f'{paths[0]} has a column called "_row", which is kept for imq', code="columns")
        fields = tuple(Field(name, kind, f"as {paths[0]} has it") for name, kind in records.columns)
        made = self._stored(table, [name for name, _ in records.columns], records.rows)
        named = any(field.name.lower() == "name" and field.kind is Kind.TEXT for field in fields)
        shown = tuple(field.name for field in fields)
        return made.replace(fields=fields, shown=shown, relations=made.relations if named else ())

    def _sources(self, table: Table, _paths: tuple[str, ...]) -> Table:
        count = self._store.index.connection.execute("SELECT count(*) FROM images").fetchone()[0]
        rows: list[tuple[Raw, ...]] = [("store", "the embedded store", self._store.root, 1, count)]
        rows += [(name, "a registry", address, int(answers), None) for name, address, answers in self._registries()]
        return self._stored(table, [field.name for field in table.fields], rows)

    def _usage(self, table: Table, _paths: tuple[str, ...]) -> Table:
        rows = self._store.index.connection.execute(_USAGE).fetchall()
        return self._stored(table, [field.name for field in table.fields], rows)
