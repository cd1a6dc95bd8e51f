"""The verb `recreate`: replaces containers by new ones with the same options, from the image of this name now."""

from __future__ import annotations

from contextlib import suppress

from imq.engine.oci.digest import Digest
from imq.engine.progress import make_byte_counter
from imq.engine.sources.action import Failed, Outcome
from imq.engine.sources.container_replacement import (
    DEFAULT_TIMEOUT,
    NEW,
    OLD,
    REMOVES_ITSELF,
    Observed,
    Undo,
    await_health,
    container_changed,
    describe_change,
    image_gone,
    not_replaceable,
    read_replacement,
)
from imq.grammar import ast
from imq.grammar.errors import Conflict, ImqError, NotFound
from imq.grammar.record import TYPE_CHECKING

from .container_operands import ContainerAction, choose_containers, find_container_planner
from .derived_images import find_base
from .verb import OperandKind, Verb

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from imq.engine.containers.containers import Containers
    from imq.engine.containers.reader import Container
    from imq.engine.sources.action import Action, ExecutionContext, PlanContext

    from .container_operands import Chosen


class Recreate(ContainerAction):
    """Replace a container by one from the image with a name, an ID and a manifest. `timeout` is in seconds."""

    image_name: str
    id: Digest
    manifest: str
    timeout: int = DEFAULT_TIMEOUT

    @property
    def verb(self) -> str:
        """The action in outcomes."""
        return "recreate"

    def describe(self) -> Outcome:
        """Return the name, the new image, and the old one."""
        note = f"from {self.image_name}, {describe_change(self.container.image, self.id)}"
        return Outcome("recreate", self.container.label, self.id, note=note)

    def apply(self, containers: Containers, container: Container, context: ExecutionContext) -> Outcome:
        """Replace it.

        Raises `Conflict` (`changed`) when it is not as it was planned, and `NotHealthy` when the old one is back.
        """
        from imq.engine.containers.given_options import move_own_volumes, read_given_options

        state = containers.read_state(container.id)
        if state.status != self.container.status or container.document["Image"] != self.container.image:
            raise container_changed(container.name)
        image = containers.read_image(self.image_name, self.manifest)
        options = read_given_options(container.document, _read_config(containers, container), f"{container.name}{NEW}")
        moved = make_byte_counter(context.progress, f"unpack {self.image_name}", 0)
        name, runs = container.name, state.is_running
        with Undo() as undo:
            new = containers.create(options, image, context.clock(), moved)
            undo.add(f"remove {new.name}", lambda: _remove(containers, new))
            if runs:
                undo.add(f"start {name}", lambda: _restart(containers, container))
                containers.stop(container)
            old = containers.rename(container, f"{name}{OLD}")
            undo.add(f"rename {old.name} to {name}", lambda: containers.rename(old, name))
            move_own_volumes(old.document, new.document)
            undo.add(f"move the volumes of {name} back", lambda: move_own_volumes(new.document, old.document))
            replacement = containers.rename(new, name)
            undo.add(f"rename {name} to {new.name}", lambda: containers.rename(replacement, new.name))
            if runs:
                undo.add(f"stop the new {name}", lambda: containers.kill(replacement))
                containers.start(replacement)
                await_health(lambda: _observe(containers, replacement), name, self.timeout)
        containers.remove(old)
        return self.describe()


def _restart(containers: Containers, container: Container) -> None:
    with suppress(Conflict):  # it was not stopped yet
        containers.start(container)


def _remove(containers: Containers, new: Container) -> None:
    with suppress(NotFound):
        containers.remove(new, force=True)


def _observe(containers: Containers, container: Container) -> Observed:
    document = containers.inspect(container.id)
    state = document["State"]
    health = state.get("Health") or {}
    checks = health.get("Log") or [{}]
    output = str(checks[-1].get("Output") or "").strip()
    return Observed(state["Status"], health.get("Status") or "", state["ExitCode"], document["RestartCount"], output)


def _read_config(containers: Containers, container: Container) -> Mapping[str, Any]:
    """Return the object `config` of the image of a container. Raises `Conflict` when the image is gone."""
    try:
        return containers.read_image(container.document["Config"]["Image"], container.document["ImageManifest"]).runtime
    except NotFound:
        raise image_gone(container.name) from None


def _plan_recreate(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    if (planner := find_container_planner(act, context)) is not None:
        return planner(act, context)
    image, timeout = read_replacement(act, context)
    chosen, failures = choose_containers(act, context)
    return [*(_plan_one(one, image, timeout, context) for one in chosen), *failures]


def _plan_one(chosen: Chosen, image: str, timeout: int, context: PlanContext) -> Action:
    """Return the replacement of a container; a failure for one that cannot be made again."""
    from imq.engine.containers.factory import make_containers

    containers = make_containers(context.store, "", context.environment)
    container = containers.read(chosen.id)
    image = image or container.document["Config"]["Image"]
    try:
        if container.document["HostConfig"].get("AutoRemove"):
            raise not_replaceable(chosen.label, *REMOVES_ITSELF)
        if chosen.status in ("paused", "restarting"):
            verb = "unpause" if chosen.status == "paused" else "stop"
            raise not_replaceable(chosen.label, f"it is {chosen.status}", f"{verb} {chosen.label}")
        _read_config(containers, container)
        name, id_, manifest = find_base(ast.Literal(image, quoted=True), context)
    except ImqError as error:
        return Failed("recreate", chosen.label, error)
    return Recreate(chosen, name, id_, str(manifest), timeout)


VERB = Verb(
    "recreate",
    "Replace containers by new ones with the same names and options, from the images that their images' names have now,"
    " or from another one: with image = redis:8. Volumes stay; other files that a container changed are lost. The old"
    " container is removed when the new one runs and is healthy, by default within 5 minutes; otherwise it is put back"
    " and started again.",
    "recreate web in docker with timeout = 2m",
    OperandKind.CONTAINERS,
    options=("from", "in", "with", "dry run"),
    removes=True,
    needs_confirmation=True,
    plan=_plan_recreate,
)
