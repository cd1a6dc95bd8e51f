"""What can be said of a statement before Enter: that more of it must follow, and what is wrong with it for certain."""

from __future__ import annotations

from imq.grammar.errors import StatementError
from imq.grammar.parser import parse
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from imq.grammar.errors import Span
    from imq.grammar.lexer import Vocabulary

MAX_LENGTH = 20_000
"""Characters of a text that is looked at with every key; a longer one was pasted, and Enter tells."""


def find_error(text: str, vocabulary: Vocabulary) -> StatementError | None:
    """Return what the parser says against a text; None when it says nothing, or when the text is very long."""
    if not text.strip() or len(text) > MAX_LENGTH:
        return None
    try:
        parse(text, vocabulary)
    except StatementError as error:
        return error
    return None


def is_unfinished(text: str, vocabulary: Vocabulary) -> bool:
    """Whether more must follow: the text breaks off, is within quotes, or ends in a line that says it goes on.

    An empty line at its end ends it in any case: then it is run, and says what is missing.
    """
    lines = text.rsplit("\n", 1)
    if len(lines) > 1 and not lines[-1].strip():
        return False
    if text.rstrip(" \t").endswith("\\"):
        return True
    error = find_error(text, vocabulary)
    return error is not None and is_at_end(error, text)


def is_at_end(error: StatementError, text: str) -> bool:
    """Whether an error says that something is missing at the end of the text, and nothing else is wrong."""
    span = error.span
    if span is None:
        return False
    return span.start == span.end or (error.code == "syntax" and _is_open_quote(span, text))


def is_certain(error: StatementError, cursor: int, text: str) -> bool:
    """Whether more keys at the cursor cannot mend what an error is about."""
    span = error.span
    return span is not None and not is_at_end(error, text) and not span.start <= cursor <= span.end


def _is_open_quote(span: Span, text: str) -> bool:
    """Whether an error is about a quote that nothing closes, as none behind it does."""
    quote = text[span.start : span.end]
    return quote in ('"', "'") and quote not in text[span.end :].replace(f"\\{quote}", "")
