"""Splits a template into tokens, as Go's text/template does. Actions are in `{{ }}` or `<< >>`."""

from __future__ import annotations

import re

from imq.grammar.errors import Span, StatementError
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import NoReturn

    Token = tuple[str, str, int, int]  # kind, source (for text: after trimming), start, end

WHITESPACE = " \t\r\n"
KEYWORDS = frozenset(
    {"block", "break", "continue", "define", "else", "end", "if", "nil", "range", "template", "with"},
)
_CLOSING_DELIMITERS = {"{{": "}}", "<<": ">>"}
_OPEN = re.compile(r"\{\{|<<")
_TOKEN = re.compile(
    r"""([ \t\r\n]+)
    |(\.(?![0-9])\w*)
    |(\$\w*)
    |([+-]?(?:0[xX][0-9a-fA-F_]*(?:\.[0-9a-fA-F_]*)?(?:[pP][+-]?[0-9_]*)?
        |(?=\.?[0-9])(?:0[oObB])?[0-9_]*(?:\.[0-9_]*)?(?:[eE][+-]?[0-9_]*)?)i?)
    |(\w+)
    |("[^"\\\n]*(?:\\[^\n][^"\\\n]*)*")
    |(`[^`]*`)
    |('[^'\\\n]*(?:\\[^\n][^'\\\n]*)*')
    |(:=)|(=)|(\|)|(\()|(\))
    |([!-~])""",
    re.VERBOSE,
)
_TOKEN_KINDS = (
    "", "space", "field", "variable", "number", "word", "string", "raw string", "character",
    ":=", "=", "|", "(", ")", "sign",
)  # fmt: skip
_UNCLOSED_ERRORS = {
    '"': "unterminated quoted string",
    "`": "unterminated raw quoted string",
    "'": "unterminated character constant",
    ":": "expected :=",
}


def raise_error(message: str, text: str, start: int, end: int, hint: str = "") -> NoReturn:
    """Raise the error of an invalid template, with the position in it."""
    line = text.count("\n", 0, start) + 1
    raise StatementError(
        f"template parsing error: template: :{line}: {message}",
        code="template",
        span=Span(start, end),
        text=text,
        hints=(hint,),
    )


def tokenize(text: str) -> list[Token]:
    """Return the tokens of a template: literal text, and the tokens of actions between `left` and `right`."""
    tokens: list[Token] = []
    position, trims_right = 0, False
    while True:
        opening = _OPEN.search(text, position)
        start = opening.start() if opening else len(text)
        trims_left = opening is not None and _has_trim_marker(text, start + 2)
        chunk = text[position:start]
        if trims_right:
            chunk = chunk.lstrip(WHITESPACE)
        if trims_left:
            chunk = chunk.rstrip(WHITESPACE)
        if chunk:
            tokens.append(("text", chunk, position, start))
        if opening is None:
            return tokens
        action_start = start + (4 if trims_left else 2)
        if text.startswith("/*", action_start):
            position, trims_right = _scan_comment(text, start, action_start)
        else:
            tokens.append(("left", opening[0], start, start + 2))
            position, trims_right = _scan_action(text, start, action_start, tokens)


def _has_trim_marker(text: str, position: int) -> bool:
    """Return whether a left trim marker, a minus and white space, is at this position."""
    return text.startswith("-", position) and text[position + 1 : position + 2] in tuple(WHITESPACE)


def _measure_closing(text: str, position: int, closing: str) -> int:
    """Return the length of the closing delimiter at this position: 2, 4 with a right trim marker, 0 for none."""
    if text.startswith(closing, position):
        return 2
    marked = text.startswith("-" + closing, position + 1) and text[position] in WHITESPACE
    return 4 if marked else 0


def _scan_comment(text: str, start: int, action_start: int) -> tuple[int, bool]:
    end = text.find("*/", action_start + 2)
    if end < 0:
        raise_error("unclosed comment", text, start, action_start + 2)
    length = _measure_closing(text, end + 2, _CLOSING_DELIMITERS[text[start : start + 2]])
    if not length:
        raise_error("comment ends before closing delimiter", text, end, end + 2)
    return end + 2 + length, length > 2


def _scan_action(text: str, start: int, position: int, tokens: list[Token]) -> tuple[int, bool]:
    """Scan one action; return its end and whether it trims the text after it."""
    closing = _CLOSING_DELIMITERS[text[start : start + 2]]
    open_parens: list[int] = []
    while position < len(text):
        length = _measure_closing(text, position, closing)
        if length:
            if open_parens:
                raise_error("unclosed left paren", text, open_parens[-1], open_parens[-1] + 1)
            tokens.append(("right", closing, position, position + length))
            return position + length, length > 2
        kind, end = _scan_token(text, position, closing)
        if kind == "(":
            open_parens.append(position)
        elif kind == ")":
            if not open_parens:
                raise_error("unexpected right paren", text, position, end)
            open_parens.pop()
        tokens.append((kind, text[position:end], position, end))
        position = end
    opening = text[start : start + 2]
    return raise_error(
        "unclosed action", text, start, start + 2, f"an action that begins with {opening} ends with {closing}"
    )


def _scan_token(text: str, position: int, closing: str) -> tuple[str, int]:
    """Return the kind and the end of the token at this position."""
    match = _TOKEN.match(text, position)
    if match is None or not match.lastindex:
        character = text[position]
        raise_error(
            f"unrecognized character in action: U+{ord(character):04X} {character!r}", text, position, position + 1
        )
    kind, end = _TOKEN_KINDS[match.lastindex], match.end()
    if kind == "space":
        return kind, end - (_measure_closing(text, end - 1, closing) > 0)  # the last blank may belong to a trim marker
    if kind in {"field", "variable", "word", "number"}:
        _check_terminator(text, kind, position, end, closing)
    elif kind == "sign" and text[position] in _UNCLOSED_ERRORS:
        raise_error(_UNCLOSED_ERRORS[text[position]], text, position, position + 1)
    if kind == "word" and match[0] in KEYWORDS:
        kind = "keyword"
    return "dot" if match[0] == "." else kind, end


def _check_terminator(text: str, kind: str, start: int, end: int, closing: str) -> None:
    """Raise for a name or number without a valid character after it, as in `3x` or `.Name!`."""
    after = text[end : end + 1]
    if kind == "number":
        if after == "_" or after.isalnum():
            while after == "_" or after.isalnum():
                end += 1
                after = text[end : end + 1]
            raise_error(f'bad number syntax: "{text[start:end]}"', text, start, end)
    elif after and after not in " \t\r\n.,|:()" and not text.startswith(closing, end):
        raise_error(f"bad character U+{ord(after):04X} {after!r}", text, end, end + 1)


def find_text_spans(text: str) -> list[tuple[int, int]]:
    """Return the spans of a template outside of actions; comments count as text."""
    spans, position = [], 0
    for kind, _, start, end in tokenize(text):
        if kind == "left":
            spans.append((position, start))
        elif kind == "right":
            position = end
    return [*spans, (position, len(text))]
