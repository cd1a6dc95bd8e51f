"""Searches the contents of files of any size while they are read, with a bounded part of them in memory."""

from __future__ import annotations

import re

from imq.engine.query.matching import compile_regex
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from imq.engine.query.searches import Search

WINDOW = 8 << 20
"""Bytes that are searched at once: smaller files as a whole."""
OVERLAP = 1 << 20
"""The longest match of a regular expression in a larger file, in bytes."""
_ZEROS = bytes(1 << 16)
_MAX_CHARACTER = 4
"""Bytes of a character in UTF-8."""


class SearchSink:
    """Takes the content of one file, and searches it for each of `searches`."""

    def __init__(self, searches: Iterable[Search], window: int = WINDOW, overlap: int = OVERLAP) -> None:
        self._matchers = {search.key: make_matcher(search) for search in searches}
        self._pending = dict(self._matchers)
        self._overlap = max(overlap, *(matcher.needed for matcher in self._matchers.values()), 1)
        self._window = max(window, 2 * self._overlap)
        self._buffer = bytearray()
        self._offset = 0  # of the buffer in the content
        self._is_complete = False

    def write(self, piece: memoryview | bytes) -> None:
        """Search the next piece."""
        if not self._pending:
            return
        self._buffer += piece
        if len(self._buffer) >= self._window:
            self._search(is_last=False)
            dropped = len(self._buffer) - self._overlap
            del self._buffer[:dropped]
            self._offset += dropped

    def skip(self, size: int) -> None:
        """Search so many zeros: what is searched of more than a window of them is the same wherever they begin."""
        searched = min(size, self._window + self._overlap)
        for start in range(0, searched, len(_ZEROS)):
            self.write(_ZEROS[: searched - start])
        self._offset += size - searched

    def end_content(self) -> None:
        """Search the rest of the content, and release it."""
        self._search(is_last=True)
        self._buffer = bytearray()
        self._is_complete = True

    def get_results(self) -> dict[str, bool]:
        """Return whether each search found something, by its key, after the whole content was written."""
        if not self._is_complete:
            self.end_content()
        return {key: key not in self._pending for key in self._matchers}

    def _search(self, *, is_last: bool) -> None:
        if self._pending:
            text = bytes(self._buffer)
            done = [key for key, one in self._pending.items() if one.find(text, self._offset, is_last=is_last)]
            for key in done:
                del self._pending[key]


class _RegexMatcher:
    """Finds a regular expression in RE2's syntax."""

    needed = 0
    """The least number of bytes in which a match can be found."""

    def __init__(self, pattern: str) -> None:
        self._search = compile_regex(pattern).search

    def find(self, text: bytes, offset: int, *, is_last: bool) -> bool:
        """Whether it is in `text`, the part of the content from `offset`. The bytes around it are seen by `^` and `$`.

        A part is followed by more bytes unless it is the last one.
        """
        start, end = int(offset > 0), len(text) - (not is_last)
        return self._search(text, start, end) is not None


class _GlobMatcher:
    """Matches a whole content with a glob: the parts between its stars are found one after the other."""

    def __init__(self, pattern: str) -> None:
        parts = split_glob(pattern)
        self._is_open = len(parts) > 1
        self._first = compile_regex(f"\\A(?:{parts[0]})" + ("" if self._is_open else "\\z"))
        self._middle: list[Any] = [compile_regex(part) for part in parts[1:-1] if part]
        self._last = compile_regex(f"(?:{parts[-1]})\\z") if self._is_open else None
        self._next = 0
        self._position: int | None = None  # in the content, after the parts that were found; None: before the first
        self._has_failed = False
        self.needed = _MAX_CHARACTER * len(pattern) + 1

    def find(self, text: bytes, offset: int, *, is_last: bool) -> bool:
        """Whether the content matches; False while that is not known."""
        if self._has_failed:
            return False
        if self._position is None:
            match = self._first.search(text)
            if match is None or (not self._is_open and not is_last):
                self._has_failed = True
                return False
            self._position = match.end()
        position = max(self._position - offset, 0)
        while self._next < len(self._middle):
            match = self._middle[self._next].search(text, position)
            if match is None:
                self._position = offset + position
                return False
            position, self._next = match.end(), self._next + 1
        self._position = offset + position
        if self._last is None:
            return True
        return is_last and self._last.search(text, position) is not None


def make_matcher(search: Search) -> _RegexMatcher | _GlobMatcher:
    """Return what finds a search in one content."""
    return _RegexMatcher(search.pattern) if search.operator == "matches" else _GlobMatcher(search.pattern)


_ANY = r"(?:(?s:.)|\C)"
"""One character, or a byte of none."""


def split_glob(pattern: str) -> list[str]:
    """Return the parts between the stars of a glob as regular expressions."""
    parts = [""]
    position = 0
    while position < len(pattern):
        character = pattern[position]
        position += 1
        if character == "*":
            parts.append("")
        elif character == "?":
            parts[-1] += _ANY
        elif (
            character == "["
            and (end := pattern.find("]", position + 1 + (pattern[position : position + 1] in "!^"))) > 0
        ):
            negation = "^" if pattern[position] in "!^" else ""
            members = re.sub(r"([\[\]\\^&~|])", r"\\\1", pattern[position + len(negation) : end])
            parts[-1] += f"[{negation}{members}]"
            position = end + 1
        else:
            if character == "\\" and position < len(pattern):
                character, position = pattern[position], position + 1
            parts[-1] += re.escape(character)
    return parts
