"""Syntax highlighting: the styles of the tokens of a statement."""

from __future__ import annotations

import re

from imq.grammar._lalr_tables import WORDS
from imq.grammar.errors import StatementError
from imq.grammar.parser import find_expected
from imq.grammar.record import TYPE_CHECKING

from .diagnostics import MAX_LENGTH

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imq.grammar.lexer import Token, Vocabulary

STYLES = {
    "keyword": "bold ansiblue",
    "table": "ansicyan",
    "verb": "bold ansimagenta",
    "function": "ansicyan",
    "field": "",
    "text": "ansigreen",
    "number": "ansiyellow",
    "variable": "ansiyellow",
    "comment": "ansibrightblack",
    "wrong": "underline ansired",
    "prompt": "bold",
    "hint": "ansired",
    "command": "bold ansimagenta",
    "auto-suggestion": "ansibrightblack",
    "bottom-toolbar": "noreverse ansibrightblack",
    "state": "",
}
"""The style of each kind of token. It uses the sixteen colours of every terminal, which the user's theme defines."""

_TOKEN_STYLES = {
    "TABLE": "table", "SEARCH_TABLE": "table", "RELATION": "table", "VERB": "verb", "FUNCTION": "function",
    "NAME": "field", "FIELD": "field", "STRING": "text", "TEMPLATE": "text", "WORD": "text", "VARIABLE": "variable",
}  # fmt: skip
_KEYWORDS = {
    *WORDS.values(), "OUTPUT_FORMAT", "EXCEPT_NEWEST", "SKIP_EXISTING",
    "SET_OPERATOR", "WORD_OPERATOR", "TIME_OPERATOR",
}  # fmt: skip
_NUMBER = re.compile(r"\d+(?:\.\d+)?\s?[a-zA-Z]*\Z")
_COMMENT = re.compile(r"#[^\n]*")


def highlight(text: str, vocabulary: Vocabulary) -> Iterator[tuple[int, int, str]]:
    """Yield the start, end and kind of each styled range. A kind is a key of `STYLES`; plain text is omitted."""
    if len(text) > MAX_LENGTH:
        return
    tokens = _read_tokens(text, vocabulary)
    end = 0
    for token in tokens:
        yield from _find_comments(text, end, token.span.start)
        end = token.span.end
        if (kind := _style_of(token)) is not None:
            yield token.span.start, end, kind
    yield from _find_comments(text, end, len(text))


def _read_tokens(text: str, vocabulary: Vocabulary) -> tuple[Token, ...]:
    """Return the tokens before the first syntax error."""
    try:
        return find_expected(text, vocabulary).tokens
    except StatementError as error:
        if error.span is None or error.span.start >= len(text):
            return ()
        head = text[: error.span.start]
    try:
        return find_expected(head, vocabulary).tokens
    except StatementError:
        return ()


def _style_of(token: Token) -> str | None:
    if token.kind in _TOKEN_STYLES:
        return "number" if token.kind == "WORD" and _NUMBER.match(token.value) else _TOKEN_STYLES[token.kind]
    return "keyword" if token.kind in _KEYWORDS and token.value[:1].isalpha() else None


def _find_comments(text: str, start: int, end: int) -> Iterator[tuple[int, int, str]]:
    for comment in _COMMENT.finditer(text, start, end):
        yield comment.start(), comment.end(), "comment"
