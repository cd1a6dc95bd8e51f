"""The verb `start`: starts containers in the background."""

from __future__ import annotations

from imq.engine.containers.attachment import parse_detach_keys
from imq.engine.sources.action import Outcome
from imq.engine.sources.container_values import read_flag, read_named_values
from imq.grammar.errors import Conflict, StatementError
from imq.grammar.record import TYPE_CHECKING

from .container_operands import ContainerAction, find_container_planner, open_containers, plan_for_containers
from .container_options import default_detach_keys
from .run import wait_for_end
from .verb import OperandKind, Verb

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imq.engine.containers.containers import Containers
    from imq.engine.containers.reader import Container
    from imq.engine.sources.action import Action, ExecutionContext, PlanContext
    from imq.grammar import ast


class Start(ContainerAction):
    """Start a container; one that runs already is left as it is, as by docker."""

    @property
    def verb(self) -> str:
        """The action in outcomes."""
        return "start"

    def apply(self, containers: Containers, container: Container, _context: ExecutionContext) -> Outcome:
        """Start it."""
        is_running = containers.read_state(container.id).is_running
        if not is_running:
            try:
                containers.start(container)
            except Conflict as problem:
                if problem.code != "container-running":
                    raise
                is_running = True  # another process was faster
        return Outcome("start", container.name, self.container.image, note="it runs already" if is_running else None)


class StartAttached(Start):
    """Start a container and pass its streams on until it ends; with `stdin` it reads that of this process."""

    stdin: bool = False
    detach_keys: bytes = b""

    def execute(self, context: ExecutionContext) -> Iterator[Outcome]:
        """Start it, or attach to it when it runs already. Raises `ContainerFailed` with its exit code."""
        from imq.engine.containers.attachment import require_terminal

        containers = context.get_shared(open_containers)
        container = containers.read(self.container.id)
        config = container.document["Config"]
        stdin = self.stdin and config["OpenStdin"]
        if stdin and config.get("Tty"):
            require_terminal()
        if containers.read_state(container.id).is_running:
            attachment = containers.attach(container, stdin=stdin)
        else:
            attachment = containers.start_attached(container, stdin=stdin)
        outcome = Outcome("start", container.name, self.container.image)
        yield from wait_for_end(containers, container, attachment, self.detach_keys, outcome)


def _plan_start(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    if find_container_planner(act, context) is not None:
        return plan_for_containers(act, context, Start)
    values = read_named_values(act, ("attach", "stdin", "detach_keys"), context)
    flags = {value.name for value in values if value.name != "detach_keys" and read_flag(value)}
    keys = next((parse_detach_keys(value.text) for value in values if value.name == "detach_keys"), None)
    if not flags:
        return plan_for_containers(act, context, Start)
    if act.query is not None or len(act.references) != 1:
        raise StatementError("one container can be attached at a time", code="operand", span=act.span)
    keys = default_detach_keys() if keys is None else keys
    return plan_for_containers(act, context, lambda one: StartAttached(one, "stdin" in flags, keys))


VERB = Verb(
    "start",
    "Start containers. They go on in the background, and their output is in their logs. With attach = true the output"
    " of one is passed on until it ends, and with stdin = true it reads the standard input.",
    "start web",
    OperandKind.CONTAINERS,
    options=("from", "with", "dry run"),
    plan=_plan_start,
)
