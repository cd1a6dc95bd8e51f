"""Progress on standard error: live bars on a terminal, else one line per step, in docker's words."""

from __future__ import annotations

import os
import time
from _thread import allocate_lock

from imq.engine import progress as words
from imq.engine.render.text_table import escape_controls, replace_controls
from imq.engine.units.size import human_size
from imq.grammar.display_width import display_width, wrap_line
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TextIO

    from imq.engine.oci.digest import Digest
    from imq.engine.progress import Progress

_FINISHED_STATES = frozenset({words.PULLED, words.EXISTS, words.PUSHED, words.LAYER_EXISTS})
_REDRAW_INTERVAL = 0.1
"""Seconds between redraws of the bars."""
_DISPLAY_DELAY = 0.3
"""Seconds before a task is shown. Shorter tasks would only flicker."""
_LINE_INTERVAL = 5.0
"""Seconds between lines about a task."""
_SPEED_WINDOW = 5.0
"""Seconds over which the speed is averaged."""
_MIN_BAR_COLUMNS = 60
"""The least width of a terminal, in columns, that has room for bars."""
_BAR_WIDTH = 24
"""Columns of a bar, without its brackets."""


def create_display(stream: TextIO, *, bars: bool) -> Progress:
    """Return a display of progress: `bars` for a terminal that can redraw, else lines."""
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
        """Write the name and total size of a transfer, if the size is known."""
        self._total, self._done = total, 0
        if total:
            self._write(f"{name}: {human_size(total)} in all\n")

    def set_layer_status(self, digest: Digest, word: str, _size: int) -> None:
        """Write a state of a layer when it belongs in a log."""
        if word in self._LOGGED_STATES or word.startswith(words.MOUNTED):
            self._write(f"{digest.short}: {word}\n")

    def advance(self, _digest: Digest, _done: int, total_done: int) -> None:
        """Record the number of transferred bytes."""
        self._done = max(self._done, total_done)

    def end(self) -> None:
        """Write the number of transferred bytes."""
        share = f" of {human_size(self._total)}" if self._total else ""
        self._write(f"total: {human_size(self._done)}{share} transferred\n")

    def report_items(self, label: str, done: int, total: int) -> None:
        """Write the progress of a long task from time to time, and its end."""
        self._write_task(label, done, total, str)

    def report_bytes(self, label: str, done: int, total: int) -> None:
        """Write the progress of a task that counts bytes."""
        self._write_task(label, done, total, human_size)

    def _write_task(self, label: str, done: int, total: int, format_count: Callable[[int], str]) -> None:
        now = self._clock()
        if label != self._task:
            self._task, self._written_at, self._is_silent = label, now, True
        is_finished = done >= total > 0
        if now - self._written_at >= _LINE_INTERVAL or (is_finished and not self._is_silent):
            self._written_at, self._is_silent = now, False
            self._write(f"{label}: {_format_share(done, total, format_count)}\n")
        if is_finished:
            self._task = ""

    def stop(self) -> None:
        """Forget the current task."""
        self._task = ""

    def warn(self, text: str) -> None:
        """Write a warning as docker does."""
        self._write(f"WARNING: {text}\n")

    def note(self, text: str) -> None:
        """Write lines that are not a warning."""
        self._write(f"{text}\n")

    def _write(self, text: str) -> None:
        with self._lock:
            write_ignoring_errors(self._stream, _fit(text, self._stream) if self._is_terminal else text)


def _fit(text: str, stream: TextIO) -> str:
    """Return a text for a terminal: without control characters, and wrapped between words."""
    columns, _ = _find_screen_size(stream)
    lines = (wrapped for line in escape_controls(text).split("\n") for wrapped in wrap_line(line, columns))
    return "\n".join(lines)


def _find_screen_size(stream: TextIO) -> tuple[int, int]:
    """Return the columns and the rows of a terminal."""
    try:
        columns, rows = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        columns, rows = 0, 0
    return columns or 80, rows or 24


class _LayerProgress:
    """The progress of one layer."""

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
    """A bar for each layer and one for the transfer. A thread redraws them in place ten times a second.

    Each task has one line, which is removed when the task is finished.
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
        """Start to draw the bars of a transfer."""
        with self._lock:
            self._name, self._total, self._done = name, total, 0
            self._layers = {}
            self._samples = [(self._clock(), 0)]
            self._start_redrawing()

    def set_layer_status(self, digest: Digest, word: str, size: int) -> None:
        """Set the state of a layer, which is written before its bar."""
        with self._lock:
            layer = self._layers.setdefault(digest, _LayerProgress(digest, size))
            layer.state = word
            layer.size = max(layer.size, size)
            if layer.is_finished:
                layer.done = layer.size

    def advance(self, digest: Digest, done: int, total_done: int) -> None:
        """Record the number of transferred bytes."""
        with self._lock:
            if digest in self._layers:
                self._layers[digest].done = done
            self._done = max(self._done, total_done)

    def end(self) -> None:
        """Draw the bars a last time and leave them on the screen."""
        with self._lock:
            self._draw(last=True)
            self._drawn_widths = []
            self._name, self._layers = "", {}
            self._is_redrawing = bool(self._tasks)

    def report_items(self, label: str, done: int, total: int) -> None:
        """Show the progress of a task. Its line is removed when it is finished."""
        self._update_task(label, done, total, bytes_=False)

    def report_bytes(self, label: str, done: int, total: int) -> None:
        """Show the progress of a task that counts bytes, with its speed."""
        self._update_task(label, done, total, bytes_=True)

    def _update_task(self, label: str, done: int, total: int, *, bytes_: bool) -> None:
        with self._lock:
            if done >= total > 0:
                self._tasks.pop(label, None)
                self._stop_when_idle()
                return
            started_at = self._tasks[label][2] if label in self._tasks else self._clock()
            self._tasks[label] = done, total, started_at, bytes_
            self._start_redrawing()

    def stop(self) -> None:
        """Remove all tasks."""
        with self._lock:
            self._tasks = {}
            self._stop_when_idle()

    def _stop_when_idle(self) -> None:
        """Stop redrawing when there is neither a transfer nor a task."""
        if not self._tasks and not self._name:
            self._erase()
            self._is_redrawing = False

    def warn(self, text: str) -> None:
        """Write a warning as docker does, above the bars."""
        self.note(f"WARNING: {text}")

    def note(self, text: str) -> None:
        """Write lines above the bars."""
        with self._lock:
            self._erase()
            write_ignoring_errors(self._stream, _fit(f"{text}\n", self._stream))

    def _start_redrawing(self) -> None:
        """Start the thread that redraws, unless it is running."""
        if self._is_redrawing:
            return
        from threading import Thread

        self._is_redrawing = True
        self._generation += 1
        Thread(target=self._redraw_loop, args=(self._generation,), name="imq-progress", daemon=True).start()

    def _redraw_loop(self, generation: int) -> None:
        while True:
            time.sleep(_REDRAW_INTERVAL)
            with self._lock:
                if not self._is_redrawing or generation != self._generation:
                    return
                self._draw()

    def _draw(self, *, last: bool = False) -> None:
        """Replace the lines of the last drawing, in one write."""
        columns, rows = _find_screen_size(self._stream)
        lines = self._render_lines(columns - 1, rows - 1, last=last)
        text = self._cursor_up(columns) + "".join(f"{line}\x1b[K\n" for line in lines) + "\x1b[J"
        if lines or self._drawn_widths:
            write_ignoring_errors(self._stream, text)
        self._drawn_widths = [display_width(line) for line in lines]

    def _erase(self) -> None:
        if self._drawn_widths:
            write_ignoring_errors(self._stream, f"{self._cursor_up(_find_screen_size(self._stream)[0])}\x1b[J")
            self._drawn_widths = []

    def _cursor_up(self, columns: int) -> str:
        """Return the control sequence that moves the cursor to the first drawn line.

        Lines that are wider than the screen have wrapped, which happens after it was resized.
        """
        rows = sum(max(1, -(-width // columns)) for width in self._drawn_widths)
        return f"\r\x1b[{rows}A" if rows else ""

    def _render_lines(self, columns: int, rows: int, *, last: bool) -> list[str]:
        """Return the lines to draw: as many layers as the screen has room for, the transfer, and the tasks."""
        now = self._clock()
        lines = []
        if self._name:
            layers = list(self._layers.values())
            any_moving = any(layer.is_moving for layer in layers)
            count = len(layers) if last else max(1, rows - 2 - len(self._tasks))
            visible = _select_layers(layers, count)
            lines += [_render_layer(layer, columns, is_waiting=any_moving and not last) for layer in visible]
            if len(visible) < len(layers):
                finished = sum(layer.is_finished for layer in layers)
                lines.append(_truncate(f"{len(layers)} layers, {finished} of them done", columns))
            lines.append(self._render_total(now, columns, last=last))
        if not last:
            for label, (done, total, started_at, bytes_) in self._tasks.items():
                if now - started_at >= _DISPLAY_DELAY:
                    render = _render_bytes if bytes_ else _render_count
                    lines.append(render(label, done, total, now - started_at, columns))
        return lines

    def _render_total(self, now: float, columns: int, *, last: bool) -> str:
        """Return the line of the transfer: bytes, speed and remaining time; at its end, average speed and duration."""
        started_at = self._samples[0][0]
        self._samples.append((now, self._done))
        if len(self._samples) > 2:
            oldest = now - _SPEED_WINDOW
            recent = next((index for index in range(1, len(self._samples)) if self._samples[index][0] >= oldest), 1)
            self._samples[1:recent] = []
        since, before = self._samples[0] if last or len(self._samples) < 3 else self._samples[1]
        speed = (self._done - before) / (now - since) if now - since > 0.05 else 0.0
        parts = [f"{human_size(self._done)}/{human_size(self._total)}" if self._total else human_size(self._done)]
        if speed > 0:
            parts.append(f"{human_size(int(speed))}/s")
        if last:
            parts.append(_format_duration(now - started_at))
        elif speed > 0 and self._done < self._total:
            parts.append(f"{_format_duration((self._total - self._done) / speed)} left")
        is_complete = last and all(layer.is_finished for layer in self._layers.values())  # mounted layers send no bytes
        filled = self._total if is_complete else self._done
        return _render_bar(replace_controls(self._name), filled, self._total, "  ".join(parts), columns)


def _select_layers(layers: Sequence[_LayerProgress], count: int) -> list[_LayerProgress]:
    """Return at most `count` layers in their order. Moving layers have precedence, then waiting ones."""
    if len(layers) <= count:
        return list(layers)
    ranked = sorted(
        range(len(layers)), key=lambda index: (not layers[index].is_moving, layers[index].is_finished, index)
    )
    return [layers[index] for index in sorted(ranked[:count])]


def _render_layer(layer: _LayerProgress, columns: int, *, is_waiting: bool) -> str:
    word = words.WAITING if is_waiting and layer.state in (words.PULLING, words.PREPARING) else layer.state
    head = replace_controls(f"{layer.name}: {word}")
    if not layer.is_moving:
        return _truncate(head, columns)
    return _render_bar(head, layer.done, layer.size, f"{human_size(layer.done)}/{human_size(layer.size)}", columns)


def _render_count(label: str, done: int, total: int, elapsed: float, columns: int) -> str:
    if not total:
        return _truncate(f"{replace_controls(label)}: {done}", columns)
    remaining = f"  {_format_duration(elapsed / done * (total - done))} left" if done else ""
    return _render_bar(replace_controls(label), done, total, f"{done}/{total}{remaining}", columns)


def _render_bytes(label: str, done: int, total: int, elapsed: float, columns: int) -> str:
    speed = f"  {human_size(int(done / elapsed))}/s" if done else ""
    if not total:
        return _truncate(f"{replace_controls(label)}: {human_size(done)}{speed}", columns)
    remaining = f"  {_format_duration(elapsed / done * (total - done))} left" if done else ""
    numbers = f"{human_size(done)}/{human_size(total)}{speed}{remaining}"
    return _render_bar(replace_controls(label), done, total, numbers, columns)


def _render_bar(head: str, done: int, total: int, tail: str, columns: int) -> str:
    """Return one line: the head, a bar if there is room, and the tail. The head is truncated first."""
    bar = ""
    if columns >= _MIN_BAR_COLUMNS:
        filled = min(_BAR_WIDTH, _BAR_WIDTH * done // total) if total else _BAR_WIDTH
        bar = "[" + ("=" * filled + ">" * (filled < _BAR_WIDTH)).ljust(_BAR_WIDTH) + "]  "
    head_columns = columns - len(bar) - len(tail) - 2
    return _truncate(f"{_truncate(head, max(head_columns, 0))}  {bar}{tail}", columns)


def _truncate(text: str, columns: int) -> str:
    """Truncate a text to a number of columns. An ellipsis marks the cut."""
    if display_width(text) <= columns:
        return text
    while text and display_width(text) > columns - 1:
        text = text[:-1]
    return f"{text}…" if columns > 0 else ""


def _format_share(done: int, total: int, format_count: Callable[[int], str]) -> str:
    return f"{format_count(done)} of {format_count(total)}" if total else format_count(done)


def _format_duration(seconds: float) -> str:
    """Format a duration as a clock does: 0:07, 12:05, 1:02:03."""
    minutes, rest = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def write_ignoring_errors(stream: TextIO, text: str) -> None:
    """Write to a stream. A closed stream must not stop a transfer."""
    try:
        stream.write(text)
        stream.flush()
    except (OSError, ValueError):
        pass
