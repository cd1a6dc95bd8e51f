"""Latency of the interactive session: the prompt, the first completions, and `imq help`."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import shutil
import signal
import statistics
import struct
import sys
import termios
import time
from typing import TYPE_CHECKING

from measure import BenchmarkError, Contender, Figure, interleave, milliseconds, output_of
from query import provide_layout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness import Bench

REFERENCES = 10_000
STARTS = 20
PROMPT_TARGET = 250.0
BARE_TARGET = 1.35
HELP_TARGET = 60.0
COMPLETION_TARGET = 50.0
_TIMEOUT = 30.0
_CURSOR_REQUEST = b"\x1b[6n"
"""The request for the cursor position."""
_PROCESS_CLOCK = 2
"""The kernel's number of a process's processor clock, in the low bits of the number of a clock."""
_BARE_PROMPT = "from prompt_toolkit import prompt; prompt('imq> ')"


class Terminal:
    """A program on its own terminal."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._output = b""
        self.started = time.monotonic()
        self._process, self._terminal = pty.fork()
        if self._process == 0:
            os.execvpe(command[0], command, {**environment, "TERM": "xterm-256color"})
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))

    def type(self, text: str) -> float:
        """Type a text; return the time."""
        self._output = b""
        now = time.monotonic()
        os.write(self._terminal, text.encode())
        return now

    def wait(self, text: str) -> float:
        """Wait for a text; return the time at which it appears."""
        end = time.monotonic() + _TIMEOUT
        while text.encode() not in self._output:
            if not select.select([self._terminal], [], [], max(0.0, end - time.monotonic()))[0]:
                raise BenchmarkError(f"{text!r} did not appear: {self._output[-200:]!r}")
            try:
                chunk = os.read(self._terminal, 1 << 16)
            except OSError:
                raise BenchmarkError(f"the program exited: {self._output[-200:]!r}") from None
            self._output += chunk
            if _CURSOR_REQUEST in chunk:
                os.write(self._terminal, b"\x1b[1;1R")
        return time.monotonic()

    def read_cpu(self) -> float:
        """Return the processor time of the program and its threads so far, in seconds, exact to the nanosecond."""
        return time.clock_gettime((~self._process << 3) | _PROCESS_CLOCK)

    def close(self) -> None:
        """End the program."""
        os.close(self._terminal)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)


def measure_session(bench: Bench) -> tuple[str, list[Figure]]:
    """Open sessions in turn with a bare prompt of prompt_toolkit, which is a lower bound; then print help."""
    store = os.path.join(bench.scratch, "interactive")
    shutil.copytree(provide_layout(bench, REFERENCES), store)
    environment = bench.environment()
    output_of([bench.imq(), "--root", store, "reindex"], environment)
    python = os.path.join(os.path.dirname(bench.imq()), "python")
    bare_command = [python if os.path.exists(python) else sys.executable, "-c", _BARE_PROMPT]
    prompts: list[tuple[float, float]] = []
    words: list[float] = []
    names: list[float] = []
    bare_prompts: list[tuple[float, float]] = []
    for _ in range(max(STARTS, bench.rounds * 2) + 1):
        terminal = Terminal([bench.imq(), "--root", store, "--no-config"], environment)
        try:
            prompts.append((terminal.wait("imq>") - terminal.started, terminal.read_cpu()))
            start = terminal.type("images where si")
            words.append(terminal.wait("size") - start)
            start = terminal.type("\x15rm t")
            names.append(terminal.wait("reference") - start)
        finally:
            terminal.close()
        bare = Terminal(bare_command, environment)
        try:
            bare_prompts.append((bare.wait("imq>") - bare.started, bare.read_cpu()))
        finally:
            bare.close()
    help_page = Contender("imq help", [bench.imq(), "help"], environment=environment, is_required=True)
    interleave([help_page], STARTS)
    own, own_cpu = zip(*prompts[1:], strict=True)
    bare_wall, bare_cpu = zip(*bare_prompts[1:], strict=True)
    ratios = tuple(one / other for one, other in zip(own, bare_wall, strict=True))
    ratio, cpu_ratio = (statistics.median(a) / statistics.median(b) for a, b in ((own, bare_wall), (own_cpu, bare_cpu)))
    figures = [
        _figure("prompt", own, PROMPT_TARGET, own_cpu),
        _figure("a bare prompt of prompt_toolkit", bare_wall, None, bare_cpu),
        Figure("prompt", "x bare", ratios, ratio, None, cpu_ratio, BARE_TARGET),
        _figure("first completion, of a field", words[1:], COMPLETION_TARGET),
        _figure("first completion, of a name", names[1:], COMPLETION_TARGET),
        milliseconds(help_page.name, help_page, HELP_TARGET),
    ]
    return f"a store of {REFERENCES} names, a terminal of 80 x 24", figures


def _figure(name: str, seconds: Sequence[float], target: float | None = None, cpu: Sequence[float] = ()) -> Figure:
    values = tuple(1000 * one for one in seconds)
    return Figure(name, "ms", values, statistics.median(values), target, 1000 * statistics.median(cpu) if cpu else None)
