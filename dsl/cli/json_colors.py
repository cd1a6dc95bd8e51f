"""Colours of JSON on a terminal: those of jq."""

from __future__ import annotations

import re
from functools import cache

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from re import Match

_PATTERN = r'(?P<key>"(?:[^"\\]|\\.)*")(?=\s*:)|(?P<string>"(?:[^"\\]|\\.)*")|(?P<null>\bnull\b)|(?P<mark>[\[\]{}:,]+)'
_COLORS = {"key": "34;1", "string": "32", "null": "90", "mark": "1"}
"""Parameters of the control sequence for each kind of token. Numbers, true and false have the default colour."""


@cache
def _pattern() -> re.Pattern[str]:
    return re.compile(_PATTERN)


def color_json(text: str) -> str:
    """Return JSON with control sequences for its colours. `text` is a part of a document that splits no string."""
    return _pattern().sub(_color_token, text)


def _color_token(match: Match[str]) -> str:
    return f"\x1b[{_COLORS[match.lastgroup or '']}m{match[0]}\x1b[0m"
