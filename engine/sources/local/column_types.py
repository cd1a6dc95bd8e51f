"""Converts rows of files for SQLite: the names and types of columns, and the values."""

from __future__ import annotations

import json

from imq.engine.catalog.schema import DataType, casefold_name
from imq.grammar.errors import Malformed
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Iterable

    Cell = str | int | float | None

MAX_DEPTH = 100
"""The maximum depth of nested lists and maps."""
_MAX_COLUMNS = 1000
"""The maximum number of columns; SQLite's own limit is twice as high."""
_MAX_INTEGER_LENGTH = 70
"""The maximum number of characters of a 63-bit integer, in any base, with sign and prefix."""
_VALUE = "value"
"""The name of the column of items that are not maps, and of the single column of an empty list."""
_DATA_TYPES = {
    bool: DataType.BOOLEAN,
    int: DataType.NUMBER,
    float: DataType.NUMBER,
    str: DataType.TEXT,
    list: DataType.LIST,
    dict: DataType.MAP,
}


class Records(Record):
    """Rows ready for SQLite: lists and maps are JSON strings, true and false are 1 and 0, unknown values are None.

    There is at least one column, and each row has one cell for each column.
    """

    columns: tuple[tuple[str, DataType], ...]
    rows: tuple[tuple[Cell, ...], ...]


class Columns:
    """The columns of a file, in order of appearance. Their names must differ in more than case and underscores."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._positions: dict[str, int] = {}
        self._folded: dict[str, str] = {}
        self.names: list[str] = []

    def find_or_add(self, heading: str) -> int:
        """Return the position of a column. A new column is added."""
        position = self._positions.get(heading)
        return self.add(heading) if position is None else position

    def add(self, heading: str) -> int:
        """Add a column and return its position. An empty name becomes `column_N`.

        Raises `Malformed` for a duplicate name, and for too many columns.
        """
        position = len(self.names)
        name = heading or f"column_{position + 1}"
        if "\0" in name:
            raise Malformed(f"{self._source}: a column name contains a NUL character", code="columns")
        other = self._folded.get(casefold_name(name))
        if other is not None:
            raise Malformed(
                f'{self._source} has duplicate column names: "{other}" and "{name}"',
                code="columns",
                hints=("column names are compared ignoring case and underscores: rename one",),
            )
        if position == _MAX_COLUMNS:
            raise Malformed(
                f"{self._source} has more than {_MAX_COLUMNS} columns",
                code="too-wide",
                hints=("a map is a single row: if its keys are data, convert it to a list of maps",),
            )
        self._folded[casefold_name(name)] = name
        self._positions[heading] = position
        self.names.append(name)
        return position


def build_records(source: str, items: Iterable[object]) -> Records:
    """Return a row for each item: the values of a map, or the item itself in the column `value`.

    Items are values that JSON can represent. If all known values of a column have one type, that is the type of the
    column. Otherwise it is TEXT.
    """
    columns = Columns(source)
    types: list[set[DataType]] = []
    rows: list[dict[int, object]] = []
    for item in items:
        cells: dict[int, object] = {}
        for key, value in item.items() if isinstance(item, dict) else ((_VALUE, item),):
            position = columns.find_or_add(_replace_surrogates(key))
            if position == len(types):
                types.append(set())
            if value is not None:
                cells[position] = value
                types[position].add(_DATA_TYPES[type(value)])
        rows.append(cells)
    if not types:
        columns.find_or_add(_VALUE)
        types.append(set())
    column_types = [next(iter(kind)) if len(kind) == 1 else DataType.TEXT for kind in types]
    return Records(
        tuple(zip(columns.names, column_types, strict=True)),
        tuple(tuple(_to_cell(cells.get(number), kind) for number, kind in enumerate(column_types)) for cells in rows),
    )


def _to_cell(value: object, column_type: DataType) -> Cell:
    """Return a value as it is stored in its column. A TEXT column stores other values as JSON."""
    if value is None:
        return None
    if isinstance(value, str):
        return _replace_surrogates(value)
    if column_type is DataType.BOOLEAN:
        return 1 if value else 0
    if column_type is DataType.NUMBER and isinstance(value, int | float):
        return value
    return _replace_surrogates(json.dumps(value, ensure_ascii=False))


def _replace_surrogates(text: str) -> str:
    r"""Replace unpaired surrogates, which JSON can contain (`"\ud800"`) and SQLite cannot store."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def parse_integer(text: str) -> int | str:
    """Return the integer that a string represents, or the string if SQLite's 63 bits cannot hold the integer."""
    if len(text) > _MAX_INTEGER_LENGTH:
        return text
    number = int(text, 0)
    return number if -(1 << 63) <= number < 1 << 63 else text


def malformed_at(source: str, message: str, line: int, column: int | None = None) -> Malformed:
    """Return the error for a position in a file; lines and columns count from 1."""
    return Malformed(f"{source}, line {line}" + (f", column {column}" if column else "") + f": {message}")


def check_depth(source: str, value: object) -> None:
    """Raise `Malformed` if lists and maps are nested more than `MAX_DEPTH` levels deep."""
    level, depth = [value], 0
    while level := [item for item in level if isinstance(item, list | dict)]:
        depth += 1
        if depth > MAX_DEPTH:
            raise depth_error(source)
        level = [inner for item in level for inner in (item.values() if isinstance(item, dict) else item)]


def depth_error(source: str) -> Malformed:
    """Return the error for values that are nested too deeply."""
    return Malformed(f"{source}: lists and maps are nested more than {MAX_DEPTH} levels deep", code="too-deep")
