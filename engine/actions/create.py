"""The verb `create`: makes a container of an image, without starting it."""

from __future__ import annotations

import os

from imq.engine.oci.digest import Digest
from imq.engine.progress import make_byte_counter
from imq.engine.sources.action import Outcome
from imq.engine.sources.action_options import get_option_values, name_image
from imq.engine.sources.container_values import read_named_values
from imq.grammar.errors import Conflict, ImqError
from imq.grammar.record import TYPE_CHECKING, Record

from .container_operands import open_containers
from .container_options import CREATION, read_create_options
from .derived_images import find_base
from .operands import find_planner
from .verb import OperandKind, Verb

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from imq.engine.containers.document import CreateOptions
    from imq.engine.containers.reader import Container
    from imq.engine.sources.action import Action, ExecutionContext, PlanContext
    from imq.engine.sources.container_values import Value
    from imq.grammar import ast


class Create(Record):
    """Create a container with these options from an image, given by its name, ID and manifest.

    `id_file` is the path of a file for the ID of the container, "" without one.
    """

    options: CreateOptions
    image_name: str
    id: Digest
    manifest: str
    id_file: str = ""

    def describe(self) -> Outcome:
        """Return the name and the image."""
        return Outcome("create", self.options.name or "<new>", self.id, note=f"from {self.image_name}")

    def create(self, context: ExecutionContext) -> Container:
        """Create the container."""
        containers = context.get_shared(open_containers)
        image = containers.read_image(self.image_name, self.manifest)
        moved = make_byte_counter(context.progress, f"unpack {self.image_name}", 0)
        if self.id_file and os.path.lexists(self.id_file):
            raise Conflict(
                f"container ID file found, make sure the other container isn't running or delete {self.id_file}",
                code="exists",
            )
        try:
            container = containers.create(self.options, image, context.clock(), moved)
        finally:
            context.progress.stop()  # before the container writes to the same terminal
        if self.id_file:
            try:
                with open(self.id_file, "x", encoding="ascii") as file:
                    file.write(container.id)
            except OSError as problem:
                containers.remove(container)
                reason = f"the file for the ID of the container cannot be written: {self.id_file}: {problem.strerror}"
                raise ImqError(reason, code="system") from None
        return container

    def execute(self, context: ExecutionContext) -> Iterator[Outcome]:
        """Create the container."""
        container = self.create(context)
        yield Outcome("create", container.name, self.id, note=container.id)


def plan_creation(
    image: ast.Literal | ast.Variable,
    options: CreateOptions,
    values: Sequence[Value],
    context: PlanContext,
) -> Create:
    """Return the creation of a container from an image of the store; `values` are those of `with`.

    Raises `NotFound`.
    """
    name, id_, manifest = find_base(image, context)
    path = next((value.text for value in values if value.name == "id_file"), "")
    return Create(options, name, id_, str(manifest), os.path.join(context.folder, path) if path else "")


def _plan_create(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    of_image = name_image(act)
    if (planner := find_planner(of_image.replace(references=()), context)) is not None:
        return planner(act, context)
    names = context.literals(act.references)
    values = read_named_values(act, CREATION, context)
    arguments = get_option_values(act, "run", context)
    options = read_create_options(values, arguments, context.folder, context.environment)
    if names:
        options = options.replace(name=names[0])
    return [plan_creation(of_image.references[0], options, values, context)]


VERB = Verb(
    "create",
    "Create a container from an image of the store or of an engine. After run: the command line that replaces the"
    " image's command. After with: its options, by the names of fields of containers or of docker's flags.",
    "create web from redis:7 run redis-server --port 7000 with env.MODE = fast, memory_limit = 512MB",
    OperandKind.CONTAINER_NAME,
    options=("from", "in", "run", "with", "dry run"),
    operand_optional=True,
    docker_differences=(
        "An engine makes a container of its own image: create web from redis:7 in docker; it also takes publish,"
        " volumes_from and names of volumes. A container of the store has no network, or that of the host with"
        " network_mode = host: there are no bridges and no published ports. Mounts are folders of this machine, which"
        " must exist, named volumes, or type=tmpfs. Containers of ordinary users have no limits of memory, CPU and"
        " processes, and cannot be paused. A restart policy holds until a reboot: no daemon starts containers then,"
        " so let a unit of systemd run imq start containers where restart_policy = always. Options may be repeated:"
        " env, env_file, label, label_file, mount, tmpfs, cap_add, cap_drop, security_opt, device, ulimit, sysctl,"
        " add_host, dns, dns_search, dns_option, group_add and expose. The others are name, user, workdir, hostname,"
        " entrypoint, network_mode, pid_mode, ipc_mode, uts_mode, read_only, privileged, init, memory_limit,"
        " memory_swap, memory_reservation, cpu_limit, cpu_shares, cpuset_cpus, cpuset_mems, pids_limit, shm_size,"
        " oom_score_adj, stop_signal, stop_timeout, timeout, restart_policy, health_cmd, health_interval,"
        " health_timeout, health_start_period, health_start_interval, health_retries, no_healthcheck, auto_remove,"
        " stdin, terminal and id_file."
    ),
    plan=_plan_create,
)
