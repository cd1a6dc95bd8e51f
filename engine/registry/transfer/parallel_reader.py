"""Reads a blob over several connections, for registries that limit the speed of each.

Reading starts over one connection. When it is slow, much remains and no other blob needs the connections, ranges after
it are fetched in parallel. Each range is a request with its own retries. Ranges are returned in order, so the caller
hashes and unpacks as usual. Only a few ranges are in memory.

A registry without range support loses nothing: the first connection continues while the first range is requested.
"""

from __future__ import annotations

import threading
import time

from imq.grammar.errors import Interrupted
from imq.grammar.record import TYPE_CHECKING

from .blob_reader import RangesIgnoredError, ResumingReader

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from imq.engine.oci.manifest import Descriptor
    from imq.engine.oci.reference import Reference
    from imq.engine.registry.http.client import RegistryHttp

RANGE_SIZE = 4 << 20
"""Bytes of a range: large enough that the latency of a request is insignificant."""
MIN_REMAINING = 16 << 20
"""Minimum number of remaining bytes for a parallel read."""
MAX_CONNECTIONS = 6
"""Maximum number of connections, which limits the ranges in memory."""
_CANCEL_CHECK_INTERVAL = 1.0
"""Seconds between checks for cancellation while waiting."""
FAST_SPEED = 48_000_000
"""Bytes a second at which one connection is sufficient."""
MEASURE_SECONDS = 0.5
"""Seconds of waiting over which the speed of a connection is measured."""


class ConnectionBudget:
    """The connections that all blobs of one client share."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._in_use = 0
        self._lock = threading.Lock()

    def acquire(self) -> None:
        """Take a connection for a blob, even if none is free."""
        with self._lock:
            self._in_use += 1

    def try_acquire(self) -> bool:
        """Take another connection for a blob. Return False if none is free."""
        with self._lock:
            if self._in_use >= self._limit:
                return False
            self._in_use += 1
            return True

    def release(self) -> None:
        """Return a connection."""
        with self._lock:
            self._in_use -= 1

    @property
    def is_exceeded(self) -> bool:
        """Whether more connections are in use than allowed, so that additional ones should be released."""
        with self._lock:
            return self._in_use > self._limit


class ParallelReader:
    """Reads one blob from an offset to its end, like `ResumingReader`; a context manager."""

    def __init__(
        self,
        http: RegistryHttp,
        reference: Reference,
        descriptor: Descriptor,
        offset: int,
        stop: threading.Event | None,
        budget: ConnectionBudget,
    ) -> None:
        self._http = http
        self._reference = reference
        self._descriptor = descriptor
        self._stop = stop
        self._budget = budget
        self._offset = offset
        self._measured_bytes = 0
        self._measured_seconds = 0.0
        self._ranges: RangeFetcher | None = None
        self._may_split = True
        self._aborted = False
        self._closed = False
        budget.acquire()
        try:
            self._single: ResumingReader | None = ResumingReader(http, reference, descriptor, offset, stop)
        except BaseException:
            budget.release()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def readinto(self, view: memoryview) -> int:
        """Fill `view` with the next bytes and return their number; 0 at the end."""
        parts = self._ranges
        if parts is not None and self._single is not None:
            if self._offset < parts.start:
                view = view[: parts.start - self._offset]
            elif parts.wait_for_support():
                self._single.close()
                self._single = None
                parts.add_worker()  # takes over the connection of the closed reader
            else:
                self._ranges = None
        if self._single is None:
            try:
                return self._read_ranges(view)
            except RangesIgnoredError:
                self._fall_back()
        assert self._single is not None
        started = time.monotonic()
        count = self._single.readinto(view)
        self._offset += count
        self._measured_bytes += count
        self._measured_seconds += time.monotonic() - started
        if self._may_split and self._measured_seconds >= MEASURE_SECONDS and count:
            self._split_if_slow()
        return count

    def _read_ranges(self, view: memoryview) -> int:
        assert self._ranges is not None
        count = self._ranges.readinto(view)
        self._offset += count
        return count

    def _split_if_slow(self) -> None:
        """Fetch ranges in parallel if the connection is slow; otherwise measure again later."""
        speed = self._measured_bytes / self._measured_seconds
        self._measured_bytes, self._measured_seconds = 0, 0.0
        if (
            speed < FAST_SPEED
            and self._descriptor.size - self._offset - RANGE_SIZE >= MIN_REMAINING
            and self._budget.try_acquire()
        ):
            self._may_split = False
            self._ranges = RangeFetcher(
                self._open_range, self._offset + RANGE_SIZE, self._descriptor.size, self._budget, self._stop
            )
            self._ranges.add_worker()
            if self._aborted:
                self._ranges.abort()

    def _open_range(self, start: int, end: int) -> ResumingReader:
        return ResumingReader(self._http, self._reference, self._descriptor, start, self._stop, end)

    def _fall_back(self) -> None:
        """Continue over one connection: the registry, or one of several hosts behind it, ignores ranges."""
        assert self._ranges is not None
        self._ranges.abort()
        self._ranges = None
        self._budget.acquire()
        try:
            self._single = ResumingReader(self._http, self._reference, self._descriptor, self._offset, self._stop)
        except BaseException:
            self._budget.release()
            raise

    def abort(self) -> None:
        """Make a `readinto` that waits in another thread raise; the reader is unusable afterwards."""
        self._aborted = True
        for one in (self._single, self._ranges):
            if one is not None:
                one.abort()

    def close(self) -> None:
        """Return the connections to the pool, or close them when their bodies are not read to the end."""
        if self._closed:
            return
        self._closed = True
        if self._ranges is not None:
            self._ranges.abort()
        if self._single is not None:
            self._single.close()
            self._budget.release()


class RangeFetcher:
    """Fetches the ranges of a blob from `start` on in worker threads, and returns them in order.

    Each worker holds a connection of the budget and returns it at the end.
    """

    def __init__(
        self,
        open_range: Callable[[int, int], ResumingReader],
        start: int,
        size: int,
        budget: ConnectionBudget,
        stop: threading.Event | None,
    ) -> None:
        self.start = start
        self._open_range = open_range
        self._size = size
        self._budget = budget
        self._stop = stop
        self._condition = threading.Condition()
        self._read_start = start  # start of the range that is being read,
        self._read_bytes = 0  # bytes of it that were read,
        self._fetch_start = start  # and start of the next range to fetch
        self._ready: dict[int, tuple[bytearray, int]] = {}
        self._free_buffers: list[bytearray] = []
        self._readers: set[ResumingReader] = set()
        self._worker_count = 0
        self._ranges_work = False
        self._error: BaseException | None = None
        self._is_aborted = False

    def add_worker(self) -> None:
        """Start a worker; the caller has acquired its connection."""
        with self._condition:
            self._worker_count += 1
        threading.Thread(target=self._run_worker, name="imq-part", daemon=True).start()

    def wait_for_support(self) -> bool:
        """Wait for the first range, and return whether the registry supports ranges."""
        with self._condition:
            while not (self._ranges_work or self._error or self._is_cancelled):
                self._condition.wait(_CANCEL_CHECK_INTERVAL)
            return self._ranges_work

    def readinto(self, view: memoryview) -> int:
        """Fill `view` with the next bytes and return their number; 0 at the end. Raises a worker's error."""
        with self._condition:
            while self._read_start not in self._ready:
                if self._is_cancelled:
                    raise Interrupted("the transfer was cancelled")
                if self._error is not None:
                    raise self._error
                if self._read_start >= self._size:
                    return 0
                self._condition.wait(_CANCEL_CHECK_INTERVAL)
            buffer, length = self._ready[self._read_start]
        count = min(len(view), length - self._read_bytes)
        view[:count] = memoryview(buffer)[self._read_bytes : self._read_bytes + count]
        self._read_bytes += count
        if self._read_bytes == length:
            with self._condition:
                del self._ready[self._read_start]
                self._read_start, self._read_bytes = self._read_start + length, 0
                self._free_buffers.append(buffer)
                self._condition.notify_all()
        return count

    def abort(self) -> None:
        """Wake all waiting threads and end the workers."""
        with self._condition:
            self._is_aborted = True
            streams = tuple(self._readers)
            self._condition.notify_all()
        for stream in streams:
            stream.abort()

    @property
    def _is_cancelled(self) -> bool:
        return self._is_aborted or (self._stop is not None and self._stop.is_set())

    def _run_worker(self) -> None:
        try:
            while (claimed := self._claim_range()) is not None:
                self._fetch_range(*claimed)
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that reads
            with self._condition:
                self._worker_count -= 1
                self._error = self._error or error
                self._condition.notify_all()
        finally:
            self._budget.release()

    def _claim_range(self) -> tuple[int, int, bytearray] | None:
        """Return the next range and a buffer for it; None when this worker is not needed.

        One range for each worker may be under way, and one more may wait for the reader.
        """
        with self._condition:
            while not (self._is_cancelled or self._error or self._fetch_start >= self._size):
                if self._worker_count > 1 and self._budget.is_exceeded:
                    break
                if self._fetch_start - self._read_start < (self._worker_count + 1) * RANGE_SIZE:
                    start, self._fetch_start = self._fetch_start, min(self._fetch_start + RANGE_SIZE, self._size)
                    return (
                        start,
                        self._fetch_start,
                        self._free_buffers.pop() if self._free_buffers else bytearray(RANGE_SIZE),
                    )
                self._condition.wait(_CANCEL_CHECK_INTERVAL)
            self._worker_count -= 1
            return None

    def _fetch_range(self, start: int, end: int, buffer: bytearray) -> None:
        stream = self._open_range(start, end)
        with self._condition:
            self._readers.add(stream)
            self._ranges_work = True
            self._condition.notify_all()
        try:
            self._add_workers()
            part = memoryview(buffer)[: end - start]
            done = 0
            while done < len(part):
                if self._is_cancelled:
                    raise Interrupted("the transfer was cancelled")
                done += stream.readinto(part[done:])
        finally:
            with self._condition:
                self._readers.discard(stream)
            stream.close()
        with self._condition:
            self._ready[start] = buffer, len(part)
            self._condition.notify_all()

    def _add_workers(self) -> None:
        """Add workers for free connections while there are ranges for them."""
        while True:
            with self._condition:
                enough = self._error or self._size - self._fetch_start <= self._worker_count * RANGE_SIZE
            if enough or self._is_cancelled or not self._budget.try_acquire():
                return
            self.add_worker()
