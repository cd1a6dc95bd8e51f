"""The verb `restart`: stops containers and starts them again."""

from __future__ import annotations

from imq.engine.sources.action import Outcome
from imq.grammar.record import TYPE_CHECKING

from .container_operands import ContainerAction, plan_for_containers
from .container_options import read_stop_options
from .verb import OperandKind, Verb

if TYPE_CHECKING:
    from imq.engine.containers.containers import Containers
    from imq.engine.containers.reader import Container
    from imq.engine.sources.action import Action, ExecutionContext, PlanContext
    from imq.grammar import ast


class Restart(ContainerAction):
    """Restart a container. `timeout` is in seconds, None for that of the container; `signal` "" is its stop signal."""

    timeout: int | None = None
    signal: str = ""

    @property
    def verb(self) -> str:
        """The action in outcomes."""
        return "restart"

    def apply(self, containers: Containers, container: Container, _context: ExecutionContext) -> Outcome:
        """Restart it."""
        containers.stop(container, self.timeout, self.signal)
        containers.start(container)

        return Outcome("restart", container.name, self.container.image)


def _plan_restart(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    timeout, signal = read_stop_options(act, context)
    return plan_for_containers(act, context, lambda chosen: Restart(chosen, timeout, signal))


VERB = Verb(
    "restart",
    "Stop containers as stop does, and start them again.",
    "restart web with timeout = 30s",
    OperandKind.CONTAINERS,
    options=("from", "with", "dry run"),
    plan=_plan_restart,
)
