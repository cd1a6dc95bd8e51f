"""The verb `start`: starts containers in the background."""

from __future__ import annotations

from imq.engine.sources.action import Outcome
from imq.grammar.record import TYPE_CHECKING

from .container_operands import ContainerAction, plan_for_containers
from .verb import OperandKind, Verb

if TYPE_CHECKING:
    from imq.engine.containers.containers import Container, Containers
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
        if containers.read_state(container.id).is_running:
            return Outcome("start", container.name, self.container.image, note="it runs already")
        containers.start(container)
        return Outcome("start", container.name, self.container.image)


def _plan_start(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    return plan_for_containers(act, context, Start)


VERB = Verb(
    "start",
    "Start containers. They go on in the background, and their output is in their logs.",
    "start web",
    OperandKind.CONTAINERS,
    options=("from", "dry run"),
    plan=_plan_start,
)
