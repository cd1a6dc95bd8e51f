"""The log of a container in docker's format `json-file`: one JSON object for each line, with its stream and its time.

A line without an end is split after 16 KiB, as in docker.
"""

from __future__ import annotations

import json
import os
import time
from json.encoder import encode_basestring

from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

STREAMS = ("stdout", "stderr")
_LONGEST_PART = 16 << 10
_LAST_NANOSECOND = 10**9 - 1
_READ_SIZE = 1 << 20
_POLL = 0.05
"""Seconds between two looks at a log that is followed."""


class LogLine(Record):
    """One line of a log, with its end; without one it goes on in the next. `time` is nanoseconds since the epoch."""

    time: int
    stream: str
    text: str


class LogWriter:
    """Appends the output of a container to its log."""

    def __init__(self, descriptor: int, clock: Callable[[], int] = time.time_ns) -> None:
        self._descriptor = descriptor
        self._clock = clock
        self._pending = dict.fromkeys(STREAMS, b"")
        self._is_torn = False

    def write(self, stream: str, content: bytes) -> None:
        """Write the complete lines of a stream; the rest waits for its end."""
        *lines, rest = (self._pending[stream] + content).split(b"\n")
        parts = [line + b"\n" for line in lines]
        whole = len(rest) - len(rest) % _LONGEST_PART
        self._pending[stream] = rest[whole:]
        self._append(self._encode(stream, (*parts, rest[:whole])))

    def finish(self) -> None:
        """Write the ends of streams that have no end of line."""
        self._append(b"".join(self._encode(stream, (rest,)) for stream, rest in self._pending.items()))
        self._pending = dict.fromkeys(STREAMS, b"")

    def _encode(self, stream: str, lines: Sequence[bytes]) -> bytes:
        """Return entries. Lines written at once have successive nanoseconds, which keeps them apart."""
        seconds, fraction = divmod(self._clock(), 10**9)
        head, tail = ', "stream": ' + encode_basestring(stream) + ', "time": "' + _format_seconds(seconds), 'Z"}\n'
        entries: list[str] = []
        for line in lines:
            for start in range(0, len(line), _LONGEST_PART):
                text = encode_basestring(line[start : start + _LONGEST_PART].decode("utf-8", "replace"))
                entries.append(f'{{"log": {text}{head}.{min(fraction, _LAST_NANOSECOND):09}{tail}')
                fraction += 1
        return "".join(entries).encode()

    def _append(self, content: bytes) -> None:
        view = memoryview(b"\n" + content if self._is_torn and content else content)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
            self._is_torn = False
        except OSError:
            self._is_torn = True  # a full disk must not stop the container


def format_log_time(nanoseconds: int) -> str:
    """Return a time as docker writes it, in RFC 3339 with nanoseconds."""
    seconds, fraction = divmod(nanoseconds, 10**9)
    return f"{_format_seconds(seconds)}.{fraction:09}Z"


def _format_seconds(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def read_log(path: str, is_running: Callable[[], bool] | None = None, start: int = 0) -> Iterator[LogLine]:
    """Yield the lines of a log; with `is_running`, those to come too, until it returns False.

    `start` is the offset in bytes to begin at. Lines that are not complete JSON are skipped.
    """
    from imq.engine.oci.timestamp import parse_time

    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    with os.fdopen(descriptor, "rb") as file:
        file.seek(start)
        pending = b""
        while True:
            goes_on = is_running is not None and is_running()
            while piece := file.read(_READ_SIZE):
                *lines, pending = (pending + piece).split(b"\n")
                for line in lines:
                    try:
                        entry = json.loads(line)
                        yield LogLine(parse_time(entry["time"]) or 0, str(entry["stream"]), str(entry["log"]))
                    except (ValueError, KeyError, TypeError):
                        continue
            if not goes_on:
                return
            time.sleep(_POLL)
