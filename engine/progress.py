"""The progress of transfers: docker's status of each layer, and one total.

Methods are called from several threads, at most once for each 128 KiB. An implementation must be fast and thread-safe.
"""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol, Self

    from imq.engine.oci.digest import Digest
else:
    Protocol = object  # typing is slow to import, and a Protocol has no effect at run time

PULLING = "Pulling fs layer"
WAITING = "Waiting"
"""The status of a layer that waits for other layers. It is displayed and never reported."""
DOWNLOADING = "Downloading"
DOWNLOADED = "Download complete"
PULLED = "Pull complete"
EXISTS = "Already exists"
PREPARING = "Preparing"
PUSHING = "Pushing"
PUSHED = "Pushed"
LAYER_EXISTS = "Layer already exists"
MOUNTED = "Mounted from "
"""The start of a status; the repository that the layer was mounted from follows."""
SKIPPED = "Skipped foreign layer"


class Progress(Protocol):
    """Receives the progress of one transfer at a time."""

    def begin(self, name: str, total: int) -> None:
        """Begin a transfer with this name, of at most `total` bytes; 0: the total is unknown."""

    def set_layer_status(self, digest: Digest, word: str, size: int) -> None:
        """Set the status `word` of a layer, whose compressed size is `size` bytes."""

    def advance(self, digest: Digest, done: int, total_done: int) -> None:
        """Report the bytes transferred so far, of this layer and of the whole transfer."""

    def end(self) -> None:
        """End the transfer, whether it succeeded or not."""

    def report_items(self, label: str, done: int, total: int) -> None:
        """Report that `done` of `total` items of the task `label` are done; 0: the total is unknown.

        The task ends when all items are done, or with `stop`. Transfers may run in between.
        """

    def report_bytes(self, label: str, done: int, total: int) -> None:
        """Report that `done` of `total` bytes of the task `label` are done, as `report_items` does."""

    def stop(self) -> None:
        """End all tasks, finished or not."""

    def warn(self, text: str) -> None:
        """Warn the user, outside of a transfer."""

    def note(self, text: str) -> None:
        """Report something that is not a warning, outside of a transfer."""


def make_item_counter(progress: Progress, name: str, total: int) -> Callable[[object], None]:
    """Return a function to call after each of `total` items is done."""
    done = 0

    def count_one(_item: object) -> None:
        nonlocal done
        done += 1
        progress.report_items(name, done, total)

    if total:
        progress.report_items(name, 0, total)
    return count_one


def make_byte_counter(progress: Progress, name: str, total: int) -> Callable[[int], None]:
    """Return a function to call with the size of each chunk that is done; `total` 0: unknown."""
    done = 0

    def count_bytes(size: int) -> None:
        nonlocal done
        done += size
        progress.report_bytes(name, done, total)

    return count_bytes


class CountingReader:
    """Reads from a source and calls `on_read` with the number of bytes of each read."""

    def __init__(self, source: Any, on_read: Callable[[int], None]) -> None:
        self._source = source
        self._on_read = on_read

    def __enter__(self) -> Self:
        self._source.__enter__()
        return self

    def __exit__(self, *problem: object) -> None:
        self._source.__exit__(*problem)

    def read(self, size: int = -1) -> bytes:
        """Return at most `size` bytes."""
        chunk: bytes = self._source.read(size)
        self._on_read(len(chunk))
        return chunk

    def readinto(self, buffer: memoryview) -> int:
        """Read into a buffer; return the number of bytes."""
        count: int = self._source.readinto(buffer)
        self._on_read(count)
        return count


class NullProgress:
    """Ignores all progress."""

    def begin(self, name: str, total: int) -> None:
        """Do nothing."""

    def set_layer_status(self, digest: Digest, word: str, size: int) -> None:
        """Do nothing."""

    def advance(self, digest: Digest, done: int, total_done: int) -> None:
        """Do nothing."""

    def end(self) -> None:
        """Do nothing."""

    def report_items(self, label: str, done: int, total: int) -> None:
        """Do nothing."""

    def report_bytes(self, label: str, done: int, total: int) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""

    def warn(self, text: str) -> None:
        """Do nothing."""

    def note(self, text: str) -> None:
        """Do nothing."""
