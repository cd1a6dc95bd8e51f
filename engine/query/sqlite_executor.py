"""Runs SQL on the connection of the index, and registers the functions of the language that SQLite lacks."""

from __future__ import annotations

import sqlite3

from imq.engine.catalog.tables import DataType
from imq.engine.units.size import parse_size
from imq.engine.units.time import parse_duration, parse_time
from imq.grammar.errors import ImqError, Interrupted, InvalidReference, StatementError
from imq.grammar.record import TYPE_CHECKING

_INTERRUPT_CHECK_INTERVAL = 100_000
"""Instructions of SQLite between two checks for Ctrl-C: about a millisecond."""

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from imq.engine.catalog.schema import Raw
    from imq.engine.query.sql.statements import Sql


class SqliteExecutor:
    """Runs statements on one connection. A function is registered when a statement first uses it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        connection.set_progress_handler(_check_interrupt, _INTERRUPT_CHECK_INTERVAL)
        self._registered: set[str] = set()

    def run(self, sql: Sql) -> Iterator[tuple[Raw, ...]]:
        """Yield the rows of a statement as SQLite returns them. Raises `ImqError` on failure."""
        self.register_functions(sql)
        try:
            # `yield from` would close the cursor of a session that may be closed already
            for row in self.connection.execute(sql.text, sql.parameters):  # noqa: UP028
                yield row
        except (sqlite3.Error, UnicodeDecodeError) as problem:  # the second: a string in a damaged index
            raise convert_error(problem) from problem

    def register_functions(self, sql: Sql) -> None:
        """Register the functions of a statement that another module runs."""
        for name in sql.functions - self._registered:
            if name == "list":
                for variant, aggregate in _LIST_AGGREGATES.items():
                    self.connection.create_aggregate(f"imq_list_{variant}", -1, aggregate)  # type: ignore[arg-type] # returns a string
            else:
                argument_count, make = _FUNCTIONS[name]
                self.connection.create_function(f"imq_{name}", argument_count, make(), deterministic=True)
            self._registered.add(name)

    def load_rows(self, name: str, columns: Sequence[str], rows: Iterable[tuple[Raw, ...]]) -> None:
        """Create or replace a temporary table of these rows, with their number as `_row`."""
        names = ", ".join('"' + column.replace('"', '""') + '"' for column in columns)
        placeholders = ", ".join("?" * len(columns))
        try:
            self.connection.execute(f"DROP TABLE IF EXISTS temp.{name}")
            self.connection.execute(f"CREATE TEMP TABLE {name} (_row INTEGER PRIMARY KEY, {names})")
            self.connection.execute("SAVEPOINT load_rows")
            try:
                self.connection.executemany(f"INSERT INTO temp.{name} ({names}) VALUES ({placeholders})", rows)
            except BaseException:  # the iterator of rows can fail too; an open savepoint would break later statements
                self.connection.execute("ROLLBACK TO load_rows")
                raise
            finally:
                self.connection.execute("RELEASE load_rows")
        except sqlite3.Error as problem:
            raise convert_error(problem) from problem

    def select_rows(self, name: str, sql: Sql | None, *, within: str = "", add: str = "") -> int:
        """Create or replace a temporary table with the `_row` of these rows; return how many rows it has.

        `within`: take only the rows that are in this other table. `add`: keep the rows and add those of this table.
        """
        if sql is not None:
            self.register_functions(sql)
        filter_clause = f" WHERE _row IN (SELECT _row FROM temp.{within})" if within else ""
        query = (
            f"SELECT _row FROM temp.{add}" if add else f"SELECT _row FROM ({sql.text}){filter_clause}" if sql else ""
        )
        try:
            self.connection.execute(f"CREATE TEMP TABLE IF NOT EXISTS {name} (_row INTEGER PRIMARY KEY)")
            if not add:
                self.connection.execute(f"DELETE FROM temp.{name}")
            if query:
                self.connection.execute(f"INSERT OR IGNORE INTO temp.{name} {query}", sql.parameters if sql else {})
            count: int = self.connection.execute(f"SELECT count(*) FROM temp.{name}").fetchone()[0]
        except sqlite3.Error as problem:
            raise convert_error(problem) from problem
        return count

    def map_rows(self, member_table: str, union_table: str, count: int, index: int) -> None:
        """Create a table of the rows of one member of a union, by their `_row` in the member.

        `index` is the index of the member and `count` the number of members.
        """
        self.select_rows(member_table, None)
        text = f"INSERT INTO temp.{member_table} SELECT (_row - ?) / ? FROM temp.{union_table} WHERE (_row - ?) % ? = 0"
        self.connection.execute(text, (index, count, index, count))

    def make_view(self, name: str, text: str) -> None:
        """Create a temporary view of a query."""
        self.connection.execute(f"CREATE TEMP VIEW {name} AS {text}")

    def has_rows(self, table: str) -> bool:
        """Whether a temporary table has rows."""
        (found,) = self.connection.execute(f"SELECT EXISTS (SELECT 1 FROM temp.{table})").fetchone()
        return bool(found)

    def drop_view(self, name: str) -> bool:
        """Drop a temporary view. Return False while a result is being read from it."""
        try:
            self.connection.execute(f"DROP VIEW IF EXISTS temp.{name}")
        except sqlite3.OperationalError:
            return False
        return True

    def list_columns(self, name: str) -> list[str]:
        """Return the column names of a table or view."""
        return [row[1] for row in self.connection.execute(f"PRAGMA table_xinfo({name})")]

    def count_rows(self, sql: Sql, *, within: str) -> int:
        """Return the number of rows of a statement whose `_row` is in a temporary table."""
        text = f"SELECT count(*) FROM ({sql.text}) WHERE _row IN (SELECT _row FROM temp.{within})"
        row = self.first_row(sql.replace(text=text))
        assert row is not None
        return int(row[0] or 0)

    def drop_table(self, name: str) -> bool:
        """Drop a temporary table. Return False while a result is being read from it."""
        try:
            self.connection.execute(f"DROP TABLE IF EXISTS temp.{name}")
        except sqlite3.OperationalError:
            return False
        return True

    def first_row(self, sql: Sql) -> tuple[Raw, ...] | None:
        """Return the first row of a statement; None if it returns no row."""
        return next(self.run(sql), None)


def open_in_memory() -> SqliteExecutor:
    """Return an executor on a new database in memory, whose connection the caller closes."""
    return SqliteExecutor(sqlite3.connect(":memory:", isolation_level=None))


def evaluate(sql: Sql) -> Raw:
    """Return the value of a statement that reads no table."""
    connection = sqlite3.connect(":memory:")
    try:
        row = SqliteExecutor(connection).first_row(sql)
    finally:
        connection.close()
    return row[0] if row is not None else None


def _check_interrupt() -> int:
    """Return to Python while SQLite works, so that Ctrl-C can interrupt the statement."""
    return 0


def convert_error(problem: sqlite3.Error | UnicodeDecodeError) -> ImqError:
    """Return the error that reports a failure of SQLite."""
    if str(problem) == "interrupted":
        return Interrupted("interrupted")
    if any(word in str(problem) for word in ("stack overflow", "too large", "too many", "too big", "at most")):
        return StatementError(
            f"the statement exceeds a limit of SQLite: {problem}",
            code="too-much",
            hints=("split it into several statements, or put long lists into a file: lines of FILE",),
        )
    advice = "free some space" if "full" in str(problem) else "imq reindex rebuilds the index from the images"
    return ImqError(f"the store's index failed: {problem}", code="index", hints=(advice,))


# The functions return NULL if an argument is NULL. Modules are imported when a statement first uses a function.


def _make_matches() -> Callable[..., Raw]:
    from .matching import regex_searcher

    return _make_pattern_function(regex_searcher)


def _make_path_match() -> Callable[..., Raw]:
    from .matching import path_matcher

    return _make_pattern_function(path_matcher)


def _make_pattern_function(compile_pattern: Callable[[str], Callable[[str], bool]]) -> Callable[..., Raw]:
    def matches(text: Raw, pattern: Raw) -> bool | None:
        if text is None or pattern is None:
            return None
        try:
            return compile_pattern(str(pattern))(str(text))
        except ImqError:  # an invalid pattern that is not a constant
            return None

    return matches


def _make_capture() -> Callable[..., Raw]:
    from .matching import regex_capture

    def capture(text: str, pattern: str, group: float | None = None) -> str | None:
        try:
            return regex_capture(str(pattern), str(text), None if group is None else int(group))
        except ImqError:
            return None

    return _null_propagating(capture)


def _null_propagating(function: Callable[..., Raw]) -> Callable[..., Raw]:
    def wrapper(*arguments: Raw) -> Raw:
        return None if None in arguments else function(*arguments)

    return wrapper


def _make_version() -> Callable[..., Raw]:
    from functools import lru_cache

    from imq.engine.oci.tag_version import parse_version

    parse_parts = lru_cache(maxsize=1)(parse_version)  # a row needs all parts of one tag

    def version(tag: str, part: int = 0) -> Raw:
        parts = parse_parts(str(tag))
        return None if parts is None else parts[part]

    return _null_propagating(version)


def _make_compare_package_versions() -> Callable[..., Raw]:
    from imq.engine.packages.versions.order import compare_with_bound

    return _null_propagating(lambda value, bound: compare_with_bound(str(value), str(bound)))


def _make_cast(parse: Callable[[str], Raw]) -> Callable[..., Raw]:
    """Return the function that parses strings; numbers pass through."""
    return _null_propagating(lambda value: parse(value.strip()) if isinstance(value, str) else value)


def _parse_number(text: str) -> Raw:
    try:
        number = float(text) if any(sign in text for sign in ".eE") else int(text)
    except ValueError:
        return None
    fits = -(1 << 63) <= number < 1 << 63 and "_" not in text and text.isascii()
    return number if fits else None


def _split(text: str, separator: str) -> str:
    import json

    parts = str(text).split(str(separator)) if separator else list(str(text))
    return json.dumps(parts, ensure_ascii=False)


def _make_as_name() -> Callable[..., Raw]:
    from imq.engine.oci.reference import Reference

    def as_name(text: str) -> str:
        try:
            return str(Reference.parse(str(text).strip()).with_default_tag())
        except InvalidReference:
            return str(text)

    return _null_propagating(as_name)


def _make_as_repository() -> Callable[..., Raw]:
    from imq.engine.oci.reference import Reference

    def as_repository(text: str) -> str:
        try:
            reference = Reference.parse(str(text).strip())
        except InvalidReference:
            return str(text)
        return str(text) if reference.tag or reference.digest else reference.familiar_name

    return _null_propagating(as_repository)


def _make_as_digest() -> Callable[..., Raw]:
    from imq.engine.oci.digest import parse_hex_prefix

    def as_digest(text: str) -> str | None:
        text = str(text).strip().lower()
        if text.startswith("sha512:"):
            return text
        digits = parse_hex_prefix(text)
        return f"sha256:{digits}" if digits is not None else None

    return _null_propagating(as_digest)


class _ListAggregate:
    """The known values of a group as a sorted JSON array, numbers before strings.

    With further arguments (see `AggregateCall.aligned_with`) it has one item per row, in the order of these arguments.
    """

    kind = DataType.TEXT

    def __init__(self) -> None:
        self._rows: list[tuple[Raw, ...]] = []

    def step(self, *row: Raw) -> None:
        """Add the value of one row, and the arguments that order it."""
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
    """Return a sort key: numbers, then strings, then unknown values."""
    return value is None, isinstance(value, str), 0 if value is None else value


class _TimeList(_ListAggregate):
    kind = DataType.TIME


class _DurationList(_ListAggregate):
    kind = DataType.DURATION


class _BooleanList(_ListAggregate):
    kind = DataType.BOOLEAN


class _VersionList(_ListAggregate):
    kind = DataType.VERSION


def _make_bar(value: Raw, largest: Raw) -> str:
    """Return the bar of a value: `BAR_WIDTH` full blocks for the largest value, and eighths of blocks."""
    from imq.engine.units.bars import draw_bar

    assert value is not None
    assert largest is not None
    return draw_bar(float(value), float(largest))


_LIST_AGGREGATES = {
    "plain": _ListAggregate,
    "time": _TimeList,
    "duration": _DurationList,
    "boolean": _BooleanList,
    "version": _VersionList,
}
"""The `list` aggregates, by type: each writes items as JSON shows values of that type."""
_FUNCTIONS: dict[str, tuple[int, Callable[[], Callable[..., Raw]]]] = {
    "matches": (2, _make_matches),
    "path_match": (2, _make_path_match),
    "capture": (-1, _make_capture),
    "version": (-1, _make_version),
    "compare_package_versions": (2, _make_compare_package_versions),
    "date": (1, lambda: _make_cast(parse_time)),
    "number": (1, lambda: _make_cast(_parse_number)),
    "size": (1, lambda: _make_cast(parse_size)),
    "duration": (1, lambda: _make_cast(parse_duration)),
    "split": (2, lambda: _null_propagating(_split)),
    "bar": (2, lambda: _null_propagating(_make_bar)),
    "basename": (1, lambda: _null_propagating(lambda text: str(text).rstrip("/").rpartition("/")[2])),
    "dirname": (1, lambda: _null_propagating(lambda text: str(text).rstrip("/").rpartition("/")[0])),
    "as_name": (1, _make_as_name),
    "as_repository": (1, _make_as_repository),
    "as_digest": (1, _make_as_digest),
}
"""The number of arguments of each function (-1: variable), and its factory."""
