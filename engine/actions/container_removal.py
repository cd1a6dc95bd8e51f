"""The removal of containers of the store, and the rules by which containers keep images from being removed.

The rules are docker's: an image that a container was made from stays, unless force is given and no such container runs.
"""

from __future__ import annotations

from imq.engine.sources.action import Failed, Outcome
from imq.engine.sources.action_options import get_option
from imq.grammar.errors import Conflict
from imq.grammar.record import TYPE_CHECKING, Record

from .container_operands import Chosen, choose_containers, open_containers
from .operands import find_planner

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Set as AbstractSet

    from imq.engine.oci.digest import Digest
    from imq.engine.sources.action import Action, ExecutionContext, PlanContext
    from imq.engine.store.store import Store
    from imq.grammar import ast

ACTIVE = ("running", "paused", "restarting")
"""The states of containers that have processes."""
_SHORT = 12


class RemoveContainer(Record):
    """Remove a container. With `force` its processes are killed."""

    container: Chosen
    force: bool = False

    def describe(self) -> Outcome:
        """Return the name with the status and the image."""
        kills = ", its processes are killed" if self.container.status in ACTIVE else ""
        note = f"{self.container.status} container{kills}"
        return Outcome("remove", self.container.label, self.container.image, note=note)

    def execute(self, context: ExecutionContext) -> Iterator[Outcome]:
        """Remove the container. Raises `Conflict` (`changed`) when it was started since it was planned."""
        containers = context.get_shared(open_containers)
        container = containers.read(self.container.id)
        is_active = containers.read_state(container.id).is_running
        if is_active and self.container.status not in ACTIVE:
            raise Conflict(
                f"the container {container.name} was started since this was planned, so it was left alone",
                code="changed",
                hints=("run the statement again",),
            )
        freed = containers.remove(container, force=self.force)
        context.get_shared(_LayerCollector)
        yield self.describe().replace(size=freed)


class _LayerCollector:
    """Removes the unpacked layers that nothing needs any more, once at the end of a statement."""

    def __init__(self, context: ExecutionContext) -> None:
        self._containers = open_containers(context)

    def close(self) -> None:
        """Remove the layers."""
        self._containers.remove_unneeded_layers()


def plan_container_removal(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    """Return the removal of each container that a statement names or selects. Running ones fail without `force`."""
    if act.query is not None and (planner := find_planner(act, context)) is not None:
        return planner(act, context)
    force = get_option(act, "force") is not None
    chosen, failures = choose_containers(act, context)
    return [*(_plan_one(act.verb, one, force=force) for one in chosen), *failures]


def plan_container_prune(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    """Return the removal of each container of a query that has no processes."""
    if act.query is not None and (planner := find_planner(act, context)) is not None:
        return planner(act, context)
    chosen, failures = choose_containers(act, context, needs_where=False)
    return [*(RemoveContainer(one) for one in chosen if one.status not in ACTIVE), *failures]


def _plan_one(verb: str, chosen: Chosen, *, force: bool) -> Action:
    if chosen.status in ACTIVE and not force:
        return Failed(
            verb,
            chosen.label,
            Conflict(
                f"cannot remove container {chosen.label}: it is {chosen.status}",
                code="container-running",
                hints=(f"stop it first: stop {chosen.label}", "or add force, which kills its processes"),
            ),
        )
    return RemoveContainer(chosen, force=force)


class ImageUse(Record):
    """A container that was made from an image."""

    id: str
    name: str
    status: str

    @property
    def is_running(self) -> bool:
        """Whether the container has processes."""
        return self.status in ACTIVE


def find_uses(store: Store, roots: AbstractSet[Digest]) -> dict[str, tuple[ImageUse, ...]]:
    """Return the containers made from images of these descriptors of index.json, the running ones first."""
    if not store.has_containers():
        return {}
    import json

    rows = store.index.connection.execute(
        "SELECT DISTINCT entry.root, container.id, container.name, container.status FROM json_each(?)"
        " CROSS JOIN entry ON entry.root = value"
        " JOIN container ON container.image_id = entry.id OR container.manifest = entry.manifest"
        " ORDER BY container.status IN ('running', 'paused', 'restarting') DESC, container.created",
        (json.dumps(list(roots)),),
    )
    uses: dict[str, list[ImageUse]] = {}
    for root, *use in rows:
        uses.setdefault(root, []).append(ImageUse(*use))
    return {root: tuple(found) for root, found in uses.items()}


def find_uses_by_image(store: Store) -> dict[str, tuple[ImageUse, ...]]:
    """Return the containers made from each image, by its ID, the running ones first."""
    rows = store.index.connection.execute(
        "SELECT image_id, id, name, status FROM container"
        " ORDER BY status IN ('running', 'paused', 'restarting') DESC, created"
    )
    uses: dict[str, list[ImageUse]] = {}
    for image, *use in rows:
        uses.setdefault(image, []).append(ImageUse(*use))
    return {image: tuple(found) for image, found in uses.items()}


def refuse_name(name: str, id_: Digest, uses: tuple[ImageUse, ...]) -> Conflict:
    """Return the error for the removal of the last name of an image that containers use."""
    return Conflict(
        f'unable to remove repository reference "{name}" (must force) - container {uses[0].id[:_SHORT]} is using its'
        f" referenced image {id_.short}",
        code="in-use",
        hints=(_list_users(uses), f"{_removal_of(id_)}, or add force"),
    )


def refuse_id(id_: Digest, uses: tuple[ImageUse, ...], *, force: bool) -> Conflict | None:
    """Return the error for the removal of an image by its ID; None when `force` allows it."""
    first = uses[0]
    if not first.is_running and force:
        return None
    kind, rule = ("running", "cannot be forced") if first.is_running else ("stopped", "must be forced")
    return Conflict(
        f"unable to delete {id_.short} ({rule}) - image is being used by {kind} container {first.id[:_SHORT]}",
        code="in-use",
        hints=(_list_users(uses), _removal_of(id_)),
    )


def _removal_of(image: Digest) -> str:
    return f"to remove them: rm containers where image_id = {image.short}"


def _list_users(uses: tuple[ImageUse, ...]) -> str:
    names = [f"{use.name or use.id[:_SHORT]} ({use.status})" for use in uses[:8]]
    more = f" and {len(uses) - len(names)} more" if len(uses) > len(names) else ""
    return f"containers made from it: {', '.join(names)}{more}"
