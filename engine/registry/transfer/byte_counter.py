"""Counts the bytes of a transfer over all its layers, and reports progress."""

from __future__ import annotations

import threading

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from imq.engine.oci.digest import Digest
    from imq.engine.progress import Progress

_REPORT_STEP = 128 << 10
"""Bytes of a layer between two reports."""


class ByteCounter:
    """The total of one transfer. Safe to use from several threads."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self.total = 0

    def add_layer(self, digest: Digest, size: int) -> LayerCounter:
        """Return the counter of one layer."""
        return LayerCounter(self, digest, size)

    def add(self, digest: Digest, more: int, done: int) -> None:
        """Add `more` bytes of a layer, of which `done` bytes are transferred now, and report both."""
        with self._lock:
            self.total += more
            total = self.total
        self._progress.advance(digest, done, total)


class LayerCounter:
    """The byte count of one layer; used by one thread."""

    __slots__ = ("_counter", "_digest", "_reported", "_size", "done")

    def __init__(self, counter: ByteCounter, digest: Digest, size: int) -> None:
        self._counter = counter
        self._digest = digest
        self._size = size
        self._reported = 0
        self.done = 0

    def start_at(self, done: int) -> None:
        """Set the number of bytes that are present before a transfer, or before a retry."""
        self.done = self._reported = done

    def advance_to(self, done: int) -> None:
        """Set the number of bytes that are present now."""
        self.done = done
        if abs(done - self._reported) >= _REPORT_STEP or (done == self._size and done != self._reported):
            self._counter.add(self._digest, done - self._reported, done)
            self._reported = done
