"""Streams of one run: results, errors, colours, the pager and prompts."""

from __future__ import annotations

import io
import os
import time

from imq.grammar.errors import ImqError, Interrupted, NeedsConfirmation, StatementError, format_error
from imq.grammar.record import TYPE_CHECKING

from .options import Options
from .terminal import escape_terminal, raw_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Any, TextIO

    from imq.engine.catalog.schema import Raw
    from imq.engine.progress import Progress
    from imq.engine.render.values import DisplayOptions
    from imq.engine.result import Content, Result, RowSet

_DUMB_TERMINALS = frozenset({"", "dumb", "unknown"})
"""Values of $TERM of terminals that cannot move their cursor. An unset $TERM is empty."""
_SHELL_SPECIAL = frozenset("<>()[]{}*?&|;$#!~`'\"\\")
"""Characters that a shell interprets."""


def _read_locale(environment: Mapping[str, str]) -> str:
    """Return the locale of characters, by the variables of POSIX; empty when none is set."""
    names = ("LC_ALL", "LC_CTYPE", "LANG")
    return next((value for name in names if (value := environment.get(name, ""))), "")


class _LateDisplay:
    """A display of progress that is created for the first report: most queries have nothing to report."""

    def __init__(self, create: Callable[[], Progress]) -> None:
        self._create = create
        self._display: Progress | None = None

    def __getattr__(self, name: str) -> Any:
        if self._display is None:
            self._display = self._create()
        return getattr(self._display, name)

    def stop(self) -> None:
        """End all tasks of a display that exists."""
        if self._display is not None:
            self._display.stop()


class Console:
    """The streams and the environment of one run, and the exit code of the results written so far.

    `pager` is a command line; an empty one means no pager, and None the pager of the environment. With `in_shell`,
    suggestions are written as command lines for a shell. `expanded`: see `DisplayOptions`. With `counts_rows` the
    number of rows follows each table on a terminal; `row_count` is that of the last result with rows.
    """

    def __init__(self, stdin: TextIO, stdout: TextIO, stderr: TextIO, environment: Mapping[str, str]) -> None:
        self.stdin = stdin
        self.stdout = escape_terminal(stdout)
        self.stderr = escape_terminal(stderr)
        self.environment = environment
        self.pager: str | None = None
        self.exit_code = 0
        self.in_shell = False
        self.expanded = "auto"
        self.counts_rows = False
        self.row_count: int | None = None
        self._color = "auto"

    # Errors

    def report_failure(self, problem: BaseException) -> int:
        """Write any exception as an error and return its exit code. IMQ_TRACEBACK=1 raises those that are bugs."""
        match problem:
            case ImqError():
                return self.report(problem)
            case KeyboardInterrupt():
                return self.report(Interrupted("interrupted"))
            case MemoryError():
                hints = ("select fewer rows, or raise the memory limit: ulimit -v",)
                return self.report(ImqError("out of memory", code="memory", hints=hints))
            case RuntimeError() if "can't start new thread" in str(problem):
                hints = ("raise the limit of processes or memory: ulimit -u, ulimit -v",)
                return self.report(ImqError("cannot start another thread", code="memory", hints=hints))
            case OSError():
                path = f"{problem.filename}: " if isinstance(problem.filename, str) and problem.strerror else ""
                return self.report(ImqError(f"{path}{problem.strerror or problem}", code="system"))
            case _:
                pass
        if self.environment.get("IMQ_TRACEBACK"):
            raise problem
        message = f"{type(problem).__name__}: {problem}"
        hints = ("this is a bug in imq; IMQ_TRACEBACK=1 prints the traceback, for a report",)
        return self.report(ImqError(message, code="internal", hints=hints))

    def report(self, error: ImqError) -> int:
        """Write an error to standard error and return its exit code."""
        self.flush()
        if self.in_shell and isinstance(error, StatementError) and error.suggestion:
            error.suggestion = _shell_command(error.suggestion)
        head, _, rest = (
            format_error(error, self.find_error_width()).encode("utf-8", "backslashreplace").decode().partition(":")
        )
        try:
            if self.is_colored(self.stderr):
                raw_stream(self.stderr).write("\x1b[1;31m")
                self.stderr.write(f"{head}:")
                raw_stream(self.stderr).write("\x1b[0m")
                self.stderr.write(f"{rest}\n")
            else:
                self.stderr.write(f"{head}:{rest}\n")
            self.stderr.flush()
        except OSError:
            pass  # standard error is closed
        return error.exit_code

    def flush(self) -> None:
        """Flush standard output; a closed one is ignored."""
        try:
            self.stdout.flush()
        except OSError:
            pass

    # Terminals

    def choose_color(self, options: Options) -> None:
        """Set colours as `--color` says. Raises `StatementError` for an invalid value."""
        self._color = options.value("color") or "auto"
        if self._color not in ("auto", "always", "never"):
            raise StatementError(
                f'invalid value for --color: "{self._color}"', code="option", hints=("expected auto, always or never",)
            )

    def is_colored(self, stream: TextIO) -> bool:
        """Whether output to a stream is coloured."""
        if self._color != "auto":
            return self._color == "always"
        return stream.isatty() and not self.environment.get("NO_COLOR") and not self.is_dumb

    @property
    def is_dumb(self) -> bool:
        """Whether the terminal can neither colour nor move its cursor, by $TERM."""
        return self.environment.get("TERM", "") in _DUMB_TERMINALS

    def progress(self, options: Options) -> Progress:
        """Return the display of transfers on standard error: bars on a terminal, else lines."""

        def create() -> Progress:
            from .progress_bars import create_display

            bars = "no_progress" not in options.flags and self.stderr.isatty() and not self.is_dumb
            return create_display(raw_stream(self.stderr), bars=bars)

        display: Any = _LateDisplay(create)
        progress: Progress = display
        return progress

    # Results

    def display_options(self, options: Options) -> DisplayOptions:
        """Return how values are displayed at this moment."""
        from imq._version import VERSION
        from imq.engine.render.values import DisplayOptions

        flags = options.flags
        is_ascii = _read_locale(self.environment).upper() in ("C", "POSIX")
        return DisplayOptions(
            time.time_ns(), None, "no_trunc" in flags, "spreadsheet" in flags, VERSION, is_ascii,
            self._find_width(), self.expanded, pretty=self.stdout.isatty(),
        )  # fmt: skip

    def _find_width(self) -> int | None:
        """Return the columns of the terminal of standard output; None when it is none."""
        return self._read_width(self.stdout)

    def find_error_width(self) -> int | None:
        """Return the columns of the terminal of standard error; None when it is none."""
        return self._read_width(self.stderr)

    def _read_width(self, stream: TextIO) -> int | None:
        if not stream.isatty():
            return None
        try:
            return int(self.environment.get("COLUMNS", "")) or None
        except ValueError:
            pass
        try:
            return os.get_terminal_size(stream.fileno()).columns or None
        except (OSError, ValueError):
            return None

    def wrap(self, prose: str) -> str:
        """Return a page of help as a terminal of less than 80 columns shows it."""
        width = self._find_width()
        if width is None:
            return prose
        from imq.engine.help.help import wrap_lines

        return wrap_lines(prose, width)

    def write(self, result: Result, options: Options) -> None:
        """Write one result and the errors in it, and update the exit code."""
        from imq.engine.render.formats import write_documents, write_rows
        from imq.engine.result import Content, Failure, Message, RowSet

        default = default_format(options)
        if isinstance(result, Message):
            self.write_texts((self.wrap(result.text) if result.is_prose else result.text,))
            self.exit_code = max(self.exit_code, result.exit_code)
            return
        if isinstance(result, Failure):
            self.exit_code = max(self.exit_code, self.report(result.error))
            return
        if isinstance(result, Content):
            self._write_content(result)
        elif isinstance(result, RowSet):
            form = "template" if result.output.template is not None else result.output.format or default
            is_plan = result.is_plan and self.stdout.isatty() and form in _COUNTED_FORMATS
            result = result.replace(rows=list(result.rows)) if is_plan else result
            counted = self._count(result) if self.counts_rows else result
            texts = write_rows(counted, self.display_options(options), default)
            self.write_texts(texts, is_json=form in ("json", "jsonl"), has_heading=form == "table")
            if is_plan:
                self.stdout.write(_describe_total(result))
            elif self.counts_rows and self.stdout.isatty() and form in _COUNTED_FORMATS and not result.single:
                self.stdout.write(f"({describe_rows(self.row_count or 0)})\n")
        else:
            is_json = result.output.template is None and (result.output.format or default) != "yaml"
            self.write_texts(write_documents(result, default), is_json=is_json)
        for error in result.errors:
            self.report(error)
        self.exit_code = max(self.exit_code, result.exit_code)

    def forget_count(self) -> None:
        """Forget the number of rows of earlier results."""
        self.row_count = None

    def _count(self, result: RowSet) -> RowSet:
        """Return a result that counts its rows while they are read."""
        self.row_count = 0

        def count_rows() -> Iterator[tuple[Raw, ...]]:
            for number, row in enumerate(result.rows, 1):
                self.row_count = number
                yield row

        return result.replace(rows=count_rows())

    def _write_content(self, content: Content) -> None:
        """Write the bytes of a file as they are; on a terminal as text, so that it is not controlled by them."""
        if self.stdout.isatty():
            buffer = io.BytesIO()
            content.write(buffer)
            self.write_texts((buffer.getvalue().decode("utf-8", "backslashreplace"),))
            return
        self.stdout.flush()
        content.write(raw_stream(self.stdout).buffer)

    def write_texts(self, texts: Iterable[str], *, is_json: bool = False, has_heading: bool = False) -> None:
        """Write the pieces of a result, through the pager when they are longer than the screen.

        JSON is coloured where output is. `has_heading`: the first line is a heading, which the pager keeps in view.
        """
        if not self.stdout.isatty():
            for text in texts:
                self.stdout.write(text)
            return
        from imq.engine.render.text_table import escape_controls

        stream, pieces = raw_stream(self.stdout), map(escape_controls, texts)
        if is_json and self.is_colored(self.stdout):
            from .json_colors import color_json

            pieces = map(color_json, pieces)
        if self._uses_pager():
            from .pager import pager_command, write_paged

            command = pager_command(self.environment) if self.pager is None else self.pager
            write_paged(pieces, stream, command, self.environment, has_heading=has_heading)
            return
        stream.writelines(pieces)

    def write_version(self, *, components: bool = False) -> None:
        """Write the version, or with `components` the software bill of materials in CycloneDX's format."""
        from imq._version import VERSION

        if components:
            import json

            from imq.sbom import bill_of_materials

            self.stdout.write(json.dumps(bill_of_materials(), indent=2, ensure_ascii=False) + "\n")
            return
        self.stdout.write(f"imq {VERSION}\n")

    def _uses_pager(self) -> bool:
        if self.pager == "" or self.is_dumb:
            return False
        return self.stdout.isatty() and self.stdin.isatty()

    # Prompts

    def confirm(self, planned: RowSet) -> bool:
        """Show planned actions and return whether the user confirms them.

        Raises `NeedsConfirmation` when there is no terminal.
        """
        from imq.engine.actions.plan_details import count_planned

        rows = list(planned.rows)
        planned = planned.replace(rows=rows)
        count = count_planned(rows, planned.columns) - len(planned.errors)
        if not self._is_interactive():
            raise NeedsConfirmation(
                f"{count} action{' needs' if count == 1 else 's need'} confirmation, and there is no terminal:"
                " nothing was done",
                hints=("to list them: --dry-run", "to confirm them: --yes"),
            )
        from imq.engine.render.formats import write_rows

        self.flush()
        displayed = planned.replace(output=planned.output.replace(format=None, template=None))
        texts = write_rows(displayed, self.display_options(Options({}, frozenset(), ())))
        if self._uses_pager():
            self.write_texts(texts, has_heading=True)
            self.stdout.flush()
        else:
            self.stderr.writelines(texts)
        self.stderr.write(f"{describe_freed(planned)}Continue? [y/N] ")
        self.stderr.flush()
        return self.stdin.readline().strip().lower() in ("y", "yes")

    def prompt(self, prompt: str, hidden: bool) -> str:
        """Return the user's answer to a prompt; a `hidden` one is not echoed.

        Raises `StatementError` when there is no terminal.
        """
        if not self._is_interactive():
            raise StatementError(
                "Cannot perform an interactive login from a non TTY device",
                code="needs-terminal",
                hints=("read the password from a file or standard input: login HOST as USER from FILE",),
            )
        self.flush()
        if not hidden:
            self.stderr.write(prompt)
            self.stderr.flush()
            return self.stdin.readline().strip()
        import warnings
        from getpass import GetPassWarning, getpass

        with warnings.catch_warnings():
            warnings.simplefilter("error", GetPassWarning)
            try:
                return getpass(prompt, self.stderr)
            except GetPassWarning:
                raise ImqError("this terminal cannot hide what is typed", code="needs-terminal") from None
            except EOFError:
                raise Interrupted("no password was entered") from None

    def _is_interactive(self) -> bool:
        return self.stdin.isatty() and self.stderr.isatty()


_COUNTED_FORMATS = frozenset({"table", "record", "vertical"})
"""Formats for people, after which a session writes the number of rows."""
_WRITES = frozenset({"save", "export", "copy", "stay"})
"""Actions of plans that are confirmed because they replace files."""


def describe_rows(count: int) -> str:
    """Return a number of rows in words."""
    return f"{count:,} row{'' if count == 1 else 's'}"


def default_format(options: Options) -> str:
    """Return the output format of statements that name none."""
    from imq.engine.render.formats import get_format

    return "ids" if "quiet" in options.flags else get_format(options.value("output") or "table").name


def _shell_command(statement: str) -> str:
    """Return the command line that runs a statement, quoted where a shell would interpret it."""
    if _SHELL_SPECIAL.isdisjoint(statement):
        return f"imq {statement}"
    from shlex import quote

    return f"imq {quote(statement)}"


def _describe_total(planned: RowSet) -> str:
    """Return the line below a plan: how many actions it has, and the bytes that removals free."""
    from imq.engine.actions.plan_details import count_planned

    count = count_planned(list(planned.rows), planned.columns) - len(planned.errors)
    return f"{count:,} action{'' if count == 1 else 's'}. {describe_freed(planned)}".rstrip() + "\n"


def describe_freed(planned: RowSet) -> str:
    """Return a sentence with the bytes that planned removals free; empty when none is planned, or no size is known.

    The size of an archive that replaces a file is not freed.
    """
    from imq.engine.units.size import human_size

    names = [column.name for column in planned.columns]
    if "size" not in names:
        return ""
    action, size = names.index("action"), names.index("size")
    sizes = [row[size] for row in planned.rows if row[action] not in _WRITES]
    if not sizes:
        return ""
    return f"This frees {human_size(sum(size for size in sizes if isinstance(size, int)))}. "
