"""Formats the values of fields for tables, templates and Python.

SQLite returns strings and numbers; the data type of the field says how to read them.
"""

from __future__ import annotations

from itertools import islice
from types import NoneType

from imq.engine.catalog.json_values import get_version_text, parse_json, to_json_value
from imq.engine.catalog.schema import DataType
from imq.engine.oci.timestamp import format_time
from imq.engine.units.size import Size, human_size, human_size_exact
from imq.engine.units.time import format_age, format_created_at, human_duration
from imq.grammar.record import TYPE_CHECKING, Record

from .text_table import replace_controls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import tzinfo

    from imq.engine.catalog.schema import Raw
    from imq.engine.result import RowSet

NONE_TEXT = "<none>"
_NANOSECONDS = 1_000_000_000
_MAX_STRING_LENGTH = 60
"""Longest string that a table on a terminal shows in full, in characters. Docker truncates commands at 45."""

_ROWS_FORMATTED_TOGETHER = 10_000


class DisplayOptions(Record):
    """How values are shown.

    `now` (nanoseconds) and `zone` are for times. `no_trunc` shows ids and long strings in full. `spreadsheet_safe`
    quotes the cells of CSV and TSV that a spreadsheet would evaluate as formulas. `version` is that of imq, which bills
    of materials name. `ascii` draws trees without the line characters of Unicode.
    `width` is the number of columns of a terminal, to which the cells of a table are cut; None for files and pipes,
    where nothing is cut. `expanded` is `on` for a record view in place of a table, `auto` for one when a row is wider
    than the terminal, else `off`. `pretty` indents JSON.
    """

    now: int
    zone: tzinfo | None
    no_trunc: bool = False
    spreadsheet_safe: bool = False
    version: str = ""
    ascii: bool = False
    width: int | None = None
    expanded: str = "off"
    pretty: bool = False


def format_value(data_type: DataType, raw: Raw, options: DisplayOptions) -> str:
    """Return a value for a table, on one line. Sizes and times are as docker prints them; ids are short."""
    if raw is None:
        return NONE_TEXT if data_type in (DataType.REFERENCE, DataType.REPOSITORY, DataType.TAG) else ""
    if data_type is DataType.SIZE:
        return str(Size(int(raw)))
    if data_type is DataType.TIME:
        return format_age((options.now - int(raw)) // _NANOSECONDS)
    if data_type is DataType.DURATION:
        return human_duration(int(raw) // _NANOSECONDS)
    if data_type is DataType.BOOLEAN:
        return "true" if raw else "false"
    if data_type is DataType.DIGEST:
        return replace_controls(str(raw) if options.no_trunc else str(raw).rpartition(":")[2][:12])
    if data_type is DataType.LIST:
        return _truncate(", ".join(map(_format_item, parse_json(raw))), options)
    if data_type is DataType.MAP:
        return _truncate(_format_map(raw), options)
    if data_type.is_version:
        return replace_controls(get_version_text(raw))
    if isinstance(raw, float):
        return f"{raw:.6f}".rstrip("0").rstrip(".")
    return _truncate(str(raw), options) if data_type is DataType.TEXT else replace_controls(str(raw))


def format_rows(row_set: RowSet, options: DisplayOptions) -> Iterator[tuple[str, ...]]:
    """Yield the rows of a result, each value formatted for a table."""
    types = [column.type for column in row_set.columns]
    limits = {
        at: column.field.shown_items
        for at, column in enumerate(row_set.columns)
        if column.field is not None and column.field.shown_items and not options.no_trunc
    }
    rows = iter(row_set.rows)
    while some := list(islice(rows, _ROWS_FORMATTED_TOGETHER)):
        columns = zip(types, zip(*some, strict=True), strict=True)
        cells = [_format_column(data_type, values, options) for data_type, values in columns]
        for at, most in limits.items():
            cells[at] = [_truncate(format_some(row[at], most), options) for row in some]
        yield from zip(*cells, strict=True)


def format_some(raw: Raw, most: int) -> str:
    """Return the first items of a list, and the number of the others."""
    items = parse_json(raw) if raw is not None else []
    shown = ", ".join(map(_format_item, items[:most]))
    return shown if len(items) <= most else f"{shown}, … {len(items) - most} more"


def _format_column(data_type: DataType, values: Sequence[Raw], options: DisplayOptions) -> Sequence[str]:
    """Return the values of a column as `format_value` does. Strings are checked together, other values once each."""
    kinds = set(map(type, values)) - {NoneType}
    if all(issubclass(kind, str) for kind in kinds):
        missing = format_value(data_type, None, options)
        strings = [missing if value is None else str(value) for value in values]
        if data_type is DataType.DIGEST and not options.no_trunc:
            strings = [string.rpartition(":")[2][:12] for string in strings]
        is_plain = data_type in (DataType.REFERENCE, DataType.REPOSITORY, DataType.TAG, DataType.DIGEST)
        together = "".join(strings)
        if data_type is DataType.TEXT and options.width is None and together.isprintable():
            if options.no_trunc or "sha256:" not in together:
                return strings
            return [_truncate(string, options) if "sha256:" in string else string for string in strings]
        if is_plain and together.isprintable():
            return strings
    elif kinds == {int} and data_type is DataType.SIZE:
        return ["" if value is None else human_size(value) for value in values]  # type: ignore[arg-type] # all are int
    elif kinds == {int}:
        distinct = {value: format_value(data_type, value, options) for value in set(values)}
        return [distinct[value] for value in values]
    return [format_value(data_type, value, options) for value in values]


def _truncate(string: str, options: DisplayOptions) -> str:
    string = replace_controls(string)
    if not options.no_trunc and "sha256:" in string:
        from re import sub

        string = sub(r"(?<![\w@])sha256:([0-9a-f]{12})[0-9a-f]{52}\b", r"\1", string)  # an id, not a name
    is_whole = options.no_trunc or options.width is None or len(string) <= _MAX_STRING_LENGTH
    return string if is_whole else string[: _MAX_STRING_LENGTH - 1] + "…"


def _format_item(item: object) -> str:
    """Return an item of a list, formatted for a table."""
    return NONE_TEXT if item is None else str(item).lower() if isinstance(item, bool) else str(item)


def _format_map(raw: Raw) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(parse_json(raw).items()))


def to_python_value(data_type: DataType, raw: Raw) -> object:
    """Return a value for templates and Python. A size is an integer that prints as `142MB`."""
    if data_type is DataType.SIZE:
        return None if raw is None else Size(int(raw))
    return to_json_value(data_type, raw)


FORMATTERS: dict[str, Callable[[Raw, DisplayOptions], object]] = {
    "short": lambda raw, options: format_value(DataType.DIGEST, raw, options),
    "or-none": lambda raw, _: NONE_TEXT if raw is None else raw,
    "ago": lambda raw, options: "N/A" if raw is None else format_age((options.now - int(raw)) // _NANOSECONDS),
    "go-time": lambda raw, options: "N/A" if raw is None else format_created_at(int(raw), options.zone),
    "rfc3339": lambda raw, _: "" if raw is None else format_time(int(raw)),
    "size": lambda raw, _: "N/A" if raw is None else Size(int(raw)),
    "size-4": lambda raw, _: "N/A" if raw is None else human_size_exact(int(raw)),
    "pairs": lambda raw, _: _format_map(raw),
    "ok": lambda raw, _: "[OK]" if raw else "",
    "plain": lambda raw, _: "" if raw is None else raw,
}
"""Formatters of docker's placeholders, by the names that field declarations use."""
