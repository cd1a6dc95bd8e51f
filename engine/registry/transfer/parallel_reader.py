"""A blob over several connections, for registries that give each of them only so much.

It begins over one. When that turns out to be slow, much is left, and no other blob wants the connections, the parts
that follow are fetched side by side: each by a request of its own for a range, with its own attempts, and handed out in
their order, so that whoever stores the blob hashes and unpacks it as ever. A few parts are in memory, never more.

Nothing is lost on a registry that does not know ranges: the first connection goes on while the first part is asked for.
"""

from __future__ import annotations

import threading
import time

from imq.grammar.errors import Interrupted
from imq.grammar.record import TYPE_CHECKING

from .blob_reader import BlobStream, RangesIgnoredError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from imq.engine.oci.manifest import Descriptor
    from imq.engine.oci.reference import Reference
    from imq.engine.registry.http.client import Exchange

PART = 4 << 20
"""Bytes of a part: enough of a slow connection's time that the time until its answer comes hardly counts."""
LEAST_LEFT = 16 << 20
"""Bytes that must be left for it to be worth it."""
MOST_LANES = 6
"""Connections for which parts are in memory at the same time, and a little more."""
_LOOK_UP = 1.0
"""Seconds after which those who wait see whether the work was called off."""
FAST = 48_000_000
"""Bytes a second from which on one connection will do."""
TRIAL = 0.5
"""Seconds of waiting after which the speed of a connection is known, and is looked at again."""


class Lanes:
    """How many connections the blobs of one client take up, of the `most` that they may."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0
        self._guard = threading.Lock()

    def enter(self) -> None:
        """Take one for a blob, which needs it even when there is none left."""
        with self._guard:
            self._taken += 1

    def join(self) -> bool:
        """Take one more for a blob that has one already; False when there is none to spare."""
        with self._guard:
            if self._taken >= self._most:
                return False
            self._taken += 1
            return True

    def leave(self) -> None:
        """Give one back."""
        with self._guard:
            self._taken -= 1

    @property
    def crowded(self) -> bool:
        """Whether more are taken than there are: those who joined should leave."""
        with self._guard:
            return self._taken > self._most


class Download:
    """The bytes of one blob from an offset to its end, as `BlobStream` has them; a context manager."""

    def __init__(
        self,
        exchange: Exchange,
        reference: Reference,
        descriptor: Descriptor,
        offset: int,
        stop: threading.Event | None,
        lanes: Lanes,
    ) -> None:
        self._exchange = exchange
        self._reference = reference
        self._descriptor = descriptor
        self._stop = stop
        self._lanes = lanes
        self._done = offset
        self._read = 0
        self._waited = 0.0
        self._parts: Parts | None = None
        self._may_part = True
        self._aborted = False
        self._closed = False
        lanes.enter()
        try:
            self._stream: BlobStream | None = BlobStream(exchange, reference, descriptor, offset, stop)
        except BaseException:
            lanes.leave()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def readinto(self, view: memoryview) -> int:
        """Fill `view` with what comes next and return how many bytes; 0 once the whole blob has been read."""
        parts = self._parts
        if parts is not None and self._stream is not None:
            if self._done < parts.start:
                view = view[: parts.start - self._done]
            elif parts.given():
                self._stream.close()
                self._stream = None
                parts.hire()  # in the place of the connection that is closed
            else:
                self._parts = None
        if self._stream is None:
            try:
                return self._next_of_parts(view)
            except RangesIgnoredError:
                self._give_up_parts()
        assert self._stream is not None
        begun = time.monotonic()
        count = self._stream.readinto(view)
        self._done += count
        self._read += count
        self._waited += time.monotonic() - begun
        if self._may_part and self._waited >= TRIAL and count:
            self._consider()
        return count

    def _next_of_parts(self, view: memoryview) -> int:
        assert self._parts is not None
        count = self._parts.readinto(view)
        self._done += count
        return count

    def _consider(self) -> None:
        """Have parts fetched beside this connection when that is worth it; else look again some time later."""
        speed = self._read / self._waited
        self._read, self._waited = 0, 0.0
        if speed < FAST and self._descriptor.size - self._done - PART >= LEAST_LEFT and self._lanes.join():
            self._may_part = False
            self._parts = Parts(self._open_part, self._done + PART, self._descriptor.size, self._lanes, self._stop)
            self._parts.hire()
            if self._aborted:
                self._parts.abort()

    def _open_part(self, start: int, end: int) -> BlobStream:
        return BlobStream(self._exchange, self._reference, self._descriptor, start, self._stop, end)

    def _give_up_parts(self) -> None:
        """Go on over one connection: the registry, or one of several behind its name, gives no parts after all."""
        assert self._parts is not None
        self._parts.abort()
        self._parts = None
        self._lanes.enter()
        try:
            self._stream = BlobStream(self._exchange, self._reference, self._descriptor, self._done, self._stop)
        except BaseException:
            self._lanes.leave()
            raise

    def abort(self) -> None:
        """Make a `readinto` that waits in another thread raise; the download is of no use after."""
        self._aborted = True
        for one in (self._stream, self._parts):
            if one is not None:
                one.abort()

    def close(self) -> None:
        """Give the connections back, or close them when their bodies were not read to their end."""
        if self._closed:
            return
        self._closed = True
        if self._parts is not None:
            self._parts.abort()
        if self._stream is not None:
            self._stream.close()
            self._lanes.leave()


class Parts:
    """The parts of a blob from `start` on, fetched by threads over a connection each, and handed out in their order.

    Each thread has taken a lane, and gives it back in the end.
    """

    def __init__(
        self,
        opened: Callable[[int, int], BlobStream],
        start: int,
        size: int,
        lanes: Lanes,
        stop: threading.Event | None,
    ) -> None:
        self.start = start
        self._opened = opened
        self._size = size
        self._lanes = lanes
        self._stop = stop
        self._state = threading.Condition()
        self._at = start  # where the part begins that is handed out,
        self._used = 0  # how much of it has been,
        self._next = start  # and where the next one begins that is to be fetched
        self._ready: dict[int, tuple[bytearray, int]] = {}
        self._free: list[bytearray] = []
        self._streams: set[BlobStream] = set()
        self._threads = 0
        self._given = False
        self._problem: BaseException | None = None
        self._over = False

    def hire(self) -> None:
        """Have one more thread fetch parts, for which a lane has been taken."""
        with self._state:
            self._threads += 1
        threading.Thread(target=self._work, name="imq-part", daemon=True).start()

    def given(self) -> bool:
        """Whether the registry gives parts; waits until that is known."""
        with self._state:
            while not (self._given or self._problem or self._called_off):
                self._state.wait(_LOOK_UP)
            return self._given

    def readinto(self, view: memoryview) -> int:
        """Fill `view` with what comes next and return how many bytes; 0 at the end. Raises what went wrong."""
        with self._state:
            while self._at not in self._ready:
                if self._called_off:
                    raise Interrupted("the transfer was called off")
                if self._problem is not None:
                    raise self._problem
                if self._at >= self._size:
                    return 0
                self._state.wait(_LOOK_UP)
            buffer, length = self._ready[self._at]
        count = min(len(view), length - self._used)
        view[:count] = memoryview(buffer)[self._used : self._used + count]
        self._used += count
        if self._used == length:
            with self._state:
                del self._ready[self._at]
                self._at, self._used = self._at + length, 0
                self._free.append(buffer)
                self._state.notify_all()
        return count

    def abort(self) -> None:
        """Wake all who wait, and have the threads end."""
        with self._state:
            self._over = True
            streams = tuple(self._streams)
            self._state.notify_all()
        for stream in streams:
            stream.abort()

    @property
    def _called_off(self) -> bool:
        return self._over or (self._stop is not None and self._stop.is_set())

    def _work(self) -> None:
        try:
            while (taken := self._take()) is not None:
                self._fetch(*taken)
        except BaseException as problem:  # noqa: BLE001 - raised again by those who wait for the part
            with self._state:
                self._threads -= 1
                self._problem = self._problem or problem
                self._state.notify_all()
        finally:
            self._lanes.leave()

    def _take(self) -> tuple[int, int, bytearray] | None:
        """Return where the next part begins and ends, and a buffer for it; None when this thread is not needed.

        As many parts as there are threads may be under way, and one more may wait to be handed out.
        """
        with self._state:
            while not (self._called_off or self._problem or self._next >= self._size):
                if self._threads > 1 and self._lanes.crowded:
                    break
                if self._next - self._at < (self._threads + 1) * PART:
                    start, self._next = self._next, min(self._next + PART, self._size)
                    return start, self._next, self._free.pop() if self._free else bytearray(PART)
                self._state.wait(_LOOK_UP)
            self._threads -= 1
            return None

    def _fetch(self, start: int, end: int, buffer: bytearray) -> None:
        stream = self._opened(start, end)
        with self._state:
            self._streams.add(stream)
            self._given = True
            self._state.notify_all()
        try:
            self._grow()
            part = memoryview(buffer)[: end - start]
            done = 0
            while done < len(part):
                if self._called_off:
                    raise Interrupted("the transfer was called off")
                done += stream.readinto(part[done:])
        finally:
            with self._state:
                self._streams.discard(stream)
            stream.close()
        with self._state:
            self._ready[start] = buffer, len(part)
            self._state.notify_all()

    def _grow(self) -> None:
        """Take the lanes that are free by now, as long as there are parts for them."""
        while True:
            with self._state:
                enough = self._problem or self._size - self._next <= self._threads * PART
            if enough or self._called_off or not self._lanes.join():
                return
            self.hire()
