"""The verb `run`: makes a container of an image, starts it, and waits for its end."""

from __future__ import annotations

from imq.engine.containers.attachment import parse_detach_keys
from imq.engine.containers.running import pass_streams, run_new
from imq.engine.sources.action import Outcome
from imq.engine.sources.action_options import get_option_values
from imq.engine.sources.container_values import read_flag, read_named_values
from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING, Record

from .container_operands import open_containers
from .container_options import RUNNING, default_detach_keys, read_create_options
from .create import Create, plan_creation
from .operands import find_planner
from .verb import OperandKind, Verb

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imq.engine.containers.attachment import Attachment
    from imq.engine.containers.containers import Containers
    from imq.engine.containers.reader import Container
    from imq.engine.sources.action import Action, ExecutionContext, PlanContext
    from imq.grammar import ast

_DETACHED = "detached, and it goes on"


class Run(Record):
    """Create and start a container; without `detach`, pass on its output and wait for its end."""

    creation: Create
    detach: bool = False
    detach_keys: bytes = b""

    def describe(self) -> Outcome:
        """Return the name and the image."""
        return self.creation.describe().replace(action="run")

    def execute(self, context: ExecutionContext) -> Iterator[Outcome]:
        """Run the container. Raises `ContainerFailed` with its exit code; nothing is left of one that cannot start."""
        containers = context.get_shared(open_containers)
        container, goes_on = run_new(
            containers,
            self.creation.options,
            lambda: self.creation.create(context),
            detach=self.detach,
            keys=self.detach_keys,
        )
        note = container.id if self.detach or not goes_on else _DETACHED
        yield Outcome("run", container.name, self.creation.id, note=note)


def wait_for_end(
    containers: Containers, container: Container, attachment: Attachment, keys: bytes, outcome: Outcome
) -> Iterator[Outcome]:
    """Pass on the streams of a container until it ends or the user detaches. Raises `ContainerFailed`."""
    has_ended = pass_streams(containers, container, attachment, keys)
    yield outcome if has_ended else outcome.replace(note=_DETACHED)


def _plan_run(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    if not act.references:
        raise StatementError(
            "run needs an image by its name, not a query of images",
            code="operand",
            span=act.span,
            hints=("example: run redis:7 redis-server --port 7000",),
        )
    if (planner := find_planner(act.replace(references=act.references[:1]), context)) is not None:
        return planner(act, context)
    image, *words = act.references
    arguments = [*context.literals(words), *get_option_values(act, "run", context)]
    values = read_named_values(act, RUNNING, context)
    options = read_create_options(values, arguments, context.folder, context.environment)
    names = get_option_values(act, "as", context)
    if names:
        options = options.replace(name=names[0])
    detach = any(read_flag(value) for value in values if value.name == "detach")
    keys = next((parse_detach_keys(value.text) for value in values if value.name == "detach_keys"), None)
    options = options.replace(attaches=not detach)
    return [
        Run(plan_creation(image, options, values, context), detach, default_detach_keys() if keys is None else keys)
    ]


VERB = Verb(
    "run",
    "Create a container from an image of the store or of an engine, start it, and wait for its end; its output is"
    " passed on. The words after the image replace its command. After as: the name. After with: the options of create,"
    " detach = true, by which it goes on in the background, and detach_keys.",
    "run redis:7 redis-server --port 7000 as cache with detach = true, network_mode = host",
    OperandKind.IMAGE_AND_COMMAND,
    options=("from", "as", "run", "with", "dry run"),
    runs_programs=True,
    docker_differences=(
        "The image must be in the store, or in the engine that runs it: pull it first. A container that cannot be"
        " started is removed again. See create for the options."
    ),
    plan=_plan_run,
)
