"""Encoders of columns: each writes the values of one column as JSON, as SQLite returns them.

The type of a column is known before its first row, so a value costs one call. The text is that of `to_json` of the
value: with a space behind commas and colons, and with escapes for what is not safe in a terminal.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from json.encoder import encode_basestring

from imq.engine.catalog.json_values import to_json_value
from imq.engine.catalog.schema import DataType
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from imq.engine.catalog.schema import Raw

    Encoder = Callable[[Raw], str]

_CACHE_SIZE = 4096
"""The number of values of a column whose JSON is kept: rows share times and versions."""
_ESCAPED_CHARACTERS = r"[\x7f-\x9f\u2028\u2029\ud800-\udfff]"
"""Characters that JSON allows, but that control a terminal, end a line in JavaScript or have no UTF-8 encoding."""


def escape(encoded: str) -> str:
    """Return JSON in which characters that are not safe in a terminal or in UTF-8 are escaped."""
    if encoded.isascii():  # other control characters are escaped already
        return encoded.replace("\x7f", r"\u007f") if "\x7f" in encoded else encoded
    if encoded.isprintable():
        return encoded
    return re.sub(_ESCAPED_CHARACTERS, lambda match: f"\\u{ord(match[0]):04x}", encoded)


def make_encoder(data_type: DataType) -> Encoder:
    """Return the encoder of a column of this type."""
    encode = json.JSONEncoder(ensure_ascii=False).encode

    def encode_any(raw: Raw) -> str:
        return encode(to_json_value(data_type, raw))

    def encode_scalar(raw: Raw) -> str:
        if type(raw) is str:
            return encode_basestring(raw)
        if raw is None:
            return "null"
        return str(raw) if type(raw) is int else encode_any(raw)

    def encode_list(raw: Raw) -> str:
        return _space_list(raw) or encode_any(raw)

    def encode_map(raw: Raw) -> str:
        return _space_map(raw) or encode_any(raw)

    if data_type is DataType.BOOLEAN:
        return lambda raw: "null" if raw is None else "true" if raw else "false"
    if data_type is DataType.LIST:
        return encode_list
    if data_type is DataType.MAP:
        return encode_map
    if data_type in (DataType.TIME, DataType.DURATION) or data_type.is_version:
        return lru_cache(_CACHE_SIZE)(encode_any)
    return encode_scalar


def _space_list(raw: Raw) -> str | None:
    """Return a list of strings with its blanks; None for another value, and for strings with escapes.

    The value is JSON already, as imq and SQLite write it: without blanks, and with every quote of a string escaped.
    """
    if raw is None or raw == "[]":
        return raw or "null"
    if type(raw) is not str or "\\" in raw:
        return None
    parts = raw.split('"')
    between = len(parts[2:-1:2])
    if parts[0] != "[" or parts[-1] != "]" or parts[2:-1:2] != [","] * between:
        return None
    parts[2:-1:2] = [", "] * between
    return '"'.join(parts)


def _space_map(raw: Raw) -> str | None:
    """Return a map of strings as `_space_list` returns a list; None for one with a key twice, too."""
    if raw is None or raw == "{}":
        return raw or "null"
    if type(raw) is not str or "\\" in raw:
        return None
    parts = raw.split('"')
    pairs, between = len(parts[2::4]), len(parts[4:-1:4])
    if parts[0] != "{" or parts[-1] != "}" or parts[2::4] != [":"] * pairs or parts[4:-1:4] != [","] * between:
        return None
    if len(set(parts[1::4])) < pairs:
        return None
    parts[2::4], parts[4:-1:4] = [": "] * pairs, [", "] * between
    return '"'.join(parts)
