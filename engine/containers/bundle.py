"""The bundle of a container: `config.json` of the OCI runtime specification, with docker's defaults."""

from __future__ import annotations

import os
import re

from imq.grammar.record import TYPE_CHECKING, Record

from .seccomp import make_profile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from .users import User

SPECIFICATION = "1.0.2"
"""The version of the runtime specification: the lowest of the runtimes that are supported."""
CAPABILITIES = tuple(
    f"CAP_{name}"
    for name in (
        "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW",
        "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
    )
)  # fmt: skip
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MASKED = (
    "/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
    "/sys/devices/virtual/powercap",
)  # fmt: skip
_READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_DEVICES = (("c", 1, 5), ("c", 1, 3), ("c", 1, 9), ("c", 1, 8), ("c", 5, 0), ("c", 5, 1))
"""zero, null, urandom, random, tty and console: what every container may read and write."""
_CPU_PERIOD = 100_000


class Mount(Record):
    """A folder or file of the host in a container."""

    source: str
    target: str
    read_only: bool = False


class BundleOptions(Record):
    """What a bundle is made from.

    `memory` is bytes and `cpus` a number of CPUs, each 0 without a limit. `network` is host or none.
    """

    id: str
    folder: str
    arguments: tuple[str, ...]
    environment: tuple[str, ...]
    workdir: str
    user: User
    hostname: str
    mounts: tuple[Mount, ...]
    network: str
    architecture: str
    kernel: tuple[int, int]
    cgroup: str = ""
    read_only: bool = False
    memory: int = 0
    cpus: float = 0
    pids: int = 0
    terminal: bool = False
    limits_swap: bool = False


def make_bundle(options: BundleOptions) -> dict[str, Any]:
    """Return the document `config.json`."""
    namespaces = [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")]
    if options.network != "host":
        namespaces.append({"type": "network"})
    document: dict[str, Any] = {
        "ociVersion": SPECIFICATION,
        "process": make_process(options),
        "root": {"path": "rootfs", "readonly": options.read_only},
        "hostname": options.hostname,
        "mounts": [*_system_mounts(), *(_bind(mount) for mount in _order_mounts(options))],
        "linux": {
            "resources": _make_resources(options),
            "namespaces": namespaces,
            "maskedPaths": list(_MASKED),
            "readonlyPaths": list(_READ_ONLY),
        },
    }
    if options.cgroup:
        document["linux"]["cgroupsPath"] = options.cgroup
    seccomp = make_profile(options.architecture, CAPABILITIES, options.kernel)
    if seccomp is not None:
        document["linux"]["seccomp"] = seccomp
    return document


def make_process(options: BundleOptions) -> dict[str, Any]:
    """Return the object `process`, which `exec` takes too."""
    user: dict[str, Any] = {"uid": options.user.uid, "gid": options.user.gid}
    groups = list(options.user.groups)
    if groups:
        user["additionalGids"] = groups
    capabilities = list(CAPABILITIES)
    effective = capabilities if options.user.uid == 0 else []  # as in docker: other users have none
    return {
        "terminal": options.terminal,
        "user": user,
        "args": list(options.arguments),
        "env": list(options.environment),
        "cwd": options.workdir or "/",
        "capabilities": {"bounding": capabilities, "effective": effective, "permitted": effective},
        "noNewPrivileges": False,
    }


def merge_environment(*parts: Sequence[str]) -> tuple[str, ...]:
    """Return variables, each once: the last value wins."""
    return tuple({pair.partition("=")[0]: pair for part in parts for pair in part}.values())


def default_environment(hostname: str) -> tuple[str, ...]:
    """Return the variables that processes of a container have unless the container says otherwise, as in docker."""
    return (PATH, f"HOSTNAME={hostname}")


def _system_mounts() -> list[dict[str, Any]]:
    flags = ["nosuid", "noexec", "nodev"]
    return [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": flags},
        {
            "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
        },
        {
            "destination": "/dev/pts", "type": "devpts", "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        },
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*flags, "ro"]},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro", *flags]},
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": flags},
        {
            "destination": "/dev/shm", "type": "tmpfs", "source": "shm",  # noqa: S108 - that of the container
            "options": [*flags, "mode=1777", "size=65536k"],
        },
    ]  # fmt: skip


def _order_mounts(options: BundleOptions) -> list[Mount]:
    """Return the mounts, each folder before those inside of it."""
    return sorted(options.mounts, key=lambda mount: mount.target.rstrip("/").count("/"))


def _bind(mount: Mount) -> dict[str, Any]:
    access = "ro" if mount.read_only else "rw"
    return {
        "destination": mount.target,
        "type": "bind",
        "source": mount.source,
        "options": ["rbind", access, "rprivate"],
    }


def _make_resources(options: BundleOptions) -> dict[str, Any]:
    allowed = [
        {"allow": True, "type": kind, "major": major, "minor": minor, "access": "rwm"}
        for kind, major, minor in _DEVICES
    ]
    resources: dict[str, Any] = {"devices": [{"allow": False, "access": "rwm"}, *allowed]}
    if options.memory:
        resources["memory"] = {"limit": options.memory}
        if options.limits_swap:
            resources["memory"]["swap"] = 2 * options.memory
    if options.cpus:
        resources["cpu"] = {"quota": round(options.cpus * _CPU_PERIOD), "period": _CPU_PERIOD}
    if options.pids:
        resources["pids"] = {"limit": options.pids}
    return resources


def read_kernel_version() -> tuple[int, int]:
    """Return the major and minor version of the kernel."""
    match = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def make_arguments(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the command line of a container: its entry point and its command."""
    return (*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ()))
