"""The verb `create`: makes a container of an image, without starting it."""

from __future__ import annotations

from imq.engine.oci.digest import Digest
from imq.engine.progress import make_byte_counter
from imq.engine.sources.action import Outcome
from imq.engine.sources.action_options import get_option_values
from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING, Record

from .container_operands import open_containers
from .container_options import CREATION, read_create_options, read_values
from .derived_images import find_base
from .operands import find_planner
from .verb import OperandKind, Verb

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imq.engine.containers.containers import Container
    from imq.engine.containers.document import CreateOptions
    from imq.engine.sources.action import Action, ExecutionContext, PlanContext
    from imq.grammar import ast


class Create(Record):
    """Create a container with these options from an image, given by its name, ID and manifest."""

    options: CreateOptions
    image_name: str
    id: Digest
    manifest: str

    def describe(self) -> Outcome:
        """Return the name and the image."""
        return Outcome("create", self.options.name or "<new>", self.id, note=f"from {self.image_name}")

    def create(self, context: ExecutionContext) -> Container:
        """Create the container."""
        containers = context.get_shared(open_containers)
        image = containers.read_image(self.image_name, self.manifest)
        moved = make_byte_counter(context.progress, f"unpack {self.image_name}", 0)
        return containers.create(self.options, image, context.clock(), moved)

    def execute(self, context: ExecutionContext) -> Iterator[Outcome]:
        """Create the container."""
        container = self.create(context)
        yield Outcome("create", container.name, self.id, note=container.id)


def plan_creation(image: ast.Literal | ast.Variable, options: CreateOptions, context: PlanContext) -> Create:
    """Return the creation of a container from an image of the store. Raises `NotFound`."""
    name, id_, manifest = find_base(image, context)
    return Create(options, name, id_, str(manifest))


def _plan_create(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    others = tuple(option for option in act.options if option.name != "from")
    if (planner := find_planner(act.replace(references=(), options=others), context)) is not None:
        return planner(act, context)
    images = get_option_values(act, "from", context)
    names = context.literals(act.references)
    if len(images) != 1 or len(names) > 1:
        raise StatementError(
            "create takes one name and one image",
            code="operand",
            span=act.span,
            hints=("example: create web from redis:7",),
        )
    option = next(option for option in act.options if option.name == "from")
    options = read_create_options(
        read_values(act, CREATION, context), get_option_values(act, "run", context), context.folder
    )
    if names:
        options = options.replace(name=names[0])
    return [plan_creation(option.values[0], options, context)]


VERB = Verb(
    "create",
    "Create a container from an image of the store or of an engine. After run: the command line that replaces the image's command."
    " After with: its options, by the names of fields of containers or of docker's flags.",
    "create web from redis:7 run redis-server --port 7000 with env.MODE = fast, memory_limit = 512MB",
    OperandKind.CONTAINER_NAME,
    options=("from", "run", "with", "dry run"),
    operand_optional=True,
    docker_differences=(
        "An engine makes a container of its own image with use docker, or --source docker; it also takes publish, tmpfs,"
        " volumes_from, privileged, cap_add, cap_drop, pid_mode, ulimit, restart_policy, terminal and names of volumes."
        " A container of the store has no network, or that of the host with network_mode = host: there are no bridges"
        " and no published ports. Mounts are folders of this machine, which must exist. The options are name, env, label,"
        " user, workdir, hostname, entrypoint, mount, network_mode, read_only, memory_limit, cpu_limit, pids_limit,"
        " stop_signal, stop_timeout, auto_remove, timeout and stdin."
    ),
    plan=_plan_create,
)
