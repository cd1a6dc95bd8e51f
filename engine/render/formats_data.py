"""The forms that programs read: JSON, CSV, YAML. Each row is written as it comes, in the values of `cell.data`."""

from __future__ import annotations

import re

from imq.grammar.record import TYPE_CHECKING

from .values import data

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from imq.engine.result import RowSet

    from .values import Data, Manner

_ESCAPED = r"[\x7f-\x9f\u2028\u2029\ud800-\udfff]"
"""What JSON may hold as it is, but a terminal obeys, JavaScript takes for a line's end, or UTF-8 has no bytes for."""


def _values(answer: RowSet) -> Iterator[list[Data]]:
    """Yield the rows as data."""
    kinds = [heading.kind for heading in answer.columns]
    for row in answer.rows:
        yield [data(kind, raw) for kind, raw in zip(kinds, row, strict=True)]


def _objects(answer: RowSet) -> Iterator[dict[str, Any]]:
    """Yield the rows as objects, their keys in the order of the columns."""
    names = [heading.name for heading in answer.columns]
    for values in _values(answer):
        yield dict(zip(names, values, strict=True))


def json_text(value: object, indent: int | None = None) -> str:
    """Return a value as JSON that can be read, written and shown anywhere; characters stay as they are where they can.

    Half a surrogate pair, which documents from outside may have, stays the escape that it was.
    """
    import json

    return _escaped(json.dumps(value, ensure_ascii=False, indent=indent))


def compact_json(value: object) -> str:
    """Return a value as JSON without blanks, as docker writes it."""
    import json

    return _escaped(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def _escaped(written: str) -> str:
    return written if written.isprintable() else re.sub(_ESCAPED, lambda sign: f"\\u{ord(sign[0]):04x}", written)


def as_json(answer: RowSet, _manner: Manner) -> Iterator[str]:
    """One JSON array of objects."""
    opened = False
    for row in _objects(answer):
        yield ("," if opened else "[") + "\n  " + json_text(row)
        opened = True
    yield "\n]\n" if opened else "[]\n"


def as_jsonl(answer: RowSet, _manner: Manner) -> Iterator[str]:
    """One JSON object a line."""
    for row in _objects(answer):
        yield json_text(row) + "\n"


def as_yaml(answer: RowSet, _manner: Manner) -> Iterator[str]:
    """One YAML sequence of mappings."""
    from .yaml_writer import yaml_sequence

    return yaml_sequence(_objects(answer))


_FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a text begins with that a spreadsheet takes for a formula, or passes over before one; the last four are wide."""


def _plain(value: Data) -> str:
    """Return a data value as one cell of CSV and its like."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return json_text(value) if isinstance(value, list | dict) else str(value)


def _inert(value: Data) -> str:
    """Return a data value as a cell that a spreadsheet shows as text: `'` stands before what it would compute.

    Numbers stay numbers, negative ones too.
    """
    cell = _plain(value)
    return f"'{cell}" if isinstance(value, str) and cell.lstrip(" ").startswith(_FORMULAS) else cell


def _separated(answer: RowSet, manner: Manner, delimiter: str) -> Iterator[str]:
    import csv
    from io import StringIO

    out = StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator=_LINE_END)
    cell = _inert if manner.spreadsheet else _plain
    writer.writerow([cell(heading.name) for heading in answer.columns])
    yield _taken(out)
    for values in _values(answer):
        writer.writerow(map(cell, values))
        yield _taken(out)


_LINE_END = "\r\n"
"""What the writer of CSV ends a line with; a cell that has either of the two is quoted, so it must know of both."""


def _taken(out: Any) -> str:
    """Take what has been written, one line, and end it as the other forms do."""
    line: str = out.getvalue().removesuffix(_LINE_END) + "\n"
    out.seek(0)
    out.truncate()
    return line


def as_csv(answer: RowSet, manner: Manner) -> Iterator[str]:
    """Comma-separated values, with a heading line."""
    return _separated(answer, manner, ",")


def as_tsv(answer: RowSet, manner: Manner) -> Iterator[str]:
    """Tab-separated values, with a heading line."""
    return _separated(answer, manner, "\t")
