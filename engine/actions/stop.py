"""The verb `stop`: stops containers, gently first."""

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


class Stop(ContainerAction):
    """Stop a container. `timeout` is in seconds, None for that of the container; `signal` "" is its stop signal."""

    timeout: int | None = None
    signal: str = ""

    @property
    def verb(self) -> str:
        """The action in outcomes."""
        return "stop"

    def apply(self, containers: Containers, container: Container, _context: ExecutionContext) -> Outcome:
        """Stop it."""
        ended = containers.stop(container, self.timeout, self.signal)
        code = ended.exit_code
        return Outcome("stop", container.name, self.container.image, note=None if code is None else f"exit code {code}")


def _plan_stop(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    timeout, signal = read_stop_options(act, context)
    return plan_for_containers(act, context, lambda chosen: Stop(chosen, timeout, signal))


VERB = Verb(
    "stop",
    "Stop containers: their stop signal, and after a timeout (10 seconds) SIGKILL. With signal and timeout others.",
    "stop web with timeout = 30s",
    OperandKind.CONTAINERS,
    options=("from", "with", "dry run"),
    plan=_plan_stop,
)
