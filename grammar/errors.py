"""Everything that can go wrong, as data: what reaches a user is drawn from these at the edge, never a traceback.

An error has a stable `code` (the word in brackets; scripts may test it), one sentence saying what happened, an
optional place in the statement, and hints: the nearest valid name, what was expected, what to do next. The exit code
is a property of the class: 1 some items failed, 2 the statement is wrong, 3 something it needs failed.
"""

from __future__ import annotations

from .record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Iterable


class Span(Record):
    """A stretch of a text: offsets in characters, the end excluded."""

    start: int
    end: int


class ImqError(Exception):
    """Base of all errors that imq raises on purpose."""

    exit_code = 3
    code = "error"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        span: Span | None = None,
        hints: Iterable[str] = (),
        text: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code
        self.span = span
        self.hints = tuple(hint for hint in hints if hint)
        self.text = text

    def __str__(self) -> str:
        return format_error(self)

    def attach_text(self, text: str) -> ImqError:
        """Remember the text that `span` points into, unless one is known already."""
        if self.text is None:
            self.text = text
        return self


class StatementError(ImqError):
    """The statement or the command line is wrong: syntax, an unknown name, a type.

    `meant` is the sentence that was probably meant, when one is known: it is right, and ready to be run.
    `replacement` is what to write at `span` instead, when only one thing can be meant there.
    """

    exit_code = 2
    code = "syntax"
    suggestion = ""
    replacement = ""


class UnknownName(StatementError):
    """A table, field, verb or option of this name does not exist. `name` is the field that was looked for."""

    code = "unknown-name"
    name = ""


class TypeMismatch(StatementError):
    """A value does not fit the field or function it meets."""

    code = "type"


class Refused(StatementError):
    """The statement is well formed but would do more than was clearly said, so nothing was done."""

    code = "refused"


class InvalidReference(StatementError):
    """A text that should be an image reference is not one."""

    code = "reference"


class NeedsConfirmation(ImqError):
    """A destructive action was given without a terminal to ask on and without `--yes`."""

    exit_code = 2
    code = "needs-confirmation"


class AssertionFailed(ImqError):
    """What a script asserted does not hold."""

    exit_code = 1
    code = "assert"


class Interrupted(ImqError):
    """The user stopped it, or another part of the same work failed; what was whole is kept."""

    exit_code = 130
    code = "interrupted"


class StoreError(ImqError):
    """The store cannot do what was asked: it is missing, damaged, full, locked or not writable."""

    code = "store"


class NotFound(StoreError):
    """No image, blob or file of this name is there."""

    code = "not-found"


class Conflict(StoreError):
    """The image cannot be removed or replaced without force; docker's rules decide when."""

    code = "conflict"


class DigestMismatch(StoreError):
    """Bytes do not hash to the digest, or do not have the size, that their descriptor promised."""

    code = "digest-mismatch"


class Malformed(ImqError):
    """A document or archive from outside is not what it claims to be."""

    code = "malformed"


class RegistryError(ImqError):
    """A registry could not be reached, or answered with an error."""

    code = "registry"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        hints: Iterable[str] = (),
        host: str = "",
        status: int = 0,
        temporary: bool = False,
    ) -> None:
        super().__init__(message, code=code, hints=hints)
        self.host = host
        self.status = status
        self.temporary = temporary


_HINT_WIDTH = 79
"""Columns of a line of hints."""
_MAX_INLINE_HINT = 60
"""Characters of a hint that stands beside the caret."""
_MAX_SUGGESTIONS = 3
"""Names that a hint offers at once."""
_MAX_NAME_LENGTH = 200
"""Characters of a name that is worth comparing with others."""


def closest_hint(name: str, known: Iterable[str]) -> str:
    """Return the hint naming the known name that is spelled nearly so, or an empty string when there is none.

    Of several that are equally near each is named, and none is preferred.
    """
    close = closest_names(name, known)
    return f"did you mean {' or '.join(quote_name(one) for one in close[:_MAX_SUGGESTIONS])}?" if close else ""


def quote_name(name: str) -> str:
    """Return a name in quotes, for a message."""
    return f'"{name}"'


def closest_names(name: str, known: Iterable[str]) -> list[str]:
    """Return the known names nearest to a misspelled one: those that the fewest slips of the fingers lead to.

    A slip is a letter too many, too few or another one, or two that changed places; one in three letters may be.
    """
    if len(name) > _MAX_NAME_LENGTH:
        return []
    from difflib import SequenceMatcher  # heavy, and only errors need it

    low, most = name.lower(), max(1, len(name) // 3)
    found = [
        (slips, -SequenceMatcher(None, low, one).ratio(), spelled)
        for one, spelled in {name.lower(): name for name in known}.items()
        if abs(len(one) - len(low)) <= most and (slips := _edit_distance(low, one)) <= most and slips < len(low)
    ]
    best = min(found)[:2] if found else None
    return [spelled for slips, ratio, spelled in found if (slips, ratio) == best]


def _edit_distance(said: str, known: str) -> int:
    """Return how many slips lead from one word to another: their optimal string alignment distance."""
    earlier: list[int] = []
    above = list(range(len(known) + 1))
    for row, sign in enumerate(said, 1):
        line = [row]
        for column, other in enumerate(known, 1):
            cost = min(above[column] + 1, line[column - 1] + 1, above[column - 1] + (sign != other))
            if row > 1 and column > 1 and sign == known[column - 2] and said[row - 2] == other:
                cost = min(cost, earlier[column - 2] + 1)
            line.append(cost)
        earlier, above = above, line
    return above[-1]


def join_names(names: Iterable[str], limit: int = 40) -> str:
    """Join names for a hint, cutting a long list honestly."""
    ordered = list(names)
    rest = f" and {len(ordered) - limit} more" if len(ordered) > limit else ""
    return ", ".join(ordered[:limit]) + rest


def format_error(error: ImqError) -> str:
    """Draw an error for people: code and message, the excerpt with a caret, one line a hint."""
    lines = [f"error[{error.code}]: {error.message}"]
    said = error.suggestion if isinstance(error, StatementError) else ""
    hints = [f"did you mean: {said}"] if said else list(error.hints)
    if error.span is not None and error.text is not None:
        start = error.text.rfind("\n", 0, error.span.start) + 1
        end = error.text.find("\n", error.span.start)
        line = error.text[start : end if end >= 0 else len(error.text)]
        column = error.span.start - start
        width = max(1, min(error.span.end, start + len(line)) - error.span.start)
        if len(line) > 160:  # keep the place in sight in a very long line
            cut = max(0, column - 60)
            line, column = line[cut : cut + 140], column - cut
            width = min(width, max(1, len(line) - column))
        line = "".join(c if c.isprintable() else " " for c in line).rstrip()
        note = f" {hints.pop(0)}" if hints and not said and len(hints[0]) <= _MAX_INLINE_HINT else ""
        number = error.text.count("\n", 0, start) + 1
        mark = f"{number} " if "\n" in error.text.strip() else ""
        pad = " " * len(mark)
        lines += [f"  {mark}│ {line}", f"  {pad}│ {' ' * column}{'^' * width}{note}"]
    for hint in hints:
        lines += _wrap_hint(hint)
    return "\n".join(lines)


def _wrap_hint(hint: str) -> list[str]:
    """Return a hint as indented lines, cut between words: lists of names are long."""
    if len(hint) <= _HINT_WIDTH:
        return [f"  {hint}"]
    from textwrap import wrap

    return wrap(hint, _HINT_WIDTH + 1, initial_indent="  ", subsequent_indent="    ", break_long_words=False)
