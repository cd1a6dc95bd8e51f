"""The statements of this and earlier sessions, kept in a file that only the user can read."""

from __future__ import annotations

import os

from imq.engine.atomic_writer import open_output
from imq.engine.units.paths import home_directory
from imq.grammar.record import TYPE_CHECKING

from .secrets_filter import has_secret

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_ENTRIES = 5000
"""How many statements are kept."""


class History:
    """What was said, oldest first, and where it is kept.

    The file has one statement after the other, each line of it behind a `+`, as prompt_toolkit's own files have them.
    `problem` says why nothing is kept, when nothing can be.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.entries: list[str] = []
        self.problem = ""
        self._path = os.path.join(_state_folder(environment), "imq", "history")
        if not os.path.isabs(self._path):
            self.problem = "history is not kept: no home folder of the user is known"
            return
        try:
            self._read()
        except OSError as problem:
            self._disable(problem)

    def add(self, text: str) -> None:
        """Remember what was said; write it down unless it looks as if it had a secret in it, or begins with a blank."""
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
        self.problem = f"history is not kept: {self._path}: {problem.strerror or problem}"

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
        kept = [text for text in self.entries if not has_secret(text)]
        if len(self.entries) > 2 * _MAX_ENTRIES or len(kept) < len(self.entries):  # an earlier version kept more
            self.entries = kept
            self._shorten()

    def _append(self, content: bytes) -> None:
        """Write at the end of the file, in one call, so that sessions that write at once do not mix."""
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            if os.fstat(file).st_mode & 0o077:
                os.fchmod(file, 0o600)
            if content:
                os.write(file, content)
        finally:
            os.close(file)

    def _shorten(self) -> None:
        """Keep the newest; another session that writes meanwhile may lose a line of its own."""
        self.entries = self.entries[-_MAX_ENTRIES:]
        lines = ("\n" + "".join(f"+{line}\n" for line in text.split("\n")) for text in self.entries)
        with open_output(self._path, private=True) as target:
            target.write("".join(lines).encode("utf-8", "surrogateescape"))


def _state_folder(environment: Mapping[str, str]) -> str:
    """Return the user's folder for state, by the XDG rules; a relative path when there is no home folder."""
    state = environment.get("XDG_STATE_HOME", "")
    if os.path.isabs(state):
        return state
    return os.path.join(home_directory(environment), ".local", "state")
