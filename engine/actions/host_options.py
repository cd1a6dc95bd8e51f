"""The values of `with` that are in the `HostConfig` of a container: limits, privileges, file systems."""

from __future__ import annotations

import os
import re

from imq.engine.sources.container_values import Value, invalid_value, read_size
from imq.grammar.errors import NotFound, StatementError
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_LIMITS = (
    "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio",
    "rttime", "sigpending", "stack",
)  # fmt: skip
_UNLIMITED = (1 << 64) - 1
_MAX_OOM_SCORE = 1000
_RESTART_POLICIES = ("no", "on-failure", "always", "unless-stopped")


def read_number(value: Value) -> int:
    """Return a number that is not negative."""
    if not value.text.isdecimal():
        raise invalid_value(value, "a number")
    return int(value.text)


def read_capability(value: Value) -> str:
    """Return a capability by its name with or without CAP_, or ALL."""
    from imq.engine.containers.privileges import ALL, CAPABILITIES

    name = value.text.upper()
    full = name if name == ALL or name.startswith("CAP_") else f"CAP_{name}"
    if full not in (ALL, *CAPABILITIES):
        raise StatementError(
            f'invalid capability: "{value.text}"',
            code="capability",
            span=value.span,
            hints=("capabilities(7) lists them. Example: NET_ADMIN",),
        )
    return full


def read_security_option(value: Value, folder: str) -> str:
    """Return an option of docker's `--security-opt`. The file of a seccomp profile is read."""
    separator = next((one for one in value.text if one in "=:"), "=")
    name, _, text = value.text.partition(separator)
    if name == "no-new-privileges" and text in ("", "true", "false"):
        return f"{name}={text or 'true'}"
    if name == "seccomp" and text:
        return f"{name}={text if text in ('unconfined', 'builtin') else _read_profile(value, text, folder)}".replace(
            "=builtin", "="
        )
    if (name, text) in (("apparmor", "unconfined"), ("label", "disable"), ("systempaths", "unconfined")):
        return f"{name}={text}"
    raise StatementError(
        f'the security option "{value.text}" is not supported',
        code="security-option",
        span=value.span,
        hints=(
            (
                "supported: no-new-privileges, seccomp=FILE or unconfined, apparmor=unconfined, label=disable,"
                " systempaths=unconfined"
            ),
        ),
    )


def _read_profile(value: Value, text: str, folder: str) -> str:
    """Return the seccomp profile of a file as compact JSON."""
    import json

    path = os.path.join(folder, text)
    try:
        with open(path, "rb") as file:
            profile = json.loads(file.read())
        rules = profile.get("syscalls") or ()
        if not isinstance(profile["defaultAction"], str) or not all("names" in one or "name" in one for one in rules):
            raise ValueError
    except OSError as problem:
        raise NotFound(
            f"the seccomp profile {path} cannot be read: {problem.strerror}", code="no-such-file", span=value.span
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise StatementError(f"{path} is not a seccomp profile", code="security-option", span=value.span) from None
    return json.dumps(profile, separators=(",", ":"))


def read_limit(value: Value) -> dict[str, Any]:
    """Return a resource limit NAME=SOFT[:HARD]; -1 means none."""
    name, _, text = value.text.partition("=")
    soft, colon, hard = text.partition(":")
    try:
        low, high = int(soft), int(hard if colon else soft)
    except ValueError:
        low = high = -2
    if name not in _LIMITS or low < -1 or high < -1 or (high != -1 and (low > high or low == -1)):
        raise StatementError(
            f'invalid ulimit "{value.text}"',
            code="option",
            span=value.span,
            hints=("NAME=SOFT[:HARD] with SOFT <= HARD. Example: nofile=1024:2048", f"names: {', '.join(_LIMITS)}"),
        )
    return {
        "Name": name, "Soft": _UNLIMITED if low == -1 else low, "Hard": _UNLIMITED if high == -1 else high,
    }  # fmt: skip


def read_device(value: Value) -> dict[str, str]:
    """Return a device SOURCE[:TARGET][:rwm]. Raises `NotFound` when this machine does not have it."""
    source, *rest = value.text.split(":")
    access = "rwm"
    if rest and re.match(r"[rwm]+\Z", rest[-1]):
        access = rest.pop()
    target = rest[0] if rest else source
    if len(rest) > 1 or not source.startswith("/") or not target.startswith("/"):
        raise StatementError(
            f'invalid device "{value.text}"', code="option", span=value.span, hints=("SOURCE[:TARGET][:rwm]",)
        )
    if not os.path.exists(source):
        raise NotFound(f"the device {source} does not exist", code="no-such-device", span=value.span)
    return {"PathOnHost": source, "PathInContainer": target, "CgroupPermissions": access}


def read_host(value: Value) -> str:
    """Return a name and an address for /etc/hosts, NAME:ADDRESS."""
    name, _, address = re.sub("=", ":", value.text, count=1).partition(":")
    address = address.removeprefix("[").removesuffix("]")
    if not name or not _is_address(address):
        raise StatementError(
            f'invalid IP address in add-host: "{address}"',
            code="option",
            span=value.span,
            hints=("NAME:ADDRESS. Example: db:10.0.0.5",),
        )
    return f"{name}:{address}"


def read_server(value: Value) -> str:
    """Return the address of a name server."""
    if not _is_address(value.text):
        raise StatementError(f"{value.text} is not an ip address", code="option", span=value.span)
    return value.text


def _is_address(text: str) -> bool:
    import ipaddress

    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def read_pair(value: Value) -> tuple[str, str]:
    """Return the name and the value of NAME=VALUE."""
    name, equals, text = value.text.partition("=")
    if not name or not equals:
        raise invalid_value(value, "NAME=VALUE")
    return name, text


def read_tmpfs(value: Value) -> tuple[str, str]:
    """Return the target and the options of a file system in memory, TARGET[:OPTIONS]."""
    target, _, options = value.text.partition(":")
    if not target.startswith("/") or target == "/":
        raise StatementError(
            f'invalid tmpfs "{value.text}"',
            code="mount",
            span=value.span,
            hints=("TARGET[:OPTIONS], TARGET is an absolute path. Example: /run:size=64m,mode=1777",),
        )
    return target, options


def read_memory_swap(value: Value) -> int:
    """Return the memory and swap together in bytes, -1 for no limit of swap."""
    return -1 if value.text == "-1" else read_size(value)


def read_cpu_list(value: Value) -> str:
    """Return CPUs or nodes of memory: 0-3, or 0,1."""
    if not re.match(r"\d+(-\d+)?(,\d+(-\d+)?)*\Z", value.text):
        raise invalid_value(value, "0-3 or 0,1")
    return value.text


def read_score(value: Value) -> int:
    """Return an adjustment of the order in which the kernel kills for lack of memory, -1000 to 1000."""
    if not value.text.removeprefix("-").isdecimal() or not -_MAX_OOM_SCORE <= int(value.text) <= _MAX_OOM_SCORE:
        raise invalid_value(value, "-1000 to 1000")
    return int(value.text)


def read_mode(value: Value) -> str:
    """Return whose namespace a container has: that of the host, or its own."""
    if value.text not in ("host", "private", ""):
        raise StatementError(
            f'{value.name} = "{value.text}" is not supported',
            code="namespace",
            span=value.span,
            hints=("host, or private for one of its own: namespaces of other containers cannot be shared",),
        )
    return value.text.replace("private", "")


def read_restart_policy(value: Value) -> dict[str, Any]:
    """Return a restart policy: no, on-failure[:COUNT], always or unless-stopped."""
    name, colon, count = value.text.partition(":")
    if name not in _RESTART_POLICIES or (colon and (name != "on-failure" or not count.isdecimal())):
        raise StatementError(
            f'the restart policy "{value.text}" is invalid',
            code="restart-policy",
            span=value.span,
            hints=("policies: no, on-failure[:COUNT], always, unless-stopped",),
        )
    return {"Name": name, "MaximumRetryCount": int(count or 0)}


def read_text(value: Value) -> str:
    """Return the text."""
    return value.text


LISTS: dict[str, tuple[str, Callable[[Value], Any]]] = {
    "cap_add": ("CapAdd", read_capability),
    "cap_drop": ("CapDrop", read_capability),
    "ulimit": ("Ulimits", read_limit),
    "device": ("Devices", read_device),
    "add_host": ("ExtraHosts", read_host),
    "dns": ("Dns", read_server),
    "dns_search": ("DnsSearch", read_text),
    "dns_option": ("DnsOptions", read_text),
    "group_add": ("GroupAdd", read_text),
}
"""Values that may be repeated: their keys in `HostConfig`, and their readers."""
MAPS: dict[str, tuple[str, Callable[[Value], tuple[str, str]]]] = {
    "tmpfs": ("Tmpfs", read_tmpfs),
    "sysctl": ("Sysctls", read_pair),
}
"""Values that may be repeated and have a name each."""
SINGLE: dict[str, tuple[str, Callable[[Value], Any]]] = {
    "memory_reservation": ("MemoryReservation", read_size),
    "memory_swap": ("MemorySwap", read_memory_swap),
    "cpu_shares": ("CpuShares", read_number),
    "cpuset_cpus": ("CpusetCpus", read_cpu_list),
    "cpuset_mems": ("CpusetMems", read_cpu_list),
    "shm_size": ("ShmSize", read_size),
    "oom_score_adj": ("OomScoreAdj", read_score),
    "pid_mode": ("PidMode", read_mode),
    "ipc_mode": ("IpcMode", read_mode),
    "uts_mode": ("UTSMode", read_mode),
    "restart_policy": ("RestartPolicy", read_restart_policy),
}
SECURITY = "security_opt"
NAMES = (*LISTS, *MAPS, *SINGLE, SECURITY)
"""The names of all of these values, except switches."""


def add_host_value(host: dict[str, Any], value: Value, folder: str) -> None:
    """Add one value to a `HostConfig`. Relative paths start at `folder`. Raises `StatementError` for an invalid one."""
    if value.name == SECURITY:
        host.setdefault("SecurityOpt", []).append(read_security_option(value, folder))
    elif value.name in LISTS:
        key, read = LISTS[value.name]
        host.setdefault(key, []).append(read(value))
    elif value.name in MAPS:
        key, read_item = MAPS[value.name]
        name, text = read_item(value)
        host.setdefault(key, {})[name] = text
    else:
        key, read = SINGLE[value.name]
        host[key] = read(value)
