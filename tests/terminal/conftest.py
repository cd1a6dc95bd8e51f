"""Real terminals: a program runs in tmux, the tests send keys, and read the screen until it shows the expected text."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from support.images import write_library
from support.servers import require_programs

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable, Iterator

_TIMEOUT = 60.0
"""Seconds to wait for a screen."""
_POLL_INTERVAL = 0.02
_TOOLBAR = re.compile(r"^(?:\x1b\[[\d;]*m)* source: .*$", re.MULTILINE)
"""The toolbar of a session, which is no part of what a test types and reads."""
_IMQ = [os.environ["IMQ_EXECUTABLE"]] if os.environ.get("IMQ_EXECUTABLE") else [sys.executable, "-m", "imq"]


class Terminal:
    """A program on its own terminal."""

    def __init__(self, socket: str, name: str) -> None:
        self._socket = socket
        self._name = name

    def press(self, *keys: str) -> None:
        """Press keys by tmux's names: Enter, Tab, C-c, Up."""
        self._tmux("send-keys", "-t", self._name, *keys)

    def type(self, text: str) -> None:
        """Type a text literally."""
        self._tmux("send-keys", "-t", self._name, "-l", text)

    def enter(self, text: str) -> None:
        """Type a line and press Enter."""
        self.type(text)
        self.press("Enter")

    def paste(self, text: str) -> None:
        """Paste a text; with bracketed paste when the program enables it."""
        self._tmux("set-buffer", "-b", self._name, text)
        self._tmux("paste-buffer", "-p", "-b", self._name, "-t", self._name)

    def resize(self, columns: int, rows: int) -> None:
        """Change the size of the terminal."""
        self._tmux("resize-window", "-t", self._name, "-x", str(columns), "-y", str(rows))

    def screen(self, *, styled: bool = False, whole: bool = False) -> str:
        """Return the text of the screen; with `whole`, of the scrollback too."""
        options = ("-e",) if styled else ()
        text = self._tmux("capture-pane", "-t", self._name, "-p", *options, *(("-S", "-") if whole else ()))
        return _TOOLBAR.sub("", text)

    def toolbar(self) -> str:
        """Return the last line of the screen of a session; "" without one."""
        found = _TOOLBAR.search(self._tmux("capture-pane", "-t", self._name, "-p"))
        return found[0].strip() if found is not None else ""

    def wait_for_toolbar(self, pattern: str) -> str:
        """Wait until the toolbar contains a pattern; return the toolbar."""
        end = time.monotonic() + _TIMEOUT
        while not re.search(pattern, toolbar := self.toolbar()):
            if time.monotonic() > end:
                pytest.fail(f"{pattern!r} did not appear in the toolbar: {toolbar!r}")
            time.sleep(_POLL_INTERVAL)
        return toolbar

    def lines(self) -> list[str]:
        """Return the lines of the screen, without empty ones at its end."""
        return self.screen().rstrip("\n").split("\n")

    def wait(self, expected: str | Callable[[str], bool], *, styled: bool = False) -> str:
        """Wait until the screen contains a text, or a predicate holds for it; return the screen."""
        end = time.monotonic() + _TIMEOUT
        while True:
            screen = self.screen(styled=styled)
            if expected in screen if isinstance(expected, str) else expected(screen):
                return screen
            if time.monotonic() > end:
                pytest.fail(f"{expected!r} did not appear on:\n{screen}")
            time.sleep(_POLL_INTERVAL)

    def wait_for_prompt(self) -> str:
        """Wait for an empty prompt; return the screen."""
        return self.wait(lambda screen: screen.rstrip().rsplit("\n", 1)[-1].strip() in ("imq>", "$"))

    def wait_for_exit(self) -> str:
        """Wait for the program to exit; return the screen."""
        return self.wait("exited with ")

    def _tmux(self, *arguments: str) -> str:
        run = subprocess.run(
            ["tmux", "-S", self._socket, *arguments], capture_output=True, text=True, encoding="utf-8", check=False
        )
        assert run.returncode == 0, run.stderr
        return run.stdout


class TerminalLab:
    """Starts programs on terminals, with their own home folder and store.

    imq is `python -m imq`, or the executable in $IMQ_EXECUTABLE.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.store = folder / "store"
        self.home.mkdir()
        self._socket = str(folder / "tmux")
        self._count = 0
        self._started = False

    def imq(self, *arguments: str, columns: int = 80, rows: int = 24, **environment: str | None) -> Terminal:
        """Start imq. An environment variable that is None is unset."""
        command = [*_IMQ, "--root", str(self.store), *arguments]
        return self.start(command, columns, rows, environment)

    def start_without_store(self, **environment: str | None) -> Terminal:
        """Start a session of a user who has neither a store nor an engine."""
        missing = f"unix://{self.folder}/missing"
        engines = {"DOCKER_HOST": f"{missing}-docker.sock", "CONTAINER_HOST": f"{missing}-podman.sock"}
        return self.start([*_IMQ, "--no-config"], 100, 30, {"IMQ_ROOT": None, **engines, **environment})

    def start(self, command: list[str], columns: int, rows: int, environment: dict[str, str | None]) -> Terminal:
        """Start a program. When it exits, the terminal stays open and shows the exit code."""
        self._count += 1
        name = f"t{self._count}"
        variables = {
            "HOME": str(self.home),
            "PAGER": "cat",
            "COLUMNS": None,
            "LINES": None,
            "TMUX": None,
            **environment,
        }
        words = ["env", *(f"--unset={name}" for name, value in variables.items() if value is None)]
        words += [f"{name}={value}" for name, value in variables.items() if value is not None]
        script = 'trap : INT; "$@"; echo "exited with $?"; exec sleep 1000'
        arguments = ["sh", "-c", script, "sh", *words, *command]
        options = ["-d", "-s", name, "-x", str(columns), "-y", str(rows)]
        subprocess.run(
            ["tmux", "-S", self._socket, "-f", "/dev/null", "new-session", *options, *arguments],
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
def lab(tmp_path: pathlib.Path) -> Iterator[TerminalLab]:
    require_programs("tmux")
    lab = TerminalLab(tmp_path)
    write_library(lab.store)
    yield lab
    lab.close()
