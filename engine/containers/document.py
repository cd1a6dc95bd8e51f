"""What a container is made with, and the document that says so, in the form of `docker inspect`."""

from __future__ import annotations

import os
import re

from imq.engine.oci.timestamp import format_time
from imq.grammar.errors import Conflict, NotFound, StatementError, StoreError
from imq.grammar.record import TYPE_CHECKING, Record

from .bundle import Mount, make_arguments, merge_environment
from .folder import DOCUMENT
from .volumes import path_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_NAME = r"[a-zA-Z0-9][a-zA-Z0-9_.-]+\Z"
_SHORT = 12
_LONGEST_HOSTNAME = 64
"""The most bytes that the kernel takes."""
NETWORKS = ("none", "host")
_CPU = 1_000_000_000
_SMALLEST_MEMORY = 6 << 20


class CreateOptions(Record):
    """The options of a new container. None and "" mean what the image says.

    `memory` is in bytes and `cpus` in CPUs, each 0 without a limit. `stop_timeout` is in seconds. `health` and
    `host_config` are further values of the objects `Healthcheck` and `HostConfig` of `docker inspect`.
    """

    name: str = ""
    arguments: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    environment: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    user: str = ""
    workdir: str = ""
    hostname: str = ""
    mounts: tuple[Mount, ...] = ()
    network: str = NETWORKS[0]
    read_only: bool = False
    memory: int = 0
    cpus: float = 0
    pids: int = 0
    stop_signal: str = ""
    stop_timeout: int | None = None
    auto_remove: bool = False
    keeps_stdin: bool = False
    attaches: bool = False
    terminal: bool = False
    privileged: bool = False
    init: bool = False
    ports: tuple[str, ...] = ()
    timeout: int = 0
    health: Mapping[str, Any] = {}
    host_config: Mapping[str, Any] = {}

    def __hash__(self) -> int:
        """Hash by identity: it holds a mapping."""
        return id(self)

    def check(self) -> None:
        """Raise `StatementError` for options that no container can have."""
        if self.name and not re.match(_NAME, self.name):
            raise StatementError(
                f'invalid container name "{self.name}": only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed', code="name"
            )
        if self.workdir and not self.workdir.startswith("/"):
            raise StatementError(
                f"the working directory '{self.workdir}' is invalid, it needs to be an absolute path", code="option"
            )
        if len(self.hostname.encode()) > _LONGEST_HOSTNAME:
            raise StatementError(f"the hostname has more than {_LONGEST_HOSTNAME} bytes", code="option")
        if any(not pair.partition("=")[0] for pair in self.environment):
            raise StatementError("invalid environment variable: it has no name", code="option")
        targets = [mount.target.rstrip("/") for mount in self.mounts]
        targets += (target.rstrip("/") for target in self.host_config.get("Tmpfs") or ())
        if repeated := [target for target in targets if targets.count(target) > 1]:
            raise StatementError(f"Duplicate mount point: {repeated[0]}", code="mount")
        if self.network not in NETWORKS:
            raise StatementError(
                f'the network "{self.network}" is not supported: containers of the store have none, or that of the'
                " host",
                code="network",
                hints=("network_mode = host: ports of the container are ports of this machine",),
            )
        if self.memory and self.memory < _SMALLEST_MEMORY:
            raise StatementError("minimum memory limit allowed is 6MB", code="option")
        host = self.host_config
        swap = host.get("MemorySwap", 0)
        if swap and not self.memory:
            raise StatementError("memory_swap needs memory_limit: it is the sum of both", code="option")
        if 0 < swap < self.memory:
            raise StatementError("memory_swap is less than memory_limit, but it is the sum of both", code="option")
        if host.get("MemoryReservation", 0) > self.memory > 0:
            raise StatementError("memory_reservation is more than memory_limit", code="option")
        if self.auto_remove and host.get("RestartPolicy", {}).get("Name", "no") != "no":
            raise StatementError("auto_remove (--rm) and a restart policy exclude each other", code="option")


_LIMITS = {
    "memory": "memory_limit", "cpus": "cpu_limit", "pids": "pids_limit", "MemoryReservation": "memory_reservation",
    "MemorySwap": "memory_swap", "CpuShares": "cpu_shares", "CpusetCpus": "cpuset_cpus", "CpusetMems": "cpuset_mems",
}  # fmt: skip
"""The options that need cgroups, by their fields and their keys in `HostConfig`."""


def check_limits(options: CreateOptions) -> None:
    """Raise `StatementError` for a limit: containers of ordinary users have no cgroups."""
    for key, name in _LIMITS.items():
        if options.host_config.get(key) if key[0].isupper() else getattr(options, key):
            raise StatementError(
                f"{name} needs root: containers of ordinary users have no cgroups, which have the limits",
                code="rootless",
                hints=("ulimit sets limits without cgroups. Example: ulimit nproc=100",),
            )


class ImageFacts(Record):
    """The image of a new container: its name as given, its ID, its manifest, its digest in its registry, its layers.

    `runtime` is the object `config` of its config. `blobs` are the digests and media types of its layers. `signature`
    is that of an index.json with the image, "" if unknown.
    """

    name: str
    id: str
    manifest: str
    digest: str | None
    diff_ids: tuple[str, ...]
    runtime: Mapping[str, Any]
    platform: str
    blobs: tuple[tuple[str, str], ...] = ()
    signature: str = ""


def make_document(id_: str, options: CreateOptions, image: ImageFacts, now: int, folder: str) -> dict[str, Any]:
    """Return the document of a new container. Raises `StatementError` when it would have no command."""
    runtime = image.runtime
    entrypoint = list(runtime.get("Entrypoint") or ()) if options.entrypoint is None else list(options.entrypoint)
    command = list(options.arguments)
    if not command and options.entrypoint is None:
        command = list(runtime.get("Cmd") or ())
    if not entrypoint and not command:
        raise StatementError(
            f"no command specified: {image.name} has neither an entry point nor a command",
            code="no-command",
            hints=(f"give one: run {image.name} PROGRAM",),
        )
    hostname = options.hostname or id_[:_SHORT]
    config: dict[str, Any] = {
        "Hostname": hostname,
        "User": options.user or runtime.get("User") or "",
        "Env": list(merge_environment(runtime.get("Env") or (), options.environment)),
        "Cmd": command or None,
        "Entrypoint": entrypoint or None,
        "Image": image.name,
        "WorkingDir": options.workdir or runtime.get("WorkingDir") or "",
        "Labels": {**(runtime.get("Labels") or {}), **dict(options.labels)},
        "Volumes": runtime.get("Volumes") or None,
        "ExposedPorts": {**(runtime.get("ExposedPorts") or {}), **{port: {} for port in options.ports}} or None,
        "OpenStdin": options.keeps_stdin,
        "StdinOnce": options.keeps_stdin and options.attaches,
        "Tty": options.terminal,
    }
    if stop_signal := options.stop_signal or runtime.get("StopSignal"):
        config["StopSignal"] = stop_signal
    for key in ("Healthcheck", "OnBuild", "Shell"):
        if runtime.get(key):
            config[key] = runtime[key]
    if options.health:
        config["Healthcheck"] = {**config.get("Healthcheck", {}), **options.health}
    if options.stop_timeout is not None:
        config["StopTimeout"] = options.stop_timeout
    arguments = make_arguments(config)
    return {
        "Id": id_,
        "Created": format_time(now),
        "Name": options.name,
        "Path": arguments[0],
        "Args": list(arguments[1:]),
        "Image": image.id,
        "ImageManifest": image.manifest,
        "ImageDigest": image.digest,
        "Platform": image.platform,
        "Layers": list(image.diff_ids),
        "Config": config,
        "HostConfig": {
            "AutoRemove": options.auto_remove,
            "Binds": [_format_bind(mount) for mount in options.mounts if mount.source or mount.volume],
            "Init": options.init,
            "Memory": options.memory,
            "NanoCpus": round(options.cpus * _CPU),
            "NetworkMode": options.network,
            "PidsLimit": options.pids or None,
            "Privileged": options.privileged,
            "ReadonlyRootfs": options.read_only,
            "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
            **options.host_config,
        },
        "Timeout": options.timeout,
        "Mounts": _list_mounts(options, runtime, folder),
    }


def _format_bind(mount: Mount) -> str:
    options = [*(["ro"] if mount.read_only else []), *([mount.propagation] if mount.propagation != "rprivate" else [])]
    options += [] if mount.copies else ["nocopy"]
    return f"{mount.source or mount.volume}:{mount.target}{':' if options else ''}{','.join(options)}"


def _list_mounts(options: CreateOptions, runtime: Mapping[str, Any], folder: str) -> list[dict[str, Any]]:
    """Return the mounts: those of the options, and a volume for each one of the image that they do not cover.

    `folder` is that of the container, which has the volumes without a name; named ones are in the same store.
    """
    store = os.path.dirname(os.path.dirname(folder))
    tmpfs = options.host_config.get("Tmpfs") or ()
    covered = {mount.target.rstrip("/") for mount in options.mounts} | {target.rstrip("/") for target in tmpfs}
    declared = [target for target in sorted(runtime.get("Volumes") or ()) if target.rstrip("/") not in covered]
    mounts: list[dict[str, Any]] = []
    own_volumes = 0
    for mount in (*options.mounts, *(Mount("", f"/{target.strip('/')}") for target in declared if target)):
        if mount.source:
            place: dict[str, Any] = {"Type": "bind", "Source": mount.source}
        elif mount.volume:
            place = {"Type": "volume", "Name": mount.volume, "Source": path_of(store, mount.volume), "Driver": "local"}
        else:
            place = {"Type": "volume", "Source": f"{folder}/volumes/{own_volumes}"}
            own_volumes += 1
        access = {"Destination": mount.target, "RW": not mount.read_only}
        propagation = {"Propagation": mount.propagation} if mount.source else {}
        mounts.append({**place, **access, **propagation, **({} if mount.copies else {"NoCopy": True})})
    return mounts


def name_taken(name: str, id_: str) -> Conflict:
    """Return the error for a name that another container has."""
    return Conflict(
        f'The container name "/{name}" is already in use by container "{id_}". You have to remove (or rename) that'
        " container to be able to reuse that name.",
        code="name-taken",
        hints=(f"to remove it: rm container {name}",),
    )


def no_such_container(text: str) -> NotFound:
    """Return the error for a container that does not exist."""
    return NotFound(f"No such container: {text}", code="no-such-container", hints=("containers lists them",))


def damaged_container(path: str) -> StoreError:
    """Return the error for a container whose document cannot be read."""
    return StoreError(
        f"the container {os.path.basename(path)[:12]} is damaged: {path}/{DOCUMENT} is missing or not a JSON object",
        code="damaged-container",
        hints=("until it is removed, the images in use are unknown", f"to give the container up: rm -r {path}"),
    )
