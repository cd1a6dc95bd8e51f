"""The history: statements of this and earlier sessions, saved in a file that only the user can read."""

from __future__ import annotations

import os

from imq.engine.atomic_writer import open_output
from imq.engine.units.paths import home_directory
from imq.grammar.record import TYPE_CHECKING

from .secrets_filter import has_secret

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_ENTRIES = 5000
"""The most statements that the file keeps."""


class History:
    """The entered statements, oldest first, and their file.

    The format of the file is that of prompt_toolkit: each line of a statement has a `+` before it, and an empty line
    separates statements. `problem` is the reason when the history cannot be saved, else an empty string.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.entries: list[str] = []
        self.problem = ""
        self._path = os.path.join(_state_folder(environment), "imq", "history")
        if not os.path.isabs(self._path):
            self.problem = "history is not saved: the home folder of the user is unknown"
            return
        try:
            self._read()
        except OSError as problem:
            self._disable(problem)

    def add(self, text: str) -> None:
        """Add a statement. It is saved unless it may contain a secret or begins with a space."""
        if not text.strip() or (self.entries and self.entries[-1] == text):
            return
        self.entries.append(text)
        if self.problem or text[0].isspace() or has_secret(text):
            return
        lines = "".join(f"+{line}\n" for line in text.split("\n"))
        try:
            self._append(f"\n{lines}".encode("utf-8", "surrogateescape"))
        except OSError as problem:
            self._disable(problem)

    def _disable(self, problem: OSError) -> None:
        self.problem = f"history is not saved: {self._path}: {problem.strerror or problem}"

    def _read(self) -> None:
        os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
        self._append(b"")
        with open(self._path, encoding="utf-8", errors="surrogateescape") as file:
            lines: list[str] = []
            for line in file:
                if line.startswith("+"):
                    lines.append(line[1:].rstrip("\n"))
                elif lines:
                    self.entries.append("\n".join(lines))
                    lines = []
        if lines:
            self.entries.append("\n".join(lines))
        allowed = [text for text in self.entries if not has_secret(text)]
        if len(self.entries) > 2 * _MAX_ENTRIES or len(allowed) < len(self.entries):  # of a version that allowed more
            self.entries = allowed
            self._shorten()

    def _append(self, content: bytes) -> None:
        """Append to the file in one write, so that the statements of concurrent sessions do not mix."""
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            if os.fstat(file).st_mode & 0o077:
                os.fchmod(file, 0o600)
            if content:
                os.write(file, content)
        finally:
            os.close(file)

    def _shorten(self) -> None:
        """Keep the newest statements. A session that appends at the same time may lose a statement."""
        self.entries = self.entries[-_MAX_ENTRIES:]
        lines = ("\n" + "".join(f"+{line}\n" for line in text.split("\n")) for text in self.entries)
        with open_output(self._path, private=True) as target:
            target.write("".join(lines).encode("utf-8", "surrogateescape"))


def _state_folder(environment: Mapping[str, str]) -> str:
    """Return the user's state folder by the XDG rules; a relative path when the home folder is unknown."""
    state = environment.get("XDG_STATE_HOME", "")
    if os.path.isabs(state):
        return state
    return os.path.join(home_directory(environment), ".local", "state")
