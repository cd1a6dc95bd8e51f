"""Pattern matching: Go's path.Match, which docker's `reference` filter uses, and regular expressions.

Both take at most time proportional to the length of the pattern times the length of the string, because strings, and
sometimes patterns, are untrusted. An invalid pattern raises `StatementError` with the code `pattern`;
`regex_search(pattern, "")` checks a pattern.
"""

from __future__ import annotations

import re
from functools import lru_cache

from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_MAX_PATTERNS = 64
"""Compiled patterns in the cache, of each kind. A statement has a few and matches them with every row."""

_MAX_RESULTS = 1 << 14
"""Results in the cache of a pattern. Columns such as `repository` repeat the same few thousand strings."""

# ---- Go's path.Match

_RUNE_ERROR = 0xFFFD
"""Go's utf8.RuneError: the value of an invalid byte."""
_SLASH, _STAR, _MARK, _OPEN, _CLOSE, _NOT, _DASH, _ESCAPE = b"/*?[]^-\\"


class _AnyBytes(Record):
    """Any number of bytes except a slash."""


class _AnyRune(Record):
    """Any one character except a slash."""


class _Class(Record):
    """One character, possibly a slash, in one of the inclusive ranges; `negated`: in none of them."""

    ranges: tuple[tuple[int, int], ...]
    negated: bool


def path_match(pattern: str, text: str) -> bool:
    """Whether a pattern matches a whole string, exactly as Go's path.Match does.

    `*` matches any characters and `?` one, except a slash. `[a-z]` and `[^a-z]` are classes. A backslash escapes the
    next character, also in classes. As in Go, a malformed pattern is an error for every string, and `*` can end within
    a character.
    """
    parts = _parse_pattern(pattern)
    data = text.encode("utf-8", "surrogatepass")
    index = position = 0
    star = resume = -1  # the last `*`, and the offset to resume from when the parts after it fail
    while position < len(data) or index < len(parts):
        length = _match_length(parts[index], data, position) if index < len(parts) else -1
        if length >= 0:
            if isinstance(parts[index], _AnyBytes):
                star, resume = index, position
            index, position = index + 1, position + length
        elif star >= 0 and resume < len(data) and data[resume] != _SLASH:
            resume += 1
            index, position = star + 1, resume
        else:
            return False
    return True


@lru_cache(_MAX_PATTERNS)
def path_matcher(pattern: str) -> Callable[[str], bool]:
    """Return `path_match` for one pattern and many strings; results are cached.

    For ASCII strings, a pattern of literal characters, `*` and `?` is matched by RE2, which is 20 times as fast.
    """
    parts = _parse_pattern(pattern)
    is_simple = all((isinstance(part, int) and part < 0x80) or isinstance(part, _AnyBytes | _AnyRune) for part in parts)
    if not is_simple:
        return lru_cache(_MAX_RESULTS)(lambda text: path_match(pattern, text))
    expression = "".join(
        re.escape(chr(part)) if isinstance(part, int) else "[^/]*" if isinstance(part, _AnyBytes) else "[^/]"
        for part in parts
    )
    search = compile_regex(rf"\A(?s:{expression})\z").search

    def matches(text: str) -> bool:
        return search(text.encode()) is not None if text.isascii() else path_match(pattern, text)

    return lru_cache(_MAX_RESULTS)(matches)


def _match_length(part: int | _AnyBytes | _AnyRune | _Class, data: bytes, position: int) -> int:
    """Return how many bytes a part matches at an offset, -1 for no match."""
    if isinstance(part, _AnyBytes):
        return 0
    if position >= len(data):
        return -1
    if isinstance(part, int):
        return 1 if data[position] == part else -1
    rune, size = _decode_rune(data, position)
    if isinstance(part, _AnyRune):
        return -1 if rune == _SLASH else size
    within = any(low <= rune <= high for low, high in part.ranges)
    return -1 if within is part.negated else size


def _decode_rune(data: bytes, position: int) -> tuple[int, int]:
    """Return the character at an offset and its size in bytes; for invalid UTF-8, `_RUNE_ERROR` and 1."""
    lead = data[position]
    if lead < 0x80:
        return lead, 1
    size = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
    try:
        return ord(data[position : position + size].decode()), size
    except (UnicodeDecodeError, TypeError):  # TypeError: not exactly one character
        return _RUNE_ERROR, 1


@lru_cache(_MAX_PATTERNS)
def _parse_pattern(pattern: str) -> tuple[int | _AnyBytes | _AnyRune | _Class, ...]:
    """Return the parts of a pattern: a byte matches itself, and consecutive stars are one part."""
    data = pattern.encode("utf-8", "surrogatepass")
    parts: list[int | _AnyBytes | _AnyRune | _Class] = []
    position = 0
    while position < len(data):
        byte = data[position]
        position += 1
        if byte == _STAR:
            if not parts or not isinstance(parts[-1], _AnyBytes):
                parts.append(_AnyBytes())
        elif byte == _MARK:
            parts.append(_AnyRune())
        elif byte == _OPEN:
            part, position = _parse_class(data, position)
            parts.append(part)
        elif byte == _ESCAPE:
            parts.append(_read_byte(data, position))
            position += 1
        else:
            parts.append(byte)
    return tuple(parts)


def _parse_class(data: bytes, position: int) -> tuple[_Class, int]:
    """Parse a class after its bracket; return it and the offset after it."""
    negated = data[position : position + 1] == b"^"
    position += negated
    ranges: list[tuple[int, int]] = []
    while not ranges or _read_byte(data, position) != _CLOSE:
        low, position = _parse_class_member(data, position)
        high = low
        if _read_byte(data, position) == _DASH:
            high, position = _parse_class_member(data, position + 1)
        ranges.append((low, high))
    return _Class(tuple(ranges), negated), position + 1


def _parse_class_member(data: bytes, position: int) -> tuple[int, int]:
    """Parse one character of a class or one end of a range; return it and the offset after it."""
    if _read_byte(data, position) in (_DASH, _CLOSE):
        raise _make_malformed_error()
    if data[position] == _ESCAPE:
        position += 1
        _read_byte(data, position)
    rune, size = _decode_rune(data, position)
    if rune == _RUNE_ERROR and size == 1:
        raise _make_malformed_error()
    return rune, position + size


def _read_byte(data: bytes, position: int) -> int:
    """Return the byte at an offset. Raises `StatementError` at the end of the pattern."""
    if position >= len(data):
        raise _make_malformed_error()
    return data[position]


def _make_malformed_error() -> StatementError:
    return StatementError(
        "syntax error in pattern",  # the message of Go, which docker shows
        code="pattern",
        hints=("classes are [abc], [a-z] and [^a-z]; a backslash escapes the next character: \\[, \\-",),
    )


# ---- regular expressions

_MAX_MEMORY = 1 << 20
"""The most bytes of a compiled expression. The time per character of the string grows with its size."""


@lru_cache(_MAX_PATTERNS)
def regex_searcher(pattern: str) -> Callable[[str], bool]:
    """Return `regex_search` for one pattern and many strings; results are cached."""
    search = compile_regex(pattern).search
    return lru_cache(_MAX_RESULTS)(lambda text: search(text.encode("utf-8", "surrogatepass")) is not None)


def regex_search(pattern: str, text: str) -> bool:
    """Whether a regular expression (RE2 syntax) matches anywhere in a string."""
    return compile_regex(pattern).search(text.encode("utf-8", "surrogatepass")) is not None


def regex_capture(pattern: str, text: str, group: int | None = None) -> str | None:
    """Return the text of a group of the first match of a regular expression; None if there is no match.

    Group 0 is the whole match. None selects the first group, or the whole match of a pattern without groups. The result
    is also None if the group is not part of the match. Raises `StatementError` for a group that does not exist.
    """
    expression = compile_regex(pattern)
    groups = expression.groups
    number = min(groups, 1) if group is None else group
    if not 0 <= number <= groups:
        raise StatementError(
            f"the pattern has no group {number}",
            code="pattern",
            hints=(f"it has groups 1 to {groups}" if groups else "it has no groups; group 0 is the whole match",),
        )
    match = expression.search(text.encode("utf-8", "surrogatepass"))
    content: bytes | None = None if match is None else match.group(number)
    return None if content is None else content.decode("utf-8", "surrogatepass")


@lru_cache(_MAX_PATTERNS)
def compile_regex(pattern: str) -> Any:
    """Return an RE2 expression that works on bytes: converting offsets to characters takes time."""
    return _compile(pattern, within_lines=False)


@lru_cache(_MAX_PATTERNS)
def compile_line_regex(pattern: str) -> Any:
    """Return an RE2 expression that works on bytes, and never matches a line break."""
    return _compile(pattern, within_lines=True)


def _compile(pattern: str, *, within_lines: bool) -> Any:
    import re2  # 7 ms

    options = re2.Options()
    options.never_nl = within_lines
    options.max_mem = _MAX_MEMORY
    options.log_errors = False  # they are raised
    try:
        return re2.compile(pattern.encode("utf-8", "surrogatepass"), options)
    except re2.error as error:
        reason = error.args[0].decode("utf-8", "replace")
        raise StatementError(
            f"invalid regular expression: {reason}", code="pattern", hints=_explain_error(reason)
        ) from None


def _explain_error(reason: str) -> tuple[str, ...]:
    """Return hints for an error of RE2."""
    if reason.startswith(("invalid perl operator: (?=", "invalid perl operator: (?!", "invalid perl operator: (?<")):
        return ("lookaround is not supported: it would take more than linear time",)
    if reason.startswith("invalid escape sequence: \\") and reason[-1].isdigit():
        return ("backreferences are not supported: they would take more than linear time",)
    return ("the syntax is RE2's: https://github.com/google/re2/wiki/Syntax",)
