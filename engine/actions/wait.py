"""The verb `wait`: waits until containers end."""

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


class Wait(ContainerAction):
    """Wait until a container ends."""

    @property
    def verb(self) -> str:
        """The action in outcomes."""
        return "wait"

    def apply(self, containers: Containers, container: Container, _context: ExecutionContext) -> Outcome:
        """Wait for its end."""
        state = containers.wait_until_stopped(container)
        code = None if state is None else state.exit_code
        note = "exit code unknown" if code is None else f"exit code {code}"
        return Outcome("wait", container.name, self.container.image, note=note)


def _plan_wait(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    return plan_for_containers(act, context, Wait)


VERB = Verb(
    "wait",
    "Wait until containers end; the note is the exit code.",
    "wait web",
    OperandKind.CONTAINERS,
    options=("from", "dry run"),
    plan=_plan_wait,
)
