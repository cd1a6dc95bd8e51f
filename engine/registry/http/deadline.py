"""An answer on its way: every byte of it, of its status line, headers, chunks and trailers, comes in time.

http.client reads lines and chunks for as long as something comes. Here, below it, a head has a deadline and a size, a
body has a least speed, and it may be given a deadline too.
"""

from __future__ import annotations

import time
from http.client import HTTPResponse, LineTooLong
from io import BufferedReader, RawIOBase

from imq.grammar.record import TYPE_CHECKING

from .stall import Pace, TooSlowError

if TYPE_CHECKING:
    import socket
    from typing import Any

    from imq.engine.registry.settings import Settings

_LARGEST_HEAD = 256 << 10
"""Bytes of the headers of an answer, of interim answers before it, and of trailers after it."""
_LEAST_WAIT = 0.001


class Arrival(RawIOBase):
    """What comes over a connection for one answer, whose head is due at once.

    Raises `TimeoutError` at the deadline `until`, and `TooSlowError`.
    """

    def __init__(self, connected: socket.socket, settings: Settings) -> None:
        self._raw = connected.makefile("rb", buffering=0)
        self._connected = connected
        self._longest = settings.read_timeout
        self._pace = Pace(settings)
        self._in_head = True
        self._limited = True
        self._left = _LARGEST_HEAD
        self.until: float | None = time.monotonic() + settings.read_timeout

    def makefile(self, _mode: str) -> BufferedReader:
        """Return the stream that http.client reads, as a socket does."""
        return BufferedReader(self)

    def limit(self) -> None:
        """Expect headers: they are of bounded size."""
        self._limited, self._left = True, _LARGEST_HEAD

    def lift(self) -> None:
        """Expect a body, of any size."""
        self._limited = False

    def expect_body(self) -> None:
        """Take what follows for the body: it has no deadline, but a least speed."""
        self.lift()
        self._in_head = False
        self.until = None
        self._connected.settimeout(self._longest)

    @property
    def is_late(self) -> bool:
        """Whether its deadline has passed."""
        return self.until is not None and time.monotonic() >= self.until

    def readable(self) -> bool:
        """Return True: it is read, and nothing else."""
        return True

    def readinto(self, view: Any) -> int:
        """Fill `view` with what has come, and wait for it as long as it has time."""
        begun = time.monotonic()
        if self.until is not None:
            if begun >= self.until:
                raise TimeoutError("timed out")
            self._connected.settimeout(max(min(self._longest, self.until - begun), _LEAST_WAIT))
        count = self._raw.readinto(view) or 0
        if self._limited:
            self._left -= count
            if self._left < 0:
                raise LineTooLong("header")
        if count and not self._in_head:  # trailers too: a body may have no deadline
            speed = self._pace.note(count, time.monotonic() - begun)
            if speed is not None:
                raise TooSlowError(speed)
        return count

    def close(self) -> None:
        """Read no more of it."""
        if not self.closed:
            self._raw.close()
        super().close()


class Response(HTTPResponse):
    """The answer that http.client reads from an `Arrival`."""

    def __init__(self, connected: socket.socket, settings: Settings, **options: Any) -> None:
        self.arrival = Arrival(connected, settings)
        super().__init__(self.arrival, **options)  # type: ignore[arg-type] # it only makes a file of it

    def begin(self) -> None:
        """Read the head, past any number of interim answers."""
        super().begin()
        self.arrival.expect_body()

    def _read_and_discard_trailer(self) -> None:
        self.arrival.limit()
        super()._read_and_discard_trailer()  # type: ignore[misc] # http.client's own
        self.arrival.lift()
