"""How long a person waits: for the prompt of a session, and for what is offered behind the first words."""

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

from measure import CannotRunError, Figure, said_by
from query import layout_of

if TYPE_CHECKING:
    from harness import Bench

REFERENCES = 10_000
PROMPT_TARGET = 250.0
COMPLETION_TARGET = 50.0
_LONGEST = 30.0
_WHERE = b"\x1b[6n"
"""What asks a terminal where its cursor is."""
_ALONE = "from prompt_toolkit import prompt; prompt('imq> ')"


class Typist:
    """A program on a terminal of its own: types, and waits for what is shown."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._shown = b""
        self.started = time.monotonic()
        self._process, self._terminal = pty.fork()
        if self._process == 0:
            os.execvpe(command[0], command, {**environment, "TERM": "xterm-256color"})
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))

    def type(self, text: str) -> float:
        """Type a text; return the time."""
        self._shown = b""
        now = time.monotonic()
        os.write(self._terminal, text.encode())
        return now

    def wait(self, wanted: str) -> float:
        """Return the time at which a text is shown."""
        end = time.monotonic() + _LONGEST
        while wanted.encode() not in self._shown:
            if not select.select([self._terminal], [], [], max(0.0, end - time.monotonic()))[0]:
                raise CannotRunError(f"{wanted!r} was never shown: {self._shown[-200:]!r}")
            try:
                piece = os.read(self._terminal, 1 << 16)
            except OSError:
                raise CannotRunError(f"it ended: {self._shown[-200:]!r}") from None
            self._shown += piece
            if _WHERE in piece:
                os.write(self._terminal, b"\x1b[1;1R")
        return time.monotonic()

    def close(self) -> None:
        """End the program."""
        os.close(self._terminal)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)


def interactive(bench: Bench) -> tuple[str, list[Figure]]:
    """Open sessions in turn with a bare prompt of prompt_toolkit, which is the least that one can take."""
    store = os.path.join(bench.scratch, "interactive")
    shutil.copytree(layout_of(bench, REFERENCES), store)
    environment = bench.environment()
    said_by([bench.imq(), "--root", store, "reindex"], environment)
    python = os.path.join(os.path.dirname(bench.imq()), "python")
    prompts: list[float] = []
    words: list[float] = []
    names: list[float] = []
    alone: list[float] = []
    for _ in range(bench.rounds * 2 + 1):
        typist = Typist([bench.imq(), "--root", store, "--no-config"], environment)
        try:
            prompts.append(typist.wait("imq>") - typist.started)
            at = typist.type("images where si")
            words.append(typist.wait("size") - at)
            at = typist.type("\x15rm t")
            names.append(typist.wait("reference") - at)
        finally:
            typist.close()
        bare = Typist([python if os.path.exists(python) else sys.executable, "-c", _ALONE], environment)
        try:
            alone.append(bare.wait("imq>") - bare.started)
        finally:
            bare.close()
    ratio = statistics.median(prompts) / statistics.median(alone)
    figures = [
        _figure("prompt", prompts[1:], PROMPT_TARGET),
        _figure("a bare prompt of prompt_toolkit", alone[1:]),
        Figure("prompt", "x bare", tuple(a / b for a, b in zip(prompts[1:], alone[1:], strict=True)), ratio),
        _figure("first completion, of a field", words[1:], COMPLETION_TARGET),
        _figure("first completion, of a name", names[1:], COMPLETION_TARGET),
    ]
    return f"a store of {REFERENCES} names, a terminal of 80 x 24", figures


def _figure(name: str, seconds: list[float], target: float | None = None) -> Figure:
    values = tuple(1000 * one for one in seconds)
    return Figure(name, "ms", values, statistics.median(values), target)
