"""The context of docker commands: a session, three streams, and error messages in docker's style."""

from __future__ import annotations

from imq.engine.result import Documents, RowSet
from imq.grammar import ast
from imq.grammar.errors import (
    Conflict,
    EngineError,
    ImqError,
    NeedsConfirmation,
    NotFound,
    StatementError,
    format_error,
)
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import tzinfo
    from typing import BinaryIO, TextIO

    from imq.engine.catalog.schema import Raw
    from imq.engine.render.values import DisplayOptions
    from imq.engine.session.session import Session

    from .flags import ParsedFlags

    Statements = tuple[ast.Statement, ...]


INVALID_FLAG = 125
"""Docker's exit code for a flag that a command does not have, or a value that the flag does not take."""


class CompileContext(Record):
    """The inputs of compilation: the time in nanoseconds since the epoch, the time zone, and the tags of repositories.

    A `zone` of None is the local one. `list_tags` returns the names, with their tags, of the images of a repository.
    `in_engine`: the images are those of a container engine, which has containers too. `spares_any_label`: whether a
    prune there spares images with any of several labels; it may send a request.
    """

    now: int
    zone: tzinfo | None
    list_tags: Callable[[str], Sequence[str]]
    in_engine: bool = False
    spares_any_label: Callable[[], bool] = bool


class Handler(Record):
    """The two functions of a command. `compile` returns its statements and has no effect.

    `run` runs the statements, writes docker's output and returns the exit code.
    """

    compile: Callable[[ParsedFlags, CompileContext], Statements]
    run: Callable[[CommandContext, ParsedFlags, Statements], int]


class Outcome(Record):
    """One row of the result of an action, with the columns of `engine.sources.action.OUTCOMES`."""

    action: str
    target: str
    image: str | None
    size: int | None
    note: str | None
    error: str | None
    message: str | None


class CommandContext:
    """The session and the streams of one docker command. With `is_confirmed`, images are removed without a prompt.

    `error_columns` is the width of the terminal of standard error, None when it is none.
    """

    def __init__(
        self,
        session: Session,
        streams: tuple[TextIO, TextIO, TextIO],
        display_options: DisplayOptions,
        *,
        is_confirmed: bool = False,
        error_columns: int | None = None,
    ) -> None:
        self.session = session
        self._error_columns = error_columns
        session.explains_conditions = False
        self.stdin, self.stdout, self.stderr = streams
        self.display_options = display_options
        self.is_confirmed = is_confirmed

    @property
    def compile_context(self) -> CompileContext:
        """The context that command lines are compiled with."""
        session = self.session
        return CompileContext(
            session.context.clock(),
            session.context.zone,
            self._list_tags,
            session.is_of_engine,
            session.spares_any_label,
        )

    def _list_tags(self, repository: str) -> list[str]:
        named = ast.Comparison("=", ast.Field(("repository",)), ast.Literal(repository, quoted=True))
        where = ast.And((named, ast.IsKnown(ast.Field(("tag",)))))
        return [
            str(name)
            for (name,) in self.query_rows(ast.Query("images", where=where, select=(ast.Column(ast.Field(("name",))),)))
        ]

    # Statements

    def run_query(self, statement: ast.Statement) -> RowSet:
        """Run a query and return its rows."""
        result = self.session.execute(statement)
        assert isinstance(result, RowSet)
        return result

    def query_rows(self, query: ast.Query) -> list[tuple[Raw, ...]]:
        """Return the rows of a query."""
        return list(self.run_query(ast.QueryStatement(query)).rows)

    def run_action(
        self, act: ast.ActionStatement, *, dry_run: bool = False
    ) -> tuple[list[Outcome], tuple[ImqError, ...]]:
        """Run an action and return its outcomes and errors; with `dry_run` those that it would have."""
        full = act.replace(output=ast.Output(format="jsonl"))
        result = self.session.execute(full, dry_run=dry_run)
        assert isinstance(result, RowSet)
        return [Outcome(*row) for row in result.rows], result.errors  # type: ignore[arg-type] # the types of OUTCOMES

    def run_and_report(self, act: ast.Statement) -> tuple[list[Outcome], int]:
        """Run an action and report its errors; return its outcomes and the exit code."""
        assert isinstance(act, ast.ActionStatement)
        outcomes, errors = self.run_action(act)
        return outcomes, self.report_errors(errors)

    def inspect(self, act: ast.ActionStatement) -> Documents:
        """Run an inspection."""
        result = self.session.execute(act)
        assert isinstance(result, Documents)
        return result

    # Streams

    def write(self, texts: Iterable[str]) -> None:
        """Write to standard output."""
        for text in texts:
            self.stdout.write(text)

    def confirm_removal(self, warning: str) -> bool:
        """Prompt as docker does before a removal. Raises `NeedsConfirmation` when standard input is not a terminal."""
        if not self.is_confirmed:
            if not self.stdin.isatty():
                raise NeedsConfirmation(
                    "removing images needs confirmation, and there is no terminal: nothing was done",
                    hints=("to list them: --dry-run", "to remove them: -f"),
                )
            self.write((f"WARNING! {warning}\nAre you sure you want to continue? [y/N] ",))
            self.stdout.flush()
            if self.stdin.readline().strip().lower() != "y":
                return False
        self.session.context = self.session.context.replace(confirm=None)
        return True

    def report_error(self, error: ImqError) -> int:
        """Write an error to standard error; return the exit code."""
        self.stdout.flush()
        return report_error(self.stderr, error, self._error_columns)

    def report_errors(self, errors: Iterable[ImqError]) -> int:
        """Write errors to standard error; return the highest exit code, 0 without errors."""
        return max((self.report_error(error) for error in errors), default=0)


def report_error(stream: TextIO, error: ImqError, columns: int | None) -> int:
    """Write an error and return its exit code. Errors that docker reports too have docker's style, others imq's.

    `columns` is the width of the terminal, None when `stream` is none.
    """
    code = exit_code(error)
    words = error.reason if isinstance(error, EngineError) and error.reason else error.message
    message = words if words.startswith("Error ") else f"Error: {words}"
    lines = [message, *(f"  {hint}" for hint in error.hints)] if code == 1 else [format_error(error, columns)]
    try:
        stream.write("\n".join(lines).encode("utf-8", "backslashreplace").decode() + "\n")
        stream.flush()
    except OSError:
        pass  # the reader of the stream is gone
    return code


def exit_code(error: ImqError) -> int:
    """Return docker's exit code for an error that docker reports too, else imq's: 2 for what imq lacks, 3 else.

    It is 125 for an invalid flag or value of a flag, and 1 for what docker's daemon refuses.
    """
    if isinstance(error, EngineError):
        return 1 if error.reason else error.exit_code
    if isinstance(error, StatementError) and error.code == "option":
        return INVALID_FLAG
    refused = isinstance(error, NotFound | Conflict) or (
        isinstance(error, StatementError) and error.code != "unavailable"
    )
    return 1 if refused else error.exit_code


def binary_stream(stream: TextIO, purpose: str) -> BinaryIO:
    """Return the binary stream below a text stream. `purpose` is the command that needs it, for the error."""
    binary: BinaryIO | None = getattr(stream, "buffer", None)
    if binary is None:
        raise ImqError(f"{purpose} needs a binary stream", code="system")
    return binary
