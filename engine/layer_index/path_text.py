"""Paths of archives as strings that SQLite can hold: every sequence of bytes has one, and no two share one.

A byte that is not part of valid UTF-8 becomes a character of a private range. The characters of that range, which no
sensible path contains, are written byte by byte in the same way.
"""

from __future__ import annotations

_FIRST = 0x10DC00
"""Byte N is written as the character `_FIRST` + N, in a range that Unicode leaves to private use."""
_FIRST_SURROGATE = 0xDC00
_ESCAPED = frozenset(chr(_FIRST + byte) for byte in range(0x80, 0x100))
_SURROGATES = {_FIRST_SURROGATE + byte: _FIRST + byte for byte in range(0x80, 0x100)}


def to_text(path: str) -> str:
    """Return the string for a path whose invalid bytes are surrogates (`surrogateescape`)."""
    if path.isascii():
        return path
    if not _ESCAPED.isdisjoint(path):
        path = "".join(
            character.encode().decode("ascii", "surrogateescape") if character in _ESCAPED else character
            for character in path
        )
    return path.translate(_SURROGATES)


def to_path(text: str) -> str:
    """Return the path, with surrogates for invalid bytes, for a string by `to_text`."""
    if text.isascii() or _ESCAPED.isdisjoint(text):
        return text
    encoded = b"".join(
        bytes((ord(character) - _FIRST,)) if character in _ESCAPED else character.encode() for character in text
    )
    return encoded.decode("utf-8", "surrogateescape")


def show_text(text: str) -> str:
    r"""Return a string by `to_text` for people and documents: an invalid byte is shown as `\xNN`."""
    if text.isascii() or _ESCAPED.isdisjoint(text):
        return text
    return "".join(f"\\x{ord(character) - _FIRST:02x}" if character in _ESCAPED else character for character in text)
