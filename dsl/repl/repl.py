"""The interactive session: it reads statements and meta-commands. Ctrl-C stops a statement, not the session.

A terminal with cursor movement gets the line editor of line_editor.py. On other terminals, lines are read plainly.
"""

from __future__ import annotations

import os
import time

from imq._version import VERSION
from imq.cli.open_session import run_text
from imq.cli.output import describe_rows
from imq.engine.session.state import DEFAULT_SOURCE
from imq.grammar.errors import ImqError, Interrupted, StatementError
from imq.grammar.record import TYPE_CHECKING

from .diagnostics import is_unfinished
from .docker_lines import find_docker_line, run_docker_line
from .history import History
from .meta_commands import COMMANDS, format_commands, format_examples, read_command, split_command, split_lines
from .secrets_filter import has_secret

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Protocol, TextIO

    from imq.cli.options import Options
    from imq.cli.output import Console
    from imq.engine.session.session import Session
else:
    Protocol = object

WELCOME = "imq {version}: type help; Enter shows examples, \\? lists commands, Ctrl-D exits\n"
_WATCH_SECONDS = 2
_SHORTEST_WATCH, _LONGEST_WATCH = 0.1, 86_400
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
        self._last_query = ""
        self._query_error: ImqError | None = None
        """The error of the last query."""
        self._last_run = ""
        self._output_path = ""
        self._output_file: TextIO | None = None

    def run(self) -> int:
        """Read and run statements until the end of input; return the exit code."""
        self._console.counts_rows = True
        self._write(WELCOME.format(version=VERSION))
        self._session.explain_first_use()
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
            self._close_output()

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
            self._session,
            self._history,
            self._open_background_session,
            self._describe_state,
            colored=console.is_colored(console.stdout),
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

    def _describe_state(self) -> str:
        """Return the state of the session for the toolbar: the source, the store, the last run, transfers."""
        parts = [f"source: {self._session.find_source()}", self._session.store.root]
        transfers = self._session.store.count_running_ingests()
        if transfers:
            parts.append(f"{transfers} transfer{'' if transfers == 1 else 's'} running")
        if self._last_run:
            parts.append(self._last_run)
        if self._output_path:
            parts.append(f"output: {self._output_path}")
        return " │ ".join([*parts, "\\? commands"])

    def _run_input(self, text: str) -> bool:
        """Run the statements and commands of an input in order; return whether the session continues."""
        try:
            if not text.strip():
                self._write(format_examples())
                return True
            return all(self._run_line(part) for part in split_lines(text))
        except KeyboardInterrupt:
            self._console.report(Interrupted("interrupted; the store is unchanged, and a pull resumes"))
        except Exception as problem:  # noqa: BLE001 - no error ends the session
            self._console.report_failure(problem)
        return True

    def _run_line(self, text: str) -> bool:
        """Run a statement, a command, or a statement and a command; return whether the session continues."""
        command = read_command(text)
        if command is not None:
            return self._run_command(command[0].name, command[1])
        if (parts := split_command(text)) is None:
            self._run_statement(text)
            return True
        statement, name, argument = parts
        self._require_query(statement)
        self._last_query = statement
        self._run_command("watch" if name == "watch" else "go", argument, is_record=name == "gx")
        return True

    def _run_statement(self, text: str) -> None:
        start = time.perf_counter()
        console, stdout = self._console, self._console.stdout
        console.forget_count()
        try:
            if self._output_file is not None:
                console.stdout = self._output_file
            arguments = find_docker_line(text, self._session.vocabulary)
            if arguments is not None:
                run_docker_line(console, self._session, self._options, arguments)
            else:
                if is_query := self._is_query(text):
                    self._last_query, self._query_error = text, None
                try:
                    run_text(console, self._session, text, self._options.replace(words=()), {})
                except ImqError as problem:
                    if is_query and not isinstance(problem, Interrupted):  # Ctrl-C ends \watch
                        self._query_error = problem
                    raise
            console.stdout.flush()
        finally:
            console.stdout = stdout
            elapsed = format_elapsed(time.perf_counter() - start)
            rows = f"{describe_rows(console.row_count)} in " if console.row_count is not None else ""
            self._last_run = f"{rows}{elapsed}"
            if self._shows_timing:
                self._write_notice(elapsed)

    def _is_query(self, text: str) -> bool:
        """Whether a text is queries only, which may be run again without a question."""
        from imq.grammar import ast

        try:
            statements = self._session.parse(text)
        except ImqError:
            return False
        return bool(statements) and all(isinstance(one, ast.QueryStatement) for one in statements)

    def _require_query(self, text: str) -> None:
        if not self._is_query(text):
            self._session.parse(text)  # an error of syntax is more precise
            raise StatementError("only queries are run by \\g, \\gx and \\watch", code="command")

    # Commands

    def _run_command(self, name: str, argument: str, *, is_record: bool = False) -> bool:
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
            case "x":
                self._set_expanded(argument)
            case "go":
                self._run_again(argument, is_record=is_record)
            case "watch":
                self._watch(argument)
            case "output":
                self._set_output(argument)
            case "describe":
                self._describe(argument)
            case "save":
                self._save_view(argument)
            case "unsave":
                self._remove_view(argument)
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

    def _set_expanded(self, argument: str) -> None:
        states = ("on", "off", "auto")
        current = self._console.expanded
        if argument and argument.lower() not in states:
            raise StatementError(f'\\x takes on, off or auto, not "{argument}"', code="command")
        self._console.expanded = argument.lower() or ("on" if current != "on" else "auto")
        meanings = {"on": "always", "off": "never", "auto": "when they are wider than the screen"}
        self._write_notice(f"rows are shown as records {meanings[self._console.expanded]}")

    def _require_last_query(self) -> str:
        if not self._last_query:
            raise StatementError("no query was run yet", code="command", hints=("write it before: images \\watch 2",))
        return self._last_query

    def _run_again(self, path: str, *, is_record: bool) -> None:
        """Run the last query, with its result in a file if a path is given."""
        query = self._require_last_query()
        expanded, self._console.expanded = self._console.expanded, "on" if is_record else self._console.expanded
        output, self._output_file = self._output_file, self._open_file(path) if path else self._output_file
        try:
            self._run_statement(query)
        finally:
            self._console.expanded = expanded
            if path and self._output_file is not None:
                self._output_file.close()
            self._output_file = output

    def _watch(self, argument: str) -> None:
        """Run the last query again and again until Ctrl-C, each time under the time."""
        query = self._require_last_query()
        try:
            seconds = float(argument or _WATCH_SECONDS)
        except ValueError:
            seconds = 0.0
        if not _SHORTEST_WATCH <= seconds <= _LONGEST_WATCH:
            raise StatementError(f'\\watch takes a number of seconds, not "{argument}"', code="command")
        pager, self._console.pager = self._console.pager, ""
        try:
            while True:
                self._write_notice(f"{time.strftime('%Y-%m-%d %H:%M:%S')} (every {seconds:g}s, Ctrl-C ends it)")
                self._run_statement(query)
                time.sleep(seconds)
        except KeyboardInterrupt:
            self._write("\n")
        finally:
            self._console.pager = pager

    def _set_output(self, path: str) -> None:
        self._close_output()
        if path:
            self._output_file = self._open_file(path)
            self._output_path = path
        self._write_notice(f"results are written to {path or 'the screen'}")

    def _open_file(self, path: str) -> TextIO:
        return open(os.path.expanduser(path), "w", encoding="utf-8", errors="surrogateescape")

    def _close_output(self) -> None:
        if self._output_file is not None:
            self._output_file.close()
        self._output_file, self._output_path = None, ""

    def _describe(self, name: str) -> None:
        """Show the fields of a table, or the query of a view; without a name the tables and the views."""
        views = self._session.state.views
        if not name:
            self._write(format_tables(views))
            return
        rows = views.get(name.lower())
        if rows is None:
            self._run_statement(f"help {name}")
            return
        from imq.grammar.unparser import unparse

        self._write(f"view {name.lower()} as {rows if isinstance(rows, str) else unparse(rows)}\n")

    def _save_view(self, name: str) -> None:
        """Keep the last query in the configuration, and define it as a view of this session."""
        if not name:
            self._run_statement("view")
            return
        from imq.grammar import ast
        from imq.grammar.unparser import unparse

        from .saved_views import save_view

        statements = self._session.parse(self._require_last_query())
        if self._query_error is not None:
            raise StatementError(
                f"the last query is not kept, since it failed: {self._query_error.message}",
                code="command",
                hints=("\\save keeps a query after it has run without an error",),
            )
        if len(statements) > 1 or not name.isidentifier():
            raise StatementError("\\save keeps one query under one name: \\save stale", code="command")
        (statement,) = statements
        assert isinstance(statement, ast.QueryStatement)
        query = unparse(statement.query)
        for _ in self._session.run(f"view {name} as {query}"):
            pass  # an invalid name or query is refused here
        path = save_view(name.lower(), query, self._options, self._console.environment)
        self._write_notice(f"the view {name.lower()} is kept in {path}")

    def _remove_view(self, name: str) -> None:
        from .saved_views import remove_view

        if not name:
            raise StatementError("\\unsave takes the name of a view", code="command", hints=("\\save lists them",))
        path = remove_view(name.lower(), self._options, self._console.environment)
        self._session.state.views.pop(name.lower(), None)
        self._write_notice(f"the view {name.lower()} is removed from {path}")

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


def format_elapsed(seconds: float) -> str:
    """Format a duration in milliseconds or seconds."""
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def format_tables(views: Iterable[str]) -> str:
    """Return the tables with one line about each, and the names of the views."""
    from imq.engine.catalog.tables import TABLES
    from imq.engine.render.text_table import align_columns

    rows = [[name, table.doc.split(". ")[0].split(": ")[0].rstrip(".")] for name, table in TABLES.items()]
    rows += [[name, "a view"] for name in sorted(views)]
    return "".join(align_columns(rows)) + "\\d NAME shows the fields of a table\n"
