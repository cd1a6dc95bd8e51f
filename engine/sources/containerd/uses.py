"""Which images the containers of a namespace use."""

from __future__ import annotations

from imq.engine.containerd_client.client import ContainerRecord
from imq.engine.oci.digest import is_digest
from imq.grammar.record import TYPE_CHECKING, Record

from .content import ContainerdImage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from imq.engine.containerd_client.client import ContainerdClient, SnapshotRecord, TaskRecord
    from imq.engine.oci.digest import Digest

    from .content import ContainerdRecords, NamespaceRows

_CREATED = "created"
"""The status of a container without a process, as nerdctl shows it."""
_STORAGE = "storage"
"""The status of a container that is known by its snapshot alone."""
_UNPACKING = "extract-"
"""The beginning of the keys of snapshots to which containerd writes a layer."""


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
        if self.is_storage:
            return _STORAGE
        return (self.task.status if self.task is not None else _CREATED) or _CREATED

    @property
    def is_storage(self) -> bool:
        """Whether it is known by its snapshot alone."""
        return not self.record.runtime

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
        _find_image(record, tasks.get(record.id), rows, by_chain, parent)
        for record, parent in list_users(client, namespace, rows.list_snapshotters())
    ]


def list_users(
    client: ContainerdClient, namespace: str, snapshotters: frozenset[str]
) -> Iterator[tuple[ContainerRecord, str]]:
    """Yield the containers of a namespace, each with the chain ID below its snapshot, "" when unknown.

    A snapshot of `snapshotters` that can be written to is one too when no container has it: it is a record without a
    runtime. A docker engine keeps no records of containers that do not run, and no snapshots in those of others.
    """
    records = client.list_containers(namespace)
    names = sorted(snapshotters | {record.snapshotter for record in records if record.snapshotter})
    snapshots = {name: client.list_snapshots(namespace, name) for name in names}
    claimed = set()
    for record in records:
        name, key = record.snapshotter, record.snapshot_key
        if not key:
            key = record.id
            name = next((one for one, found in snapshots.items() if key in found), "")
        claimed.add((name, key))
        yield record, _find_chain_below(snapshots.get(name, {}), key)
    for name, found in snapshots.items():
        for key, snapshot in found.items():
            if not snapshot.is_committed and (name, key) not in claimed and not key.startswith(_UNPACKING):
                record = ContainerRecord(key, "", {}, name, key, "", snapshot.created_at, b"")
                yield record, _find_chain_below(found, key)


def _find_chain_below(snapshots: Mapping[str, SnapshotRecord], key: str) -> str:
    """Return the nearest layer below a snapshot. Docker has a snapshot with the files of `/etc` between the two."""
    for _ in snapshots:
        snapshot = snapshots.get(key)
        if snapshot is None or is_digest(snapshot.parent):
            break
        key = snapshot.parent
    return snapshots[key].parent if key in snapshots else ""


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
