"""The formats for programs: JSON, CSV and YAML. Each row is written as it arrives."""

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
"""Characters that JSON allows, but that control a terminal, end a line in JavaScript or have no UTF-8 encoding."""


def _iter_values(row_set: RowSet) -> Iterator[list[JsonValue]]:
    """Yield the rows as JSON values."""
    types = [column.type for column in row_set.columns]
    for row in row_set.rows:
        yield [to_json_value(data_type, raw) for data_type, raw in zip(types, row, strict=True)]


def _iter_objects(row_set: RowSet) -> Iterator[dict[str, Any]]:
    """Yield the rows as objects, their keys in the order of the columns."""
    names = [column.name for column in row_set.columns]
    for values in _iter_values(row_set):
        yield dict(zip(names, values, strict=True))


def to_json(value: object, indent: int | None = None) -> str:
    """Return a value as JSON that is safe for terminals and for UTF-8. Other characters are not escaped.

    A lone surrogate, which a document may contain, is written as an escape.
    """
    import json

    return _escape(json.dumps(value, ensure_ascii=False, indent=indent))


def to_compact_json(value: object) -> str:
    """Return a value as JSON without white space, as docker writes it."""
    import json

    return _escape(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def _escape(encoded: str) -> str:
    return (
        encoded
        if encoded.isprintable()
        else re.sub(_ESCAPED_CHARACTERS, lambda match: f"\\u{ord(match[0]):04x}", encoded)
    )


def write_json(row_set: RowSet, _options: DisplayOptions) -> Iterator[str]:
    """Yield one JSON array of objects."""
    is_open = False
    for row in _iter_objects(row_set):
        yield ("," if is_open else "[") + "\n  " + to_json(row)
        is_open = True
    yield "\n]\n" if is_open else "[]\n"


def write_jsonl(row_set: RowSet, _options: DisplayOptions) -> Iterator[str]:
    """Yield one JSON object a line."""
    for row in _iter_objects(row_set):
        yield to_json(row) + "\n"


def write_yaml(row_set: RowSet, _options: DisplayOptions) -> Iterator[str]:
    """Yield one YAML sequence of mappings."""
    from .yaml_writer import write_yaml_sequence

    return write_yaml_sequence(_iter_objects(row_set))


_FORMULA_PREFIXES = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""First characters of a formula in a spreadsheet, or ignored before one. The last four are full-width."""


def _format_cell(value: JsonValue) -> str:
    """Return a value as a cell of CSV or TSV."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return to_json(value) if isinstance(value, list | dict) else str(value)


def _format_spreadsheet_cell(value: JsonValue) -> str:
    """Return a value as a cell that no spreadsheet evaluates: a formula gets a leading `'`.

    Numbers are unchanged, negative numbers included.
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
"""The line end of the CSV writer. With both characters here, the writer quotes cells with either of them."""


def _take_line(out: Any) -> str:
    """Return and remove the line that was written, with the line end of the other formats."""
    line: str = out.getvalue().removesuffix(_LINE_END) + "\n"
    out.seek(0)
    out.truncate()
    return line


def write_csv(row_set: RowSet, options: DisplayOptions) -> Iterator[str]:
    """Yield comma-separated values with a heading line."""
    return _write_delimited(row_set, options, ",")


def write_tsv(row_set: RowSet, options: DisplayOptions) -> Iterator[str]:
    """Yield tab-separated values with a heading line."""
    return _write_delimited(row_set, options, "\t")
