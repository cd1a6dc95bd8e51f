"""Counts the bytes of one transfer over all its layers, and tells them on about once for each MiB."""

from __future__ import annotations

import threading

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from imq.engine.oci.digest import Digest
    from imq.engine.progress import Progress

_STEP = 128 << 10


class Counter:
    """The one total of a transfer. Safe to use from several threads."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self.total = 0

    def layer(self, digest: Digest, size: int) -> LayerCount:
        """Return the count of one layer."""
        return LayerCount(self, digest, size)

    def add(self, digest: Digest, more: int, done: int) -> None:
        """Add bytes of a layer, of which `done` have travelled now, and tell."""
        with self._lock:
            self.total += more
            total = self.total
        self._progress.advance(digest, done, total)


class LayerCount:
    """The count of one layer; used by one thread."""

    __slots__ = ("_counter", "_digest", "_size", "_told", "done")

    def __init__(self, counter: Counter, digest: Digest, size: int) -> None:
        self._counter = counter
        self._digest = digest
        self._size = size
        self._told = 0
        self.done = 0

    def begin(self, done: int) -> None:
        """Say how many bytes of the layer are here before any travel, or before they travel once more."""
        self.done = self._told = done

    def reach(self, done: int) -> None:
        """Say how many bytes of the layer are here by now."""
        self.done = done
        if abs(done - self._told) >= _STEP or (done == self._size and done != self._told):
            self._counter.add(self._digest, done - self._told, done)
            self._told = done
