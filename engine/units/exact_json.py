"""JSON documents that imq changes in one place and writes back; the rest stays as it was.

A number keeps its digits (`1.10`, `1e400`), and half of a surrogate pair stays an escape.
"""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, NoReturn


class JsonNumber:
    """A number that is written with the digits that were read."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


def loads(content: bytes) -> Any:
    """Parse a document, with a `JsonNumber` for each number.

    Raises `ValueError`, and `RecursionError` for a document that is nested too deep.
    """
    import json

    return json.loads(content, parse_float=JsonNumber, parse_int=JsonNumber, parse_constant=reject_constant)


def reject_constant(word: str) -> NoReturn:
    """Raise `ValueError` for NaN and Infinity, which Python's parser takes for numbers."""
    raise ValueError(f"{word} is no number")


def dumps(document: Any, indent: str | None = None) -> bytes:
    """Write a document: with each `JsonNumber` as it was read, without spaces unless there is an `indent`."""
    import json

    token = ""

    def encode_number(value: object) -> str:
        """Return a string that no document contains; it is replaced by the number."""
        nonlocal token
        if not isinstance(value, JsonNumber):
            raise TypeError(f"{type(value).__name__} is no value of JSON")
        if not token:
            import os

            token = os.urandom(16).hex()
        return token + value.text

    separators = (",", ":") if indent is None else None
    text = json.dumps(document, indent=indent, separators=separators, ensure_ascii=False, default=encode_number)
    if token:
        import re

        text = re.sub(rf'"{token}([^"]*)"', r"\1", text)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return _escape_surrogates(text).encode()


def _escape_surrogates(text: str) -> str:
    r"""Escape each half of a surrogate pair (`\ud800`), which has no form in UTF-8."""
    import re

    return re.sub("[\ud800-\udfff]", lambda half: f"\\u{ord(half[0]):04x}", text)
