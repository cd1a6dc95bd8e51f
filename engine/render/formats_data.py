"""The formats for programs: JSON, CSV and YAML. Each row is written as it arrives."""

from __future__ import annotations

from imq.engine.catalog.json_values import to_json_value
from imq.grammar.record import TYPE_CHECKING

from .json_encoders import escape, make_encoder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from imq.engine.catalog.json_values import JsonValue
    from imq.engine.result import RowSet

    from .values import DisplayOptions


def _iter_values(row_set: RowSet) -> Iterator[list[JsonValue]]:
    """Yield the rows as JSON values."""
    types = [column.type for column in row_set.columns]
    for row in row_set.rows:
        yield [to_json_value(data_type, raw) for data_type, raw in zip(types, row, strict=True)]


def to_json(value: object, indent: int | None = None) -> str:
    """Return a value as JSON that is safe for terminals and for UTF-8. Other characters are not escaped.

    A lone surrogate, which a document may contain, is written as an escape.
    """
    import json

    return escape(json.dumps(value, ensure_ascii=False, indent=indent))


def to_compact_json(value: object) -> str:
    """Return a value as JSON without white space, as docker writes it."""
    import json

    return escape(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def _iter_json(row_set: RowSet) -> Iterator[str]:
    """Yield the rows as JSON objects, their keys in the order of the columns; of equal keys the last one."""
    columns = {
        column.name: (to_json(column.name) + ": ", index, make_encoder(column.type))
        for index, column in enumerate(row_set.columns)
    }.values()
    for row in row_set.rows:
        yield escape("{" + ", ".join([name + encode(row[index]) for name, index, encode in columns]) + "}")


def write_json(row_set: RowSet, options: DisplayOptions) -> Iterator[str]:
    """Yield one JSON array of objects, each on one line unless it is to be pretty."""
    before = "["
    for text in _iter_json(row_set):
        yield f"{before}\n  {_indent(text) if options.pretty else text}"
        before = ","
    yield "\n]\n" if before == "," else "[]\n"


def _indent(text: str) -> str:
    """Return a JSON object on several lines, indented for an array. It is for a terminal, so it need not be fast."""
    import json

    return to_json(json.loads(text), indent=2).replace("\n", "\n  ")


def write_ansible(row_set: RowSet, _options: DisplayOptions) -> Iterator[str]:
    """Yield one JSON object with the keys that Ansible's modules return.

    `changed`: an action did something, or in a dry run would do it; never for a query. `failed`: an action failed, or
    an assertion does not hold. `msg` has the first error.
    """
    names = [column.name for column in row_set.columns]
    rows: list[dict[str, Any]] = [dict(zip(names, values, strict=True)) for values in _iter_values(row_set)]
    is_action = row_set.table is not None and row_set.table.name == "outcomes"
    errors = [error.message for error in row_set.errors]
    yield to_json({
        "changed": is_action and any(row["error"] is None and row["action"] != "stay" for row in rows),
        "failed": bool(errors),
        "msg": errors[0] if errors else "",
        "results": rows,
    }) + "\n"  # fmt: skip


def write_jsonl(row_set: RowSet, _options: DisplayOptions) -> Iterator[str]:
    """Yield one JSON object a line."""
    for text in _iter_json(row_set):
        yield text + "\n"


def write_yaml(row_set: RowSet, _options: DisplayOptions) -> Iterator[str]:
    """Yield one YAML sequence of mappings."""
    from .yaml_writer import write_yaml_rows

    return write_yaml_rows(row_set)


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
