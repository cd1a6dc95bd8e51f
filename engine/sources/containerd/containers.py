"""The table `containers` of containerd."""

from __future__ import annotations

from imq.engine.sources.scan_rows import ScanRows
from imq.engine.store.index_rows import replace_surrogates, to_json
from imq.grammar.errors import ImqError, NotFound
from imq.grammar.record import TYPE_CHECKING

from .content import name_of_record
from .specification import get_object, list_mounts, parse_specification, read_strings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from imq.engine.catalog.schema import Raw
    from imq.engine.containerd_client.client import ContainerRecord
    from imq.engine.query.source import FetchRequest, ScanRequest

    from .reader import ContainerdReader
    from .uses import ContainerUse

_NAME_LABELS = ("io.kubernetes.container.name", "nerdctl/name")
_POD_LABEL = "io.kubernetes.pod.name"
_NAMESPACE_LABEL = "io.kubernetes.pod.namespace"
_KIND_LABEL = "io.cri-containerd.kind"


class Containers(ScanRows):
    """The rows of `containers`."""

    columns = (
        "_lookup", "source", "id", "name", "image", "image_id", "image_digest", "command", "env", "label", "status",
        "exit_code", "created", "finished", "mounts", "memory_limit", "cpu_limit", "network_mode", "pid_mode", "user",
        "read_only", "kind", "pod", "namespace", "driver", "_key",
    )  # fmt: skip
    fetched_columns = ("size_rw",)

    def __init__(self, reader: ContainerdReader, request: ScanRequest) -> None:
        super().__init__(reader.connection, request)
        self._reader = reader

    def list_rows(self, names: Sequence[tuple[Raw, ...]], /) -> None:
        """List all containers, or those of looked-up images, or those of the images behind `of`."""
        self.create({})
        if self.scan.lookup_fields:
            for id_, source in dict.fromkeys(names):
                uses = self._reader.read_containers(str(source))
                self.insert(
                    _container_row(use, str(source), id_, self._reader.get_namespace(str(source)))
                    for use in uses
                    if use.image is not None and use.image.id == id_
                )
            return
        targets = [*self.scan.targets, *(str(name[0]) for name in names)]
        takes_all = not targets and not self.scan.has_target_queries
        found: set[str] = set()
        for source, uses in list_sources(self._reader, self.scan):
            namespace = self._reader.get_namespace(source)
            if takes_all:
                self.insert(_container_row(use, source, None, namespace) for use in uses)
            for target in targets:
                ids = {id_ for listed in self._reader.read(source).find(target) for id_ in listed.ids}
                found |= {target} if ids else set()
                self.insert(
                    _container_row(use, source, target, namespace)
                    for use in uses
                    if use.image is not None and use.image.id in ids
                )
        for target in self.scan.targets:
            if target not in found:
                error = NotFound(f"No such image: {target}", code="no-such-image")
                self._reader.add_problem(self.scan.view, target, error)

    def fetch(self, _request: FetchRequest, /) -> None:
        """Fetch the sizes of the snapshots of the chosen rows."""
        rows = []
        for row, source, snapshotter, key in self.read_selected("1", "t._row, t.source, t.driver, t._key"):
            if not snapshotter or not key:
                continue
            try:
                namespace = self._reader.get_namespace(str(source))
                size = self._reader.client.get_snapshot_size(namespace, str(snapshotter), str(key))
            except NotFound:
                continue
            rows.append((size, row))
        self.connection.executemany(f"UPDATE temp.{self.rows} SET size_rw = ? WHERE _row = ?", rows)


def list_sources(reader: ContainerdReader, scan: ScanRequest) -> Iterator[tuple[str, list[ContainerUse]]]:
    """Yield the namespaces of a scan with their containers. The error of the only one is raised."""
    names = [name for ref in scan.refs for name in reader.expand(ref.text)]
    for name in dict.fromkeys(names):
        try:
            uses = reader.read_containers(name)
        except ImqError as error:
            if len(names) == 1:
                raise
            reader.add_problem(scan.view, name, error)
        else:
            for problem in reader.read(name).content.problems:
                reader.add_problem(scan.view, name, problem)
            yield name, uses


def _container_row(use: ContainerUse, source: str, looked_up: object, namespace: str) -> tuple[object, ...]:
    record, task, labels = use.record, use.task, use.record.labels
    spec, problem = parse_specification(record.spec)
    process, linux = get_object(spec, "process"), get_object(spec, "linux")
    resources = get_object(linux, "resources")
    memory = get_object(resources, "memory").get("limit")
    row = (
        looked_up, source, record.id, name_container(record), show_image(use),
        use.image.id if use.image is not None else None,
        use.listed.descriptor.digest if use.listed is not None else None,
        to_json(read_strings(process.get("args"))), to_json(_read_env(process)), to_json(dict(labels)), use.status,
        task.exit_code if task is not None else None, record.created_at,
        task.exited_at if task is not None else None, _show_mounts(spec),
        memory if isinstance(memory, int) and memory > 0 else None, _read_cpus(resources),
        _share_of_host(linux, "network"), _share_of_host(linux, "pid"), _read_user(process),
        get_object(spec, "root").get("readonly") is True, labels.get(_KIND_LABEL) or "container",
        labels.get(_POD_LABEL), labels.get(_NAMESPACE_LABEL) or namespace, record.snapshotter or None,
        record.snapshot_key, problem,
    )  # fmt: skip
    return replace_surrogates(row)


def name_container(record: ContainerRecord) -> str:
    """Return the name that Kubernetes or nerdctl gave to a container, else its ID."""
    return next((record.labels[label] for label in _NAME_LABELS if record.labels.get(label)), record.id)


def show_image(use: ContainerUse) -> str | None:
    """Return the name that a container was created with; a name of its image when that was an ID."""
    name = name_of_record(use.record.image) if use.record.image else None
    if name is None and use.listed is not None and use.listed.names:
        name = use.listed.names[0]
    return str(name) if name is not None else use.record.image or None


def _read_env(process: Mapping[str, Any]) -> dict[str, str]:
    return {name: value for name, _, value in (text.partition("=") for text in read_strings(process.get("env")))}


def _read_user(process: Mapping[str, Any]) -> str | None:
    """Return `uid`, or `uid:gid`; None for root."""
    user = get_object(process, "user")
    uid, gid = user.get("uid") or 0, user.get("gid") or 0
    if not uid and not gid:
        return None
    return f"{uid}:{gid}" if gid else str(uid)


def _show_mounts(spec: Mapping[str, Any]) -> str | None:
    """Return the mounts of files and folders of the host as a JSON list; None without a specification."""
    if not spec:
        return None
    binds = (mount for mount in list_mounts(spec) if mount.type == "bind")
    return to_json([f"{bind.source or ''}:{bind.target}{':ro' if bind.read_only else ''}" for bind in binds])


def _read_cpus(resources: Mapping[str, Any]) -> float | None:
    cpu = get_object(resources, "cpu")
    quota, period = cpu.get("quota"), cpu.get("period")
    if not isinstance(quota, int) or not isinstance(period, int) or quota <= 0 or period <= 0:
        return None
    return quota / period


def _share_of_host(linux: Mapping[str, Any], kind: str) -> str | None:
    """Return `host` when a container has no namespace of this kind of its own; None when it has one, or may have."""
    namespaces = linux.get("namespaces")
    if not isinstance(namespaces, list):
        return None
    kinds = {one.get("type") for one in namespaces if isinstance(one, dict)}
    return None if kind in kinds else "host"
