"""JSON documents of other programs that are changed in one place: the rest stays as it is written.

A number keeps its digits (`1e400`, `1.10`), and half of a surrogate pair stays an escape.
"""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any


class WrittenNumber:
    """A number as it is written."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


def loads(content: bytes) -> Any:
    """Parse a document; raises `ValueError`, and `RecursionError` for one that is nested too deep."""
    import json

    return json.loads(content, parse_float=WrittenNumber, parse_int=WrittenNumber, parse_constant=_refuse_constant)


def dumps(document: Any, indent: str | None = None) -> bytes:
    """Write a document that `loads` parsed."""
    import json
    import os
    import re

    token = os.urandom(16).hex()

    def encode(value: object) -> str:
        if isinstance(value, WrittenNumber):
            return f"{token}{value.text}"
        raise TypeError(f"{type(value).__name__} is no value of JSON")

    text = json.dumps(document, indent=indent, ensure_ascii=False, default=encode)
    text = re.sub(rf'"{token}([^"]*)"', r"\1", text)
    return re.sub("[\ud800-\udfff]", lambda half: f"\\u{ord(half[0]):04x}", text).encode()


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no value of JSON")
