"""Which images the containers of a namespace use."""

from __future__ import annotations

from imq.grammar.errors import NotFound
from imq.grammar.record import TYPE_CHECKING, Record

from .content import ContainerdImage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from imq.engine.containerd_client.client import ContainerdClient, ContainerRecord, TaskRecord
    from imq.engine.oci.digest import Digest

    from .content import ContainerdRecords, NamespaceRows

_CREATED = "created"
"""The status of a container without a process, as nerdctl shows it."""


class ContainerUse(Record):
    """A container with its process and its image.

    `image` is the image that it was made from, None when that has gone. `used` are the digests of all targets that it
    must keep: the image's, and that of the image that has its name by now. `parent` is the chain ID of its snapshot,
    "" when unknown.
    """

    record: ContainerRecord
    task: TaskRecord | None
    listed: ContainerdRecords | None
    image: ContainerdImage | None
    used: frozenset[Digest]
    used_ids: frozenset[Digest]
    parent: str

    @property
    def status(self) -> str:
        """The status, in docker's words."""
        return (self.task.status if self.task is not None else _CREATED) or _CREATED

    @property
    def is_running(self) -> bool:
        """Whether it has a process."""
        return self.status in ("running", "paused")

    def last_use(self, now: int) -> int | None:
        """Return when it last used its image: now while it runs, else when it ended or was made."""
        if self.is_running:
            return now
        exited = self.task.exited_at if self.task is not None else None
        return exited or self.record.created_at


def read_containers(client: ContainerdClient, namespace: str, rows: NamespaceRows) -> list[ContainerUse]:
    """Return the containers of a namespace.

    The name in a container's record can have moved to another image. The chain ID below its snapshot tells which
    image it was made from.
    """
    tasks = client.list_tasks(namespace)
    by_chain: dict[str, list[tuple[ContainerdRecords, ContainerdImage]]] = {}
    for listed in rows.list_targets():
        for image in listed.images:
            if isinstance(image, ContainerdImage) and (chain := rows.get_chain_id(image)):
                by_chain.setdefault(chain, []).append((listed, image))
    return [
        _find_image(record, tasks.get(record.id), rows, by_chain, find_parent(client, namespace, record))
        for record in client.list_containers(namespace)
    ]


def find_parent(client: ContainerdClient, namespace: str, record: ContainerRecord) -> str:
    """Return the chain ID below the snapshot of a container; "" when it has none."""
    if not record.snapshotter or not record.snapshot_key:
        return ""
    try:
        return client.get_snapshot_parent(namespace, record.snapshotter, record.snapshot_key)
    except NotFound:
        return ""


def _find_image(
    record: ContainerRecord,
    task: TaskRecord | None,
    rows: NamespaceRows,
    by_chain: Mapping[str, list[tuple[ContainerdRecords, ContainerdImage]]],
    parent: str,
) -> ContainerUse:
    named = rows.find_record(record.image) if record.image else None
    same = by_chain.get(parent, []) if parent else []
    of_name = [one for one in same if one[0] is named]
    used = list(of_name or same)
    listed, image = used[0] if of_name or len(same) == 1 else (None, None)
    if named is not None and not of_name:
        images = [one for one in named.images if isinstance(one, ContainerdImage)]
        used += [(named, one) for one in images]
        if not parent and images:
            listed, image = named, images[0]
    targets = {one.descriptor.digest for one, _ in used}
    if named is not None:
        targets.add(named.descriptor.digest)
    return ContainerUse(record, task, listed, image, frozenset(targets), frozenset(one.id for _, one in used), parent)
