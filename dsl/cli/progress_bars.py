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

_FINISHED_STATES = frozenset({words.PULLED, words.EXISTS, words.PUSHED, words.LAYER_EXISTS})
_REDRAW_INTERVAL = 0.1
"""Seconds between two drawings of the bars."""
_DISPLAY_DELAY = 0.3
"""Seconds that something counted takes before it is shown: what is over sooner would only flicker."""
_LINE_INTERVAL = 5.0
"""Seconds between two lines about something counted."""
_SPEED_WINDOW = 5.0
"""Seconds that the speed is measured over."""
_MIN_BAR_COLUMNS = 60
"""Columns below which there is no room for bars."""
_BAR_WIDTH = 24
"""Columns of a bar, without its brackets."""


def create_display(stream: TextIO, *, bars: bool) -> Progress:
    """Return what shows progress on a stream; `bars` when it is a terminal that can redraw."""
    return ProgressBars(stream) if bars else ProgressLines(stream)


class ProgressLines:
    """One line for each layer and state, and a last one with the total."""

    _LOGGED_STATES = _FINISHED_STATES | {words.PULLING}

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._clock = clock
        self._lock = allocate_lock()
        self._total = 0
        self._done = 0
        self._task = ""
        self._written_at = 0.0
        self._is_silent = True

    def begin(self, name: str, total: int) -> None:
        """Name the transfer."""
        self._total, self._done = total, 0
        self._write(f"{name}: {human_size(total)} in all\n")

    def set_layer_status(self, digest: Digest, word: str, _size: int) -> None:
        """Say a state that a log should keep."""
        if word in self._LOGGED_STATES or word.startswith(words.MOUNTED):
            self._write(f"{digest.short}: {word}\n")

    def advance(self, _digest: Digest, _done: int, total_done: int) -> None:
        """Remember how much has travelled."""
        self._done = max(self._done, total_done)

    def end(self) -> None:
        """Say how much travelled."""
        self._write(f"total: {human_size(self._done)} of {human_size(self._total)} transferred\n")

    def report_items(self, label: str, done: int, total: int) -> None:
        """Say now and then how far what takes long has come, and that it is done."""
        self._write_task(label, done, total, str)

    def report_bytes(self, label: str, done: int, total: int) -> None:
        """Say the same of bytes."""
        self._write_task(label, done, total, human_size)

    def _write_task(self, label: str, done: int, total: int, shown: Callable[[int], str]) -> None:
        now = self._clock()
        if label != self._task:
            self._task, self._written_at, self._is_silent = label, now, True
        ended = done >= total > 0
        if now - self._written_at >= _LINE_INTERVAL or (ended and not self._is_silent):
            self._written_at, self._is_silent = now, False
            self._write(f"{label}: {_format_share(done, total, shown)}\n")
        if ended:
            self._task = ""

    def stop(self) -> None:
        """Forget what was counted."""
        self._task = ""

    def warn(self, text: str) -> None:
        """Say it in docker's way."""
        self._write(f"WARNING: {text}\n")

    def _write(self, text: str) -> None:
        with self._lock:
            write_ignoring_errors(self._stream, escape_controls(text) if self._is_terminal else text)


class _LayerProgress:
    """A layer as it is drawn."""

    def __init__(self, digest: Digest, size: int) -> None:
        self.name = digest.short
        self.size = size
        self.state = ""
        self.done = 0

    @property
    def is_finished(self) -> bool:
        return self.state in _FINISHED_STATES or self.state.startswith(words.MOUNTED)

    @property
    def is_moving(self) -> bool:
        return self.state in (words.DOWNLOADING, words.PUSHING)


class ProgressBars:
    """A bar for each layer, and one for all, redrawn in place ten times a second by a thread of its own.

    What is counted has one line, which goes when it is done.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._lock = allocate_lock()
        self._name = ""
        self._total = 0
        self._done = 0
        self._layers: dict[Digest, _LayerProgress] = {}
        self._tasks: dict[str, tuple[int, int, float, bool]] = {}
        self._samples: list[tuple[float, int]] = []
        self._drawn_widths: list[int] = []
        self._generation = 0
        self._is_redrawing = False

    def begin(self, name: str, total: int) -> None:
        """Draw the bars."""
        with self._lock:
            self._name, self._total, self._done = name, total, 0
            self._layers = {}
            self._samples = [(self._clock(), 0)]
            self._start_redrawing()

    def set_layer_status(self, digest: Digest, word: str, size: int) -> None:
        """Write the layer's state before its bar."""
        with self._lock:
            layer = self._layers.setdefault(digest, _LayerProgress(digest, size))
            layer.state = word
            if layer.is_finished:
                layer.done = layer.size

    def advance(self, digest: Digest, done: int, total_done: int) -> None:
        """Move the bars."""
        with self._lock:
            if digest in self._layers:
                self._layers[digest].done = done
            self._done = max(self._done, total_done)

    def end(self) -> None:
        """Leave the bars as they stand."""
        with self._lock:
            self._draw(last=True)
            self._drawn_widths = []
            self._name, self._layers = "", {}
            self._is_redrawing = bool(self._tasks)

    def report_items(self, label: str, done: int, total: int) -> None:
        """Show how far something counted has come; it goes when it is done."""
        self._update_task(label, done, total, bytes_=False)

    def report_bytes(self, label: str, done: int, total: int) -> None:
        """Show the same of bytes, with their speed."""
        self._update_task(label, done, total, bytes_=True)

    def _update_task(self, label: str, done: int, total: int, *, bytes_: bool) -> None:
        with self._lock:
            if done >= total > 0:
                self._tasks.pop(label, None)
                self._stop_when_idle()
                return
            since = self._tasks[label][2] if label in self._tasks else self._clock()
            self._tasks[label] = done, total, since, bytes_
            self._start_redrawing()

    def stop(self) -> None:
        """Take away what is counted."""
        with self._lock:
            self._tasks = {}
            self._stop_when_idle()

    def _stop_when_idle(self) -> None:
        """Draw nothing more when there is nothing more."""
        if not self._tasks and not self._name:
            self._erase()
            self._is_redrawing = False

    def warn(self, text: str) -> None:
        """Say it in docker's way, above the bars."""
        with self._lock:
            self._erase()
            write_ignoring_errors(self._stream, escape_controls(f"WARNING: {text}\n"))

    def _start_redrawing(self) -> None:
        """Begin to redraw, unless that is being done."""
        if self._is_redrawing:
            return
        from threading import Thread

        self._is_redrawing = True
        self._generation += 1
        Thread(target=self._redraw_loop, args=(self._generation,), name="imq-progress", daemon=True).start()

    def _redraw_loop(self, run: int) -> None:
        while True:
            time.sleep(_REDRAW_INTERVAL)
            with self._lock:
                if not self._is_redrawing or run != self._generation:
                    return
                self._draw()

    def _draw(self, *, last: bool = False) -> None:
        """Draw all lines in the place of those that were drawn before, in one write."""
        wide, high = self._screen_size()
        shown = self._render_lines(wide - 1, high - 1, last=last)
        text = self._cursor_up(wide) + "".join(f"{line}\x1b[K\n" for line in shown) + "\x1b[J"
        if shown or self._drawn_widths:
            write_ignoring_errors(self._stream, text)
        self._drawn_widths = [display_width(line) for line in shown]

    def _erase(self) -> None:
        if self._drawn_widths:
            write_ignoring_errors(self._stream, f"{self._cursor_up(self._screen_size()[0])}\x1b[J")
            self._drawn_widths = []

    def _cursor_up(self, wide: int) -> str:
        """Return what moves the cursor to the first drawn line; lines wider than the screen is now have wrapped."""
        rows = sum(max(1, -(-columns // wide)) for columns in self._drawn_widths)
        return f"\r\x1b[{rows}A" if rows else ""

    def _screen_size(self) -> tuple[int, int]:
        try:
            wide, high = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError):
            wide, high = 0, 0
        return wide or 80, high or 24

    def _render_lines(self, wide: int, high: int, *, last: bool) -> list[str]:
        """Return what is drawn: the layers, as many as the screen has room for, and below them the total."""
        now = self._clock()
        lines = []
        if self._name:
            layers = list(self._layers.values())
            moving = any(layer.is_moving for layer in layers)
            room = len(layers) if last else max(1, high - 2 - len(self._tasks))
            chosen = _select_layers(layers, room)
            lines += [_render_layer(layer, wide, waits=moving and not last) for layer in chosen]
            if len(chosen) < len(layers):
                finished = sum(layer.is_finished for layer in layers)
                lines.append(_truncate(f"{len(layers)} layers, {finished} of them done", wide))
            lines.append(self._render_total(now, wide, last=last))
        if not last:
            for label, (done, total, since, bytes_) in self._tasks.items():
                if now - since >= _DISPLAY_DELAY:
                    line = _render_bytes if bytes_ else _render_count
                    lines.append(line(label, done, total, now - since, wide))
        return lines

    def _render_total(self, now: float, wide: int, *, last: bool) -> str:
        """Return the line of the whole transfer: bytes, speed and how long it will take, or its speed over all."""
        begun = self._samples[0][0]
        self._samples.append((now, self._done))
        if len(self._samples) > 2:
            recent = next((at for at in range(1, len(self._samples)) if self._samples[at][0] >= now - _SPEED_WINDOW), 1)
            self._samples[1:recent] = []
        since, before = self._samples[0] if last or len(self._samples) < 3 else self._samples[1]
        speed = (self._done - before) / (now - since) if now - since > 0.05 else 0.0
        parts = [f"{human_size(self._done)}/{human_size(self._total)}"]
        if speed > 0:
            parts.append(f"{human_size(int(speed))}/s")
        if last:
            parts.append(_format_duration(now - begun))
        elif speed > 0 and self._done < self._total:
            parts.append(f"{_format_duration((self._total - self._done) / speed)} left")
        whole = last and all(layer.is_finished for layer in self._layers.values())  # what was mounted did not travel
        filled = self._total if whole else self._done
        return _render_bar(replace_controls(self._name), filled, self._total, "  ".join(parts), wide)


def _select_layers(layers: Sequence[_LayerProgress], room: int) -> list[_LayerProgress]:
    """Return the layers that there is room for, in their order: first those that move, then those that wait."""
    if len(layers) <= room:
        return list(layers)
    urgent = sorted(range(len(layers)), key=lambda at: (not layers[at].is_moving, layers[at].is_finished, at))
    return [layers[at] for at in sorted(urgent[:room])]


def _render_layer(layer: _LayerProgress, wide: int, *, waits: bool) -> str:
    word = words.WAITING if waits and layer.state in (words.PULLING, words.PREPARING) else layer.state
    head = replace_controls(f"{layer.name}: {word}")
    if not layer.is_moving:
        return _truncate(head, wide)
    return _render_bar(head, layer.done, layer.size, f"{human_size(layer.done)}/{human_size(layer.size)}", wide)


def _render_count(label: str, done: int, total: int, took: float, wide: int) -> str:
    if not total:
        return _truncate(f"{replace_controls(label)}: {done}", wide)
    left = f"  {_format_duration(took / done * (total - done))} left" if done else ""
    return _render_bar(replace_controls(label), done, total, f"{done}/{total}{left}", wide)


def _render_bytes(label: str, done: int, total: int, took: float, wide: int) -> str:
    speed = f"  {human_size(int(done / took))}/s" if done else ""
    if not total:
        return _truncate(f"{replace_controls(label)}: {human_size(done)}{speed}", wide)
    left = f"  {_format_duration(took / done * (total - done))} left" if done else ""
    return _render_bar(
        replace_controls(label), done, total, f"{human_size(done)}/{human_size(total)}{speed}{left}", wide
    )


def _render_bar(head: str, done: int, total: int, tail: str, wide: int) -> str:
    """Return one line: what it is about, a bar where there is room for one, and the numbers, which are never cut."""
    bar = ""
    if wide >= _MIN_BAR_COLUMNS:
        filled = min(_BAR_WIDTH, _BAR_WIDTH * done // total) if total else _BAR_WIDTH
        bar = "[" + ("=" * filled + ">" * (filled < _BAR_WIDTH)).ljust(_BAR_WIDTH) + "]  "
    room = wide - len(bar) - len(tail) - 2
    return _truncate(f"{_truncate(head, max(room, 0))}  {bar}{tail}", wide)


def _truncate(text: str, wide: int) -> str:
    """Return a text in at most so many columns; what is left out is marked."""
    if display_width(text) <= wide:
        return text
    while text and display_width(text) > wide - 1:
        text = text[:-1]
    return f"{text}…" if wide > 0 else ""


def _format_share(done: int, total: int, shown: Callable[[int], str]) -> str:
    return f"{shown(done)} of {shown(total)}" if total else shown(done)


def _format_duration(seconds: float) -> str:
    """Return a time as a clock shows it: 0:07, 12:05, 1:02:03."""
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def write_ignoring_errors(stream: TextIO, text: str) -> None:
    """Write to whoever watches; when nobody does any more, the transfer goes on."""
    try:
        stream.write(text)
        stream.flush()
    except (OSError, ValueError):
        pass
