"""The interactive session: statements, and commands to the session itself. Ctrl-C stops a statement, no session.

On a terminal that can move its cursor the lines are edited by editor.py; on any other they are read as they come.
"""

from __future__ import annotations

import os
import time

from imq._version import VERSION
from imq.engine.session.state import DEFAULT_SOURCE
from imq.grammar.errors import Interrupted, StatementError
from imq.grammar.record import TYPE_CHECKING

from .diagnostics import unfinished
from .history import History
from .meta_commands import COMMANDS, read_command, told_commands, told_examples
from .secrets_filter import has_secret

if TYPE_CHECKING:
    from typing import Protocol

    from imq.cli.main import Cli
    from imq.cli.options import Options
    from imq.engine.session.session import Session
else:
    Protocol = object

WELCOME = "imq {version}: help; Enter alone shows examples, \\? commands; Ctrl-D leaves\n"
_LATELY = 20
"""How many statements of the history are shown."""


class Reader(Protocol):
    """Reads one statement after the other."""

    def read(self, prompt: str, default: str = "") -> str:
        """Return what was said; `default` is there to be changed. `EOFError`: it was the last one."""

    def forget(self) -> None:
        """Take notice that a statement has been run."""

    def close(self) -> None:
        """End what was begun for reading."""


class Lines:
    """Reads lines as they come, with the terminal's own editing."""

    def __init__(self, cli: Cli, session: Session, history: History) -> None:
        self._cli = cli
        self._session = session
        self._history = history

    def read(self, prompt: str, default: str = "") -> str:
        """Return a statement of one or more lines; a `default` is only shown, and taken when nothing is said."""
        if default:
            self._cli.stderr.write(f"{default}\n")
        text = self._line(prompt)
        if default and not text.strip():
            text = default
        while not text.startswith("\\") and unfinished(text, self._session.vocabulary):
            text += "\n" + self._line("...> ".rjust(len(prompt)))
        self._history.add(text)
        return text

    def forget(self) -> None:
        """Do nothing: nothing was looked up."""

    def close(self) -> None:
        """Do nothing: nothing was begun."""

    def _line(self, prompt: str) -> str:
        stream = self._cli.stdout if self._cli.stdout.isatty() else self._cli.stderr
        stream.write(prompt)
        stream.flush()
        line = self._cli.stdin.readline()
        if not line:
            stream.write("\n")
            raise EOFError
        return line.rstrip("\r\n")


class Repl:
    """Reads statements from a terminal and runs them in one session."""

    def __init__(self, cli: Cli, session: Session, options: Options) -> None:
        self._cli = cli
        self._session = session
        self._options = options
        self._history = History(cli.environment)
        self._timing = False
        self._next = ""

    def run(self) -> int:
        """Read and run until the end of input."""
        self._tell(WELCOME.format(version=VERSION))
        if self._history.problem:
            self._note(self._history.problem)
        reader = self._reader()
        said = self._history.problem
        try:
            while True:
                default, self._next = self._next, ""
                try:
                    text = reader.read(self._prompt(), default)
                except KeyboardInterrupt:
                    if isinstance(reader, Lines):
                        self._tell("\n")
                    continue
                except EOFError:
                    return 0
                if not self._do(text):
                    return 0
                reader.forget()
                if self._history.problem != said:
                    said = self._history.problem
                    self._note(said)
        finally:
            reader.close()

    def _reader(self) -> Reader:
        cli = self._cli
        if cli.dumb or not cli.stdout.isatty():
            return Lines(cli, self._session, self._history)
        from .line_editor import Editor  # prompt_toolkit is heavy, and only for people

        return Editor(self._session, self._history, self._beside, colored=cli.colored(cli.stdout))

    def _beside(self) -> Session:
        """Open a second session on the same store, that asks nobody and shows nothing, with the memory of this one."""
        from imq.engine.progress import Silent
        from imq.engine.session.session import Session

        beside = Session(self._session.context.replace(progress=Silent(), confirm=None, stdin=None, prompt=None))
        beside.state = self._session.state
        return beside

    def _prompt(self) -> str:
        source = self._session.state.source
        return f"imq {source}> " if source.lower() != DEFAULT_SOURCE else "imq> "

    def _do(self, text: str) -> bool:
        """Run what was said; return whether the session goes on."""
        try:
            if not text.strip():
                self._tell(told_examples())
                return True
            command = read_command(text)
            if command is None:
                self._statement(text)
                return True
            return self._command(command[0].name, command[1])
        except KeyboardInterrupt:
            self._cli.fail(Interrupted("interrupted; the store is as it was, and a pull resumes"))
        except Exception as problem:  # noqa: BLE001 - whatever it is, the session goes on
            self._cli.failed(problem)
        return True

    def _statement(self, text: str) -> None:
        start = time.perf_counter()
        try:
            self._cli.run_text(self._session, text, self._options, {})
            self._cli.stdout.flush()
        finally:
            if self._timing:
                self._note(f"{_taken(time.perf_counter() - start)}")

    # Commands

    def _command(self, name: str, argument: str) -> bool:
        if argument and not COMMANDS[name].argument:
            raise StatementError(f"\\{name} takes nothing", code="command")
        match name:
            case "quit":
                return False
            case "help":
                self._statement(f"help {argument}")
            case "commands":
                self._tell(told_commands())
            case "examples":
                self._tell(told_examples())
            case "form":
                self._form(argument)
            case "timing":
                self._timing = _switched(name, argument, now=self._timing)
                self._note(f"timing is {'on' if self._timing else 'off'}")
            case "pager":
                self._pager(argument)
            case "edit":
                self._edit()
            case "history":
                self._lately(argument)
            case _:
                self._statement(f"use {argument}")
        return True

    def _form(self, argument: str) -> None:
        from imq.engine.render.formats import get_format

        if argument:
            form = get_format(argument).name
            values = {**self._options.values, "output": (form,)}
            self._options = self._options.replace(values=values, flags=self._options.flags - {"quiet"})
            self._session.context = self._session.context.replace(output_format=form)
        self._note(f"answers are shown as {self._session.context.output_format}")

    def _pager(self, argument: str) -> None:
        from imq.cli.pager import pager_of

        if argument in ("", "on", "off"):
            on = _switched("pager", argument, now=bool(self._cli.pager))
            self._cli.pager = (pager_of(self._cli.environment) or "less") if on else ""
        else:
            self._cli.pager = argument
        self._note(f"the pager is {self._cli.pager or 'off'}")

    def _edit(self) -> None:
        """Let the user write the last statement anew in an editor: it is then there to be run."""
        import shlex
        import subprocess
        import tempfile

        environment = self._cli.environment
        program = environment.get("VISUAL") or environment.get("EDITOR") or "vi"
        said = (text for text in reversed(self._history.said) if not text.lstrip().startswith("\\"))
        last = next((text for text in said if not has_secret(text)), "")  # it is written to a file
        with tempfile.TemporaryDirectory(prefix="imq-") as folder:
            path = os.path.join(folder, "statement.imq")
            with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
                file.write(f"{last}\n")
            try:
                argv = [*shlex.split(program), path]
                ended = subprocess.run(argv, env=dict(environment), check=False)  # noqa: S603 - the user named it
            except (OSError, ValueError) as problem:
                why = getattr(problem, "strerror", None) or str(problem)
                raise StatementError(
                    f"the editor {program} cannot be run: {why}", code="editor", hints=("$EDITOR names it",)
                ) from None
            if ended.returncode:
                self._note(f"the editor ended with {ended.returncode}: nothing was taken from it")
                return
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                self._next = file.read().strip()

    def _lately(self, part: str) -> None:
        found = [text for text in self._history.said if part.lower() in text.lower()]
        self._tell("".join(f"  {text.replace(chr(10), chr(10) + '    ')}\n" for text in found[-_LATELY:]))

    def _tell(self, text: str) -> None:
        self._cli.stdout.write(text)
        self._cli.stdout.flush()

    def _note(self, text: str) -> None:
        """Say something that is no answer."""
        self._cli.stdout.flush()
        self._cli.stderr.write(f"{text}\n")
        self._cli.stderr.flush()


def _switched(name: str, argument: str, *, now: bool) -> bool:
    """Return what a switch is to be: the other way when it is not said."""
    said = argument.lower()
    if said not in ("", "on", "off"):
        raise StatementError(f'\\{name} is on or off, not "{argument}"', code="command")
    return said == "on" if said else not now


def _taken(seconds: float) -> str:
    """Return a time in words."""
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"
