"""Removes containers of namespaces: `rm containers in containerd:NAMESPACE where …`.

A container goes with its ended process and its snapshot, as `ctr containers rm` does it. Those of the kubelet stay
without `force`: it would make them again. Before each removal the container is read again, and one that was started or
replaced since the plan is left alone.
"""

from __future__ import annotations

from contextlib import suppress

from imq.engine.query.binder import require_where
from imq.engine.sources.action import Failed, Outcome
from imq.engine.sources.action_options import bind_whole_rows, get_option
from imq.grammar import ast
from imq.grammar.errors import Conflict, EngineError, NotFound
from imq.grammar.record import TYPE_CHECKING, Record

from .clients import ContainerdClients
from .targets import get_reader

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imq.engine.oci.digest import Digest
    from imq.engine.sources.action import Action, ExecutionContext, PlanContext

    from .uses import ContainerUse

_KUBELET_LABEL = "io.cri-containerd.kind"
_ACTIVE = ("running", "paused")


class RemoveContainer(Record):
    """Remove a container, whose process was in the state `status` and which was made at `created_at`.

    With `force` its processes are killed. The snapshot `key` of `snapshotter` is removed too, if it has one.
    """

    source: str
    namespace: str
    id: str
    status: str
    created_at: int | None
    snapshotter: str
    key: str
    image: Digest | None = None
    force: bool = False

    def describe(self) -> Outcome:
        """Return the container with its state."""
        kills = ", its processes are killed" if self.status in _ACTIVE else ""
        return Outcome("remove", self.id, self.image, note=f"{self.status} container in {self.source}{kills}")

    def execute(self, context: ExecutionContext) -> Iterator[Outcome]:
        """Remove the container. Raises `Conflict` or `NotFound` (`changed`) when it is not as it was planned."""
        client = context.get_shared(ContainerdClients).get()
        records = {one.id: one for one in client.list_containers(self.namespace)}
        record = records.get(self.id)
        if record is None or record.created_at != self.created_at:
            raise NotFound(f"the container {self.id} was removed since this was planned", code="changed")
        task = client.list_tasks(self.namespace).get(self.id)
        is_active = task is not None and task.status in _ACTIVE
        if is_active and self.status not in _ACTIVE:
            raise Conflict(
                f"the container {self.id} was started since this was planned, so it was left alone",
                code="changed",
                hints=("run the statement again",),
            )
        if is_active:
            client.kill_task(self.namespace, self.id)
        if task is not None:
            with suppress(NotFound):  # it ended by itself
                client.delete_task(self.namespace, self.id)
        client.delete_container(self.namespace, self.id)
        if self.key:
            with suppress(NotFound):
                client.remove_snapshot(self.namespace, self.snapshotter, self.key)
        yield self.describe()


def plan_container_removal(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    """Return the removal of each container of a query. Those that run, or are the kubelet's, fail without `force`."""
    assert act.query is not None
    bind_whole_rows(act, context)
    require_where(act.query, act.verb)
    force = get_option(act, "force") is not None
    columns = tuple(ast.Column(ast.Field((name,))) for name in ("source", "id", "problem"))
    query = ast.Query("", base=act.query, select=columns, span=act.query.span)
    actions: dict[tuple[str, str], Action] = {}
    for source, id_, problem in context.rows(query, ())[1]:
        key = (str(source), str(id_))
        if problem is not None:  # the condition may have read what containerd did not return
            actions[key] = Failed(act.verb, key[1], EngineError(str(problem)))
            continue
        uses = get_reader(context).read_containers(key[0])
        use = next((one for one in uses if one.record.id == key[1]), None)
        if use is not None:
            error = None if force else _find_conflict(use)
            actions[key] = (
                _make_action(use, key[0], context, force=force) if error is None else Failed(act.verb, key[1], error)
            )
    return list(actions.values())


def _make_action(use: ContainerUse, source: str, context: PlanContext, *, force: bool) -> RemoveContainer:
    record = use.record
    return RemoveContainer(
        source,
        get_reader(context).get_namespace(source),
        record.id,
        use.status,
        record.created_at,
        record.snapshotter,
        record.snapshot_key if record.snapshotter else "",
        use.image.id if use.image is not None else None,
        force,
    )


def _find_conflict(use: ContainerUse) -> Conflict | None:
    if use.is_running:
        return Conflict(
            f"unable to remove the container {use.record.id}: it is {use.status}",
            hints=("stop it first, or add force, which kills its processes",),
        )
    if use.record.labels.get(_KUBELET_LABEL):
        return Conflict(
            f"unable to remove the container {use.record.id}: the kubelet manages it",
            code="managed",
            hints=("crictl rm does it in the order of the kubelet; force removes it all the same",),
        )
    return None
