"""The verb `attach`: passes the streams of a running container on to this process."""

from __future__ import annotations

from imq.engine.sources.action import Outcome
from imq.engine.sources.container_values import read_flag, read_named_values
from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING

from .container_operands import ContainerAction, choose_containers, find_container_planner, open_containers
from .container_options import default_detach_keys
from .run import wait_for_end
from .verb import OperandKind, Verb

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imq.engine.sources.action import Action, ExecutionContext, PlanContext
    from imq.grammar import ast


class Attach(ContainerAction):
    """Attach to a container until it ends, or the user detaches by `detach_keys`."""

    stdin: bool = True
    detach_keys: bytes = b""

    @property
    def verb(self) -> str:
        """The action in outcomes."""
        return "attach"

    def execute(self, context: ExecutionContext) -> Iterator[Outcome]:
        """Attach. Raises `ContainerFailed` with the exit code of the container."""
        from imq.engine.containers.attachment import require_terminal

        containers = context.get_shared(open_containers)
        container = containers.read(self.container.id)
        config = container.document["Config"]
        if self.stdin and config.get("Tty") and config["OpenStdin"]:
            require_terminal()
        attachment = containers.attach(container, stdin=self.stdin)
        outcome = Outcome("attach", container.name, self.container.image)
        yield from wait_for_end(containers, container, attachment, self.detach_keys, outcome)


def _plan_attach(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    if find_container_planner(act, context) is not None:
        raise StatementError("attach takes containers of the store", code="operand", span=act.span)
    stdin, keys = True, default_detach_keys()
    for value in read_named_values(act, ("stdin", "detach_keys"), context):
        if value.name == "stdin":
            stdin = read_flag(value)
        else:
            from imq.engine.containers.attachment import parse_detach_keys

            keys = parse_detach_keys(value.text)
    chosen, failures = choose_containers(act, context)
    if len(chosen) + len(failures) > 1:
        raise StatementError("attach takes one container", code="operand", span=act.span)
    return [*(Attach(one, stdin, keys) for one in chosen), *failures]


VERB = Verb(
    "attach",
    "Attach to a running container of the store: its output is passed on, and it reads what is typed, until it ends."
    " On a terminal ctrl-p and ctrl-q detach; with detach_keys others, and with stdin = false nothing is typed.",
    "attach web",
    OperandKind.CONTAINERS,
    options=("from", "with", "dry run"),
    runs_programs=True,
    docker_differences="Signals are passed on only as SIGINT, when ctrl-c is typed and the container has no terminal.",
    plan=_plan_attach,
)
