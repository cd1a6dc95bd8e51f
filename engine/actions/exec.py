"""The verb `exec`: runs a program for each row."""

from __future__ import annotations

import sys

from imq.engine.query.binder import require_where
from imq.engine.sources.action import Outcome
from imq.engine.sources.action_options import get_option_values
from imq.engine.sources.row_templates import render_rows
from imq.grammar.errors import ImqError, StatementError
from imq.grammar.record import TYPE_CHECKING, Record

from .operands import build_names_query
from .verb import OperandKind, Verb

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imq.engine.sources.action import Action, ExecutionContext, PlanContext
    from imq.grammar import ast


class ProgramFailed(ImqError):
    """A program could not be started, or its exit code was not 0."""

    code = "exec"


class Exec(Record):
    """Run a program with these arguments and wait until it exits."""

    argv: tuple[str, ...]

    def describe(self) -> Outcome:
        """Return the command line."""
        return Outcome("exec", " ".join(self.argv))

    def execute(self, context: ExecutionContext) -> Iterator[Outcome]:
        """Run the program with the standard output and error of this process and no input; raises `ProgramFailed`."""
        import subprocess  # 10 ms, and only exec needs it

        sys.stdout.flush()
        try:
            completed = subprocess.run(  # noqa: S603 - the user wrote this command line, and it does not go through a shell
                self.argv, stdin=subprocess.DEVNULL, env=dict(context.environment), check=False
            )
        except (OSError, ValueError) as problem:
            reason = getattr(problem, "strerror", None) or str(problem)
            raise ProgramFailed(f"{self.argv[0]} cannot be run: {reason}") from None
        if completed.returncode < 0:
            raise ProgramFailed(f"{self.argv[0]} was terminated by signal {-completed.returncode}")
        if completed.returncode:
            raise ProgramFailed(f"{self.argv[0]} exited with code {completed.returncode}")
        yield self.describe()


def _plan_exec(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    words = get_option_values(act, "run", context)
    if not words:
        raise StatementError(
            "exec needs a program to run",
            code="operand",
            span=act.span,
            hints=('example: exec images where in use run trivy image "{{.Name}}"',),
        )
    query = act.query if act.query is not None else build_names_query(act, context)
    if context.bind(query).is_whole_rows:
        require_where(query, "exec")
    # arguments are rendered one by one and bypass the shell, so a value of a row cannot become shell syntax
    return [Exec(argv) for argv, _ in render_rows(query, words, context)]


VERB = Verb(
    "exec",
    "Run a program for each row, without a shell. Each argument is a template.",
    'exec images where in use run trivy image "{{.Name}}"',
    OperandKind.ROWS,
    options=("run", "dry run"),
    runs_programs=True,
    plan=_plan_exec,
)
