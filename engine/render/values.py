"""One value, for each place it can be seen: a table for people, data for programs, a template, Python.

Values come from SQL as texts and numbers; their kind says what they are.
"""

from __future__ import annotations

from math import isfinite

from imq.engine.catalog.schema import DataType
from imq.engine.oci.timestamp import write_time
from imq.engine.units.size import Size, human_size_exact
from imq.engine.units.time import ago, created_at, human_duration
from imq.grammar.record import TYPE_CHECKING, Record

from .text_table import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import tzinfo
    from typing import Any

    from imq.engine.catalog.schema import Raw
    from imq.engine.result import RowSet

    Data = str | int | float | bool | list[str] | dict[str, str] | None

NONE = "<none>"
_SECOND = 1_000_000_000
_LONGEST = 60
"""Characters of a text in a table, before it is cut (docker cuts a command at 45)."""


class Manner(Record):
    """How values are shown: the time it is, the local zone, and whether ids and texts stay whole.

    `spreadsheet`: no cell of CSV or TSV is taken for a formula.
    """

    now: int
    zone: tzinfo | None
    whole: bool = False
    spreadsheet: bool = False


def data(kind: DataType, raw: Raw) -> Data:
    """Return a value for JSON and its like: sizes in bytes, times in RFC 3339, digests whole."""
    if raw is None:
        return None
    if kind is DataType.TIME:
        return write_time(int(raw))
    if kind is DataType.DURATION:
        return int(raw) / _SECOND
    if kind is DataType.BOOLEAN:
        return bool(raw)
    if kind is DataType.VERSION:
        return _version(raw)
    if kind in (DataType.LIST, DataType.MAP):
        value: list[str] | dict[str, str] = _read_json(raw)
        return value
    return None if isinstance(raw, float) and not isfinite(raw) else raw  # JSON has no infinity


def text(kind: DataType, raw: Raw, manner: Manner) -> str:
    """Return a value as a table shows it, in one line: sizes and times as docker prints them, ids short."""
    if raw is None:
        return NONE if kind in (DataType.REFERENCE, DataType.REPOSITORY, DataType.TAG) else ""
    if kind is DataType.SIZE:
        return str(Size(int(raw)))
    if kind is DataType.TIME:
        return ago((manner.now - int(raw)) // _SECOND)
    if kind is DataType.DURATION:
        return human_duration(int(raw) // _SECOND)
    if kind is DataType.BOOLEAN:
        return "true" if raw else "false"
    if kind is DataType.DIGEST:
        return clean(str(raw) if manner.whole else str(raw).partition(":")[2][:12] or str(raw))
    if kind is DataType.LIST:
        return _cut(", ".join(map(_item, _read_json(raw))), manner)
    if kind is DataType.MAP:
        return _cut(_pairs(raw), manner)
    if kind is DataType.VERSION:
        return clean(_version(raw))
    if isinstance(raw, float):
        return f"{raw:.6f}".rstrip("0").rstrip(".")
    return _cut(str(raw), manner) if kind is DataType.TEXT else clean(str(raw))


def texts(answer: RowSet, manner: Manner) -> Iterator[list[str]]:
    """Yield the rows of an answer as a table shows them."""
    kinds = [heading.kind for heading in answer.columns]
    for row in answer.rows:
        yield [text(kind, raw, manner) for kind, raw in zip(kinds, row, strict=True)]


def _cut(shown: str, manner: Manner) -> str:
    shown = clean(shown)
    if not manner.whole and "sha256:" in shown:
        from re import sub

        shown = sub(r"(?<![\w@])sha256:([0-9a-f]{12})[0-9a-f]{52}\b", r"\1", shown)  # an id, not a name
    return shown if manner.whole or len(shown) <= _LONGEST else shown[: _LONGEST - 1] + "…"


def _item(item: object) -> str:
    """Return an item of a list as a table shows it."""
    return NONE if item is None else str(item).lower() if isinstance(item, bool) else str(item)


def _version(raw: Raw) -> str:
    from imq.engine.oci.tag_version import SEPARATOR  # with its patterns, which most answers do without

    return str(raw).rpartition(SEPARATOR)[2]


def _read_json(raw: Raw) -> Any:
    import json  # which most answers do without

    return json.loads(str(raw))


def _pairs(raw: Raw) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(_read_json(raw).items()))


def field_value(kind: DataType, raw: Raw) -> object:
    """Return a value as a template sees a field of this kind: a size prints as 142MB and counts as a number."""
    if kind is DataType.SIZE:
        return None if raw is None else Size(int(raw))
    return data(kind, raw)


STYLES: dict[str, Callable[[Raw, Manner], object]] = {
    "short": lambda raw, manner: text(DataType.DIGEST, raw, manner),
    "or-none": lambda raw, _: NONE if raw is None else raw,
    "ago": lambda raw, manner: "N/A" if raw is None else ago((manner.now - int(raw)) // _SECOND),
    "go-time": lambda raw, manner: "N/A" if raw is None else created_at(int(raw), manner.zone),
    "rfc3339": lambda raw, _: "" if raw is None else write_time(int(raw)),
    "size": lambda raw, _: "N/A" if raw is None else Size(int(raw)),
    "size-4": lambda raw, _: "N/A" if raw is None else human_size_exact(int(raw)),
    "pairs": lambda raw, _: _pairs(raw),
    "ok": lambda raw, _: "[OK]" if raw else "",
    "plain": lambda raw, _: "" if raw is None else raw,
}
"""How docker's placeholders show their field, by the word that field declarations use."""
