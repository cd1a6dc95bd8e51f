"""The verb `unpause`: let the processes of paused containers go on."""

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


class Unpause(ContainerAction):
    """Let the processes of a paused container go on."""

    @property
    def verb(self) -> str:
        """The action in outcomes."""
        return "unpause"

    def apply(self, containers: Containers, container: Container, _context: ExecutionContext) -> Outcome:
        """Unpause it."""
        containers.unpause(container)
        return Outcome("unpause", container.name, self.container.image)


def _plan_unpause(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    return plan_for_containers(act, context, Unpause)


VERB = Verb(
    "unpause",
    "Let the processes of paused containers go on.",
    "unpause web",
    OperandKind.CONTAINERS,
    options=("from", "dry run"),
    plan=_plan_unpause,
)
