"""The bundle of a container: `config.json` of the OCI runtime specification, with docker's defaults."""

from __future__ import annotations

import os
import re

from imq.grammar.record import TYPE_CHECKING, Record

from .privileges import (
    MASKED,
    READ_ONLY,
    hides_paths,
    list_capabilities,
    list_device_rules,
    list_devices,
    make_seccomp,
    may_gain_privileges,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from .users import User

SPECIFICATION = "1.0.2"
"""The version of the runtime specification: the lowest of the runtimes that are supported."""
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_CPU, _CPU_PERIOD = 1_000_000_000, 100_000
DEFAULT_SHM_SIZE = 64 << 20
"""The size of /dev/shm in bytes."""


class Mount(Record):
    """A folder or file of the host, or a volume, in a container. `propagation` is that of mounts in it.

    A volume has no source: `volume` is its name, "" for one that is removed with the container. With `copies`, an empty
    volume gets the files that the image has at the target.
    """

    source: str
    target: str
    read_only: bool = False
    propagation: str = "rprivate"
    volume: str = ""
    copies: bool = True


class BundleOptions(Record):
    """What a bundle is made from.

    `host_config` is the object `HostConfig` of `docker inspect`, which has the limits and privileges. Without
    `has_cgroups` the runtime makes none, so there are no limits. `in_user_namespace`: the runtime is in that of an
    ordinary user, and with `has_single_id` it has no other IDs than root's.
    """

    arguments: tuple[str, ...]
    environment: tuple[str, ...]
    workdir: str
    user: User
    host_config: Mapping[str, Any]
    hostname: str = ""
    mounts: tuple[Mount, ...] = ()
    architecture: str = ""
    kernel: tuple[int, int] = (0, 0)
    cgroup: str = ""
    has_cgroups: bool = True
    terminal: bool = False
    limits_swap: bool = False
    in_user_namespace: bool = False
    has_single_id: bool = False

    def __hash__(self) -> int:
        """Hash by identity: it holds a mapping."""
        return id(self)


def make_bundle(options: BundleOptions) -> dict[str, Any]:
    """Return the document `config.json`."""
    host = options.host_config
    modes = {"pid": "PidMode", "ipc": "IpcMode", "uts": "UTSMode", "network": "NetworkMode"}
    namespaces = [{"type": kind} for kind, key in modes.items() if host.get(key) != "host"]
    capabilities = list_capabilities(host)
    hides = hides_paths(host)
    document: dict[str, Any] = {
        "ociVersion": SPECIFICATION,
        "process": make_process(options),
        "root": {"path": "rootfs", "readonly": bool(host.get("ReadonlyRootfs"))},
        "mounts": [
            *_system_mounts(options),
            *_order_mounts([*(_bind(one, options) for one in options.mounts), *_tmpfs_mounts(host.get("Tmpfs") or {})]),
        ],
        "linux": {
            "namespaces": [*namespaces, {"type": "mount"}],
            "maskedPaths": list(MASKED) if hides else [],
            "readonlyPaths": list(READ_ONLY) if hides else [],
        },
    }
    linux = document["linux"]
    if host.get("UTSMode") != "host":
        document["hostname"] = options.hostname
    if options.has_cgroups:
        linux["resources"] = _make_resources(options)
        if options.cgroup:
            linux["cgroupsPath"] = options.cgroup
    if devices := list_devices(host):
        linux["devices"] = devices
    if sysctls := host.get("Sysctls"):
        linux["sysctl"] = dict(sysctls)
    seccomp = make_seccomp(host, options.architecture, capabilities, options.kernel)
    if seccomp is not None:
        linux["seccomp"] = seccomp
    return document


def make_process(options: BundleOptions, *, privileged: bool = False) -> dict[str, Any]:
    """Return the object `process`, which `exec` takes too; with `privileged` it has all capabilities."""
    host = options.host_config
    # the main group too, as in docker: a program that changes its group keeps it, so a mode of 0705 denies access
    groups = list(dict.fromkeys((options.user.gid, *options.user.groups)))
    user: dict[str, Any] = {"uid": options.user.uid, "gid": options.user.gid}
    if not options.has_single_id:  # there the kernel forbids changing groups
        user["additionalGids"] = groups
    capabilities = list(list_capabilities({"Privileged": True} if privileged else host))
    effective = capabilities if options.user.uid == 0 else []  # as in docker: other users have none
    process = {
        "terminal": options.terminal,
        "user": user,
        "args": list(options.arguments),
        "env": list(options.environment),
        "cwd": options.workdir or "/",
        "capabilities": {"bounding": capabilities, "effective": effective, "permitted": effective},
        "noNewPrivileges": not may_gain_privileges(host),
    }
    if limits := host.get("Ulimits"):
        process["rlimits"] = [
            {"type": f"RLIMIT_{one['Name'].upper()}", "soft": one["Soft"], "hard": one["Hard"]} for one in limits
        ]
    if (score := host.get("OomScoreAdj")) is not None:
        process["oomScoreAdj"] = score
    return process


def merge_environment(*parts: Sequence[str]) -> tuple[str, ...]:
    """Return variables, each once: the last value wins. A name without `=` means that it is not set."""
    return tuple({pair.partition("=")[0]: pair for part in parts for pair in part}.values())


def make_environment(*parts: Sequence[str]) -> tuple[str, ...]:
    """Return the variables of a process, merged; those that are not set are left out."""
    return tuple(pair for pair in merge_environment(*parts) if "=" in pair)


def default_environment(hostname: str, *, terminal: bool = False) -> tuple[str, ...]:
    """Return the variables that processes of a container have unless the container says otherwise, as in docker."""
    return (PATH, f"HOSTNAME={hostname}", *(["TERM=xterm"] if terminal else []))


def _system_mounts(options: BundleOptions) -> list[dict[str, Any]]:
    host = options.host_config
    flags = ["nosuid", "noexec", "nodev"]
    access = "rw" if host.get("Privileged") else "ro"
    shm_size = host.get("ShmSize") or DEFAULT_SHM_SIZE
    mounts = [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": flags},
        {
            "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
        },
        {
            "destination": "/dev/pts", "type": "devpts", "source": "devpts",
            "options": [
                "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620",
                *([] if options.has_single_id else ["gid=5"]),
            ],
        },
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*flags, access]},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": [access, *flags]},
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": flags},
        {
            "destination": "/dev/shm", "type": "tmpfs", "source": "shm",  # noqa: S108 - that of the container
            "options": [*flags, "mode=1777", f"size={shm_size}"],
        },
    ]  # fmt: skip
    left_out = {"/sys/fs/cgroup"} if not options.has_cgroups else set()
    shared = _list_shared(options)
    left_out |= {path for path in shared if not os.path.isdir(path)}  # the host has no message queues
    return [
        _share(mount) if mount["destination"] in shared else mount
        for mount in mounts
        if mount["destination"] not in left_out
    ]


def _list_shared(options: BundleOptions) -> set[str]:
    """Return the file systems of the host that a container uses because it shares its namespace.

    In a user namespace, one whose namespace is not the container's own cannot be mounted again.
    """
    host = options.host_config
    shared = {"/dev/shm"} if host.get("IpcMode") == "host" else set()  # noqa: S108 - that of the host
    if options.in_user_namespace:
        shared |= {"/dev/mqueue"} if host.get("IpcMode") == "host" else set()
        shared |= {"/proc"} if host.get("PidMode") == "host" else set()
        shared |= {"/sys"} if host.get("NetworkMode") == "host" else set()
    return shared


def _share(mount: dict[str, Any]) -> dict[str, Any]:
    """Return the mount of a file system of the host at its own place; /sys is read-only."""
    access = ["ro"] if mount["destination"] == "/sys" else []
    options = ["rbind", "nosuid", "noexec", "nodev", *access]
    return {"destination": mount["destination"], "type": "bind", "source": mount["destination"], "options": options}


def _tmpfs_mounts(mounts: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return mounts of file systems in memory, by their targets, with docker's default options."""
    return [
        {
            "destination": target,
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["noexec", "nosuid", "nodev", *(options.split(",") if options else ())],
        }
        for target, options in mounts.items()
    ]


def _order_mounts(mounts: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the mounts, each folder before those inside of it."""
    return sorted(mounts, key=lambda mount: mount["destination"].rstrip("/").count("/"))


_LOCKED_FLAGS = ((os.ST_NOSUID, "nosuid"), (os.ST_NODEV, "nodev"), (os.ST_NOEXEC, "noexec"))


def _bind(mount: Mount, options: BundleOptions) -> dict[str, Any]:
    access = "ro" if mount.read_only else "rw"
    flags: list[str] = []
    if options.in_user_namespace:  # there the kernel keeps flags from being cleared, and so from being left out
        kept = os.statvfs(mount.source).f_flag
        flags = [name for flag, name in _LOCKED_FLAGS if kept & flag]
        access = "ro" if kept & os.ST_RDONLY else access
    return {
        "destination": mount.target,
        "type": "bind",
        "source": mount.source,
        "options": ["rbind", *flags, access, mount.propagation],
    }


def _make_resources(options: BundleOptions) -> dict[str, Any]:
    host = options.host_config
    memory, reservation, swap = (host.get(key) or 0 for key in ("Memory", "MemoryReservation", "MemorySwap"))
    resources: dict[str, Any] = {"devices": list_device_rules(host)}
    limits = {"limit": memory, "reservation": reservation}
    if memory and options.limits_swap:
        limits["swap"] = swap or 2 * memory
    if any(limits.values()):
        resources["memory"] = {name: value for name, value in limits.items() if value}
    cpu: dict[str, Any] = {}
    if cpus := host.get("NanoCpus"):
        cpu |= {"quota": round(cpus * _CPU_PERIOD / _CPU), "period": _CPU_PERIOD}
    for name, key in (("shares", "CpuShares"), ("cpus", "CpusetCpus"), ("mems", "CpusetMems")):
        if host.get(key):
            cpu[name] = host[key]
    if cpu:
        resources["cpu"] = cpu
    if host.get("PidsLimit"):
        resources["pids"] = {"limit": host["PidsLimit"]}
    return resources


def read_kernel_version() -> tuple[int, int]:
    """Return the major and minor version of the kernel."""
    match = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def make_arguments(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the command line of a container: its entry point and its command."""
    return (*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ()))
