"""The verb `pause`: freeze the processes of containers."""

from __future__ import annotations

from imq.engine.sources.action import Outcome
from imq.grammar.record import TYPE_CHECKING

from .container_operands import ContainerAction, plan_for_containers
from .verb import OperandKind, Verb

if TYPE_CHECKING:
    from imq.engine.containers.containers import Containers
    from imq.engine.containers.reader import Container
    from imq.engine.sources.action import Action, ExecutionContext, PlanContext
    from imq.grammar import ast


class Pause(ContainerAction):
    """Freeze the processes of a container."""

    @property
    def verb(self) -> str:
        """The action in outcomes."""
        return "pause"

    def apply(self, containers: Containers, container: Container, _context: ExecutionContext) -> Outcome:
        """Pause it."""
        containers.pause(container)
        return Outcome("pause", container.name, self.container.image)


def _plan_pause(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    return plan_for_containers(act, context, Pause)


VERB = Verb(
    "pause",
    "Freeze the processes of containers.",
    "pause web",
    OperandKind.CONTAINERS,
    options=("from", "dry run"),
    plan=_plan_pause,
)
