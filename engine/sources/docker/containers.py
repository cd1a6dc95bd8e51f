"""The tables `containers`, `usage` and `build_cache` of engines."""

from __future__ import annotations

import os

from imq.engine.oci.reference import Reference
from imq.engine.oci.timestamp import parse_time
from imq.engine.store.index_rows import to_json
from imq.grammar.errors import ImqError
from imq.grammar.record import TYPE_CHECKING

from .image_documents import read_digests, seconds_to_time
from .json_documents import read_boolean, read_integer, read_map, read_object, read_objects, read_text, read_texts
from .layer_sizes import LayerSizes
from .podman_documents import BUILD_STATE, read_command
from .table_scan import EngineScan
from .tables import CONTAINER_DETAILS, CONTAINER_DIGESTS, CONTAINER_NAMES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from imq.engine.catalog.schema import Raw
    from imq.engine.query.source import FetchRequest

_NANO_CPUS = 1_000_000_000
_DEFAULT_PERIOD = 100_000
"""The period of a CPU quota in microseconds, when it is not set."""
_BUILD = "build"
_SHORT_ID = 12
_STATES = {"configured": "created", "stopped": "exited"}
"""States of podman by docker's names."""
_DETAIL_COLUMNS = (
    "command", "env", "health", "exit_code", "oom_killed", "restart_count", "restart_policy", "started", "finished",
    "log_path", "log_size", "volumes_from", "memory_limit", "cpu_limit", "privileged", "network_mode", "pid_mode",
    "user", "read_only", "driver",
)  # fmt: skip
_POD_LABEL = "io.kubernetes.pod.name"
_NAMESPACE_LABEL = "io.kubernetes.pod.namespace"


class Containers(EngineScan):
    """The rows of `containers`."""

    columns = (
        "_lookup", "source", "id", "name", "image", "image_id", "label", "status", "created", "ports",
        "published_ports", "mounts", "networks", "kind", "pod", "namespace", "listed_image", "position",
    )  # fmt: skip
    fetched_columns = ("image_digest", *_DETAIL_COLUMNS, "size_rw", "size_rootfs")

    def list_rows(self, names: Sequence[tuple[Raw, ...]], /) -> None:
        """List all containers, or those of looked-up images, or those of the images behind `of`."""
        self.create({})
        requested: dict[str, dict[str, str]] | None = None
        if self.scan.lookup_fields:
            requested = {}
            for source, id_ in self.group_lookups(names):
                requested.setdefault(source, {})[id_] = id_
        elif names or self.scan.targets or self.scan.has_target_queries:
            requested = {}
            for source, name, image in self.inspect_targets(names):
                requested.setdefault(source, {})[image["Id"]] = name
        sources = self.sources if requested is None else tuple(requested)
        for source, items in self.list_from_engines(sources, self.reader.list_containers):
            images = requested[source] if requested is not None else None
            self.insert(
                _container_row(item, source, item["ImageID"] if images is None else images[item["ImageID"]], position)
                for position, item in enumerate(items)
                if images is None or item["ImageID"] in images
            )

    def fetch(self, request: FetchRequest, /) -> None:
        """Fetch the fields of a level for the chosen rows."""
        if request.level is CONTAINER_DETAILS:
            self._fetch_details()
        elif request.level is CONTAINER_NAMES:
            self._fetch_names()
        elif request.level is CONTAINER_DIGESTS:
            self._fetch_digests()
        else:
            self._fetch_sizes()

    def _fetch_names(self) -> None:
        """Fetch the names that containers were made with; an engine lists the ID once the name has another image."""
        unnamed = self.read_selected(
            "t.image IS NULL AND t.listed_image IS NOT NULL", "source, id, listed_image, image_id"
        )
        listed = {(str(source), str(id_)): (str(text), str(image)) for source, id_, text, image in unnamed}
        rows = []
        for (source, id_), document in self.reader.each_item(
            list(listed), lambda one: self.reader.inspect_container(*one)
        ):
            name: Raw = None
            if isinstance(document, ImqError):
                self.add_row_problem(document, source, id_)
            else:
                name = read_text(document.get("ImageName")) or read_text(
                    read_object(document.get("Config")).get("Image")
                )
            listed_image, image_id = listed[source, id_]
            rows.append((_normalize_name(str(name or listed_image), image_id), source, id_))
        self.update(("image",), rows)

    def _fetch_details(self) -> None:
        containers = [
            (source, str(id_))
            for source, ids in self.chosen_by_source("id, kind").items()
            for id_, kind in ids
            if kind != _BUILD  # its build tool alone knows more
        ]
        rows, failed = [], []
        for (source, id_), document in self.reader.each_item(
            containers, lambda one: self.reader.inspect_container(*one)
        ):
            if isinstance(document, ImqError):
                failed.append((self.add_row_problem(document, source, id_), source, id_))
            else:
                rows.append((*_read_details(document, is_local=self.reader.is_local(source)), source, id_))
        self.update(_DETAIL_COLUMNS, rows)
        self.update(("problem",), failed)

    def _fetch_digests(self) -> None:
        for source, digests in self.fetch_from_engines(self._list_digests):
            rows = []
            for id_, name, image in self.chosen_by_source("id, coalesce(image, listed_image), image_id")[source]:
                digest = image if digests is None else _digest_of(name, digests.get(str(image), []))
                rows.append((digest, source, id_))
            self.update(("image_digest",), rows)

    def _list_digests(self, source: str) -> dict[str, list[str]] | None:
        """Return the names with a digest of each image of an engine by its ID; None where the ID is the digest."""
        if self.reader.has_containerd_images(source):
            return None
        return {image["Id"]: read_digests(image) for image in self.reader.list_images(source)}

    def _fetch_sizes(self) -> None:
        def list_with_sizes(source: str) -> list[dict[str, Any]]:
            return self.reader.list_containers(source, sizes=True)

        for source, items in self.fetch_from_engines(list_with_sizes):
            rows = (
                (read_integer(item.get("SizeRw", 0)), read_integer(item.get("SizeRootFs")), source, item["Id"])
                for item in items
                if item.get("State") != BUILD_STATE
            )
            self.update(("size_rw", "size_rootfs"), rows)  # a size of 0 is left out of the listing


def _digest_of(name: Raw, digests: Sequence[str]) -> str | None:
    """Return the digest of an image in the repository of this name; that of its only repository for another name."""
    by_repository = {_canonical(text): text.partition("@")[2] for text in digests}
    own = by_repository.get(_canonical(name))
    return own or (next(iter(by_repository.values())) if len(by_repository) == 1 else None)


def _canonical(name: Raw) -> str | None:
    try:
        return Reference.parse(str(name)).canonical_name
    except ImqError:
        return None


def _container_row(item: Mapping[str, Any], source: str, looked_up: str, position: int) -> tuple[object, ...]:
    labels, all_ports = read_map(item.get("Labels")), read_objects(item.get("Ports"))
    names = read_texts(item.get("Names"))
    name = next((one for one in names if one.count("/") < 2), next(iter(names), ""))  # others are links
    ports = [_format_port(port) for port in all_ports]
    published = [
        f"{port['PublicPort']}/{port.get('Type', 'tcp')}" for port in all_ports if read_integer(port.get("PublicPort"))
    ]
    networks = sorted(read_object(read_object(item.get("NetworkSettings")).get("Networks")))
    state, listed = read_text(item.get("State")), read_text(item.get("Image"))
    image = None if listed is None or _is_id(listed, item["ImageID"]) else _normalize_name(listed, item["ImageID"])
    return (
        looked_up, source, item["Id"], name.removeprefix("/") or None, image,
        item["ImageID"] or None, to_json(labels), _STATES.get(state or "", state), seconds_to_time(item.get("Created")),
        to_json(list(dict.fromkeys(ports))), to_json(list(dict.fromkeys(published))),
        to_json(_format_mounts(read_objects(item.get("Mounts")))), to_json(networks),
        _BUILD if state == BUILD_STATE else "container", item.get("PodName") or labels.get(_POD_LABEL),
        labels.get(_NAMESPACE_LABEL), listed, position, None,
    )  # fmt: skip


def _normalize_name(text: str, image_id: str) -> str:
    """Return the name of an image as images have it: an engine lists it as it was written. An ID is left as it is."""
    if _is_id(text, image_id):
        return text
    try:
        return str(Reference.parse(text).with_default_tag())
    except ImqError:
        return text


def _is_id(text: str, image_id: str) -> bool:
    """Whether the image of a listed container is its ID, whole or shortened, and not a name."""
    return text == image_id or (len(text) >= _SHORT_ID and image_id.partition(":")[2].startswith(text))


def _format_port(port: Mapping[str, Any]) -> str:
    own = f"{port.get('PrivatePort')}/{port.get('Type', 'tcp')}"
    if not read_integer(port.get("PublicPort")):
        return own
    address = read_text(port.get("IP")) or "0.0.0.0"  # noqa: S104 - how docker prints it
    return f"{f'[{address}]' if ':' in address else address}:{port['PublicPort']}->{own}"


def _format_mounts(mounts: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the mounts by their targets: docker lists them in any order."""
    return [_format_mount(one) for one in sorted(mounts, key=lambda one: str(one.get("Destination")))]


def _format_mount(mount: Mapping[str, Any]) -> str:
    origin = read_text(mount.get("Name")) or read_text(mount.get("Source")) or ""
    return f"{origin}:{mount.get('Destination')}{'' if mount.get('RW', True) else ':ro'}"


def _read_details(document: Mapping[str, Any], *, is_local: bool) -> tuple[object, ...]:
    """Return the values of `_DETAIL_COLUMNS` of an inspected container."""
    state, host, config = (read_object(document.get(key)) for key in ("State", "HostConfig", "Config"))
    running = read_boolean(state.get("Running")) or False
    variables = (text.partition("=") for text in read_texts(config.get("Env")))
    env = {name: value for name, equals, value in variables if equals}  # without one it is not set in the container
    health = read_text(read_object(state.get("Health")).get("Status"))
    policy = read_text(read_object(host.get("RestartPolicy")).get("Name"))
    path = read_text(document.get("LogPath")) or read_text(read_object(host.get("LogConfig")).get("Path"))
    mode, pid_mode = read_text(host.get("NetworkMode")), read_text(host.get("PidMode"))
    exit_code = read_integer(state.get("ExitCode"))
    return (
        to_json(read_command(document)), to_json(env), None if health == "none" else health,
        exit_code if not running and state.get("Status") not in ("created", "configured") else None,
        read_boolean(state.get("OOMKilled")), read_integer(document.get("RestartCount")),
        None if policy == "no" else policy, parse_time(state.get("StartedAt")),
        None if running else parse_time(state.get("FinishedAt")), path, _size_of(path) if is_local else None,
        to_json([text.partition(":")[0] for text in read_texts(host.get("VolumesFrom"))]),
        read_integer(host.get("Memory")) or None, _read_cpus(host), read_boolean(host.get("Privileged")), mode,
        None if pid_mode == "private" else pid_mode, read_text(config.get("User")),
        read_boolean(host.get("ReadonlyRootfs")), read_text(document.get("Driver")) or None,
    )  # fmt: skip


def _read_cpus(host: Mapping[str, Any]) -> float | None:
    cpus = read_integer(host.get("NanoCpus"))
    if cpus:
        return cpus / _NANO_CPUS
    quota, period = read_integer(host.get("CpuQuota")), read_integer(host.get("CpuPeriod"))
    return quota / (period or _DEFAULT_PERIOD) if quota else None


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
        for source, rows in self.reader.each_source(self.sources, self._measure, self.scan.view):
            self.insert((source, *row, None) for row in rows)

    def _measure(self, source: str) -> list[tuple[Raw, ...]]:
        usage = self.reader.get_disk_usage(source)
        images = read_objects(usage.get("Images"))
        if self.reader.is_podman(source):  # it lists an image once for each name, and does not count shared layers
            sizes = LayerSizes(self.reader, source)
            used = {container["ImageID"] for container in self.reader.list_containers(source)}
            ids = {image["Id"] for image in self.reader.list_images(source)}
            total, needed = sizes.measure(), sizes.measure(used & ids)
            row = len(ids), len(used & ids), total, None if total is None or needed is None else total - needed
        else:
            row = _image_usage(images, read_integer(usage.get("LayersSize")))
        return [("Images", *row), *_usage_rows(usage)]


def _image_usage(images: Sequence[Mapping[str, Any]], total: int | None) -> tuple[int, int, int | None, int | None]:
    """Return the number of images and of used ones, and the bytes of all layers and of those that no used one needs."""
    used = [image for image in images if read_integer(image.get("Containers"))]
    sizes = [(read_integer(image.get("Size")), read_integer(image.get("SharedSize")) or 0) for image in used]
    needed = sum(size - shared for size, shared in sizes if size is not None)
    return len(images), len(used), total, None if total is None else max(total - needed, 0)


def _usage_rows(document: Mapping[str, Any]) -> Iterator[tuple[Raw, ...]]:
    containers = read_objects(document.get("Containers"))
    active = [one for one in containers if one.get("State") in ("running", "paused", "restarting")]
    size = sum(read_integer(one.get("SizeRw")) or 0 for one in containers)
    busy = sum(read_integer(one.get("SizeRw")) or 0 for one in active)
    yield "Containers", len(containers), len(active), size, size - busy
    volumes = [read_object(one.get("UsageData")) for one in read_objects(document.get("Volumes"))]
    size = sum(read_integer(one.get("Size")) or 0 for one in volumes)
    free = sum(read_integer(one.get("Size")) or 0 for one in volumes if one.get("RefCount") == 0)
    yield "Local Volumes", len(volumes), sum(bool(read_integer(one.get("RefCount"))) for one in volumes), size, free
    cache = read_objects(document.get("BuildCache"))
    own = [one for one in cache if one.get("Shared") is not True]
    size = sum(read_integer(one.get("Size")) or 0 for one in own)
    free = sum(read_integer(one.get("Size")) or 0 for one in own if one.get("InUse") is not True)
    yield "Build Cache", len(cache), sum(one.get("InUse") is True for one in cache), size, free


class BuildCache(EngineScan):
    """The rows of `build_cache`."""

    columns = (
        "source", "id", "type", "description", "size", "created", "last_used", "usage_count", "in_use", "shared",
    )  # fmt: skip

    def list_rows(self, _names: Sequence[tuple[Raw, ...]], /) -> None:
        """List the records of each engine."""
        self.create({})
        usage = self.reader.each_source(self.sources, self.reader.get_disk_usage, self.scan.view)
        for source, document in usage:
            self.insert(
                (
                    source, read_text(one.get("ID")), read_text(one.get("Type")), read_text(one.get("Description")),
                    read_integer(one.get("Size")), parse_time(one.get("CreatedAt")),
                    parse_time(one.get("LastUsedAt")), read_integer(one.get("UsageCount")),
                    read_boolean(one.get("InUse")), read_boolean(one.get("Shared")), None,
                )
                for one in read_objects(document.get("BuildCache"))
            )  # fmt: skip
