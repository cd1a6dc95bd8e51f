"""Checks of a statement before Enter: whether it is unfinished, and which errors more input cannot fix."""

from __future__ import annotations

from imq.grammar.errors import StatementError
from imq.grammar.parser import parse
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from imq.grammar.errors import Span
    from imq.grammar.lexer import Vocabulary

MAX_LENGTH = 20_000
"""The most characters of a text that is checked at every key. A longer text was pasted; its errors show after Enter."""


def find_error(text: str, vocabulary: Vocabulary) -> StatementError | None:
    """Return the syntax error in a text; None when there is none or when the text is longer than `MAX_LENGTH`."""
    if not text.strip() or len(text) > MAX_LENGTH:
        return None
    try:
        parse(text, vocabulary)
    except StatementError as error:
        return error
    return None


def is_unfinished(text: str, vocabulary: Vocabulary) -> bool:
    """Whether a statement needs more lines: it is incomplete, has an open quote, or ends with a backslash.

    An empty last line always ends a statement, so that running it reports the missing part.
    """
    lines = text.rsplit("\n", 1)
    if len(lines) > 1 and not lines[-1].strip():
        return False
    if text.rstrip(" \t").endswith("\\"):
        return True
    error = find_error(text, vocabulary)
    return error is not None and is_at_end(error, text)


def is_at_end(error: StatementError, text: str) -> bool:
    """Whether an error is only that the end of the statement is missing."""
    span = error.span
    if span is None:
        return False
    return span.start == span.end or (error.code == "syntax" and _is_open_quote(span, text))


def is_certain(error: StatementError, cursor: int, text: str) -> bool:
    """Whether typing more at the cursor cannot fix an error."""
    span = error.span
    return span is not None and not is_at_end(error, text) and not span.start <= cursor <= span.end


def _is_open_quote(span: Span, text: str) -> bool:
    """Whether an error is at a quote that is never closed."""
    quote = text[span.start : span.end]
    return quote in ('"', "'") and quote not in text[span.end :].replace(f"\\{quote}", "")
