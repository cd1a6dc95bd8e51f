"""Errors as data, which the command line formats; users never see a traceback.

An error has a stable `code` (the word in brackets, for scripts), a message of one sentence, an optional span in the
statement, and hints: the closest valid name, the expected syntax, the next step. The class has the exit code: 1 for
failed items, 2 for a wrong statement, 3 for everything else.
"""

from __future__ import annotations

from .display_width import display_width, wrap_line
from .record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self


class Span(Record):
    """A range of a text: offsets in characters, the end excluded."""

    start: int
    end: int


class ImqError(Exception):
    """Base of all errors of imq."""

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

    def __copy__(self) -> Self:
        """Return a shallow copy. That of tblib, which Dask registers for all exceptions, shares the attributes."""
        other = type(self).__new__(type(self), *self.args)
        other.__dict__.update(self.__dict__)
        return other

    def __str__(self) -> str:
        return format_error(self)

    def attach_text(self, text: str) -> ImqError:
        """Attach the text that `span` refers to, unless one is attached, and return the error."""
        if self.text is None:
            self.text = text
        return self


class StatementError(ImqError):
    """The statement or the command line is wrong: syntax, an unknown name, a type.

    `suggestion` is a correct statement that was probably intended. `replacement` is the only possible text for `span`.
    """

    exit_code = 2
    code = "syntax"
    suggestion = ""
    replacement = ""


class UnknownName(StatementError):
    """A table, field, verb or option does not exist. `name` is the unknown field."""

    code = "unknown-name"
    name = ""


class TypeMismatch(StatementError):
    """A value does not fit its field or function."""

    code = "type"


class Refused(StatementError):
    """The statement is valid but too broad to run without an explicit word; nothing was done."""

    code = "refused"


class InvalidReference(StatementError):
    """An invalid image reference."""

    code = "reference"


class NeedsConfirmation(ImqError):
    """A destructive action without a terminal for the confirmation and without `--yes`."""

    exit_code = 2
    code = "needs-confirmation"


class AssertionFailed(ImqError):
    """The condition of an `assert` does not hold."""

    exit_code = 1
    code = "assert"


class Interrupted(ImqError):
    """The user interrupted the statement, or a concurrent part failed. Complete data is kept."""

    exit_code = 130
    code = "interrupted"


class StoreError(ImqError):
    """The store is missing, corrupt, full, locked or not writable."""

    code = "store"


class NotFound(StoreError):
    """No image, blob or file has this name."""

    code = "not-found"


class Conflict(StoreError):
    """The image cannot be removed or replaced without force, by docker's rules."""

    code = "conflict"


class SeveralNames(Conflict):
    """An image has several names, so it is removed by its ID only with force."""


class DigestMismatch(StoreError):
    """Content does not match the digest or the size of its descriptor."""

    code = "digest-mismatch"


class Malformed(ImqError):
    """A document or archive is malformed."""

    code = "malformed"


class RegistryError(ImqError):
    """A registry is unreachable or returned an error.

    `retry_after` is the number of seconds after which the registry accepts the request again, 0 if it does not say.
    """

    code = "registry"
    retry_after = 0.0

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


class EngineError(ImqError):
    """A container engine is unreachable or returned an error.

    `endpoint` is the name of the engine's endpoint. `status` is the HTTP status of its response, 0 without a response,
    and `reason` the message in it.
    """

    code = "engine"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        hints: Iterable[str] = (),
        endpoint: str = "",
        status: int = 0,
        reason: str = "",
    ) -> None:
        super().__init__(message, code=code, hints=hints)
        self.endpoint = endpoint
        self.status = status
        self.reason = reason


_HINT_WIDTH = 79
"""Maximum columns of a line of hints."""
_EXCERPT_WIDTH = 150
"""Maximum columns of an excerpt where the width of the terminal is unknown."""
_MIN_EXCERPT_WIDTH = 20
"""Minimum columns of an excerpt: less shows nothing."""
_MAX_INLINE_HINT = 60
"""Maximum characters of a hint on the line of the caret."""
_MAX_SUGGESTIONS = 3
"""Maximum number of names in a hint."""
_MAX_JOINED = 40
"""Maximum number of names in a list of all."""
_MAX_NAME_LENGTH = 200
"""Maximum characters of a name that is compared with others."""


def closest_hint(name: str, known: Iterable[str]) -> str:
    """Return a hint with the closest known names, or an empty string.

    All names at the same distance are listed.
    """
    close = closest_names(name, known)
    return f"did you mean {' or '.join(quote_name(one) for one in close[:_MAX_SUGGESTIONS])}?" if close else ""


def quote_name(name: str) -> str:
    """Return a name in quotes, for a message."""
    return f'"{name}"'


def closest_names(name: str, known: Iterable[str]) -> list[str]:
    """Return the known names with the smallest edit distance to a misspelled one; none for a known name.

    An edit inserts, deletes or replaces a letter, or swaps two; at most one edit for three letters is allowed.
    """
    known = list(known)
    if len(name) > _MAX_NAME_LENGTH or name in known:
        return []
    from difflib import SequenceMatcher  # heavy, and only errors need it

    lowered, max_distance = name.lower(), max(1, len(name) // 3)
    candidates = [
        (distance, -SequenceMatcher(None, lowered, one).ratio(), spelling)
        for one, spelling in {name.lower(): name for name in known}.items()
        if abs(len(one) - len(lowered)) <= max_distance
        and (distance := _compute_edit_distance(lowered, one)) <= max_distance
        and distance < len(lowered)
    ]
    best = min(candidates)[:2] if candidates else None
    return [spelled for slips, ratio, spelled in candidates if (slips, ratio) == best]


def _compute_edit_distance(word: str, known: str) -> int:
    """Return the optimal string alignment distance of two words."""
    earlier: list[int] = []
    previous = list(range(len(known) + 1))
    for row, letter in enumerate(word, 1):
        line = [row]
        for column, other in enumerate(known, 1):
            cost = min(previous[column] + 1, line[column - 1] + 1, previous[column - 1] + (letter != other))
            if row > 1 and column > 1 and letter == known[column - 2] and word[row - 2] == other:
                cost = min(cost, earlier[column - 2] + 1)
            line.append(cost)
        earlier, previous = previous, line
    return previous[-1]


def join_names(names: Iterable[str]) -> str:
    """Join names for a hint; a long list ends with the number of names left out."""
    ordered = list(names)
    rest = f" and {len(ordered) - _MAX_JOINED} more" if len(ordered) > _MAX_JOINED else ""
    return ", ".join(ordered[:_MAX_JOINED]) + rest


def format_error(error: ImqError, columns: int | None = None) -> str:
    """Format an error: code and message, the line with a caret, one line for each hint.

    `columns` is the width of the terminal: the message is wrapped, and the line is cut to the part around the caret.
    Hints are at most 80 columns wide on any terminal.
    """
    message = f"error[{error.code}]: {error.message}"
    lines = wrap_line(message, columns) if columns and "\n" not in message else [message]
    suggestion = error.suggestion if isinstance(error, StatementError) else ""
    hints = [f"did you mean: {suggestion}"] if suggestion else list(error.hints)
    if error.span is not None and error.text is not None:
        line, carets = _format_excerpt(error.text, error.span, columns)
        is_short = bool(hints) and not suggestion and len(hints[0]) <= _MAX_INLINE_HINT
        if is_short and (columns is None or len(carets) + 1 + display_width(hints[0]) <= columns):
            carets += f" {hints.pop(0)}"
        lines += [line, carets]
    for hint in hints:
        lines += wrap_line(f"  {hint}", min(_HINT_WIDTH + 1, columns or _HINT_WIDTH + 1))
    return "\n".join(lines)


def _format_excerpt(text: str, span: Span, columns: int | None) -> tuple[str, str]:
    """Return the line of a text in which a span starts, and carets below the span.

    A line that is wider than the terminal is cut to the part around the span, with "…" for what is left out.
    """
    start = text.rfind("\n", 0, span.start) + 1
    end = text.find("\n", span.start)
    line = text[start : end if end >= 0 else len(text)]
    line = "".join(char if char.isprintable() else " " for char in line).rstrip()
    number = f"{text.count(chr(10), 0, start) + 1} " if "\n" in text.strip() else ""
    width = max((columns or _EXCERPT_WIDTH) - len(f"  {number}│ "), _MIN_EXCERPT_WIDTH)
    first, last = span.start - start, max(span.end, span.start + 1) - start
    left, right = _find_window(line, first, last, width)
    shown = f"{'…' if left else ''}{line[left:right]}{'…' if right < len(line) else ''}"
    column = display_width(f"{line:<{first}}"[left:first]) + bool(left)
    carets = max(1, display_width(line[first : min(last, right)]))
    return f"  {number}│ {shown}".rstrip(), f"  {' ' * len(number)}│ {' ' * column}{'^' * carets}"


def _find_window(line: str, first: int, last: int, width: int) -> tuple[int, int]:
    """Return the range of a line that shows the characters from `first` to `last` in `width` columns.

    A quarter of the columns show what follows them. Of characters that need more columns, the first ones are shown.
    """
    from bisect import bisect_left, bisect_right
    from itertools import accumulate

    columns = [0, *accumulate(map(display_width, line.ljust(first + 1)))]  # before each character, and in total
    if columns[-1] <= width:
        return 0, len(line)
    room = width - len("……")
    end = min(columns[min(last, len(columns) - 1)], columns[first] + room)
    window_end = min(columns[-1], end + room // 4)
    left = bisect_left(columns, max(0, min(columns[first], window_end - room)))
    return left, min(bisect_right(columns, columns[left] + room) - 1, len(line))
