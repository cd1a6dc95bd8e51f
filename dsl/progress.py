"""Progress for people, on standard error: live bars on a terminal, else one line a step, in docker's words."""

from __future__ import annotations

from _thread import allocate_lock

from imq.engine import progress as words
from imq.engine.render.units import human_size
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, TextIO

    from imq.engine.oci.digest import Digest
    from imq.engine.progress import Progress


def progress_on(stream: TextIO, *, bars: bool) -> Progress:
    """Return what shows progress on a stream; `bars` when it is a terminal that can redraw."""
    return Bars(stream) if bars else Lines(stream)


class Lines:
    """One line for each layer and state, and a last one with the total."""

    _SAID = frozenset({words.PULLING, words.EXISTS, words.PULLED, words.PUSHED, words.LAYER_EXISTS})

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._guard = allocate_lock()
        self._total = 0
        self._done = 0

    def begin(self, name: str, total: int) -> None:
        """Name the transfer."""
        self._total, self._done = total, 0
        self._write(f"{name}: {human_size(total)} in all\n")

    def status(self, digest: Digest, word: str, _size: int) -> None:
        """Say a state that a log should keep."""
        if word in self._SAID or word.startswith(words.MOUNTED):
            self._write(f"{digest.short}: {word}\n")

    def advance(self, _digest: Digest, _done: int, total_done: int) -> None:
        """Remember how much has travelled."""
        self._done = max(self._done, total_done)

    def end(self) -> None:
        """Say how much travelled."""
        self._write(f"total: {human_size(self._done)} of {human_size(self._total)} transferred\n")

    def warn(self, text: str) -> None:
        """Say it in docker's way."""
        self._write(f"WARNING: {text}\n")

    def _write(self, text: str) -> None:
        with self._guard:
            write(self._stream, text)


class Bars:
    """A bar for each layer, and one for all, redrawn in place."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._bars: Any = None
        self._layers: dict[Digest, Any] = {}
        self._all: Any = None
        self._guard = allocate_lock()

    def begin(self, name: str, total: int) -> None:
        """Draw the bars."""
        from rich.console import Console  # 70 ms, and only a terminal needs it
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        self._layers = {}
        self._bars = Progress(*columns, console=Console(file=self._stream), refresh_per_second=10)
        self._bars.start()
        self._all = self._bars.add_task(name, total=total)

    def status(self, digest: Digest, word: str, size: int) -> None:
        """Write the layer's state before its bar."""
        with self._guard:
            text = f"{digest.short}: {word}"
            if digest not in self._layers:
                self._layers[digest] = self._bars.add_task(text, total=size)
            finished = word in (words.PULLED, words.EXISTS, words.PUSHED, words.LAYER_EXISTS) or word.startswith(
                words.MOUNTED
            )
            task = self._layers[digest]
            if finished:
                self._bars.update(task, description=text, completed=size)
            else:
                self._bars.update(task, description=text)

    def advance(self, digest: Digest, done: int, total_done: int) -> None:
        """Move the bars."""
        if digest in self._layers:
            self._bars.update(self._layers[digest], completed=done)
        self._bars.update(self._all, completed=total_done)

    def end(self) -> None:
        """Leave the bars as they stand."""
        self._bars.stop()

    def warn(self, text: str) -> None:
        """Say it in docker's way, below the bars."""
        write(self._stream, f"WARNING: {text}\n")


def write(stream: TextIO, text: str) -> None:
    """Write to whoever watches; when nobody does any more, the transfer goes on."""
    try:
        stream.write(text)
        stream.flush()
    except OSError:
        pass
