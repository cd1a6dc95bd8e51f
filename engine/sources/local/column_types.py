"""Rows from outside, made ready for SQLite: the names of their columns, the kinds, and the values."""

from __future__ import annotations

import json

from imq.engine.catalog.schema import DataType, casefold_name
from imq.grammar.errors import Malformed
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Iterable

    Cell = str | int | float | None

DEEPEST = 100
"""Lists and maps within each other."""
_WIDEST = 1000
"""Columns; SQLite's own limit is twice as high."""
_LONGEST_INTEGER = 70
"""Characters of a number of 63 bits, in any base, with what may stand before the digits."""
_VALUE = "value"
"""The column of what is no map, and of a list that says nothing of its columns."""
_KINDS = {
    bool: DataType.BOOLEAN,
    int: DataType.NUMBER,
    float: DataType.NUMBER,
    str: DataType.TEXT,
    list: DataType.LIST,
    dict: DataType.MAP,
}


class Records(Record):
    """Rows ready for SQLite: lists and maps are JSON texts, true and false are 1 and 0, what is unknown is None.

    There is at least one column, and each row has a cell for each.
    """

    columns: tuple[tuple[str, DataType], ...]
    rows: tuple[tuple[Cell, ...], ...]


class Columns:
    """The columns of a list in the order in which they come. No two may be one in a statement."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._places: dict[str, int] = {}
        self._folded: dict[str, str] = {}
        self.names: list[str] = []

    def place(self, heading: str) -> int:
        """Return the place of a column, which is added when it is not there; one without a name gets one."""
        place = self._places.get(heading)
        return self.add(heading) if place is None else place

    def add(self, heading: str) -> int:
        """Add a column and return its place; raise Malformed when there is one of its name, or too many."""
        place = len(self.names)
        name = heading or f"column_{place + 1}"
        if "\0" in name:
            raise Malformed(f"{self._source}: the name of a column has a NUL character", code="columns")
        other = self._folded.get(casefold_name(name))
        if other is not None:
            raise Malformed(
                f'{self._source} has two columns of one name: "{other}" and "{name}"',
                code="columns",
                hints=("names are compared without regard to case and underscores: rename one",),
            )
        if place == _WIDEST:
            raise Malformed(
                f"{self._source} has more than {_WIDEST} columns",
                code="too-wide",
                hints=("a map whose keys are data is a single row: make a list of maps of it",),
            )
        self._folded[casefold_name(name)] = name
        self._places[heading] = place
        self.names.append(name)
        return place


def records(source: str, items: Iterable[object]) -> Records:
    """Return rows of maps, and of other values in the column `value`; they are what JSON can hold.

    A column has the kind that all its known values have, else it is a TEXT.
    """
    columns = Columns(source)
    kinds: list[set[DataType]] = []
    found: list[dict[int, object]] = []
    for item in items:
        cells: dict[int, object] = {}
        for key, value in item.items() if isinstance(item, dict) else ((_VALUE, item),):
            place = columns.place(_encodable(key))
            if place == len(kinds):
                kinds.append(set())
            if value is not None:
                cells[place] = value
                kinds[place].add(_KINDS[type(value)])
        found.append(cells)
    if not kinds:
        columns.place(_VALUE)
        kinds.append(set())
    settled = [next(iter(kind)) if len(kind) == 1 else DataType.TEXT for kind in kinds]
    return Records(
        tuple(zip(columns.names, settled, strict=True)),
        tuple(tuple(_cell(cells.get(place), kind) for place, kind in enumerate(settled)) for cells in found),
    )


def _cell(value: object, kind: DataType) -> Cell:
    """Return a value as its column keeps it; in a TEXT what is no text is there as JSON writes it."""
    if value is None:
        return None
    if isinstance(value, str):
        return _encodable(value)
    if kind is DataType.BOOLEAN:
        return 1 if value else 0
    if kind is DataType.NUMBER and isinstance(value, int | float):
        return value
    return _encodable(json.dumps(value, ensure_ascii=False))


def _encodable(text: str) -> str:
    r"""Return a text that SQLite takes: half a surrogate pair, which JSON can write (`"\ud800"`), is replaced."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def whole(text: str) -> int | str:
    """Return the whole number that a text writes; the text itself when SQLite's 63 bits do not hold the number."""
    if len(text) > _LONGEST_INTEGER:
        return text
    number = int(text, 0)
    return number if -(1 << 63) <= number < 1 << 63 else text


def malformed(source: str, message: str, line: int, column: int | None = None) -> Malformed:
    """Return the error of a list that is wrong at a place; lines and columns count from 1."""
    return Malformed(f"{source}, line {line}" + (f", column {column}" if column else "") + f": {message}")


def check_depth(source: str, value: object) -> None:
    """Raise when lists and maps are more than `DEEPEST` deep within each other."""
    level, depth = [value], 0
    while level := [item for item in level if isinstance(item, list | dict)]:
        depth += 1
        if depth > DEEPEST:
            raise too_deep(source)
        level = [inner for item in level for inner in (item.values() if isinstance(item, dict) else item)]


def too_deep(source: str) -> Malformed:
    """Return the error of a list whose values are too deep within each other."""
    return Malformed(f"{source}: lists and maps are more than {DEEPEST} deep within each other", code="too-deep")
