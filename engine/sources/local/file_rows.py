"""Lists from outside: the lines of a file, and rows of JSON, CSV and YAML with the kinds of their columns.

A list is read whole: a text in UTF-8 of at most `LIMIT` bytes. One that is not there is `NotFound`, one that cannot be
read an `ImqError` with the code `read`, and one that is wrong `Malformed`, which says where, with one of the codes
`malformed`, `too-large`, `too-deep`, `too-wide` and `columns`.
"""

from __future__ import annotations

import json
import os
import re

from imq.engine.catalog.schema import DataType
from imq.grammar.errors import ImqError, Malformed, NotFound
from imq.grammar.record import TYPE_CHECKING

from .column_types import Columns, Records, check_depth, malformed, records, too_deep, whole

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

    from .column_types import Cell

LIMIT = 64 << 20
"""Bytes that a file may have, and characters that a stream may."""


def read_lines(path: str, stream: TextIO | None = None) -> Iterator[str]:
    r"""Yield the lines of a file, or of a stream when there is one: the path is then not looked at.

    The end of a line, `\n` or `\r\n`, is no part of it; blanks at its ends are. A line of nothing but blanks is left
    out: a list that ends with one does not hold the empty name.
    """
    for line in _text(path, stream).split("\n"):
        if line.strip():
            yield line.removesuffix("\r")


def read_rows(path: str, stream: TextIO | None = None) -> Records:
    """Return the rows of a file, or of a stream when there is one: the path is then not looked at.

    JSON is an array, one object, or values after each other, as in JSON lines; YAML a sequence, one mapping, or several
    documents; CSV has a line of headings, and tabs between cells when that line has tabs and no commas. The ending of
    the path says which it is (.json .jsonl .ndjson .yaml .yml .csv .tsv .tab), else the beginning of the text does.
    What is no map is a row of one column, `value`. Columns have the names that are written, without one `column_N`.

    A column whose values are all numbers is a NUMBER, all booleans a BOOLEAN, all lists a LIST, all maps a MAP, else a
    TEXT. A cell of CSV is a number when it is written as the number prints: `007` and the version `7.10` are texts; an
    empty one is unknown. Whole numbers beyond 63 bits are texts, so that none is rounded.
    """
    text = _text(path, stream)
    source = _source(path, stream)
    form = _form("" if stream is not None else path, text)
    if form == "json":
        return records(source, _json(source, text))
    if form == "yaml":
        from .yaml_rows import yaml_items

        return records(source, yaml_items(source, text))
    return _separated(source, text, "\t" if form == "tsv" else "")


# ---- texts


def _source(path: str, stream: TextIO | None) -> str:
    """Return what errors call the list."""
    return path if stream is None else "standard input"


def _text(path: str, stream: TextIO | None) -> str:
    """Return the whole text, without a byte order mark."""
    source = _source(path, stream)
    text = _of_file(path) if stream is None else _of_stream(source, stream)
    if "\0" in text:
        raise malformed(source, "a NUL character, which no text has", text.count("\n", 0, text.index("\0")) + 1)
    return text.removeprefix("\ufeff")


def _of_file(path: str) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read(LIMIT + 1)
    except FileNotFoundError:
        raise NotFound(f"no such file: {path}") from None
    except IsADirectoryError:
        raise Malformed(f"{path} is a folder, not a file") from None
    except OSError as problem:
        raise ImqError(f"cannot read {path}: {problem.strerror}", code="read") from None
    if len(data) > LIMIT:
        raise _too_large(path)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        hint = "it looks like UTF-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "a list must be UTF-8 text"
        line = data.count(b"\n", 0, error.start) + 1
        raise Malformed(f"{path}, line {line}: this is not UTF-8", hints=(hint,)) from None


def _of_stream(source: str, stream: TextIO) -> str:
    """Read a stream of texts: what is not UTF-8 it refuses, or gives as surrogates."""
    text = ""
    try:
        text = stream.read(LIMIT + 1)
        text.encode()
    except UnicodeEncodeError as error:
        raise malformed(source, "this is not UTF-8", text.count("\n", 0, error.start) + 1) from None
    except UnicodeDecodeError:
        raise Malformed(f"{source} is not UTF-8") from None
    if len(text) > LIMIT:
        raise _too_large(source)
    return text


def _too_large(source: str) -> Malformed:
    return Malformed(f"{source} has more than {LIMIT >> 20} MiB", code="too-large")


_ENDINGS = {
    ".json": "json", ".jsonl": "json", ".ndjson": "json", ".yaml": "yaml", ".yml": "yaml",
    ".csv": "csv", ".tsv": "tsv", ".tab": "tsv",
}  # fmt: skip
_UNTOLD = r"(?:[ \t]*(?:#[^\n]*)?\r?\n)*"
"""Blank lines and comments, which do not show the format."""
_YAML = r"""---|%YAML|-(?:\s|\Z)|(?:[^,\t\n"'{\[]+|"[^"\n]*"|'[^'\n]*'):(?:\s|\Z)"""
"""How YAML begins: a document, an item, a key."""


def _form(path: str, text: str) -> str:
    """Return json, yaml, csv or tsv, as the ending of the path says, else as the text begins."""
    form = _ENDINGS.get(os.path.splitext(path)[1].lower())
    if form is not None:
        return form
    if text.lstrip()[:1] in ("[", "{"):
        return "json"
    return "yaml" if re.compile(_YAML).match(text, _after(re.compile(_UNTOLD), text, 0)) else "csv"


def _after(pattern: re.Pattern[str], text: str, place: int) -> int:
    """Return the place behind what a pattern, which may match nothing, matches at a place."""
    match = pattern.match(text, place)
    return match.end() if match else place


# ---- JSON

_CONSTANTS = {"NaN": None, "Infinity": float("inf"), "-Infinity": float("-inf")}
"""What JSON has not and Python writes; what is not a number is unknown."""


def _json(source: str, text: str) -> list[object]:
    """Return the elements of a single array, else the values that stand after each other."""
    decoder = json.JSONDecoder(parse_int=whole, parse_constant=_CONSTANTS.__getitem__)
    blanks = re.compile(r"[ \t\r\n]*")
    values: list[object] = []
    place = _after(blanks, text, 0)
    try:
        while place < len(text):
            value, end = decoder.raw_decode(text, place)
            check_depth(source, value)
            values.append(value)
            place = _after(blanks, text, end)
    except json.JSONDecodeError as error:
        reason = error.msg[:1].lower() + error.msg[1:]
        raise malformed(source, f"this is not JSON: {reason}", error.lineno, error.colno) from None
    except RecursionError:
        raise too_deep(source) from None
    return values[0] if len(values) == 1 and isinstance(values[0], list) else values


# ---- CSV

_LONGEST_NUMBER = 24
"""Characters of a number as it prints."""


def _separated(source: str, text: str, delimiter: str) -> Records:
    """Read CSV; without a delimiter the line of headings says which it is."""
    import csv
    from io import StringIO

    head = text.partition("\n")[0]
    delimiter = delimiter or ("\t" if "\t" in head and "," not in head else ",")
    csv.field_size_limit(LIMIT)  # a cell may be as long as the list
    reader = csv.reader(StringIO(text, newline=""), delimiter=delimiter, strict=True)
    columns = Columns(source)
    rows: list[list[str]] = []
    try:
        for heading in next(reader, ()):
            columns.add(heading.strip())
        for row in reader:
            if len(row) > len(columns.names):
                message = f"{len(row)} cells under {len(columns.names)} headings"
                raise malformed(source, message, reader.line_num)
            if row:  # an empty line is none
                rows.append(row + [""] * (len(columns.names) - len(row)))
    except csv.Error as error:
        raise malformed(source, f"this is not CSV: {error}", reader.line_num) from None
    if not columns.names:
        return records(source, ())
    typed = [_column([row[place] for row in rows]) for place in range(len(columns.names))]
    return Records(
        tuple((name, kind) for name, (kind, _) in zip(columns.names, typed, strict=True)),
        tuple(zip(*(cells for _, cells in typed), strict=True)),
    )


def _column(cells: list[str]) -> tuple[DataType, list[Cell]]:
    """Return the kind of a column of CSV and its values."""
    numbers = {cell: _number(cell) for cell in set(cells) - {""}}
    if numbers and None not in numbers.values():
        return DataType.NUMBER, [numbers.get(cell) for cell in cells]
    return DataType.TEXT, [cell or None for cell in cells]


def _number(cell: str) -> int | float | None:
    """Return the number that prints as a cell is written, None when there is none."""
    if len(cell) > _LONGEST_NUMBER or not re.match(r"-?[0-9]+(\.[0-9]+)?\Z", cell):
        return None
    number = float(cell) if "." in cell else int(cell)
    return number if str(number) == cell and -(1 << 63) <= number < 1 << 63 else None
