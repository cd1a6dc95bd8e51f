"""Searches contents line by line while they are read, with a bounded part of them in memory."""

from __future__ import annotations

import json
import re
from functools import partial
from operator import itemgetter

from imq.engine.query.matching import compile_line_regex
from imq.engine.query.searches import Search
from imq.grammar.record import TYPE_CHECKING, Record

from .content_search import make_matcher, split_glob

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    Test = Callable[[Mapping[str, int]], object]
    """Returns whether a line is needed."""
    Find = Callable[[bytes, int], tuple[int, int] | None]
    """Returns the start and the end of what must be within the lines, from a position; None if there is no more."""

WINDOW = 1 << 18
"""Bytes that are searched at once."""
MAX_LINE = 1 << 20
"""The longest line in bytes that is searched as a whole. A longer one is searched in parts that overlap."""
_OVERLAP = 1 << 16
MAX_TEXT = 1000
"""The longest line in bytes that is shown as a whole."""
_BEFORE = 200
"""Bytes of a longer line that are shown before what was found."""
_NEWLINE = b"\n"
_OTHER_ANCHORS = re.compile(r"\\[Az]|\(\?[a-zA-Z]*-")
"""What the whole of a text is needed for, or what ends the flag `m`."""


class FoundLine(Record):
    """A line, or several for a search with line breaks. `number` is None in a binary content.

    `results` are those of all searches, a JSON object by their keys. For `occurrence` see the field of `texts`.
    """

    number: int | None
    text: str
    results: str
    occurrence: int


class LinePatterns:
    """Searches of lines, prepared for many contents.

    - `required`: only lines are needed for which one of these searches holds; None: all lines may be.
    - `tests` take the results of the searches by their keys: only lines are needed for which one of them holds. By
      default there is one for each of `required`; without any, all lines are needed.
    - `most` are the lines that are needed for each test, 0 for all.
    """

    def __init__(
        self,
        searches: Iterable[Search],
        required: Sequence[Search] | None,
        most: int = 0,
        tests: Sequence[Test] | None = None,
    ) -> None:
        self.searches = tuple(dict.fromkeys((*searches, *(required or ()))))
        self.required = tuple(required) if required is not None else None
        self.tests: Sequence[Test] = (
            tests if tests is not None else [itemgetter(one.key) for one in self.required or ()]
        )
        self.most = most
        self.finders: list[Find] | None = []
        self.line_breaks = 0
        self.longest = 0
        for search in self.required or ():
            literal = _get_literal(search)
            finder = _make_finder(search, literal)
            if finder is None:
                self.finders = None  # each line is tested
                return
            self.finders.append(finder)
            if literal is not None:
                self.line_breaks = max(self.line_breaks, literal.count(_NEWLINE))
                self.longest = max(self.longest, len(literal))
        if self.required is None:
            self.finders = None


class LineQuery(Record):
    """The arguments of `LinePatterns` as data, which other processes get too.

    `tests` are conditions as JSON: the key of a search, or `and`, `or` or `not` with conditions; None holds always.
    """

    searches: tuple[Search, ...]
    required: tuple[Search, ...] | None
    most: int
    tests: tuple[Any, ...]

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> LineQuery:
        """Return the query that `describe` described."""
        required = document["required"]
        return cls(
            tuple(Search(*one) for one in document["searches"]),
            tuple(Search(*one) for one in required) if required is not None else None,
            document["most"],
            tuple(document["tests"]),
        )

    def describe(self) -> dict[str, Any]:
        """Return the query as JSON."""
        return {
            "searches": [one.describe() for one in self.searches],
            "required": self.required and [one.describe() for one in self.required],
            "most": self.most,
            "tests": list(self.tests),
        }

    def prepare(self) -> LinePatterns:
        """Return the searches, prepared for contents."""
        return LinePatterns(self.searches, self.required, self.most, [partial(holds, test) for test in self.tests])


def holds(test: Any, results: Mapping[str, int]) -> bool:
    """Whether a test of a `LineQuery` holds, by the results of its searches."""
    match test:
        case None:
            return True
        case str():
            return bool(results[test])
        case ["and", *tests]:
            return all(holds(one, results) for one in tests)
        case ["or", *tests]:
            return any(holds(one, results) for one in tests)
        case _:
            return not holds(test[1], results)


def _make_finder(search: Search, literal: bytes | None) -> Find | None:
    """Return what finds the lines that can match; None if every line can."""
    if literal is not None:
        return _find_literal(literal) if literal else None
    if search.operator == "like":
        part = max(split_glob(search.pattern), key=len)
        expression = part if part and _NEWLINE not in search.pattern.encode("utf-8", "surrogatepass") else ""
    else:
        expression = "" if _OTHER_ANCHORS.search(search.pattern) else f"(?m:{search.pattern})"
    if not expression:
        return None
    regex = compile_line_regex(expression)
    if regex.search(b"") is not None:
        return None

    def find(text: bytes, position: int) -> tuple[int, int] | None:
        match = regex.search(text, position)
        return (match.start(), match.start()) if match is not None else None  # each line is tested alone

    return find


def _find_literal(literal: bytes) -> Find:
    def find(text: bytes, position: int) -> tuple[int, int] | None:
        start = text.find(literal, position)
        return (start, start + len(literal)) if start >= 0 else None

    return find


def _get_literal(search: Search) -> bytes | None:
    """Return the string of a search `like "*STRING*"`; None for other searches."""
    if search.operator != "like" or not search.pattern.startswith("*") or not search.pattern.endswith("*"):
        return None
    inner = re.sub(r"\\(.)", "", search.pattern[1:-1], flags=re.DOTALL)
    if any(character in "*?[\\" for character in inner):
        return None
    return re.sub(r"\\(.)", r"\1", search.pattern[1:-1], flags=re.DOTALL).encode("utf-8", "surrogatepass")


class LineSink:
    """Takes one content, and passes each line that is needed to `take`."""

    def __init__(self, patterns: LinePatterns, take: Callable[[FoundLine], None]) -> None:
        self._patterns = patterns
        self._take = take
        self._buffer = bytearray()
        self._line = 1  # the number of the first line in the buffer
        self._is_binary = False
        self._is_found = False  # the buffer begins within a line that was passed on
        self._is_done = False
        self._counts = [0] * max(len(patterns.tests), 1)

    def write(self, piece: memoryview | bytes) -> None:
        """Search the next piece."""
        if self._is_done:
            return
        self._buffer += piece
        if len(self._buffer) >= WINDOW:
            self._search(is_last=False)

    def skip(self, _size: int) -> None:
        """Search zeros: however many there are, they are ends of lines in a binary content."""
        self.write(b"\0")

    def end_content(self) -> None:
        """Search the rest, after the whole content was written, and release it. Idempotent."""
        if not self._is_done:
            self._search(is_last=True)
        self._is_done = True
        self._buffer = bytearray()

    def _search(self, *, is_last: bool) -> None:
        patterns = self._patterns
        text = bytes(self._buffer)
        if self._is_binary or b"\0" in text:
            self._is_binary = True
            if patterns.finders is None:
                self._is_done = True
                return
            text = text.replace(b"\0", _NEWLINE)
        end = len(text) if is_last else self._find_end(text)
        if end < 0:  # the line goes on
            self._buffer[:] = text
            if len(text) < MAX_LINE:
                return
            self._is_found = self._search_lines(text, len(text)) > len(text) or self._is_found
            del self._buffer[: len(text) - max(_OVERLAP, patterns.longest)]
            return
        done = min(self._search_lines(text, end), len(text))
        self._line += text.count(_NEWLINE, 0, done)
        self._buffer[:] = text[done:]
        self._is_found = False

    def _find_end(self, text: bytes) -> int:
        """Return the end of the lines that can be searched before more is written; -1 if there are none."""
        end = len(text)
        for _ in range(self._patterns.line_breaks + 1):
            end = text.rfind(_NEWLINE, 0, end)
            if end < 0:
                return -1
        return end + 1

    def _search_lines(self, text: bytes, end: int) -> int:
        """Pass on the lines that begin before `end`; return where the next one begins, after the text for no other."""
        position = text.find(_NEWLINE) + 1 if self._is_found else 0
        if self._is_found and not position:
            return len(text) + 1
        counted, number = 0, self._line
        finders = self._patterns.finders
        occurrences: list[tuple[int, int] | None] = [(-1, -1)] * len(finders or ())
        while position < end and not self._is_done:
            start, stop = position, position
            if finders is not None:
                for at, find in enumerate(finders):
                    if (known := occurrences[at]) is not None and known[0] < position:
                        occurrences[at] = find(text, position)
                found = min((one for one in occurrences if one is not None), default=None)
                if found is None or found[0] >= end:
                    break
                start, stop = found
            first = text.rfind(_NEWLINE, 0, start) + 1
            last = text.find(_NEWLINE, max(start, stop - 1))
            last = last if last >= 0 else len(text)
            number += text.count(_NEWLINE, counted, first)
            counted = first
            self._pass_on(text[first:last], start - first, number)
            position = last + 1
        return max(position, end)

    def _pass_on(self, line: bytes, offset: int, number: int) -> None:
        """Pass on a line if it is needed. `offset` is where in it something was found."""
        patterns = self._patterns
        results = {one.key: int(make_matcher(one).find(line, 0, is_last=True)) for one in patterns.searches}
        held = [at for at, test in enumerate(patterns.tests) if test(results)] if patterns.tests else [0]
        if not held:
            return
        for at in held:
            self._counts[at] += 1
        occurrence = min(self._counts[at] for at in held)
        most = patterns.most
        if not most or occurrence <= most:
            shown = _show(line, offset)
            self._take(FoundLine(None if self._is_binary else number, shown, json.dumps(results), occurrence))
        if most and min(self._counts) >= most:
            self._is_done = True


def _show(line: bytes, offset: int) -> str:
    """Return a line as text; of a long one, the part around `offset`. Bytes that are not UTF-8 become U+FFFD."""
    if len(line) <= MAX_TEXT:
        return line.decode("utf-8", "replace").removesuffix("\r")
    start = max(min(offset - _BEFORE, len(line) - MAX_TEXT), 0)
    part = line[start : start + MAX_TEXT].decode("utf-8", "replace")
    before, after = "…" if start else "", "…" if start + MAX_TEXT < len(line) else ""
    return before + (part.lstrip("\ufffd") if before else part).rstrip("\ufffd\r" if after else "\r") + after
