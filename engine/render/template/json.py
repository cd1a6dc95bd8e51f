"""Encodes JSON as docker's function `json` does: numbers as in Go, without escapes for HTML, without blanks."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

from .values import get_kind, sort_entries

if TYPE_CHECKING:
    from typing import Any

_EXPONENT_FROM, _EXPONENT_BELOW = 1e21, 1e-6


def encode_json(value: object) -> str:
    """Return a value as JSON. The keys of a map are sorted; the fields of a record or struct keep their order.

    A value that JSON cannot represent, such as NaN, results in an empty string.
    """
    parts: list[str] = []
    return "".join(parts) if _append_value(value, parts) else ""


def _append_value(value: Any, parts: list[str]) -> bool:
    """Append a value; return False when JSON cannot represent it."""
    json_value = getattr(value, "json_value", None)
    if json_value is not None:
        value = json_value()
    match get_kind(value):
        case "nil":
            parts.append("null")
        case "bool":
            parts.append("true" if value else "false")
        case "int":
            parts.append(str(int(value)))
        case "float":
            return _append_float(float(value), parts)
        case "list":
            return _append_list(value, parts)
        case "record" | "struct":
            return _append_mapping(value.data().items(), parts)
        case "map":
            return _append_mapping(sort_entries(value), parts)
        case _:
            parts.append(_encode_string(str(value)))
    return True


def _append_list(values: Any, parts: list[str]) -> bool:
    parts.append("[")
    for number, value in enumerate(values):
        if number:
            parts.append(",")
        if not _append_value(value, parts):
            return False
    parts.append("]")
    return True


def _append_mapping(values: Any, parts: list[str]) -> bool:
    opening = "{"
    for key, value in values:
        parts.append(f"{opening}{_encode_string(str(key))}:")
        if not _append_value(value, parts):
            return False
        opening = ","
    parts.append("}" if opening == "," else "{}")
    return True


def _append_float(number: float, parts: list[str]) -> bool:
    size = abs(number)
    if size != size or size == float("inf"):  # noqa: PLR0124 - NaN
        return False
    text = repr(number)
    if size and (size < _EXPONENT_BELOW or size >= _EXPONENT_FROM):
        text = text.replace("e-0", "e-")
    else:
        from decimal import Decimal  # rare: a float in the data

        text = format(Decimal(text), "f").removesuffix(".0")
    parts.append(text)
    return True


def _encode_string(text: str) -> str:
    from json.encoder import encode_basestring

    encoded = encode_basestring(text)
    if not text.isascii():
        encoded = encoded.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
        if not encoded.isprintable():
            encoded = "".join("\\ufffd" if 0xD800 <= ord(c) <= 0xDFFF else c for c in encoded)
    return encoded
