"""Template text cut into tokens, as Go's text/template cuts it; actions stand in `{{ }}` or `<< >>`."""

from __future__ import annotations

import re

from imq.grammar.errors import Span, StatementError
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import NoReturn

    Token = tuple[str, str, int, int]  # kind, the token as written (for text: as it is to be output), start, end

BLANKS = " \t\r\n"
KEYWORDS = frozenset(
    {"block", "break", "continue", "define", "else", "end", "if", "nil", "range", "template", "with"},
)
_CLOSERS = {"{{": "}}", "<<": ">>"}
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
_KINDS = (
    "", "space", "field", "variable", "number", "word", "string", "raw string", "character",
    ":=", "=", "|", "(", ")", "sign",
)  # fmt: skip
_UNCLOSED = {
    '"': "unterminated quoted string",
    "`": "unterminated raw quoted string",
    "'": "unterminated character constant",
    ":": "expected :=",
}


def fail(message: str, text: str, start: int, end: int, hint: str = "") -> NoReturn:
    """Raise the error of a template that cannot be read, pointing at a place in it."""
    line = text.count("\n", 0, start) + 1
    raise StatementError(
        f"template parsing error: template: :{line}: {message}",
        code="template",
        span=Span(start, end),
        text=text,
        hints=(hint,),
    )


def scan(text: str) -> list[Token]:
    """Return the tokens of a template: texts, and between `left` and `right` the tokens of the actions."""
    tokens: list[Token] = []
    position, trims = 0, False
    while True:
        opening = _OPEN.search(text, position)
        start = opening.start() if opening else len(text)
        trims_before = opening is not None and _marked(text, start + 2)
        chunk = text[position:start]
        if trims:
            chunk = chunk.lstrip(BLANKS)
        if trims_before:
            chunk = chunk.rstrip(BLANKS)
        if chunk:
            tokens.append(("text", chunk, position, start))
        if opening is None:
            return tokens
        inside = start + (4 if trims_before else 2)
        if text.startswith("/*", inside):
            position, trims = _comment(text, start, inside)
        else:
            tokens.append(("left", opening[0], start, start + 2))
            position, trims = _action(text, start, inside, tokens)


def _marked(text: str, position: int) -> bool:
    """Say whether a left trim mark stands here: a minus and white space."""
    return text.startswith("-", position) and text[position + 1 : position + 2] in tuple(BLANKS)


def _closes(text: str, position: int, closer: str) -> int:
    """Return how many characters of an action's end stand here: 2, 4 with a right trim mark, else 0."""
    if text.startswith(closer, position):
        return 2
    marked = text.startswith("-" + closer, position + 1) and text[position] in BLANKS
    return 4 if marked else 0


def _comment(text: str, start: int, inside: int) -> tuple[int, bool]:
    end = text.find("*/", inside + 2)
    if end < 0:
        fail("unclosed comment", text, start, inside + 2)
    length = _closes(text, end + 2, _CLOSERS[text[start : start + 2]])
    if not length:
        fail("comment ends before closing delimiter", text, end, end + 2)
    return end + 2 + length, length > 2


def _action(text: str, start: int, position: int, tokens: list[Token]) -> tuple[int, bool]:
    """Cut one action; return where it ends and whether it trims the text behind it."""
    closer = _CLOSERS[text[start : start + 2]]
    opened: list[int] = []
    while position < len(text):
        length = _closes(text, position, closer)
        if length:
            if opened:
                fail("unclosed left paren", text, opened[-1], opened[-1] + 1)
            tokens.append(("right", closer, position, position + length))
            return position + length, length > 2
        kind, end = _token(text, position, closer)
        if kind == "(":
            opened.append(position)
        elif kind == ")":
            if not opened:
                fail("unexpected right paren", text, position, end)
            opened.pop()
        tokens.append((kind, text[position:end], position, end))
        position = end
    opening = text[start : start + 2]
    return fail("unclosed action", text, start, start + 2, f"an action that opens with {opening} ends with {closer}")


def _token(text: str, position: int, closer: str) -> tuple[str, int]:
    """Return the kind and the end of the token that starts here."""
    match = _TOKEN.match(text, position)
    if match is None or not match.lastindex:
        shown = text[position]
        fail(f"unrecognized character in action: U+{ord(shown):04X} {shown!r}", text, position, position + 1)
    kind, end = _KINDS[match.lastindex], match.end()
    if kind == "space":
        return kind, end - (_closes(text, end - 1, closer) > 0)  # the last blank may belong to a trim mark
    if kind in {"field", "variable", "word", "number"}:
        _check_end(text, kind, position, end, closer)
    elif kind == "sign" and text[position] in _UNCLOSED:
        fail(_UNCLOSED[text[position]], text, position, position + 1)
    if kind == "word" and match[0] in KEYWORDS:
        kind = "keyword"
    return "dot" if match[0] == "." else kind, end


def _check_end(text: str, kind: str, start: int, end: int, closer: str) -> None:
    """Refuse a name or number that runs into something else, as in `3x` or `.Name!`."""
    after = text[end : end + 1]
    if kind == "number":
        if after == "_" or after.isalnum():
            while after == "_" or after.isalnum():
                end += 1
                after = text[end : end + 1]
            fail(f'bad number syntax: "{text[start:end]}"', text, start, end)
    elif after and after not in " \t\r\n.,|:()" and not text.startswith(closer, end):
        fail(f"bad character U+{ord(after):04X} {after!r}", text, end, end + 1)


def outside_actions(text: str) -> list[tuple[int, int]]:
    """Return the stretches of a template that are not actions; comments count as text."""
    stretches, position = [], 0
    for kind, _, start, end in scan(text):
        if kind == "left":
            stretches.append((position, start))
        elif kind == "right":
            position = end
    return [*stretches, (position, len(text))]
