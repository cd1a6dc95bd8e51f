"""The verb `exec`: runs a program for each row."""

from __future__ import annotations

import os
import sys

from imq.engine.query.binder import require_where
from imq.engine.sources.action import Outcome
from imq.engine.sources.action_options import get_option_values, names_containers
from imq.engine.sources.container_values import read_flag, read_named_values
from imq.engine.sources.row_templates import render_rows
from imq.grammar.errors import ImqError, StatementError
from imq.grammar.record import TYPE_CHECKING, Record

from .container_operands import choose_containers, find_container_planner, open_containers
from .container_options import read_create_options
from .operands import build_names_query
from .verb import OperandKind, Verb

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imq.engine.containers.reader import Program
    from imq.engine.sources.action import Action, ExecutionContext, PlanContext
    from imq.grammar import ast

    from .container_operands import Chosen


class ProgramFailed(ImqError):
    """A program could not be started, or its exit code, `exit_status`, was not 0."""

    code = "exec"
    exit_status = 1


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


class ExecInContainer(Record):
    """Run a program in a container, with the streams of this process and no input unless `stdin` is set."""

    container: Chosen
    program: Program
    stdin: bool = False

    def describe(self) -> Outcome:
        """Return the container and the command line."""
        note = " ".join(self.program.arguments)
        return Outcome("exec", self.container.label, self.container.image, note=note)

    def execute(self, context: ExecutionContext) -> Iterator[Outcome]:
        """Run the program and wait until it exits, unless it is detached; raises `ProgramFailed`."""
        from imq.engine.containers.attachment import require_terminal

        containers = context.get_shared(open_containers)
        if self.stdin and self.program.terminal and not self.program.detach:
            require_terminal()
        sys.stdout.flush()
        null = os.open(os.devnull, os.O_RDWR)
        try:
            stdio = (0 if self.stdin else null, 1, 2)
            code = containers.execute(containers.read(self.container.id), self.program, stdio)
        finally:
            os.close(null)
        if code:
            name = self.program.arguments[0]
            error = ProgramFailed(f"{name} exited with code {code} in the container {self.container.label}")
            error.exit_status = code
            raise error
        yield self.describe()


_FLAGS = ("detach", "stdin", "terminal", "privileged")
_IN_CONTAINER = ("env", "env_file", "user", "workdir", *_FLAGS)


def _plan_in_containers(act: ast.ActionStatement, words: list[str], context: PlanContext) -> list[Action]:
    """Return the runs of a program in the containers that are named."""
    if (planner := find_container_planner(act, context)) is not None:
        return planner(act, context)
    values = read_named_values(act, _IN_CONTAINER, context)
    texts = {value.name: value.text for value in values}
    flags = {value.name for value in values if value.name in _FLAGS and read_flag(value)}
    variables = [value for value in values if value.name in ("env", "env_file")]
    environment = read_create_options(variables, (), context.folder, context.environment).environment
    from imq.engine.containers.reader import Program

    program = Program(
        tuple(words),
        environment,
        texts.get("user", ""),
        texts.get("workdir", ""),
        detach="detach" in flags,
        terminal="terminal" in flags,
        privileged="privileged" in flags,
    )
    chosen, failures = choose_containers(act, context)
    return [*(ExecInContainer(one, program, stdin="stdin" in flags) for one in chosen), *failures]


def _plan_exec(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    words = get_option_values(act, "run", context)
    if not words:
        raise StatementError(
            "exec needs a program to run",
            code="operand",
            span=act.span,
            hints=(
                'example: exec images where in use run trivy image "{{.Name}}"',
                "in a container: exec container web run ls /",
            ),
        )
    if names_containers(act):
        return _plan_in_containers(act, words, context)
    query = act.query if act.query is not None else build_names_query(act, context)
    select = context.bind(query)
    if select.is_whole_rows:
        require_where(query, "exec")
    if select.is_whole_rows and select.table.name == "containers" and not any(map(_is_template, words)):
        raise StatementError(
            "this program would run on this machine, once for each container, and not in them",
            code="operand",
            span=act.span,
            hints=(
                "to run it in containers, name them: exec container web, cache run ls /",
                'to run it here, have a value of each row in an argument: "{{.Name}}"',
            ),
        )
    # arguments are rendered one by one and bypass the shell, so a value of a row cannot become shell syntax
    return [Exec(argv) for argv, _ in render_rows(query, words, context)]


def _is_template(word: str) -> bool:
    return "{{" in word or "<<" in word


VERB = Verb(
    "exec",
    "Run a program for each row, without a shell. Each argument is a template. After the word container, the program"
    " runs in the containers that are named; with env, env_file, user, workdir, detach,"
    " stdin, terminal or privileged.",
    'exec images where in use run trivy image "{{.Name}}"',
    OperandKind.ROWS,
    options=("from", "run", "with", "dry run"),
    runs_programs=True,
    plan=_plan_exec,
)
