"""What a transfer tells whoever watches it: docker's words for each layer, and one total.

Calls come from several threads, at most one for each 128 KiB that travel; an implementation must be quick and guard
what it keeps.
"""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol, Self

    from imq.engine.oci.digest import Digest
else:
    Protocol = object  # typing is slow to import, and a Protocol says nothing at run time

PULLING = "Pulling fs layer"
WAITING = "Waiting"
"""What a layer does that others are fetched or sent before; it is shown, and not said."""
DOWNLOADING = "Downloading"
DOWNLOADED = "Download complete"
PULLED = "Pull complete"
EXISTS = "Already exists"
PREPARING = "Preparing"
PUSHING = "Pushing"
PUSHED = "Pushed"
LAYER_EXISTS = "Layer already exists"
MOUNTED = "Mounted from "
"""To be followed by the repository that the layer was mounted from."""
SKIPPED = "Skipped foreign layer"


class Progress(Protocol):
    """Watches one transfer at a time."""

    def begin(self, name: str, total: int) -> None:
        """Start a transfer under this name, in which `total` bytes may travel."""

    def status(self, digest: Digest, word: str, size: int) -> None:
        """Say that the layer, of `size` bytes as it travels, has come to the state that `word` names."""

    def advance(self, digest: Digest, done: int, total_done: int) -> None:
        """Say how many bytes have travelled by now, of this layer and of the whole transfer."""

    def end(self) -> None:
        """End the transfer, well or not."""

    def count(self, what: str, done: int, total: int) -> None:
        """Say that `done` of `total` things are done of what `what` names; no total: nobody knows it.

        It ends when all are done; what was broken off ends with `stop`. Transfers may come between.
        """

    def weigh(self, what: str, done: int, total: int) -> None:
        """Say the same of bytes, of something that no layers travel for."""

    def stop(self) -> None:
        """End all that is counted: it is done, or was broken off."""

    def warn(self, text: str) -> None:
        """Say something that the user did not expect and that stops nothing; outside a transfer."""


def make_item_counter(progress: Progress, name: str, total: int) -> Callable[[object], None]:
    """Return what is to be called whenever one more of `total` things is done."""
    done = 0

    def count_one(_thing: object) -> None:
        nonlocal done
        done += 1
        progress.count(name, done, total)

    if total:
        progress.count(name, 0, total)
    return count_one


def make_byte_counter(progress: Progress, name: str, total: int) -> Callable[[int], None]:
    """Return what is to be called with the number of bytes whenever more of `total` are done; 0: nobody knows it."""
    done = 0

    def count_bytes(size: int) -> None:
        nonlocal done
        done += size
        progress.weigh(name, done, total)

    return count_bytes


class CountingReader:
    """Reads from a source, and says each time how many bytes that were."""

    def __init__(self, source: Any, on_read: Callable[[int], None]) -> None:
        self._source = source
        self._on_read = on_read

    def __enter__(self) -> Self:
        self._source.__enter__()
        return self

    def __exit__(self, *problem: object) -> None:
        self._source.__exit__(*problem)

    def read(self, size: int = -1) -> bytes:
        """Return at most so many bytes."""
        piece: bytes = self._source.read(size)
        self._on_read(len(piece))
        return piece

    def readinto(self, buffer: memoryview) -> int:
        """Fill a buffer, as far as it goes."""
        count: int = self._source.readinto(buffer)
        self._on_read(count)
        return count


class NullProgress:
    """Watches and says nothing."""

    def begin(self, name: str, total: int) -> None:
        """Say nothing."""

    def status(self, digest: Digest, word: str, size: int) -> None:
        """Say nothing."""

    def advance(self, digest: Digest, done: int, total_done: int) -> None:
        """Say nothing."""

    def end(self) -> None:
        """Say nothing."""

    def count(self, what: str, done: int, total: int) -> None:
        """Say nothing."""

    def weigh(self, what: str, done: int, total: int) -> None:
        """Say nothing."""

    def stop(self) -> None:
        """Say nothing."""

    def warn(self, text: str) -> None:
        """Say nothing."""
