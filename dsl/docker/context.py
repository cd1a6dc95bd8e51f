"""What a docker command works with: a session, three streams, and docker's way of saying that something went wrong."""

from __future__ import annotations

from imq.engine.result import Documents, Failure, RowSet
from imq.grammar import ast
from imq.grammar.errors import Conflict, ImqError, NeedsConfirmation, NotFound, StatementError, format_error
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import tzinfo
    from typing import BinaryIO, TextIO

    from imq.engine.catalog.schema import Raw
    from imq.engine.render.values import DisplayOptions
    from imq.engine.session.session import Session

    from .flags import Given

    Statements = tuple[ast.Statement, ...]


class Around(Record):
    """What compiling a command line needs to know: the time (nanoseconds), the zone, and what is called how.

    `zone` None is the local one. `tags` gives the names, with their tags, of the images of a repository.
    """

    now: int
    zone: tzinfo | None
    tags: Callable[[str], Sequence[str]]


class Work(Record):
    """What a command does: `compile` makes its statements and does nothing yet.

    `answer` runs them, writes docker's text and returns the exit code.
    """

    compile: Callable[[Given, Around], Statements]
    answer: Callable[[Desk, Given, Statements], int]


class Outcome(Record):
    """One row of what an action did, as `engine.sources.action.OUTCOMES` declares it."""

    action: str
    target: str
    image: str | None
    size: int | None
    note: str | None
    error: str | None
    message: str | None


class Desk:
    """Runs statements for one docker command. `sure`: what destroys is done without asking."""

    def __init__(
        self, session: Session, streams: tuple[TextIO, TextIO, TextIO], manner: DisplayOptions, *, sure: bool = False
    ) -> None:
        self.session = session
        session.warns = False
        self.stdin, self.stdout, self.stderr = streams
        self.manner = manner
        self.sure = sure

    @property
    def around(self) -> Around:
        """What command lines are compiled with."""
        return Around(self.session.context.clock(), self.session.context.zone, self._tags)

    def _tags(self, repository: str) -> list[str]:
        named = ast.Comparison("=", ast.Field(("repository",)), ast.Literal(repository, quoted=True))
        where = ast.And((named, ast.IsKnown(ast.Field(("tag",)))))
        return [
            str(name)
            for (name,) in self.rows(ast.Query("images", where=where, select=(ast.Column(ast.Field(("name",))),)))
        ]

    # Statements

    def answer(self, statement: ast.Statement) -> RowSet:
        """Run a question, or an action whose outcomes are wanted with all their columns."""
        result = self.session.execute(statement)
        assert isinstance(result, RowSet)
        return result

    def rows(self, query: ast.Query) -> list[tuple[Raw, ...]]:
        """Return the rows of a query."""
        return list(self.answer(ast.QueryStatement(query)).rows)

    def outcomes(
        self, act: ast.ActionStatement, *, dry_run: bool = False
    ) -> tuple[list[Outcome], tuple[ImqError, ...]]:
        """Do an action; return what came of it and the errors of what failed. With `dry_run`: what it would do."""
        whole = act.replace(output=ast.Output(format="jsonl"))
        result = self.session.execute(whole, dry_run=dry_run)
        assert isinstance(result, RowSet)
        return [Outcome(*row) for row in result.rows], result.errors  # type: ignore[arg-type] # OUTCOMES says the kinds

    def documents(self, act: ast.ActionStatement) -> Documents:
        """Run an inspection."""
        result = self.session.execute(act)
        assert isinstance(result, Documents)
        return result

    # Streams

    def say(self, texts: Iterable[str]) -> None:
        """Write to standard output."""
        for text in texts:
            self.stdout.write(text)

    def agree(self, warning: str) -> bool:
        """Ask as docker does before something is removed; raise `NeedsConfirmation` when nobody is there."""
        if not self.sure:
            if not self.stdin.isatty():
                raise NeedsConfirmation(
                    "images are to be removed for good, and nobody is there to ask: nothing was done",
                    hints=("to see them: --dry-run", "to remove them: -f"),
                )
            self.say((f"WARNING! {warning}\nAre you sure you want to continue? [y/N] ",))
            self.stdout.flush()
            if self.stdin.readline().strip().lower() != "y":
                return False
        self.session.context = self.session.context.replace(confirm=None)
        return True

    def complain(self, error: ImqError) -> int:
        """Say on standard error what went wrong; return the exit code."""
        self.stdout.flush()
        return complain(self.stderr, error)

    def finish(self, result: RowSet | Documents | Failure) -> int:
        """Complain of what went wrong beside an answer; return the exit code."""
        if isinstance(result, Failure):
            return self.complain(result.error)
        return max((self.complain(error) for error in result.errors), default=0)


def complain(stream: TextIO, error: ImqError) -> int:
    """Say what went wrong and return the exit code: in docker's way what docker would refuse, the rest in imq's."""
    code = exit_code(error)
    message = error.message if error.message.startswith("Error ") else f"Error: {error.message}"
    lines = [message, *(f"  {hint}" for hint in error.hints)] if code == 1 else [format_error(error)]
    try:
        stream.write("\n".join(lines).encode("utf-8", "backslashreplace").decode() + "\n")
        stream.flush()
    except OSError:
        pass  # nobody is listening any more
    return code


def exit_code(error: ImqError) -> int:
    """Return 1 for what docker's daemon would refuse; else imq's code: 2 for a wrong line, 3 for a need that failed."""
    refused = isinstance(error, NotFound | Conflict) or (isinstance(error, StatementError) and error.code != "option")
    return 1 if refused else error.exit_code


def binary(stream: TextIO, why: str) -> BinaryIO:
    """Return the bytes below a stream of text; `why` says what they are wanted for."""
    below: BinaryIO | None = getattr(stream, "buffer", None)
    if below is None:
        raise ImqError(f"{why} needs a stream of bytes", code="system")
    return below
