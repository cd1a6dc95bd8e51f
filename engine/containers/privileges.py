"""What the processes of a container may do: capabilities, devices, masked paths, system calls."""

from __future__ import annotations

import os
import stat

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

ALL = "ALL"
CAPABILITIES = tuple(
    f"CAP_{name}"
    for name in (
        "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
        "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
        "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
        "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
        "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
        "CHECKPOINT_RESTORE",
    )
)  # fmt: skip
"""The capabilities by their numbers in the kernel."""
DEFAULT_CAPABILITIES = tuple(
    f"CAP_{name}"
    for name in (
        "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW",
        "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
    )
)  # fmt: skip
MASKED = (
    "/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
    "/sys/devices/virtual/powercap",
)  # fmt: skip
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_DEVICES = (("c", 1, 5), ("c", 1, 3), ("c", 1, 9), ("c", 1, 8), ("c", 5, 0), ("c", 5, 1))
"""zero, null, urandom, random, tty and console: what every container may read and write."""
_NOT_PASSED_ON = ("console", "fd", "mqueue", "ptmx", "pts", "shm", "stdin", "stdout", "stderr", "core", "log")
"""Names in /dev that a privileged container has of its own."""
UNCONFINED = "unconfined"


def list_capabilities(host: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the capabilities of a container with this `HostConfig`, as docker computes them."""
    known = list_known_capabilities()
    if host.get("Privileged"):
        return known
    added, dropped = set(host.get("CapAdd") or ()), set(host.get("CapDrop") or ())
    if ALL in added:
        named = set(known) - dropped
    elif ALL in dropped:
        named = added
    else:
        named = {*DEFAULT_CAPABILITIES} - dropped | added
    return tuple(name for name in known if name in named)


def list_known_capabilities() -> tuple[str, ...]:
    """Return the capabilities that this kernel knows and this process has, for it can give no others."""
    try:
        with open("/proc/sys/kernel/cap_last_cap", encoding="ascii") as file:
            known = CAPABILITIES[: int(file.read()) + 1]
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            bounding = next(int(line.split()[1], 16) for line in file if line.startswith("CapBnd:"))
    except (OSError, ValueError, StopIteration):
        return CAPABILITIES
    return tuple(name for number, name in enumerate(known) if bounding >> number & 1)


def read_security_options(host: Mapping[str, Any]) -> dict[str, str]:
    """Return the security options of a container by their names; one without a value has the value "true"."""
    options = {}
    for text in host.get("SecurityOpt") or ():
        separator = next((one for one in text if one in "=:"), "")
        name, _, value = text.partition(separator) if separator else (text, "", "")
        options[name] = value or "true"
    return options


def may_gain_privileges(host: Mapping[str, Any]) -> bool:
    """Whether programs of the container may gain privileges, for example by setuid."""
    return read_security_options(host).get("no-new-privileges") != "true"


def hides_paths(host: Mapping[str, Any]) -> bool:
    """Whether paths of /proc and /sys are masked and read-only."""
    return not host.get("Privileged") and read_security_options(host).get("systempaths") != UNCONFINED


def make_seccomp(
    host: Mapping[str, Any], architecture: str, capabilities: Sequence[str], kernel: tuple[int, int]
) -> dict[str, Any] | None:
    """Return the object `linux.seccomp` of a container; None without a filter."""
    import json

    from .seccomp import convert_profile, make_profile

    text = read_security_options(host).get("seccomp", "")
    if host.get("Privileged") or text == UNCONFINED:
        return None
    if text:
        return convert_profile(json.loads(text), architecture, capabilities, kernel)
    return make_profile(architecture, capabilities, kernel)


def list_device_rules(host: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return which devices the processes may use: the object `linux.resources.devices`."""
    if host.get("Privileged"):
        return [{"allow": True, "access": "rwm"}]
    allowed = [
        {"allow": True, "type": kind, "major": major, "minor": minor, "access": "rwm"}
        for kind, major, minor in _DEVICES
    ]
    for device in host.get("Devices") or ():
        facts = _read_device(device["PathOnHost"], device["PathInContainer"])
        if facts is not None:
            rule = {name: facts[name] for name in ("type", "major", "minor")}
            allowed.append({"allow": True, **rule, "access": device["CgroupPermissions"]})
    return [{"allow": False, "access": "rwm"}, *allowed]


def list_devices(host: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the devices that the runtime makes: the object `linux.devices`."""
    if host.get("Privileged"):
        return list(_list_devices_below("/dev"))
    found = (_read_device(one["PathOnHost"], one["PathInContainer"]) for one in host.get("Devices") or ())
    return [device for device in found if device is not None]


def _list_devices_below(folder: str) -> Iterator[dict[str, Any]]:
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda one: one.name):
            if folder == "/dev" and entry.name in _NOT_PASSED_ON:
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _list_devices_below(entry.path)
            elif (device := _read_device(entry.path, entry.path)) is not None:
                yield device


def _read_device(source: str, target: str) -> dict[str, Any] | None:
    """Return a device of this machine as a bundle has it; None for what is no device."""
    try:
        status = os.stat(source, follow_symlinks=source != target)
    except OSError:
        return None
    kind = "c" if stat.S_ISCHR(status.st_mode) else "b" if stat.S_ISBLK(status.st_mode) else ""
    if not kind:
        return None
    return {
        "path": target,
        "type": kind,
        "major": os.major(status.st_rdev),
        "minor": os.minor(status.st_rdev),
        "fileMode": stat.S_IMODE(status.st_mode),
        "uid": status.st_uid,
        "gid": status.st_gid,
    }
