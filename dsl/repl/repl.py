"""The interactive session: it reads statements and meta-commands. Ctrl-C stops a statement, not the session.

A terminal with cursor movement gets the line editor of line_editor.py. On other terminals, lines are read plainly.
"""

from __future__ import annotations

import os
import time

from imq._version import VERSION
from imq.cli.open_session import run_text
from imq.engine.session.state import DEFAULT_SOURCE
from imq.grammar.errors import Interrupted, StatementError
from imq.grammar.record import TYPE_CHECKING

from .diagnostics import is_unfinished
from .history import History
from .meta_commands import COMMANDS, format_commands, format_examples, read_command
from .secrets_filter import has_secret

if TYPE_CHECKING:
    from typing import Protocol

    from imq.cli.options import Options
    from imq.cli.output import Console
    from imq.engine.session.session import Session
else:
    Protocol = object

WELCOME = "imq {version}: type help; Enter shows examples, \\? lists commands, Ctrl-D exits\n"
_HISTORY_SHOWN = 20
"""The number of statements that `\\history` lists."""


class Reader(Protocol):
    """Reads statements one by one."""

    def read(self, prompt: str, default: str = "") -> str:
        """Return the next statement; `default` is editable text to start with. Raises `EOFError` at the end."""

    def invalidate(self) -> None:
        """Forget cached values, since a statement has run."""

    def close(self) -> None:
        """Release the resources of the reader."""


class LineReader:
    """Reads plain lines, with the terminal's own editing."""

    def __init__(self, console: Console, session: Session, history: History) -> None:
        self._console = console
        self._session = session
        self._history = history

    def read(self, prompt: str, default: str = "") -> str:
        """Return a statement of one or more lines. A `default` is shown, and used when the line is empty."""
        if default:
            self._console.stderr.write(f"{default}\n")
        text = self._read_line(prompt)
        if default and not text.strip():
            text = default
        while not text.startswith("\\") and is_unfinished(text, self._session.vocabulary):
            text += "\n" + self._read_line("...> ".rjust(len(prompt)))
        self._history.add(text)
        return text

    def invalidate(self) -> None:
        """Do nothing: this reader caches no values."""

    def close(self) -> None:
        """Do nothing: this reader holds no resources."""

    def _read_line(self, prompt: str) -> str:
        stream = self._console.stdout if self._console.stdout.isatty() else self._console.stderr
        stream.write(prompt)
        stream.flush()
        line = self._console.stdin.readline()
        if not line:
            stream.write("\n")
            raise EOFError
        return line.rstrip("\r\n")


class Repl:
    """Reads statements from a terminal and runs them in one session."""

    def __init__(self, console: Console, session: Session, options: Options) -> None:
        self._console = console
        self._session = session
        self._options = options
        self._history = History(console.environment)
        self._shows_timing = False
        self._default_text = ""
        self._reported_problem = ""

    def run(self) -> int:
        """Read and run statements until the end of input; return the exit code."""
        self._write(WELCOME.format(version=VERSION))
        if self._history.problem:
            self._write_notice(self._history.problem)
        reader = self._open_reader()
        self._reported_problem = self._history.problem
        try:
            while True:
                try:
                    if not self._run_next(reader):
                        return 0
                except KeyboardInterrupt:  # at the prompt, or between a statement and the next prompt
                    if isinstance(reader, LineReader):
                        self._write("\n")
        finally:
            reader.close()

    def _run_next(self, reader: Reader) -> bool:
        """Read and run one statement; return whether the session continues."""
        default, self._default_text = self._default_text, ""
        try:
            text = reader.read(self._prompt_text(), default)
        except EOFError:
            return False
        if not self._run_input(text):
            return False
        reader.invalidate()
        if self._history.problem != self._reported_problem:
            self._reported_problem = self._history.problem
            self._write_notice(self._reported_problem)
        return True

    def _open_reader(self) -> Reader:
        console = self._console
        if console.is_dumb or not console.stdout.isatty():
            return LineReader(console, self._session, self._history)
        from .line_editor import LineEditor  # imports prompt_toolkit, which is slow to load

        return LineEditor(
            self._session, self._history, self._open_background_session, colored=console.is_colored(console.stdout)
        )

    def _open_background_session(self) -> Session:
        """Open a second session on the same store with the same state, without prompts and progress."""
        from imq.engine.progress import NullProgress
        from imq.engine.session.session import Session

        context = self._session.context.replace(progress=NullProgress(), confirm=None, stdin=None, prompt=None)
        session = Session(context)
        session.state = self._session.state
        return session

    def _prompt_text(self) -> str:
        source = self._session.find_source()
        return f"imq {source}> " if source.lower() != DEFAULT_SOURCE else "imq> "

    def _run_input(self, text: str) -> bool:
        """Run a statement or a command; return whether the session continues."""
        try:
            if not text.strip():
                self._write(format_examples())
                return True
            command = read_command(text)
            if command is None:
                self._run_statement(text)
                return True
            return self._run_command(command[0].name, command[1])
        except KeyboardInterrupt:
            self._console.report(Interrupted("interrupted; the store is unchanged, and a pull resumes"))
        except Exception as problem:  # noqa: BLE001 - no error ends the session
            self._console.report_failure(problem)
        return True

    def _run_statement(self, text: str) -> None:
        start = time.perf_counter()
        try:
            run_text(self._console, self._session, text, self._options, {})
            self._console.stdout.flush()
        finally:
            if self._shows_timing:
                self._write_notice(f"{_format_elapsed(time.perf_counter() - start)}")

    # Commands

    def _run_command(self, name: str, argument: str) -> bool:
        if argument and not COMMANDS[name].argument:
            raise StatementError(f"\\{name} takes no argument", code="command")
        match name:
            case "quit":
                return False
            case "help":
                self._run_statement(f"help {argument}")
            case "commands":
                self._write(format_commands())
            case "examples":
                self._write(format_examples())
            case "form":
                self._set_format(argument)
            case "timing":
                self._shows_timing = _read_switch(name, argument, now=self._shows_timing)
                self._write_notice(f"timing is {'on' if self._shows_timing else 'off'}")
            case "pager":
                self._set_pager(argument)
            case "edit":
                self._edit_statement()
            case "history":
                self._show_history(argument)
            case _:
                self._run_statement(f"use {argument}")
        return True

    def _set_format(self, argument: str) -> None:
        from imq.engine.render.formats import get_format

        if argument:
            form = get_format(argument).name
            values = {**self._options.values, "output": (form,)}
            self._options = self._options.replace(values=values, flags=self._options.flags - {"quiet"})
            self._session.context = self._session.context.replace(output_format=form)
        self._write_notice(f"the output format is {self._session.context.output_format}")

    def _set_pager(self, argument: str) -> None:
        from imq.cli.pager import pager_command

        if argument in ("", "on", "off"):
            on = _read_switch("pager", argument, now=bool(self._console.pager))
            self._console.pager = (pager_command(self._console.environment) or "less") if on else ""
        else:
            self._console.pager = argument
        self._write_notice(f"the pager is {self._console.pager or 'off'}")

    def _edit_statement(self) -> None:
        """Open the last statement in the user's editor. The result is the default text of the next prompt."""
        import shlex
        import subprocess
        import tempfile

        environment = self._console.environment
        program = environment.get("VISUAL") or environment.get("EDITOR") or "vi"
        statements = (text for text in reversed(self._history.entries) if not text.lstrip().startswith("\\"))
        last = next((text for text in statements if not has_secret(text)), "")  # it is written to a file
        with tempfile.TemporaryDirectory(prefix="imq-") as folder:
            path = os.path.join(folder, "statement.imq")
            with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
                file.write(f"{last}\n")
            try:
                argv = [*shlex.split(program), path]
                run = subprocess.run(argv, env=dict(environment), check=False)  # noqa: S603 - the user's choice
            except (OSError, ValueError) as problem:
                reason = getattr(problem, "strerror", None) or str(problem)
                raise StatementError(
                    f"cannot run the editor {program}: {reason}", code="editor", hints=("set it with $EDITOR",)
                ) from None
            if run.returncode:
                self._write_notice(f"the editor exited with {run.returncode}: its text is not used")
                return
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                self._default_text = file.read().strip()

    def _show_history(self, part: str) -> None:
        matches = [text for text in self._history.entries if part.lower() in text.lower()]
        self._write("".join(f"  {text.replace(chr(10), chr(10) + '    ')}\n" for text in matches[-_HISTORY_SHOWN:]))

    def _write(self, text: str) -> None:
        self._console.stdout.write(text)
        self._console.stdout.flush()

    def _write_notice(self, text: str) -> None:
        """Write a message that is not part of a result, to standard error."""
        self._console.stdout.flush()
        self._console.stderr.write(f"{text}\n")
        self._console.stderr.flush()


def _read_switch(name: str, argument: str, *, now: bool) -> bool:
    """Return the new state of a switch. Without an argument it is the opposite of `now`."""
    state = argument.lower()
    if state not in ("", "on", "off"):
        raise StatementError(f'\\{name} takes on or off, not "{argument}"', code="command")
    return state == "on" if state else not now


def _format_elapsed(seconds: float) -> str:
    """Format a duration in milliseconds or seconds."""
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"
