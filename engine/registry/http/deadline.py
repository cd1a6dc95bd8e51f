"""HTTP responses with deadlines: for the head, the chunks, the trailers and the body.

http.client reads lines and chunks for as long as any byte arrives. The reader below it limits the time and the size of
a head and the minimum speed of a body. A body can have a deadline too.
"""

from __future__ import annotations

import time
from http.client import HTTPResponse, LineTooLong
from io import BufferedReader, RawIOBase

from imq.grammar.record import TYPE_CHECKING

from .stall import StallDetector, StalledError

if TYPE_CHECKING:
    import socket
    from typing import Any

    from imq.engine.registry.settings import Settings

_MAX_HEAD_BYTES = 256 << 10
"""The maximum size of the headers, the interim responses before them and the trailers, in bytes."""
_MIN_TIMEOUT = 0.001


class DeadlineReader(RawIOBase):
    """The byte stream of one response. The head has a deadline from the start.

    Raises `TimeoutError` at the `deadline`, and `StalledError`.
    """

    def __init__(self, sock: socket.socket, settings: Settings) -> None:
        self._raw = sock.makefile("rb", buffering=0)
        self._socket = sock
        self._read_timeout = settings.read_timeout
        self._stall_detector = StallDetector(settings)
        self._has_begun_body = False
        self._is_size_limited = True
        self._head_bytes_left = _MAX_HEAD_BYTES
        self.deadline: float | None = time.monotonic() + settings.read_timeout

    def makefile(self, _mode: str) -> BufferedReader:
        """Return the stream that http.client reads, like a socket does."""
        return BufferedReader(self)

    def begin_head(self) -> None:
        """Expect headers, of limited size."""
        self._is_size_limited, self._head_bytes_left = True, _MAX_HEAD_BYTES

    def end_head(self) -> None:
        """Expect a body, of any size."""
        self._is_size_limited = False

    def begin_body(self) -> None:
        """Expect the body, which has a minimum speed but no deadline."""
        self.end_head()
        self._has_begun_body = True
        self.deadline = None
        self._socket.settimeout(self._read_timeout)

    @property
    def is_late(self) -> bool:
        """Whether the deadline has passed."""
        return self.deadline is not None and time.monotonic() >= self.deadline

    def readable(self) -> bool:
        """Return True: the stream is only read."""
        return True

    def readinto(self, view: Any) -> int:
        """Fill `view` with the next bytes; wait at most until the deadline."""
        started = time.monotonic()
        if self.deadline is not None:
            if started >= self.deadline:
                raise TimeoutError("timed out")
            self._socket.settimeout(max(min(self._read_timeout, self.deadline - started), _MIN_TIMEOUT))
        count = self._raw.readinto(view) or 0
        if self._is_size_limited:
            self._head_bytes_left -= count
            if self._head_bytes_left < 0:
                raise LineTooLong("header")
        if count and self._has_begun_body:  # trailers too: a body may have no deadline
            speed = self._stall_detector.record(count, time.monotonic() - started)
            if speed is not None:
                raise StalledError(speed)
        return count

    def close(self) -> None:
        """Close the stream."""
        if not self.closed:
            self._raw.close()
        super().close()


class DeadlineResponse(HTTPResponse):
    """An http.client response that reads from a `DeadlineReader`."""

    def __init__(self, sock: socket.socket, settings: Settings, **options: Any) -> None:
        self.reader = DeadlineReader(sock, settings)
        super().__init__(self.reader, **options)  # type: ignore[arg-type] # it only calls makefile

    def begin(self) -> None:
        """Read the head, after any number of interim responses."""
        super().begin()
        self.reader.begin_body()

    def _read_and_discard_trailer(self) -> None:
        self.reader.begin_head()
        super()._read_and_discard_trailer()  # type: ignore[misc] # http.client's own
        self.reader.end_head()
