"""The verb `kill`: sends signals to containers."""

from __future__ import annotations

from imq.engine.sources.action import Outcome
from imq.engine.sources.container_values import read_named_values
from imq.grammar.record import TYPE_CHECKING

from .container_operands import ContainerAction, plan_for_containers
from .container_options import read_signal
from .verb import OperandKind, Verb

if TYPE_CHECKING:
    from imq.engine.containers.containers import Containers
    from imq.engine.containers.reader import Container
    from imq.engine.sources.action import Action, ExecutionContext, PlanContext
    from imq.grammar import ast


class Kill(ContainerAction):
    """Send a signal to the first process of a container."""

    signal: str = "KILL"

    @property
    def verb(self) -> str:
        """The action in outcomes."""
        return "kill"

    def apply(self, containers: Containers, container: Container, _context: ExecutionContext) -> Outcome:
        """Send the signal; after SIGKILL, wait for the end."""
        from imq.engine.containers.containers import parse_signal

        containers.send_signal(container, self.signal)
        if parse_signal(self.signal) == parse_signal("KILL"):
            containers.kill(container)
        return Outcome("kill", container.name, self.container.image, note=f"signal {self.signal}")


def _plan_kill(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    signals = [read_signal(value) for value in read_named_values(act, ("signal",), context)]
    return plan_for_containers(act, context, lambda chosen: Kill(chosen, signals[-1] if signals else "KILL"))


VERB = Verb(
    "kill",
    "Send a signal to containers: SIGKILL, or that of with signal = NAME.",
    "kill web with signal = HUP",
    OperandKind.CONTAINERS,
    options=("from", "with", "dry run"),
    plan=_plan_kill,
)
