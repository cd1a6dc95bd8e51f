"""Runs SQL on the index's connection, lending it the functions of the language that SQLite does not have."""

from __future__ import annotations

import sqlite3

from imq.engine.catalog.tables import DataType
from imq.engine.oci.digest import parse_hex_prefix
from imq.engine.oci.reference import Reference
from imq.grammar.errors import ImqError, Interrupted, InvalidReference, StatementError
from imq.grammar.record import TYPE_CHECKING

_INTERRUPT_CHECK_INTERVAL = 100_000
"""Instructions of SQLite between two times that Ctrl-C is heeded: about a millisecond's."""

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from imq.engine.catalog.schema import Raw
    from imq.engine.query.sql.statements import Sql


class SqliteExecutor:
    """Runs statements on one connection. A function is lent when a statement first uses it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        connection.set_progress_handler(_check_interrupt, _INTERRUPT_CHECK_INTERVAL)
        self._registered: set[str] = set()

    def run(self, sql: Sql) -> Iterator[tuple[Raw, ...]]:
        """Yield the rows of a statement, as they come out of SQLite; raises `ImqError` when that fails."""
        self._register_functions(sql)
        try:
            # `yield from` would close the cursor of a session that may be closed already
            for row in self.connection.execute(sql.text, sql.parameters):  # noqa: UP028
                yield row
        except (sqlite3.Error, UnicodeDecodeError) as problem:  # the second: a text in a damaged index
            raise convert_error(problem) from problem

    def _register_functions(self, sql: Sql) -> None:
        for name in sql.functions - self._registered:
            if name == "list":
                for form, items in _LISTS.items():
                    self.connection.create_aggregate(f"lent_list_{form}", -1, items)  # type: ignore[arg-type] # a text
            else:
                takes, make = _FUNCTIONS[name]
                self.connection.create_function(f"lent_{name}", takes, make(), deterministic=True)
            self._registered.add(name)

    def load_rows(self, name: str, columns: Sequence[str], rows: Iterable[tuple[Raw, ...]]) -> None:
        """Make a temporary table of these rows, in place of one of this name, with their number as `_row`."""
        names = ", ".join('"' + column.replace('"', '""') + '"' for column in columns)
        places = ", ".join("?" * len(columns))
        try:
            self.connection.execute(f"DROP TABLE IF EXISTS temp.{name}")
            self.connection.execute(f"CREATE TEMP TABLE {name} (_row INTEGER PRIMARY KEY, {names})")
            self.connection.execute("SAVEPOINT bringing")
            try:
                self.connection.executemany(f"INSERT INTO temp.{name} ({names}) VALUES ({places})", rows)
            except (
                BaseException
            ):  # what rows come from may fail, too; a transaction left open would spoil all that follows
                self.connection.execute("ROLLBACK TO bringing")
                raise
            finally:
                self.connection.execute("RELEASE bringing")
        except sqlite3.Error as problem:
            raise convert_error(problem) from problem

    def select_rows(self, name: str, sql: Sql | None, *, within: str = "", add: str = "") -> int:
        """Make a temporary table of the `_row` of these rows, in place of one of this name; return how many there are.

        `within`: of those alone that are in another such table. `add`: keep what is there, and add this table's rows.
        """
        if sql is not None:
            self._register_functions(sql)
        limited = f" WHERE _row IN (SELECT _row FROM temp.{within})" if within else ""
        chosen = f"SELECT _row FROM temp.{add}" if add else f"SELECT _row FROM ({sql.text}){limited}" if sql else ""
        try:
            self.connection.execute(f"CREATE TEMP TABLE IF NOT EXISTS {name} (_row INTEGER PRIMARY KEY)")
            if not add:
                self.connection.execute(f"DELETE FROM temp.{name}")
            if chosen:
                self.connection.execute(f"INSERT OR IGNORE INTO temp.{name} {chosen}", sql.parameters if sql else {})
            count: int = self.connection.execute(f"SELECT count(*) FROM temp.{name}").fetchone()[0]
        except sqlite3.Error as problem:
            raise convert_error(problem) from problem
        return count

    def map_rows(self, own: str, union: str, count: int, place: int) -> None:
        """Make a temporary table of the `_row` that rows of a union have in its member at `place`, of `count`."""
        self.select_rows(own, None)
        text = f"INSERT INTO temp.{own} SELECT (_row - ?) / ? FROM temp.{union} WHERE (_row - ?) % ? = 0"
        self.connection.execute(text, (place, count, place, count))

    def make_view(self, name: str, text: str) -> None:
        """Make a temporary view of a query."""
        self.connection.execute(f"CREATE TEMP VIEW {name} AS {text}")

    def drop_view(self, name: str) -> bool:
        """Drop a temporary view; False while an answer that reads it is being walked."""
        try:
            self.connection.execute(f"DROP VIEW IF EXISTS temp.{name}")
        except sqlite3.OperationalError:
            return False
        return True

    def columns(self, name: str) -> list[str]:
        """Return the names of the columns of a table or view."""
        return [row[1] for row in self.connection.execute(f"PRAGMA table_xinfo({name})")]

    def count(self, sql: Sql, *, within: str) -> int:
        """Return how many rows of a statement have their `_row` in a temporary table."""
        text = f"SELECT count(*) FROM ({sql.text}) WHERE _row IN (SELECT _row FROM temp.{within})"
        row = self.first_row(sql.replace(text=text))
        assert row is not None
        return int(row[0] or 0)

    def drop_table(self, name: str) -> bool:
        """Drop a temporary table; whether it could be: not while an answer that reads it is being walked."""
        try:
            self.connection.execute(f"DROP TABLE IF EXISTS temp.{name}")
        except sqlite3.OperationalError:
            return False
        return True

    def first_row(self, sql: Sql) -> tuple[Raw, ...] | None:
        """Return the first row of a statement, None when it answers none."""
        return next(self.run(sql), None)


def evaluate(sql: Sql) -> Raw:
    """Return the value of a statement that reads no table."""
    connection = sqlite3.connect(":memory:")
    try:
        row = SqliteExecutor(connection).first_row(sql)
    finally:
        connection.close()
    return row[0] if row is not None else None


def _check_interrupt() -> int:
    """Let Python have a word while SQLite works: Ctrl-C is heeded in here, and ends the statement."""
    return 0


def convert_error(problem: sqlite3.Error | UnicodeDecodeError) -> ImqError:
    """Return the error that reports a failure of SQLite."""
    if str(problem) == "interrupted":
        return Interrupted("interrupted")
    if any(word in str(problem) for word in ("stack overflow", "too large", "too many", "too big", "at most")):
        return StatementError(
            f"the statement is more than SQLite takes: {problem}",
            code="too-much",
            hints=("give parts of it a statement of their own, or put long lists into a file: lines of FILE",),
        )
    advice = "free some space" if "full" in str(problem) else "imq reindex rebuilds the index from the images"
    return ImqError(f"the store's index failed: {problem}", code="index", hints=(advice,))


# The functions: NULL in, NULL out. Each is created when a statement first uses it, so that a call imports nothing.


def _matches() -> Callable[..., Raw]:
    from .matching import regex_searcher

    return _by_pattern(regex_searcher)


def _path_match() -> Callable[..., Raw]:
    from .matching import path_matcher

    return _by_pattern(path_matcher)


def _by_pattern(made: Callable[[str], Callable[[str], bool]]) -> Callable[..., Raw]:
    def matches(text: Raw, pattern: Raw) -> bool | None:
        if text is None or pattern is None:
            return None
        try:
            return made(str(pattern))(str(text))
        except ImqError:  # a pattern that is no constant and no pattern
            return None

    return matches


def _capture() -> Callable[..., Raw]:
    from .matching import regex_capture

    def capture(text: str, pattern: str, group: float | None = None) -> str | None:
        try:
            return regex_capture(str(pattern), str(text), None if group is None else int(group))
        except ImqError:
            return None

    return _known(capture)


def _known(function: Callable[..., Raw]) -> Callable[..., Raw]:
    def lent(*arguments: Raw) -> Raw:
        return None if None in arguments else function(*arguments)

    return lent


def _version() -> Callable[..., Raw]:
    from functools import lru_cache

    from imq.engine.oci.tag_version import parse_version_parts

    told = lru_cache(maxsize=1)(parse_version_parts)  # the parts of one tag are asked for together

    def version(tag: str, part: int) -> Raw:
        parts = told(tag)
        return None if parts is None else parts[part]

    return _known(version)


def _split(text: str, separator: str) -> str:
    import json

    parts = str(text).split(str(separator)) if separator else list(str(text))
    return json.dumps(parts, ensure_ascii=False)


def _as_name(text: str) -> str:
    try:
        return str(Reference.parse(str(text).strip()).with_default_tag())
    except InvalidReference:
        return str(text)


def _as_repository(text: str) -> str:
    try:
        reference = Reference.parse(str(text).strip())
    except InvalidReference:
        return str(text)
    return str(text) if reference.tag or reference.digest else reference.familiar_name


def _as_digest(text: str) -> str | None:
    text = str(text).strip().lower()
    if text.startswith("sha512:"):
        return text
    digits = parse_hex_prefix(text)
    return f"sha256:{digits}" if digits is not None else None


class _List:
    """The known values of a group as a JSON array: numbers first, each kind in its order.

    With further values, those of all lists of the same rows, it has an item for each row, ordered by them.
    """

    kind = DataType.TEXT

    def __init__(self) -> None:
        self._rows: list[tuple[Raw, ...]] = []

    def step(self, *row: Raw) -> None:
        """Take one row's value, and what it is ordered by."""
        if row[0] is not None or len(row) > 1:
            self._rows.append(row)

    def finalize(self) -> str:
        """Return the array."""
        import json

        from imq.engine.catalog.json_values import to_json_value

        self._rows.sort(key=lambda row: [_sort_key(value) for value in row[1:] or row])
        items = [to_json_value(self.kind, value) for value, *_ in self._rows]
        return json.dumps(items, ensure_ascii=False, separators=(",", ":"))


def _sort_key(value: Raw) -> tuple[bool, bool, Raw]:
    """Return what puts numbers first, then texts, and what is unknown last."""
    return value is None, isinstance(value, str), 0 if value is None else value


class _Times(_List):
    kind = DataType.TIME


class _Durations(_List):
    kind = DataType.DURATION


class _Booleans(_List):
    kind = DataType.BOOLEAN


class _Versions(_List):
    kind = DataType.VERSION


_LISTS = {"plain": _List, "time": _Times, "duration": _Durations, "boolean": _Booleans, "version": _Versions}
"""What lists values, by their kind: items are as JSON shows a value of that kind."""
_FUNCTIONS: dict[str, tuple[int, Callable[[], Callable[..., Raw]]]] = {
    "matches": (2, _matches),
    "path_match": (2, _path_match),
    "capture": (-1, _capture),
    "version": (2, _version),
    "split": (2, lambda: _known(_split)),
    "basename": (1, lambda: _known(lambda text: str(text).rstrip("/").rpartition("/")[2])),
    "dirname": (1, lambda: _known(lambda text: str(text).rstrip("/").rpartition("/")[0])),
    "as_name": (1, lambda: _known(_as_name)),
    "as_repository": (1, lambda: _known(_as_repository)),
    "as_digest": (1, lambda: _known(_as_digest)),
}
"""How many arguments each takes (-1: several ways), and what makes it."""
