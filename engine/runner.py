"""Runs SQL on the index's connection, lending it the functions of the language that SQLite does not have."""

from __future__ import annotations

import json
import sqlite3

from imq.grammar.errors import ImqError, InvalidReference, StatementError
from imq.grammar.record import TYPE_CHECKING

from .oci.digest import hex_prefix
from .oci.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from .render.cell import Raw
    from .sql import Sql


class Runner:
    """Runs statements on one connection. A function is lent when a statement first uses it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self._lent: set[str] = set()

    def run(self, sql: Sql) -> Iterator[tuple[Raw, ...]]:
        """Yield the rows of a statement, as they come out of SQLite; raises `ImqError` when that fails."""
        for name in sql.functions - self._lent:
            takes, function = _LENT[name]
            self.connection.create_function(f"lent_{name}", takes, function, deterministic=True)
            self._lent.add(name)
        try:
            # `yield from` would close the cursor of a session that may be closed already
            for row in self.connection.execute(sql.text, sql.parameters):  # noqa: UP028
                yield row
        except sqlite3.Error as problem:
            raise broken(problem) from problem

    def bring(self, name: str, columns: Sequence[str], rows: Iterable[tuple[Raw, ...]]) -> None:
        """Make a temporary table of these rows, in place of one of this name, with their number as `_row`."""
        names = ", ".join('"' + column.replace('"', '""') + '"' for column in columns)
        places = ", ".join("?" * len(columns))
        try:
            self.connection.execute(f"DROP TABLE IF EXISTS temp.{name}")
            self.connection.execute(f"CREATE TEMP TABLE {name} (_row INTEGER PRIMARY KEY, {names})")
            self.connection.execute("SAVEPOINT bringing")
            self.connection.executemany(f"INSERT INTO temp.{name} ({names}) VALUES ({places})", rows)
            self.connection.execute("RELEASE bringing")
        except sqlite3.Error as problem:
            raise broken(problem) from problem

    def drop(self, name: str) -> bool:
        """Drop a temporary table; whether it could be: not while an answer that reads it is being walked."""
        try:
            self.connection.execute(f"DROP TABLE IF EXISTS temp.{name}")
        except sqlite3.OperationalError:
            return False
        return True

    def one(self, sql: Sql) -> tuple[Raw, ...] | None:
        """Return the first row of a statement, None when it answers none."""
        return next(self.run(sql), None)


def broken(problem: sqlite3.Error) -> ImqError:
    """Return what is to be said when SQLite fails."""
    if any(word in str(problem) for word in ("stack overflow", "too large", "too many", "too big", "at most")):
        return StatementError(
            f"the statement is more than SQLite takes: {problem}",
            code="too-much",
            hints=("give parts of it a statement of their own, or put long lists into a file: lines of FILE",),
        )
    advice = "free some space" if "full" in str(problem) else "imq reindex derives the index anew from the images"
    return ImqError(f"the store's index failed: {problem}", code="index", hints=(advice,))


# What is lent: unknown in, unknown out


def _known(function: Callable[..., Raw]) -> Callable[..., Raw]:
    def lent(*arguments: Raw) -> Raw:
        return None if None in arguments else function(*arguments)

    return lent


def _matches(text: str, pattern: str) -> bool | None:
    from .patterns import regex_search

    try:
        return regex_search(str(pattern), str(text))
    except ImqError:  # a pattern that is no constant and no pattern
        return None


def _path_match(text: str, pattern: str) -> bool | None:
    from .patterns import path_match

    try:
        return path_match(str(pattern), str(text))
    except ImqError:
        return None


def _capture(text: str, pattern: str, group: float | None = None) -> str | None:
    from .patterns import regex_capture

    try:
        return regex_capture(str(pattern), str(text), None if group is None else int(group))
    except ImqError:
        return None


def _split(text: str, separator: str) -> str:
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
    digits = hex_prefix(text)
    return f"sha256:{digits}" if digits is not None else None


_LENT: dict[str, tuple[int, Callable[..., Raw]]] = {
    "matches": (2, _known(_matches)),
    "path_match": (2, _known(_path_match)),
    "capture": (-1, _known(_capture)),
    "split": (2, _known(_split)),
    "basename": (1, _known(lambda text: str(text).rstrip("/").rpartition("/")[2])),
    "dirname": (1, _known(lambda text: str(text).rstrip("/").rpartition("/")[0])),
    "as_name": (1, _known(_as_name)),
    "as_repository": (1, _known(_as_repository)),
    "as_digest": (1, _known(_as_digest)),
}
