"""The interactive session: a line is a statement; history is kept; Ctrl-C stops a statement and not the session."""

from __future__ import annotations

import os

from imq.grammar.errors import ImqError, Interrupted
from imq.grammar.record import TYPE_CHECKING

from ._version import VERSION

if TYPE_CHECKING:
    from imq.engine.session import Session
    from prompt_toolkit.history import History

    from .cli import Cli
    from .options import Options

WELCOME = "imq {version}: statements end with Enter; help tells what there is; quit or Ctrl-D leaves\n"


class Repl:
    """Reads statements from a terminal and runs them in one session."""

    def __init__(self, cli: Cli, session: Session, options: Options) -> None:
        self._cli = cli
        self._session = session
        self._options = options

    def run(self) -> int:
        """Read and run until the end of input."""
        from prompt_toolkit import PromptSession  # heavy, and only for people

        self._cli.stdout.write(WELCOME.format(version=VERSION))
        self._cli.stdout.flush()
        prompt: PromptSession[str] = PromptSession(history=self._history())
        while True:
            try:
                text = prompt.prompt("imq> ")
            except KeyboardInterrupt:
                continue
            except EOFError:
                return 0
            if text.strip().lower() in ("quit", "exit"):
                return 0
            self._statement(text)

    def _statement(self, text: str) -> None:
        try:
            self._cli.run_text(self._session, text, self._options, {})
            self._cli.stdout.flush()
        except ImqError as error:
            self._cli.fail(error)
        except KeyboardInterrupt:
            self._cli.fail(Interrupted("interrupted; the store is as it was, and a pull resumes"))

    def _history(self) -> History:
        """Return the history of earlier sessions, or one in memory when nothing can be kept."""
        from prompt_toolkit.history import FileHistory, InMemoryHistory

        environment = self._cli.environment
        state = environment.get("XDG_STATE_HOME", "")
        if not os.path.isabs(state):
            state = os.path.join(environment.get("HOME") or os.path.expanduser("~"), ".local", "state")
        folder = os.path.join(state, "imq")
        try:
            os.makedirs(folder, mode=0o700, exist_ok=True)
            path = os.path.join(folder, "history")
            with open(path, "a", encoding="utf-8"):
                pass
        except OSError:
            return InMemoryHistory()
        return FileHistory(path)
