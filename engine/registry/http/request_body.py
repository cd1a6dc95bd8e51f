"""A blob as the body of a request: of known length, counted as it goes, ended when the work is called off.

What lies in a file goes from there into the socket without passing through this process (sendfile), unless it has to be
encrypted.
"""

from __future__ import annotations

import os
import select
import stat
import time

from imq.engine.registry.exceptions import too_slow
from imq.grammar.errors import DigestMismatch, Interrupted
from imq.grammar.record import TYPE_CHECKING

from .stall import Pace

if TYPE_CHECKING:
    import socket
    import threading
    from collections.abc import Callable, Iterator
    from typing import Protocol

    from imq.engine.registry.settings import Settings

    class Content(Protocol):
        """What is sent of a blob: read once, from its beginning, and closed."""

        def read(self, count: int = -1, /) -> bytes | bytearray | memoryview:
            """Return the next bytes; none at the end."""

        def close(self) -> None:
            """Let go of what it is read from."""


BLOCK = 256 << 10
"""Bytes that are read and sent at once; small enough that a slow line takes them in time."""
_STRETCH = 8 << 20
"""Bytes that are left to the kernel at once."""


class Body:
    """One blob on its way to `host`; `what` names it, `sent` is told how many bytes have gone.

    Iterating gives blocks of bytes, or `Stretch`es of the file that the blob lies in. Who takes chunks reads it.
    """

    def __init__(
        self,
        content: Content,
        size: int,
        sent: Callable[[int], None],
        stop: threading.Event | None,
        settings: Settings,
        host: str,
        what: str,
    ) -> None:
        self._content = content
        self._size = size
        self._sent = sent
        self._stop = stop
        self._settings = settings
        self._host = host
        self._what = what
        self._done = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes | bytearray | memoryview | Stretch]:
        pace = Pace(self._settings)
        handle = _file(self._content)
        if handle is None:
            while block := self.take(BLOCK):
                begun = time.monotonic()
                yield block
                self.keep_pace(pace, len(block), time.monotonic() - begun)
            return
        while self._done < self._size:
            yield Stretch(self, handle, self._done, min(_STRETCH, self._size - self._done), pace)

    def take(self, count: int) -> bytes | bytearray | memoryview:
        """Return the next bytes, at most `count`; none at the end."""
        self.check()
        block = self._content.read(count)
        self.reach(self._done + len(block), more=bool(block))
        return block

    def check(self) -> None:
        """Raise when the work was called off."""
        if self._stop is not None and self._stop.is_set():
            raise Interrupted("the transfer was called off")

    def reach(self, done: int, *, more: bool) -> None:
        """Say that so many bytes have gone, and whether there are more; raise when they are not those of the size."""
        self._done = done
        if done > self._size or (not more and done < self._size):
            raise DigestMismatch(f"a blob to be sent has {done} bytes, and should have {self._size}")
        self._sent(done)

    def keep_pace(self, pace: Pace, count: int, seconds: float) -> None:
        """Raise when the bytes only drip."""
        speed = pace.note(count, seconds)
        if speed is not None:
            raise too_slow(self._host, f"takes {self._what}", speed, self._settings.least_speed)

    @property
    def longest_wait(self) -> float:
        """Seconds that the other side may take no byte at all."""
        return self._settings.read_timeout

    def close(self) -> None:
        """Close what it is read from."""
        self._content.close()


class Chunk:
    """A part of a blob that is in memory, as the body of a request; it travels at the pace of the whole blob."""

    def __init__(self, body: Body, part: memoryview, pace: Pace) -> None:
        self._body = body
        self._part = part
        self._pace = pace

    def __len__(self) -> int:
        return len(self._part)

    def __iter__(self) -> Iterator[memoryview]:
        for start in range(0, len(self._part), BLOCK):
            self._body.check()
            block = self._part[start : start + BLOCK]
            begun = time.monotonic()
            yield block
            self._body.keep_pace(self._pace, len(block), time.monotonic() - begun)


class Stretch:
    """A part of a file that is to be sent: by the kernel, or block by block where someone has to see the bytes."""

    def __init__(self, body: Body, handle: int, start: int, count: int, pace: Pace) -> None:
        self._body = body
        self._handle = handle
        self._done = start
        self._end = start + count
        self._pace = pace

    def __iter__(self) -> Iterator[bytes]:
        """Give blocks, each of which is taken to be sent when the next is asked for."""
        while self._done < self._end:
            self._body.check()
            block = os.pread(self._handle, min(BLOCK, self._end - self._done), self._done)
            begun = time.monotonic()
            if block:
                yield block
            self._gone(len(block), time.monotonic() - begun)

    def send(self, connected: socket.socket) -> None:
        """Have the kernel send it over a connection that is not encrypted."""
        poll = select.poll()
        poll.register(connected, select.POLLOUT)
        connected.setblocking(False)
        try:
            while self._done < self._end:
                self._body.check()
                begun = time.monotonic()
                if not poll.poll(self._body.longest_wait * 1000):
                    raise TimeoutError("timed out")
                try:
                    count = os.sendfile(connected.fileno(), self._handle, self._done, self._end - self._done)
                except BlockingIOError:
                    continue
                self._gone(count, time.monotonic() - begun)
        finally:  # a registry that refuses what it is sent is still listened to
            connected.settimeout(self._body.longest_wait)

    def _gone(self, count: int, seconds: float) -> None:
        self._done += count
        self._body.reach(self._done, more=count > 0)
        self._body.keep_pace(self._pace, count, seconds)


def _file(content: Content) -> int | None:
    """Return the descriptor of the regular file that a content is, None for any other, such as one in memory."""
    try:
        handle: int = content.fileno()  # type: ignore[attr-defined]
    except (AttributeError, OSError):
        return None
    return handle if stat.S_ISREG(os.fstat(handle).st_mode) else None
