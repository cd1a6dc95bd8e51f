"""Progress for people, on standard error: live bars on a terminal, else one line a step, in docker's words."""

from __future__ import annotations

import os
import time
from _thread import allocate_lock

from imq.engine import progress as words
from imq.engine.render.text_table import display_width, escape_controls, replace_controls
from imq.engine.units.size import human_size
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TextIO

    from imq.engine.oci.digest import Digest
    from imq.engine.progress import Progress

_DONE = frozenset({words.PULLED, words.EXISTS, words.PUSHED, words.LAYER_EXISTS})
_REDRAWN = 0.1
"""Seconds between two drawings of the bars."""
_SHOWN = 0.3
"""Seconds that something counted takes before it is shown: what is over sooner would only flicker."""
_SAID = 5.0
"""Seconds between two lines about something counted."""
_RECENT = 5.0
"""Seconds that the speed is measured over."""
_NARROW = 60
"""Columns below which there is no room for bars."""
_BAR = 24
"""Columns of a bar, without its brackets."""


def progress_on(stream: TextIO, *, bars: bool) -> Progress:
    """Return what shows progress on a stream; `bars` when it is a terminal that can redraw."""
    return Bars(stream) if bars else Lines(stream)


class Lines:
    """One line for each layer and state, and a last one with the total."""

    _KEPT = _DONE | {words.PULLING}

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._clock = clock
        self._guard = allocate_lock()
        self._total = 0
        self._done = 0
        self._counted = ""
        self._since = 0.0
        self._quiet = True

    def begin(self, name: str, total: int) -> None:
        """Name the transfer."""
        self._total, self._done = total, 0
        self._write(f"{name}: {human_size(total)} in all\n")

    def status(self, digest: Digest, word: str, _size: int) -> None:
        """Say a state that a log should keep."""
        if word in self._KEPT or word.startswith(words.MOUNTED):
            self._write(f"{digest.short}: {word}\n")

    def advance(self, _digest: Digest, _done: int, total_done: int) -> None:
        """Remember how much has travelled."""
        self._done = max(self._done, total_done)

    def end(self) -> None:
        """Say how much travelled."""
        self._write(f"total: {human_size(self._done)} of {human_size(self._total)} transferred\n")

    def count(self, what: str, done: int, total: int) -> None:
        """Say now and then how far what takes long has come, and that it is done."""
        self._say(what, done, total, str)

    def weigh(self, what: str, done: int, total: int) -> None:
        """Say the same of bytes."""
        self._say(what, done, total, human_size)

    def _say(self, what: str, done: int, total: int, shown: Callable[[int], str]) -> None:
        now = self._clock()
        if what != self._counted:
            self._counted, self._since, self._quiet = what, now, True
        ended = done >= total > 0
        if now - self._since >= _SAID or (ended and not self._quiet):
            self._since, self._quiet = now, False
            self._write(f"{what}: {_of(done, total, shown)}\n")
        if ended:
            self._counted = ""

    def stop(self) -> None:
        """Forget what was counted."""
        self._counted = ""

    def warn(self, text: str) -> None:
        """Say it in docker's way."""
        self._write(f"WARNING: {text}\n")

    def _write(self, text: str) -> None:
        with self._guard:
            write(self._stream, escape_controls(text) if self._is_terminal else text)


class _Layer:
    """A layer as it is drawn."""

    def __init__(self, digest: Digest, size: int) -> None:
        self.name = digest.short
        self.size = size
        self.word = ""
        self.done = 0

    @property
    def finished(self) -> bool:
        return self.word in _DONE or self.word.startswith(words.MOUNTED)

    @property
    def moves(self) -> bool:
        return self.word in (words.DOWNLOADING, words.PUSHING)


class Bars:
    """A bar for each layer, and one for all, redrawn in place ten times a second by a thread of its own.

    What is counted has one line, which goes when it is done.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._guard = allocate_lock()
        self._name = ""
        self._total = 0
        self._done = 0
        self._layers: dict[Digest, _Layer] = {}
        self._counts: dict[str, tuple[int, int, float, bool]] = {}
        self._times: list[tuple[float, int]] = []
        self._drawn: list[int] = []
        self._run = 0
        self._redrawing = False

    def begin(self, name: str, total: int) -> None:
        """Draw the bars."""
        with self._guard:
            self._name, self._total, self._done = name, total, 0
            self._layers = {}
            self._times = [(self._clock(), 0)]
            self._start()

    def status(self, digest: Digest, word: str, size: int) -> None:
        """Write the layer's state before its bar."""
        with self._guard:
            layer = self._layers.setdefault(digest, _Layer(digest, size))
            layer.word = word
            if layer.finished:
                layer.done = layer.size

    def advance(self, digest: Digest, done: int, total_done: int) -> None:
        """Move the bars."""
        with self._guard:
            if digest in self._layers:
                self._layers[digest].done = done
            self._done = max(self._done, total_done)

    def end(self) -> None:
        """Leave the bars as they stand."""
        with self._guard:
            self._draw(last=True)
            self._drawn = []
            self._name, self._layers = "", {}
            self._redrawing = bool(self._counts)

    def count(self, what: str, done: int, total: int) -> None:
        """Show how far something counted has come; it goes when it is done."""
        self._show(what, done, total, bytes_=False)

    def weigh(self, what: str, done: int, total: int) -> None:
        """Show the same of bytes, with their speed."""
        self._show(what, done, total, bytes_=True)

    def _show(self, what: str, done: int, total: int, *, bytes_: bool) -> None:
        with self._guard:
            if done >= total > 0:
                self._counts.pop(what, None)
                self._rest()
                return
            since = self._counts[what][2] if what in self._counts else self._clock()
            self._counts[what] = done, total, since, bytes_
            self._start()

    def stop(self) -> None:
        """Take away what is counted."""
        with self._guard:
            self._counts = {}
            self._rest()

    def _rest(self) -> None:
        """Draw nothing more when there is nothing more."""
        if not self._counts and not self._name:
            self._erase()
            self._redrawing = False

    def warn(self, text: str) -> None:
        """Say it in docker's way, above the bars."""
        with self._guard:
            self._erase()
            write(self._stream, escape_controls(f"WARNING: {text}\n"))

    def _start(self) -> None:
        """Begin to redraw, unless that is being done."""
        if self._redrawing:
            return
        from threading import Thread

        self._redrawing = True
        self._run += 1
        Thread(target=self._redraw, args=(self._run,), name="imq-progress", daemon=True).start()

    def _redraw(self, run: int) -> None:
        while True:
            time.sleep(_REDRAWN)
            with self._guard:
                if not self._redrawing or run != self._run:
                    return
                self._draw()

    def _draw(self, *, last: bool = False) -> None:
        """Draw all lines in the place of those that were drawn before, in one write."""
        wide, high = self._size()
        shown = self._lines(wide - 1, high - 1, last=last)
        text = self._back(wide) + "".join(f"{line}\x1b[K\n" for line in shown) + "\x1b[J"
        if shown or self._drawn:
            write(self._stream, text)
        self._drawn = [display_width(line) for line in shown]

    def _erase(self) -> None:
        if self._drawn:
            write(self._stream, f"{self._back(self._size()[0])}\x1b[J")
            self._drawn = []

    def _back(self, wide: int) -> str:
        """Return what moves the cursor to the first drawn line; lines wider than the screen is now have wrapped."""
        rows = sum(max(1, -(-columns // wide)) for columns in self._drawn)
        return f"\r\x1b[{rows}A" if rows else ""

    def _size(self) -> tuple[int, int]:
        try:
            wide, high = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError):
            wide, high = 0, 0
        return wide or 80, high or 24

    def _lines(self, wide: int, high: int, *, last: bool) -> list[str]:
        """Return what is drawn: the layers, as many as the screen has room for, and below them the total."""
        now = self._clock()
        lines = []
        if self._name:
            layers = list(self._layers.values())
            moving = any(layer.moves for layer in layers)
            room = len(layers) if last else max(1, high - 2 - len(self._counts))
            chosen = _chosen(layers, room)
            lines += [_layer_line(layer, wide, waits=moving and not last) for layer in chosen]
            if len(chosen) < len(layers):
                finished = sum(layer.finished for layer in layers)
                lines.append(_cut(f"{len(layers)} layers, {finished} of them done", wide))
            lines.append(self._total_line(now, wide, last=last))
        if not last:
            for what, (done, total, since, bytes_) in self._counts.items():
                if now - since >= _SHOWN:
                    line = _weight_line if bytes_ else _count_line
                    lines.append(line(what, done, total, now - since, wide))
        return lines

    def _total_line(self, now: float, wide: int, *, last: bool) -> str:
        """Return the line of the whole transfer: bytes, speed and how long it will take, or its speed over all."""
        begun = self._times[0][0]
        self._times.append((now, self._done))
        if len(self._times) > 2:
            recent = next((at for at in range(1, len(self._times)) if self._times[at][0] >= now - _RECENT), 1)
            self._times[1:recent] = []
        since, before = self._times[0] if last or len(self._times) < 3 else self._times[1]
        speed = (self._done - before) / (now - since) if now - since > 0.05 else 0.0
        parts = [f"{human_size(self._done)}/{human_size(self._total)}"]
        if speed > 0:
            parts.append(f"{human_size(int(speed))}/s")
        if last:
            parts.append(_lasting(now - begun))
        elif speed > 0 and self._done < self._total:
            parts.append(f"{_lasting((self._total - self._done) / speed)} left")
        whole = last and all(layer.finished for layer in self._layers.values())  # what was mounted did not travel
        filled = self._total if whole else self._done
        return _with_bar(replace_controls(self._name), filled, self._total, "  ".join(parts), wide)


def _chosen(layers: Sequence[_Layer], room: int) -> list[_Layer]:
    """Return the layers that there is room for, in their order: first those that move, then those that wait."""
    if len(layers) <= room:
        return list(layers)
    urgent = sorted(range(len(layers)), key=lambda at: (not layers[at].moves, layers[at].finished, at))
    return [layers[at] for at in sorted(urgent[:room])]


def _layer_line(layer: _Layer, wide: int, *, waits: bool) -> str:
    word = words.WAITING if waits and layer.word in (words.PULLING, words.PREPARING) else layer.word
    head = replace_controls(f"{layer.name}: {word}")
    if not layer.moves:
        return _cut(head, wide)
    return _with_bar(head, layer.done, layer.size, f"{human_size(layer.done)}/{human_size(layer.size)}", wide)


def _count_line(what: str, done: int, total: int, took: float, wide: int) -> str:
    if not total:
        return _cut(f"{replace_controls(what)}: {done}", wide)
    left = f"  {_lasting(took / done * (total - done))} left" if done else ""
    return _with_bar(replace_controls(what), done, total, f"{done}/{total}{left}", wide)


def _weight_line(what: str, done: int, total: int, took: float, wide: int) -> str:
    speed = f"  {human_size(int(done / took))}/s" if done else ""
    if not total:
        return _cut(f"{replace_controls(what)}: {human_size(done)}{speed}", wide)
    left = f"  {_lasting(took / done * (total - done))} left" if done else ""
    return _with_bar(replace_controls(what), done, total, f"{human_size(done)}/{human_size(total)}{speed}{left}", wide)


def _with_bar(head: str, done: int, total: int, tail: str, wide: int) -> str:
    """Return one line: what it is about, a bar where there is room for one, and the numbers, which are never cut."""
    bar = ""
    if wide >= _NARROW:
        filled = min(_BAR, _BAR * done // total) if total else _BAR
        bar = "[" + ("=" * filled + ">" * (filled < _BAR)).ljust(_BAR) + "]  "
    room = wide - len(bar) - len(tail) - 2
    return _cut(f"{_cut(head, max(room, 0))}  {bar}{tail}", wide)


def _cut(text: str, wide: int) -> str:
    """Return a text in at most so many columns; what is left out is marked."""
    if display_width(text) <= wide:
        return text
    while text and display_width(text) > wide - 1:
        text = text[:-1]
    return f"{text}…" if wide > 0 else ""


def _of(done: int, total: int, shown: Callable[[int], str]) -> str:
    return f"{shown(done)} of {shown(total)}" if total else shown(done)


def _lasting(seconds: float) -> str:
    """Return a time as a clock shows it: 0:07, 12:05, 1:02:03."""
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def write(stream: TextIO, text: str) -> None:
    """Write to whoever watches; when nobody does any more, the transfer goes on."""
    try:
        stream.write(text)
        stream.flush()
    except (OSError, ValueError):
        pass
