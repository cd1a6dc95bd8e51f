"""Reads the lines of files, and rows of JSON, CSV and YAML files with the types of their columns.

A file is read completely. It must be UTF-8 and have at most `MAX_SIZE` bytes. Errors:

- `NotFound`: the file does not exist.
- `ImqError`, code `read`: the file cannot be read.
- `Malformed`, codes `malformed`, `too-large`, `too-deep`, `too-wide`, `columns`: the content is invalid. The message
  has the position.
"""

from __future__ import annotations

import json
import os
import re

from imq.engine.catalog.schema import DataType
from imq.grammar.errors import ImqError, Malformed, NotFound, StatementError, closest_hint, join_names
from imq.grammar.record import TYPE_CHECKING, Record

from .column_types import Columns, Records, build_records, check_depth, depth_error, malformed_at, parse_integer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import TextIO

    from .column_types import Cell

MAX_SIZE = 64 << 20
"""The maximum size of a file in bytes, and of a stream in characters."""
EACH_KEY = "*"
"""The part of a path that goes through all values of a map."""
PARENT = "parent"
"""The column with what is around a row at a path."""
_PARENT_DEPTH = 3
"""How many maps deep the values of `parent` are read: as deep as labels are."""


def read_lines(path: str, stream: TextIO | None = None) -> Iterator[str]:
    r"""Yield the lines of a file, or those of `stream` if it is given.

    Line ends, `\n` or `\r\n`, are removed; blanks are not. Blank lines are skipped, so that a trailing one does not
    become an empty name.
    """
    for line in _read_text(path, stream).split("\n"):
        if line.strip():
            yield line.removesuffix("\r")


def read_rows(path: str, stream: TextIO | None = None, at: tuple[str, ...] = ()) -> Records:
    """Return the rows of a file, or those of `stream` if it is given.

    - JSON is an array, one object, or a series of values (JSON lines).
    - YAML is a sequence, one mapping, or several documents.
    - CSV has a header line. Cells are separated by tabs if the header has tabs and no commas.

    The extension of the path determines the format (.json .jsonl .ndjson .yaml .yml .csv .tsv .tab). Without a known
    extension, the beginning of the content does. An item that is not a map becomes a row with one column, `value`. A
    column without a name is called `column_N`.

    A column is a NUMBER, BOOLEAN, LIST or MAP if all its values are; otherwise it is TEXT. A cell of CSV is a number
    if it is written as the number prints, so `007` and the version `7.10` are strings. An empty cell is unknown.
    Integers beyond 63 bits are strings, so that none is rounded.

    With `at`, the rows are the values at this path of keys in each value of JSON or YAML. The path goes through every
    item of a list, and the items of nested lists are rows too. The key `*` is each key of a map; rows that are maps
    have it in the column `key`. The column `parent` of a row that is a map has the scalar values of the next item of a
    list, or document, around it: `parent.metadata.name`.
    """
    text = _read_text(path, stream)
    source = _source_name(path, stream)
    form = _detect_format("" if stream is not None else path, text)
    if form == "json":
        return build_records(source, _select_at(source, _parse_json(source, text), at))
    if form == "yaml":
        from .yaml_rows import parse_yaml

        return build_records(source, _select_at(source, parse_yaml(source, text), at))
    if at:
        raise StatementError(f"{source} is CSV, which has no values at a path", code="target", hints=("leave out at",))
    return _parse_csv(source, text, "\t" if form == "tsv" else "")


def _select_at(source: str, values: Iterable[object], path: tuple[str, ...]) -> Iterable[object]:
    """Return the values at a path. Raises `Malformed` when no value has a key of the path: it is misspelled."""
    if not path:
        return values
    found = [_Found(value, None, is_item=True) for value in _flatten(values)]
    for depth, key in enumerate(path):
        items, found, is_known = found, [], False
        for one in items:
            if not isinstance(one.value, dict):
                continue
            if key in one.value:
                inner = [one.value[key]]
            else:
                inner = [_add_key(name, item) for name, item in one.value.items()] if key == EACH_KEY else []
            is_known |= bool(inner)
            parent = one.value if one.is_item else one.parent
            for value in inner:
                is_list = isinstance(value, list)
                found += [_Found(item, parent, is_item=is_list) for item in _flatten([value])]
        if items and not is_known:
            names = list(dict.fromkeys(name for one in items if isinstance(one.value, dict) for name in one.value))
            raise Malformed(
                f"{source} has nothing at {'.'.join(path[: depth + 1])}",
                code="path",
                hints=(closest_hint(key, names) or (f"keys: {join_names(names)}" if names else ""),),
            )
    return _add_parents(found)


class _Found(Record):
    """A value at a path. `parent` is the next item of a list, or document, around it; `is_item`: it is one itself."""

    value: object
    parent: dict[str, object] | None
    is_item: bool


def _add_parents(found: Iterable[_Found]) -> Iterator[object]:
    """Yield the values, maps with the column `parent`, unless they have such a column."""
    described: dict[int, dict[str, str]] = {}
    for one in found:
        value, parent = one.value, one.parent
        if not isinstance(value, dict) or parent is None or any(name.lower() == PARENT for name in value):
            yield value
            continue
        if id(parent) not in described:
            described[id(parent)] = dict(_list_scalars(parent, ""))
        yield {**value, PARENT: described[id(parent)]} if described[id(parent)] else value


def _list_scalars(value: dict[str, object], prefix: str) -> Iterator[tuple[str, str]]:
    """Yield the strings, numbers and booleans in nested maps, under their keys with dots between them."""
    for key, item in value.items():
        if isinstance(item, dict) and prefix.count(".") < _PARENT_DEPTH:
            yield from _list_scalars(item, f"{prefix}{key}.")
        elif isinstance(item, str):
            yield f"{prefix}{key}", item
        elif isinstance(item, bool | int | float):
            yield f"{prefix}{key}", json.dumps(item)


def _add_key(key: str, value: object) -> object:
    """Return a value of a map with its key in the column `key`, unless it has such a column; of a list, its maps."""
    if isinstance(value, list):
        return [_add_key(key, item) for item in value]
    return {"key": key, **value} if isinstance(value, dict) else value


def _flatten(values: Iterable[object]) -> Iterator[object]:
    """Yield the items of nested lists, and the other known values."""
    for value in values:
        if isinstance(value, list):
            yield from _flatten(value)
        elif value is not None:
            yield value


# ---- Reading


def _source_name(path: str, stream: TextIO | None) -> str:
    """Return the name of the input in errors."""
    return path if stream is None else "standard input"


def _read_text(path: str, stream: TextIO | None) -> str:
    """Return the whole content, without a byte order mark."""
    source = _source_name(path, stream)
    text = _read_file(path) if stream is None else _read_stream(source, stream)
    if "\0" in text:
        raise malformed_at(source, "unexpected NUL character", text.count("\n", 0, text.index("\0")) + 1)
    return text.removeprefix("\ufeff")


def _read_file(path: str) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_SIZE + 1)
    except FileNotFoundError:
        raise NotFound(f"no such file: {path}") from None
    except IsADirectoryError:
        raise Malformed(f"{path} is a folder, not a file") from None
    except OSError as problem:
        raise ImqError(f"cannot read {path}: {problem.strerror}", code="read") from None
    if len(data) > MAX_SIZE:
        raise _too_large(path)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        hint = (
            "the file looks like UTF-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "convert the file to UTF-8"
        )
        line = data.count(b"\n", 0, error.start) + 1
        raise Malformed(f"{path}, line {line}: not valid UTF-8", hints=(hint,)) from None


def _read_stream(source: str, stream: TextIO) -> str:
    """Read a text stream. Depending on its error handler, it raises for invalid UTF-8 or returns surrogates."""
    text = ""
    try:
        text = stream.read(MAX_SIZE + 1)
        text.encode()
    except UnicodeEncodeError as error:
        raise malformed_at(source, "not valid UTF-8", text.count("\n", 0, error.start) + 1) from None
    except UnicodeDecodeError:
        raise Malformed(f"{source} is not valid UTF-8") from None
    if len(text) > MAX_SIZE:
        raise _too_large(source)
    return text


def _too_large(source: str) -> Malformed:
    return Malformed(f"{source} has more than {MAX_SIZE >> 20} MiB", code="too-large")


_FORMATS = {
    ".json": "json", ".jsonl": "json", ".ndjson": "json", ".yaml": "yaml", ".yml": "yaml",
    ".csv": "csv", ".tsv": "tsv", ".tab": "tsv",
}  # fmt: skip
_BLANK_OR_COMMENT_LINES = r"(?:[ \t]*(?:#[^\n]*)?\r?\n)*"
"""Blank lines and comments, which are skipped to detect the format."""
_YAML_START = r"""---|%YAML|-(?:\s|\Z)|(?:[^,\t\n"'{\[]+|"[^"\n]*"|'[^'\n]*'):(?:\s|\Z)"""
"""The start of a YAML document: a marker or directive, a sequence item, or a key."""


def _detect_format(path: str, text: str) -> str:
    """Return json, yaml, csv or tsv, by the extension of the path or else by the start of the text."""
    form = _FORMATS.get(os.path.splitext(path)[1].lower())
    if form is not None:
        return form
    if text.lstrip()[:1] in ("[", "{"):
        return "json"
    return "yaml" if re.compile(_YAML_START).match(text, _skip(re.compile(_BLANK_OR_COMMENT_LINES), text, 0)) else "csv"


def _skip(pattern: re.Pattern[str], text: str, position: int) -> int:
    """Return the position after a match of `pattern` at `position`, or `position` if it does not match."""
    match = pattern.match(text, position)
    return match.end() if match else position


# ---- JSON

_CONSTANTS = {"NaN": None, "Infinity": float("inf"), "-Infinity": float("-inf")}
"""Constants that Python writes and standard JSON lacks. NaN becomes unknown."""


def _parse_json(source: str, text: str) -> list[object]:
    """Return the elements of a single array, or a series of values."""
    decoder = json.JSONDecoder(parse_int=parse_integer, parse_constant=_CONSTANTS.__getitem__)
    blanks = re.compile(r"[ \t\r\n]*")
    values: list[object] = []
    position = _skip(blanks, text, 0)
    try:
        while position < len(text):
            value, end = decoder.raw_decode(text, position)
            check_depth(source, value)
            values.append(value)
            position = _skip(blanks, text, end)
    except json.JSONDecodeError as error:
        reason = error.msg[:1].lower() + error.msg[1:]
        raise malformed_at(source, f"invalid JSON: {reason}", error.lineno, error.colno) from None
    except RecursionError:
        raise depth_error(source) from None
    return values[0] if len(values) == 1 and isinstance(values[0], list) else values


# ---- CSV

_MAX_NUMBER_LENGTH = 24
"""The maximum number of characters of a printed number."""


def _parse_csv(source: str, text: str, delimiter: str) -> Records:
    """Parse CSV. If `delimiter` is empty, the header line determines it."""
    import csv
    from io import StringIO

    head = text.partition("\n")[0]
    delimiter = delimiter or ("\t" if "\t" in head and "," not in head else ",")
    csv.field_size_limit(MAX_SIZE)  # a cell may be as long as the file
    reader = csv.reader(StringIO(text, newline=""), delimiter=delimiter, strict=True)
    columns = Columns(source)
    rows: list[list[str]] = []
    try:
        for heading in next(reader, ()):
            columns.add(heading.strip())
        for row in reader:
            if len(row) > len(columns.names):
                message = f"{len(row)} cells, but the header has {len(columns.names)}"
                raise malformed_at(source, message, reader.line_num)
            if row:  # skips empty lines
                rows.append(row + [""] * (len(columns.names) - len(row)))
    except csv.Error as error:
        raise malformed_at(source, f"invalid CSV: {error}", reader.line_num) from None
    if not columns.names:
        return build_records(source, ())
    typed = [_type_column([row[number] for row in rows]) for number in range(len(columns.names))]
    return Records(
        tuple((name, kind) for name, (kind, _) in zip(columns.names, typed, strict=True)),
        tuple(zip(*(cells for _, cells in typed), strict=True)),
    )


def _type_column(cells: list[str]) -> tuple[DataType, list[Cell]]:
    """Return the type of a CSV column and its values."""
    numbers = {cell: _parse_number(cell) for cell in set(cells) - {""}}
    if numbers and None not in numbers.values():
        return DataType.NUMBER, [numbers.get(cell) for cell in cells]
    return DataType.TEXT, [cell or None for cell in cells]


def _parse_number(cell: str) -> int | float | None:
    """Return the number that prints exactly as this cell, or None."""
    if len(cell) > _MAX_NUMBER_LENGTH or not re.match(r"-?[0-9]+(\.[0-9]+)?\Z", cell):
        return None
    number = float(cell) if "." in cell else int(cell)
    return number if str(number) == cell and -(1 << 63) <= number < 1 << 63 else None
