"""Parses the constants of templates, as Go does: numbers, characters and strings."""

from __future__ import annotations

import re

_HEX = "[0-9a-fA-F]"
_ESCAPE = rf"\\(?:([abfnrtv\\'\"])|x({_HEX}{{2}})|([0-7]{{3}})|u({_HEX}{{4}})|U({_HEX}{{8}}))"  # compiled when needed
_SIMPLE_ESCAPES = {"a": b"\a", "b": b"\b", "f": b"\f", "n": b"\n", "r": b"\r", "t": b"\t", "v": b"\v", "\\": b"\\"}
_MAX_RUNE = 0x10FFFF
_MAX_BYTE = 0xFF


def to_bytes(text: str) -> bytes:
    """Return the bytes of a string, which Go counts and slices. Surrogate escapes become bytes that are not UTF-8."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a lone surrogate that does not represent a byte
        return text.encode("utf-8", "replace")


def from_bytes(data: bytes) -> str:
    """Return the string of bytes; bytes that are not UTF-8 become surrogate escapes."""
    return data.decode("utf-8", "surrogateescape")


def read_number(text: str) -> int | float:
    """Return the value of a numeric constant; raises ValueError with Go's message for an invalid one."""
    digits = text.lstrip("+-").lower()
    hexadecimal = digits.startswith("0x")
    floating = "p" in digits or (not hexadecimal and ("." in digits or "e" in digits))
    try:
        if floating:
            number = _read_float(text, hexadecimal=hexadecimal)
        elif len(digits) > 1 and digits[0] == "0" and digits[1] in "01234567_":
            number = int(text, 8)
        else:
            number = int(text, 0)
    except (ValueError, OverflowError):
        raise ValueError(f'illegal number syntax: "{text}"') from None
    if isinstance(number, int) and not -(1 << 63) <= number < 1 << 63:
        raise ValueError(f'integer overflow: "{text}"')
    return number


def _read_float(text: str, *, hexadecimal: bool) -> float:
    number = float.fromhex(text.replace("_", "")) if hexadecimal else float(text)
    if number in {float("inf"), float("-inf")}:
        raise OverflowError
    return number


def read_string(text: str) -> str:
    """Return the value of a quoted or raw string constant; raises ValueError for an invalid escape."""
    if text[0] == "`":
        return text[1:-1].replace("\r", "")
    body = text[1:-1]
    return from_bytes(_unescape(body, text[0])) if "\\" in body else body


def read_character(text: str) -> int:
    """Return the code point of a character constant; raises ValueError when it is not one character."""
    body = text[1:-1]
    if body.startswith("\\"):
        match = re.match(_ESCAPE, body)
        if match is None:
            raise ValueError("invalid syntax")
        if match.end() == len(body):
            byte = _unescape(body, "'")
            return byte[0] if match[2] or match[3] else ord(byte.decode("utf-8"))
    elif not body:
        raise ValueError("invalid syntax")
    if len(body) != 1:
        raise ValueError(f"malformed character constant: {text}")
    return ord(body)


def _unescape(body: str, quote: str) -> bytes:
    parts: list[bytes] = []
    position = 0
    while True:
        start = body.find("\\", position)
        parts.append(to_bytes(body[position : start if start >= 0 else len(body)]))
        if start < 0:
            return b"".join(parts)
        match = re.compile(_ESCAPE).match(body, start)
        if match is None:
            raise ValueError("invalid syntax")
        parts.append(_decode_escape(match, quote))
        position = match.end()


def _decode_escape(match: re.Match[str], quote: str) -> bytes:
    plain, two, three, four, eight = match.groups()
    if plain in {"'", '"'}:
        if plain != quote:
            raise ValueError("invalid syntax")
        return str(plain).encode()
    if plain:
        return _SIMPLE_ESCAPES[plain]
    number = int(two or four or eight, 16) if not three else int(three, 8)
    if two or three:
        if number > _MAX_BYTE:
            raise ValueError("invalid syntax")
        return bytes((number,))
    if number > _MAX_RUNE or 0xD800 <= number <= 0xDFFF:
        raise ValueError("invalid syntax")
    return chr(number).encode()
