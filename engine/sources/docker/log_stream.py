"""The lines in the log of a container, as an engine sends them.

A container without a terminal has a multiplexed log: frames with a header of 8 bytes, which names the stream and the
length. A log of a terminal has no frames. Either is a series of messages: a time, a space, and a line or a part of one.
Engines divide long lines into parts. Only the last part has a line ending, and each part has a time of its own.
"""

from __future__ import annotations

import re

from imq.engine.oci.timestamp import parse_time
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol

    Line = tuple[int | None, str, str]
    """The time in nanoseconds since the epoch, the stream, and the text."""

    class Readable(Protocol):
        """A binary stream."""

        def read(self, size: int, /) -> bytes:
            """Return at most `size` bytes; no bytes at the end."""


STREAMS = ("stdin", "stdout", "stderr", "systemerr")
_HEADER_BYTES = 8
_READ_SIZE = 256 << 10
_MAX_FRAME_BYTES = 64 << 20
MAX_LINE_BYTES = 1 << 20
"""The longest line that is kept as one. Longer ones are divided, so that no line fills the memory."""
_STAMP = rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)"
_STAMPED = re.compile(rb"(%b) ?" % _STAMP)
_INNER_STAMP = re.compile(rb"(%b) " % _STAMP)
DOCKER_PARTS = range(16_384, 16_385)
PODMAN_PARTS = range(1, 16_385)
"""The lengths of the parts into which an engine divides a long line of a terminal: podman by what it receives at once.

Only these lengths, and that the part is not earlier, tell the time of a part from a time in the text.
"""
_MIN_DIVIDED_BYTES = 1024
"""The shortest line of a terminal that is divided."""
_SECOND_DIGITS = len("2024-01-31T10:00:00")


class LogError(Exception):
    """The log is malformed, or the engine reports an error in it. The message states which."""


class LogReader:
    """The lines of one log. `parts` are the lengths of parts of a line of a terminal.

    `messages` is the number of messages so far, by which engines count the end of a log.
    """

    def __init__(self, stream: Readable, *, is_multiplexed: bool, parts: range = DOCKER_PARTS) -> None:
        self._stream = stream
        self._part_lengths = parts
        self._is_multiplexed = is_multiplexed
        self._second = b""
        self._second_time = 0
        self.messages = 0

    def __iter__(self) -> Iterator[Line]:
        """Yield the lines. Raises `LogError`, and what the stream raises."""
        return self._read_frames() if self._is_multiplexed else self._read_terminal()

    def _read_frames(self) -> Iterator[Line]:
        pending: dict[str, _PendingLine] = {}
        for stream, message in self._split_frames():
            self.messages += 1
            time, text = self._split_stamp(message)
            line = pending.pop(stream, None)
            if line is not None:
                line.parts.append(text)
                time, text = line.time, b"".join(line.parts)
            *lines, rest = text.split(b"\n")
            for one in lines:
                yield time, stream, one.decode("utf-8", "replace")
            if len(rest) > MAX_LINE_BYTES:
                yield time, stream, rest.decode("utf-8", "replace")
            elif rest:
                pending[stream] = _PendingLine(time, rest)
        for stream, line in pending.items():  # the program ended without a line ending
            yield line.time, stream, b"".join(line.parts).decode("utf-8", "replace")

    def _split_frames(self) -> Iterator[tuple[str, bytes]]:
        buffer, start = b"", 0
        while True:
            available = len(buffer) - start
            size = int.from_bytes(buffer[start + 4 : start + _HEADER_BYTES], "big") if available >= _HEADER_BYTES else 0
            if available < _HEADER_BYTES + size or available == 0:
                received = self._stream.read(_READ_SIZE)
                if not received:
                    if available:
                        raise LogError("its log ends within a line")
                    return
                buffer, start = buffer[start:] + received, 0
                self._check_header(buffer)
                continue
            stream = STREAMS[buffer[start]]
            end = start + _HEADER_BYTES + size
            content = buffer[start + _HEADER_BYTES : end]
            if stream == STREAMS[-1]:
                raise LogError(content[:300].decode("utf-8", "replace").strip())
            yield stream, content
            start = end
            if end < len(buffer):
                self._check_header(buffer[end : end + _HEADER_BYTES])

    @staticmethod
    def _check_header(buffer: bytes) -> None:
        """Raise `LogError` if the bytes are not the start of a frame: those of a log of a terminal are not."""
        is_valid = buffer[0] < len(STREAMS) and not any(buffer[1:4])
        if not is_valid or int.from_bytes(buffer[4:_HEADER_BYTES], "big") > _MAX_FRAME_BYTES:
            raise LogError("its log is not in frames")

    def _read_terminal(self) -> Iterator[Line]:
        rest = b""
        while True:
            received = self._stream.read(_READ_SIZE)
            *lines, rest = (rest + received).split(b"\n")
            if not received or len(rest) > MAX_LINE_BYTES:
                lines += [rest] if rest else []
                rest = b""
            for line in lines:
                yield self._join_parts(line.removesuffix(b"\r"))
            if not received:
                return

    def _join_parts(self, line: bytes) -> Line:
        """Return a line of a terminal, without the times of its further parts."""
        self.messages += 1
        time, text = self._split_stamp(line)
        if len(text) < max(self._part_lengths.start, _MIN_DIVIDED_BYTES):
            return time, "stdout", text.decode("utf-8", "replace")
        parts, start = [], 0
        for found in _INNER_STAMP.finditer(text):
            moment = parse_time(found[1].decode())
            is_later = moment is not None and time is not None and moment >= time
            if is_later and found.start() - start in self._part_lengths:
                parts.append(text[start : found.start()])
                start = found.end()
        self.messages += len(parts)
        return time, "stdout", b"".join((*parts, text[start:])).decode("utf-8", "replace")

    def _split_stamp(self, message: bytes) -> tuple[int | None, bytes]:
        """Return the time of a message, and the rest of it. A message without a time is returned whole."""
        if message[:_SECOND_DIGITS] == self._second and message[_SECOND_DIGITS + 10 : _SECOND_DIGITS + 12] == b"Z ":
            digits = message[_SECOND_DIGITS + 1 : _SECOND_DIGITS + 10]  # most lines are of the same second
            if digits.isdigit():
                return self._second_time + int(digits), message[_SECOND_DIGITS + 12 :]
        found = _STAMPED.match(message)
        if found is None:
            return None, message
        time = parse_time(found[1].decode())
        if time is not None and found[1].endswith(b"Z"):
            self._second, self._second_time = message[:_SECOND_DIGITS], time - time % 1_000_000_000
        return time, message[found.end() :]


class _PendingLine:
    """The first parts of a line."""

    def __init__(self, time: int | None, part: bytes) -> None:
        self.time = time
        self.parts = [part]
