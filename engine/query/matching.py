"""Pattern matching: Go's path.Match, which docker's `reference` filter uses, and regular expressions.

Neither takes more time than the length of the pattern times the length of the text, whatever the pattern: what is
matched comes from strangers, and now and then so does the pattern. A pattern that is none raises `StatementError`
with the code `pattern`; `regex_search(pattern, "")` finds that out before there is a row.
"""

from __future__ import annotations

import re
from functools import lru_cache

from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_KEPT = 64
"""Patterns that are kept ready, of each kind; a statement has a few and asks with them about every row."""

_ANSWERS = 1 << 14
"""Texts whose answer is remembered: columns such as a repository repeat the same few thousand."""

# ---- Go's path.Match

_NO_RUNE = 0xFFFD
"""What Go reads where bytes are not UTF-8; it reads one byte then."""
_SLASH, _STAR, _MARK, _OPEN, _CLOSE, _NOT, _DASH, _ESCAPE = b"/*?[]^-\\"


class _AnyBytes(Record):
    """Any bytes without a slash."""


class _AnyRune(Record):
    """Any one character but a slash."""


class _Class(Record):
    """One character, a slash too, in one of the ranges (both ends included), or in none of them."""

    ranges: tuple[tuple[int, int], ...]
    negated: bool


def path_match(pattern: str, text: str) -> bool:
    """Whether a pattern matches a whole string, exactly as Go's path.Match does.

    `*` is any characters and `?` one, neither a slash; `[a-z]` and `[^a-z]` are one of or none of these; a backslash
    makes the next character plain, in classes too. As in Go, a pattern that is malformed anywhere is an error whatever
    the text, and `*` may end within a character.
    """
    parts = _parts(pattern)
    data = text.encode("utf-8", "surrogatepass")
    at = place = 0
    star = resume = -1  # the last `*` met, and where in the text to go on when what follows it fails
    while place < len(data) or at < len(parts):
        taken = _match_length(parts[at], data, place) if at < len(parts) else -1
        if taken >= 0:
            if isinstance(parts[at], _AnyBytes):
                star, resume = at, place
            at, place = at + 1, place + taken
        elif star >= 0 and resume < len(data) and data[resume] != _SLASH:
            resume += 1
            at, place = star + 1, resume
        else:
            return False
    return True


@lru_cache(_KEPT)
def path_matcher(pattern: str) -> Callable[[str], bool]:
    """Return `path_match` for one pattern and many strings; results are cached.

    Where texts are ASCII, a pattern of plain signs, `*` and `?` is a regular expression, and RE2 twenty times as fast.
    """
    parts = _parts(pattern)
    simple = all((isinstance(part, int) and part < 0x80) or isinstance(part, _AnyBytes | _AnyRune) for part in parts)
    if not simple:
        return lru_cache(_ANSWERS)(lambda text: path_match(pattern, text))
    written = "".join(
        re.escape(chr(part)) if isinstance(part, int) else "[^/]*" if isinstance(part, _AnyBytes) else "[^/]"
        for part in parts
    )
    search = _compiled(rf"\A(?s:{written})\z").search

    def matches(text: str) -> bool:
        return search(text.encode()) is not None if text.isascii() else path_match(pattern, text)

    return lru_cache(_ANSWERS)(matches)


def _match_length(part: int | _AnyBytes | _AnyRune | _Class, data: bytes, place: int) -> int:
    """Return how many bytes a part matches at an offset, -1 for no match."""
    if isinstance(part, _AnyBytes):
        return 0
    if place >= len(data):
        return -1
    if isinstance(part, int):
        return 1 if data[place] == part else -1
    rune, size = _rune(data, place)
    if isinstance(part, _AnyRune):
        return -1 if rune == _SLASH else size
    within = any(low <= rune <= high for low, high in part.ranges)
    return -1 if within is part.negated else size


def _rune(data: bytes, place: int) -> tuple[int, int]:
    """Return the character at a place and its size in bytes; what is not UTF-8 is `_NO_RUNE` of one byte."""
    lead = data[place]
    if lead < 0x80:
        return lead, 1
    size = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
    try:
        return ord(data[place : place + size].decode()), size
    except (UnicodeDecodeError, TypeError):  # TypeError: bytes that are more than one character, or none
        return _NO_RUNE, 1


@lru_cache(_KEPT)
def _parts(pattern: str) -> tuple[int | _AnyBytes | _AnyRune | _Class, ...]:
    """Return a pattern in parts: a byte stands for itself, and no two stars follow each other."""
    data = pattern.encode("utf-8", "surrogatepass")
    parts: list[int | _AnyBytes | _AnyRune | _Class] = []
    place = 0
    while place < len(data):
        sign = data[place]
        place += 1
        if sign == _STAR:
            if not parts or not isinstance(parts[-1], _AnyBytes):
                parts.append(_AnyBytes())
        elif sign == _MARK:
            parts.append(_AnyRune())
        elif sign == _OPEN:
            part, place = _class(data, place)
            parts.append(part)
        elif sign == _ESCAPE:
            parts.append(_at(data, place))
            place += 1
        else:
            parts.append(sign)
    return tuple(parts)


def _class(data: bytes, place: int) -> tuple[_Class, int]:
    """Read a class after its bracket; return it and the place after it."""
    negated = data[place : place + 1] == b"^"
    place += negated
    ranges: list[tuple[int, int]] = []
    while not ranges or _at(data, place) != _CLOSE:
        low, place = _member(data, place)
        high = low
        if _at(data, place) == _DASH:
            high, place = _member(data, place + 1)
        ranges.append((low, high))
    return _Class(tuple(ranges), negated), place + 1


def _member(data: bytes, place: int) -> tuple[int, int]:
    """Read one character of a class, an end of a range perhaps; return it and the place after it."""
    if _at(data, place) in (_DASH, _CLOSE):
        raise _malformed()
    if data[place] == _ESCAPE:
        place += 1
        _at(data, place)
    rune, size = _rune(data, place)
    if rune == _NO_RUNE and size == 1:
        raise _malformed()
    return rune, place + size


def _at(data: bytes, place: int) -> int:
    """Return the byte at a place of a pattern that must not end there."""
    if place >= len(data):
        raise _malformed()
    return data[place]


def _malformed() -> StatementError:
    return StatementError(
        "syntax error in pattern",  # Go's words, which docker shows
        code="pattern",
        hints=("classes are [abc], [a-z] and [^a-z]; a backslash makes the next character plain: \\[, \\-",),
    )


# ---- regular expressions

_MEMORY = 1 << 20
"""Bytes that a compiled expression may take; the time a character of the text takes grows with it."""


@lru_cache(_KEPT)
def regex_searcher(pattern: str) -> Callable[[str], bool]:
    """Return `regex_search` for one pattern and many strings; results are cached."""
    search = _compiled(pattern).search
    return lru_cache(_ANSWERS)(lambda text: search(text.encode("utf-8", "surrogatepass")) is not None)


def regex_search(pattern: str, text: str) -> bool:
    """Whether a regular expression (RE2 syntax) matches anywhere in a string."""
    return _compiled(pattern).search(text.encode("utf-8", "surrogatepass")) is not None


def regex_capture(pattern: str, text: str, group: int | None = None) -> str | None:
    """Return the text of a group of the first match of a regular expression.

    Group 0 is the whole match; None means the first group, of a pattern without groups the whole match. Where nothing
    matches, or the group takes no part in the match, it is None. A group that the pattern has not is an error.
    """
    expression = _compiled(pattern)
    groups = expression.groups
    wanted = min(groups, 1) if group is None else group
    if not 0 <= wanted <= groups:
        raise StatementError(
            f"the pattern has no group {wanted}",
            code="pattern",
            hints=(f"its groups are 1 to {groups}" if groups else "it has no groups; group 0 is the whole match",),
        )
    match = expression.search(text.encode("utf-8", "surrogatepass"))
    taken: bytes | None = None if match is None else match.group(wanted)
    return None if taken is None else taken.decode("utf-8", "surrogatepass")


@lru_cache(_KEPT)
def _compiled(pattern: str) -> Any:
    """Return an expression of RE2 that works on bytes: counting characters is not worth the time."""
    import re2  # 7 ms

    options = re2.Options()
    options.max_mem = _MEMORY
    options.log_errors = False  # they are raised
    try:
        return re2.compile(pattern.encode("utf-8", "surrogatepass"), options)
    except re2.error as error:
        reason = error.args[0].decode("utf-8", "replace")
        raise StatementError(
            f"the pattern is no regular expression: {reason}", code="pattern", hints=_hints(reason)
        ) from None


def _hints(reason: str) -> tuple[str, ...]:
    """Return what to do about what RE2 says."""
    if reason.startswith(("invalid perl operator: (?=", "invalid perl operator: (?!", "invalid perl operator: (?<")):
        return ("lookaround is not supported: it would take more than linear time",)
    if reason.startswith("invalid escape sequence: \\") and reason[-1].isdigit():
        return ("backreferences are not supported: they would take more than linear time",)
    return ("the syntax is RE2's: https://github.com/google/re2/wiki/Syntax",)
