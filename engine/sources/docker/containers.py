"""The tables `containers`, `usage` and `build_cache` of engines."""

from __future__ import annotations

import os

from imq.engine.oci.reference import Reference
from imq.engine.oci.timestamp import parse_time
from imq.engine.store.index_rows import to_json
from imq.grammar.errors import ImqError
from imq.grammar.record import TYPE_CHECKING

from .image_documents import read_digests, seconds_to_time
from .images import list_containers, list_images
from .table_scan import EngineScan
from .tables import CONTAINER_DETAILS, CONTAINER_DIGESTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from imq.engine.catalog.schema import Raw
    from imq.engine.query.source import FetchRequest

_NANO_CPUS = 1_000_000_000
_DETAIL_COLUMNS = (
    "command", "env", "health", "exit_code", "oom_killed", "restart_count", "restart_policy", "started", "finished",
    "log_path", "log_size", "volumes_from", "memory_limit", "cpu_limit", "privileged", "network_mode", "pid_mode",
    "user", "read_only",
)  # fmt: skip
_FETCHED_DETAILS = tuple(name for name in _DETAIL_COLUMNS if name not in ("command", "network_mode"))
"""The details of which the listing says nothing."""
_POD_LABEL = "io.kubernetes.pod.name"
_NAMESPACE_LABEL = "io.kubernetes.pod.namespace"


class Containers(EngineScan):
    """The rows of `containers`."""

    columns = (
        "_lookup", "source", "id", "name", "image", "image_id", "command", "label", "status", "created", "ports",
        "published_ports", "mounts", "networks", "network_mode", "kind", "pod", "namespace",
    )  # fmt: skip
    fetched_columns = ("image_digest", *_FETCHED_DETAILS, "size_rw")

    def list_rows(self, names: Sequence[tuple[Raw, ...]], /) -> None:
        """List all containers, or those of looked-up images, or those of the images behind `of`."""
        self.create({})
        wanted: dict[str, dict[str, str]] | None = None
        if self.scan.lookup_fields:
            wanted = {}
            for source, id_ in self.group_lookups(names):
                wanted.setdefault(source, {})[id_] = id_
        elif names or self.scan.targets or self.scan.has_target_queries:
            wanted = {}
            for source, name, image in self.inspect_targets(names):
                wanted.setdefault(source, {})[str(image["Id"])] = name
        sources = self.sources if wanted is None else tuple(wanted)
        listings = self.reader.each_source(sources, lambda source: list_containers(self.reader, source), self.scan.view)
        for source, items in listings:
            images = wanted[source] if wanted is not None else None
            self.insert(
                _container_row(item, source, item.get("ImageID") if images is None else images[item["ImageID"]])
                for item in items
                if images is None or item.get("ImageID") in images
            )

    def fetch(self, request: FetchRequest, /) -> None:
        """Fetch the fields of a level for the chosen rows."""
        if request.level is CONTAINER_DETAILS:
            self._fetch_details()
        elif request.level is CONTAINER_DIGESTS:
            self._fetch_digests()
        else:
            self._fetch_sizes()

    def _fetch_details(self) -> None:
        containers = [(source, str(id_)) for source, ids in self.chosen_by_source().items() for (id_,) in ids]
        rows, failed = [], []
        for (source, id_), document in self.reader.each_item(
            containers, lambda one: self.reader.inspect_container(*one)
        ):
            if isinstance(document, ImqError):
                failed.append((self.reader.add_problem(document, id_, self.scan.view), source, id_))
            else:
                rows.append((*_read_details(document, is_local=self.reader.is_local(source)), source, id_))
        self.update(_DETAIL_COLUMNS, rows)
        self.update(("problem",), failed)

    def _fetch_digests(self) -> None:
        for source, images in self.fetch_from_engines(lambda source: list_images(self.reader, source)):
            digests = {str(image["Id"]): read_digests(image) for image in images}
            rows = []
            for id_, name, image in self.chosen_by_source("id, image, image_id")[source]:
                rows.append((_digest_of(name, digests.get(str(image), [])), source, id_))
            self.update(("image_digest",), rows)

    def _fetch_sizes(self) -> None:
        def list_with_sizes(source: str) -> list[dict[str, Any]]:
            return self.reader.list_documents(source, "containers/json", all="1", size="1")

        for source, items in self.fetch_from_engines(list_with_sizes):
            self.update(("size_rw",), ((item.get("SizeRw", 0), source, item["Id"]) for item in items))


def _digest_of(name: Raw, digests: Sequence[str]) -> str | None:
    """Return the digest of an image in the repository of this name; that of its only repository for another name."""
    by_repository = {Reference.parse(text).canonical_name: text.partition("@")[2] for text in digests}
    try:
        own = by_repository.get(Reference.parse(str(name)).canonical_name)
    except ImqError:
        own = None
    return own or (next(iter(by_repository.values())) if len(by_repository) == 1 else None)


def _container_row(item: Mapping[str, Any], source: str, looked_up: object) -> tuple[object, ...]:
    labels = item.get("Labels") or {}
    names = item.get("Names") or ()
    name = next((one for one in names if one.count("/") < 2), next(iter(names), ""))  # others are links
    ports = [_format_port(port) for port in item.get("Ports") or ()]
    published = [
        f"{port['PublicPort']}/{port.get('Type', 'tcp')}" for port in item.get("Ports") or () if port.get("PublicPort")
    ]
    networks = sorted((item.get("NetworkSettings") or {}).get("Networks") or ())
    command = item.get("Command")
    return (
        looked_up, source, item["Id"], name.removeprefix("/"), item.get("Image"), item.get("ImageID"),
        to_json([command] if isinstance(command, str) and command else command), to_json(labels),
        item.get("State"), seconds_to_time(item.get("Created")), to_json(list(dict.fromkeys(ports))),
        to_json(list(dict.fromkeys(published))), to_json([_format_mount(one) for one in item.get("Mounts") or ()]),
        to_json(networks), (item.get("HostConfig") or {}).get("NetworkMode"), "container",
        labels.get(_POD_LABEL), labels.get(_NAMESPACE_LABEL), None,
    )  # fmt: skip


def _format_port(port: Mapping[str, Any]) -> str:
    own = f"{port.get('PrivatePort')}/{port.get('Type', 'tcp')}"
    if not port.get("PublicPort"):
        return own
    address = port.get("IP") or "0.0.0.0"  # noqa: S104 - how docker prints it
    return f"{f'[{address}]' if ':' in address else address}:{port['PublicPort']}->{own}"


def _format_mount(mount: Mapping[str, Any]) -> str:
    origin = mount.get("Name") or mount.get("Source") or ""
    return f"{origin}:{mount.get('Destination')}{'' if mount.get('RW', True) else ':ro'}"


def _read_details(document: Mapping[str, Any], *, is_local: bool) -> tuple[object, ...]:
    """Return the values of `_DETAIL_COLUMNS` of an inspected container."""
    state, host, config = (document.get(key) or {} for key in ("State", "HostConfig", "Config"))
    running = bool(state.get("Running"))
    words = [document.get("Path"), *(document.get("Args") or ())]
    env = {name: value for name, _, value in (text.partition("=") for text in config.get("Env") or ())}
    health = (state.get("Health") or {}).get("Status")
    policy = (host.get("RestartPolicy") or {}).get("Name")
    cpus = (host.get("NanoCpus") or 0) / _NANO_CPUS or _quota(host)
    path = document.get("LogPath") or None
    has_run = state.get("Status") != "created"
    return (
        to_json([word for word in words if word]), to_json(env), None if health in (None, "", "none") else health,
        state.get("ExitCode") if has_run and not running else None, state.get("OOMKilled"),
        document.get("RestartCount"), None if policy in (None, "", "no") else policy,
        parse_time(state.get("StartedAt")), None if running else parse_time(state.get("FinishedAt")),
        path, _size_of(path) if is_local else None,
        to_json([text.partition(":")[0] for text in host.get("VolumesFrom") or ()]), host.get("Memory") or None,
        cpus or None, host.get("Privileged"), host.get("NetworkMode") or None, host.get("PidMode") or None,
        config.get("User") or None, host.get("ReadonlyRootfs"),
    )  # fmt: skip


def _quota(host: Mapping[str, Any]) -> float:
    quota, period = host.get("CpuQuota") or 0, host.get("CpuPeriod") or 100_000
    return quota / period if quota > 0 else 0


def _size_of(path: str | None) -> int | None:
    try:
        return os.stat(path, follow_symlinks=False).st_size if path else None
    except OSError:
        return None


class Usage(EngineScan):
    """The rows of `usage`: disk usage by type, as `docker system df` shows it."""

    columns = ("source", "type", "total", "active", "size", "reclaimable")

    def list_rows(self, _names: Sequence[tuple[Raw, ...]], /) -> None:
        """List the types of each engine."""
        self.create({})
        usage = self.reader.each_source(
            self.sources, lambda source: self.reader.get_document(source, "system/df"), self.scan.view
        )
        for source, document in usage:
            self.insert((source, *row, None) for row in _usage_rows(document))


def _usage_rows(document: Mapping[str, Any]) -> Iterator[tuple[Raw, ...]]:
    images = document.get("Images") or ()
    used = [image for image in images if (image.get("Containers") or 0) > 0]
    total = document.get("LayersSize") or 0
    needed = sum(image.get("Size", 0) - max(image.get("SharedSize", 0), 0) for image in used)
    yield "Images", len(images), len(used), total, max(total - needed, 0)
    containers = document.get("Containers") or ()
    active = [one for one in containers if one.get("State") in ("running", "paused", "restarting")]
    sizes = [one.get("SizeRw") or 0 for one in containers]
    idle = sum(one.get("SizeRw") or 0 for one in containers if one not in active)
    yield "Containers", len(containers), len(active), sum(sizes), idle
    volumes = [(one.get("UsageData") or {}) for one in document.get("Volumes") or ()]
    size = sum(max(one.get("Size", 0), 0) for one in volumes)
    free = sum(max(one.get("Size", 0), 0) for one in volumes if one.get("RefCount") == 0)
    yield "Local Volumes", len(volumes), sum(one.get("RefCount", 0) > 0 for one in volumes), size, free
    cache = document.get("BuildCache") or ()
    own = [one for one in cache if not one.get("Shared")]
    size = sum(one.get("Size", 0) for one in own)
    free = sum(one.get("Size", 0) for one in own if not one.get("InUse"))
    yield "Build Cache", len(cache), sum(bool(one.get("InUse")) for one in cache), size, free


class BuildCache(EngineScan):
    """The rows of `build_cache`."""

    columns = (
        "source", "id", "type", "description", "size", "created", "last_used", "usage_count", "in_use", "shared",
    )  # fmt: skip

    def list_rows(self, _names: Sequence[tuple[Raw, ...]], /) -> None:
        """List the records of each engine."""
        self.create({})
        usage = self.reader.each_source(
            self.sources, lambda source: self.reader.get_document(source, "system/df"), self.scan.view
        )
        for source, document in usage:
            self.insert(
                (
                    source, one.get("ID"), one.get("Type"), one.get("Description"), one.get("Size"),
                    parse_time(one.get("CreatedAt")), parse_time(one.get("LastUsedAt")), one.get("UsageCount"),
                    one.get("InUse"), one.get("Shared"), None,
                )
                for one in document.get("BuildCache") or ()
            )  # fmt: skip
