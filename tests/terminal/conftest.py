"""Real terminals: a program runs in tmux, keys are typed, and the screen is read until it shows what it should."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from support.images import library
from support.servers import needed

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Iterator

_PATIENCE = 60.0
"""Seconds after which a screen will not show what is waited for."""
_LOOK = 0.02
_IMQ = [os.environ["IMQ_EXECUTABLE"]] if os.environ.get("IMQ_EXECUTABLE") else [sys.executable, "-m", "imq"]


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, socket: str, name: str) -> None:
        self._socket = socket
        self._name = name

    def keys(self, *keys: str) -> None:
        """Press keys by tmux's names: Enter, Tab, C-c, Up."""
        self._tmux("send-keys", "-t", self._name, *keys)

    def type(self, text: str) -> None:
        """Type a text as it is."""
        self._tmux("send-keys", "-t", self._name, "-l", text)

    def say(self, text: str) -> None:
        """Type a line."""
        self.type(text)
        self.keys("Enter")

    def paste(self, text: str) -> None:
        """Paste a text as a terminal does: between marks, when the program wants them."""
        self._tmux("set-buffer", "-b", self._name, text)
        self._tmux("paste-buffer", "-p", "-b", self._name, "-t", self._name)

    def resize(self, wide: int, high: int) -> None:
        """Change the size of the terminal."""
        self._tmux("resize-window", "-t", self._name, "-x", str(wide), "-y", str(high))

    def screen(self, *, styled: bool = False, whole: bool = False) -> str:
        """Return what is to be seen; `whole`: with what has left the screen at its top."""
        options = ("-e",) if styled else ()
        return self._tmux("capture-pane", "-t", self._name, "-p", *options, *(("-S", "-") if whole else ()))

    def lines(self) -> list[str]:
        """Return the lines that are to be seen, without the empty ones at the end."""
        return self.screen().rstrip("\n").split("\n")

    def wait(self, wanted: str | Callable[[str], bool], *, styled: bool = False) -> str:
        """Return the screen as soon as it shows a text, or is as wanted."""
        end = time.monotonic() + _PATIENCE
        while True:
            screen = self.screen(styled=styled)
            if wanted in screen if isinstance(wanted, str) else wanted(screen):
                return screen
            if time.monotonic() > end:
                pytest.fail(f"{wanted!r} never showed on:\n{screen}")
            time.sleep(_LOOK)

    def ready(self) -> str:
        """Wait for a prompt with nothing behind it."""
        return self.wait(lambda screen: screen.rstrip().rsplit("\n", 1)[-1].strip() in ("imq>", "$"))

    def ended(self) -> str:
        """Wait for the program to end; return the last screen."""
        return self.wait("ended with ")

    def _tmux(self, *arguments: str) -> str:
        run = subprocess.run(
            ["tmux", "-S", self._socket, *arguments], capture_output=True, text=True, encoding="utf-8", check=False
        )
        assert run.returncode == 0, run.stderr
        return run.stdout


class Room:
    """Starts programs on terminals, with a home and a store of their own.

    imq is `python -m imq`, or the executable that IMQ_EXECUTABLE names.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.store = folder / "store"
        self.home.mkdir()
        self._socket = str(folder / "tmux")
        self._count = 0
        self._started = False

    def imq(self, *arguments: str, wide: int = 80, high: int = 24, **environment: str | None) -> Terminal:
        """Start imq; an environment variable that is None is not there."""
        command = [*_IMQ, "--root", str(self.store), *arguments]
        return self.start(command, wide, high, environment)

    def start(self, command: list[str], wide: int, high: int, environment: dict[str, str | None]) -> Terminal:
        """Start a program; when it ends, the terminal stays and shows its exit code."""
        self._count += 1
        name = f"t{self._count}"
        given = {"HOME": str(self.home), "PAGER": "cat", "COLUMNS": None, "LINES": None, "TMUX": None, **environment}
        words = ["env", *(f"--unset={name}" for name, value in given.items() if value is None)]
        words += [f"{name}={value}" for name, value in given.items() if value is not None]
        script = 'trap : INT; "$@"; echo "ended with $?"; exec sleep 1000'
        arguments = ["sh", "-c", script, "sh", *words, *command]
        place = ["-d", "-s", name, "-x", str(wide), "-y", str(high)]
        subprocess.run(
            ["tmux", "-S", self._socket, "-f", "/dev/null", "new-session", *place, *arguments],
            check=True,
            capture_output=True,
            env={**os.environ, "LC_ALL": "C.UTF-8", "TERM": "xterm-256color"},
            cwd=self.folder,
        )
        self._started = True
        return Terminal(self._socket, name)

    def close(self) -> None:
        if self._started:
            subprocess.run(["tmux", "-S", self._socket, "kill-server"], capture_output=True, check=False)


@pytest.fixture
def room(tmp_path: pathlib.Path) -> Iterator[Room]:
    needed("tmux")
    room = Room(tmp_path)
    library(room.store)
    yield room
    room.close()
