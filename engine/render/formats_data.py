"""The forms that programs read: JSON, CSV, YAML. Each row is written as it comes, in the values of `cell.data`."""

from __future__ import annotations

import re

from imq.engine.catalog.json_values import to_json_value
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from imq.engine.catalog.json_values import JsonValue
    from imq.engine.result import RowSet

    from .values import DisplayOptions

_ESCAPED_CHARACTERS = r"[\x7f-\x9f\u2028\u2029\ud800-\udfff]"
"""What JSON may hold as it is, but a terminal obeys, JavaScript takes for a line's end, or UTF-8 has no bytes for."""


def _iter_values(row_set: RowSet) -> Iterator[list[JsonValue]]:
    """Yield the rows as data."""
    types = [column.type for column in row_set.columns]
    for row in row_set.rows:
        yield [to_json_value(data_type, raw) for data_type, raw in zip(types, row, strict=True)]


def _iter_objects(row_set: RowSet) -> Iterator[dict[str, Any]]:
    """Yield the rows as objects, their keys in the order of the columns."""
    names = [column.name for column in row_set.columns]
    for values in _iter_values(row_set):
        yield dict(zip(names, values, strict=True))


def to_json(value: object, indent: int | None = None) -> str:
    """Return a value as JSON that can be read, written and shown anywhere; characters stay as they are where they can.

    Half a surrogate pair, which documents from outside may have, stays the escape that it was.
    """
    import json

    return _escape(json.dumps(value, ensure_ascii=False, indent=indent))


def to_compact_json(value: object) -> str:
    """Return a value as JSON without blanks, as docker writes it."""
    import json

    return _escape(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def _escape(encoded: str) -> str:
    return (
        encoded
        if encoded.isprintable()
        else re.sub(_ESCAPED_CHARACTERS, lambda match: f"\\u{ord(match[0]):04x}", encoded)
    )


def write_json(row_set: RowSet, _options: DisplayOptions) -> Iterator[str]:
    """One JSON array of objects."""
    is_open = False
    for row in _iter_objects(row_set):
        yield ("," if is_open else "[") + "\n  " + to_json(row)
        is_open = True
    yield "\n]\n" if is_open else "[]\n"


def write_jsonl(row_set: RowSet, _options: DisplayOptions) -> Iterator[str]:
    """One JSON object a line."""
    for row in _iter_objects(row_set):
        yield to_json(row) + "\n"


def write_yaml(row_set: RowSet, _options: DisplayOptions) -> Iterator[str]:
    """One YAML sequence of mappings."""
    from .yaml_writer import write_yaml_sequence

    return write_yaml_sequence(_iter_objects(row_set))


_FORMULA_PREFIXES = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a text begins with that a spreadsheet takes for a formula, or passes over before one; the last four are wide."""


def _format_cell(value: JsonValue) -> str:
    """Return a data value as one cell of CSV and its like."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return to_json(value) if isinstance(value, list | dict) else str(value)


def _format_spreadsheet_cell(value: JsonValue) -> str:
    """Return a data value as a cell that a spreadsheet shows as text: `'` stands before what it would compute.

    Numbers stay numbers, negative ones too.
    """
    cell = _format_cell(value)
    return f"'{cell}" if isinstance(value, str) and cell.lstrip(" ").startswith(_FORMULA_PREFIXES) else cell


def _write_delimited(row_set: RowSet, options: DisplayOptions, delimiter: str) -> Iterator[str]:
    import csv
    from io import StringIO

    out = StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator=_LINE_END)
    cell = _format_spreadsheet_cell if options.spreadsheet_safe else _format_cell
    writer.writerow([cell(column.name) for column in row_set.columns])
    yield _take_line(out)
    for values in _iter_values(row_set):
        writer.writerow(map(cell, values))
        yield _take_line(out)


_LINE_END = "\r\n"
"""What the writer of CSV ends a line with; a cell that has either of the two is quoted, so it must know of both."""


def _take_line(out: Any) -> str:
    """Take what has been written, one line, and end it as the other forms do."""
    line: str = out.getvalue().removesuffix(_LINE_END) + "\n"
    out.seek(0)
    out.truncate()
    return line


def write_csv(row_set: RowSet, options: DisplayOptions) -> Iterator[str]:
    """Comma-separated values, with a heading line."""
    return _write_delimited(row_set, options, ",")


def write_tsv(row_set: RowSet, options: DisplayOptions) -> Iterator[str]:
    """Tab-separated values, with a heading line."""
    return _write_delimited(row_set, options, "\t")
