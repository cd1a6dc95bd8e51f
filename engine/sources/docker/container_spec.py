"""The values of `with` for new containers of engines, as the document of the request that makes one."""

from __future__ import annotations

import os
import re

from imq.engine.sources.container_values import (
    invalid_value,
    read_file_variables,
    read_flag,
    read_lines,
    read_named_values,
    read_seconds,
    read_size,
    read_variable,
    read_words,
)
from imq.grammar.errors import NotFound, StatementError
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from imq.engine.sources.action import PlanContext
    from imq.engine.sources.container_values import Value
    from imq.grammar import ast

CREATION = (
    "name", "env", "env_file", "label", "label_file", "user", "group_add", "workdir", "hostname", "entrypoint", "mount",
    "tmpfs", "volumes_from", "network_mode", "publish", "expose", "add_host", "dns", "dns_search", "dns_option",
    "read_only", "privileged", "cap_add", "cap_drop", "security_opt", "device", "sysctl", "pid_mode", "ipc_mode",
    "uts_mode", "memory_limit", "memory_swap", "memory_reservation", "shm_size", "cpu_limit", "cpu_shares",
    "cpuset_cpus", "cpuset_mems", "pids_limit", "ulimit", "oom_score_adj", "restart_policy", "stop_signal",
    "stop_timeout", "auto_remove", "init", "stdin", "terminal", "id_file",
)  # fmt: skip
RUNNING = (*CREATION, "detach", "detach_keys", "timeout")
_NANO_CPUS = 1_000_000_000
_PROTOCOLS = ("tcp", "udp", "sctp")
_LONG_MOUNT = re.compile(r"(type|source|src|target|dst|destination)=")


class ContainerSpec(Record):
    """What a new container is made with: `document` is the body of the request, without the image.

    `timeout` is the seconds after which a run is stopped, None without a limit. `detach_keys` are those by which a user
    leaves a terminal, "" for those of the engine. `id_file` is the path of a new file for the ID, "" without one.
    """

    name: str
    document: Mapping[str, Any]
    detach: bool = False
    timeout: int | None = None
    detach_keys: str = ""
    id_file: str = ""

    def __hash__(self) -> int:
        """Hash by identity: the document is a mapping."""
        return id(self)

    @property
    def keeps_stdin(self) -> bool:
        """Whether the container has a standard input."""
        return bool(self.document.get("OpenStdin"))

    @property
    def has_terminal(self) -> bool:
        """Whether the container has a terminal, so that its output is one stream."""
        return bool(self.document.get("Tty"))


def read_spec(
    act: ast.ActionStatement, arguments: Sequence[str], known: Sequence[str], context: PlanContext
) -> ContainerSpec:
    """Return what a statement makes a container with. Raises `StatementError` for an invalid value."""
    document: dict[str, Any] = {"HostConfig": {}}
    if arguments:
        document["Cmd"] = list(arguments)
    single: dict[str, Any] = {}
    for value in read_named_values(act, known, context):
        if value.name == "name":
            single["name"] = value.text
        elif value.name == "detach":
            single["detach"] = read_flag(value)
        elif value.name == "detach_keys":
            single["detach_keys"] = value.text
        elif value.name == "id_file":
            single["id_file"] = os.path.join(context.folder, value.text)
        elif value.name == "timeout":
            single["timeout"] = read_seconds(value)
        else:
            _SETTERS[value.name](document, value, context)
    return ContainerSpec(**{"name": "", **single}, document=document)


def read_exec_spec(act: ast.ActionStatement, words: Sequence[str], context: PlanContext) -> ContainerSpec:
    """Return the program that a statement runs in a container; `document` is the body of the request."""
    document: dict[str, Any] = {"Cmd": list(words)}
    detach = False
    known = ("env", "env_file", "user", "workdir", "detach", "stdin", "terminal", "privileged")
    for value in read_named_values(act, known, context):
        if value.name == "detach":
            detach = read_flag(value)
        elif value.name == "privileged":
            document["Privileged"] = read_flag(value)
        elif value.name == "stdin":
            document["AttachStdin"] = read_flag(value)
        else:
            _SETTERS[value.name](document, value, context)
    document |= {"AttachStdout": not detach, "AttachStderr": not detach}
    return ContainerSpec("", document, detach)


def _set_environment(document: dict[str, Any], value: Value, context: PlanContext) -> None:
    """Add a variable; one without a value has that of this process, as with docker's flag -e."""
    pair = f"{value.key}={value.text}" if value.key else read_variable(value.text, context.environment)
    document.setdefault("Env", []).append(pair)


def _set_environment_file(document: dict[str, Any], value: Value, context: PlanContext) -> None:
    """Add the variables of a file before those that are given by themselves."""
    pairs = read_file_variables(read_lines(value, context.folder), context.environment)
    document["Env"] = [*pairs, *document.get("Env", ())]


def _set_label_file(document: dict[str, Any], value: Value, context: PlanContext) -> None:
    for line in read_lines(value, context.folder):
        name, _, text = line.partition("=")
        document.setdefault("Labels", {}).setdefault(name, text)


def _set_label(document: dict[str, Any], value: Value, _context: PlanContext) -> None:
    name, _, text = (value.key, "", value.text) if value.key else value.text.partition("=")
    document.setdefault("Labels", {})[name] = text


def _set_mount(document: dict[str, Any], value: Value, context: PlanContext) -> None:
    """Add a mount SOURCE:TARGET[:OPTIONS], or one of docker's `--mount`: type=bind,source=SOURCE,target=TARGET.

    The source is a path of the engine's machine, or the name of a volume.
    """
    if _LONG_MOUNT.match(value.text):
        document["HostConfig"].setdefault("Mounts", []).append(_read_long_mount(value))
        return
    source, colon, target = value.text.partition(":")
    if not colon:
        source, target = "", source
    if not target.startswith("/") or (colon and not source):
        raise StatementError(
            f'invalid mount "{value.text}"',
            code="mount",
            span=value.span,
            hints=("SOURCE:TARGET, with :ro when the container may only read it; TARGET is an absolute path",),
        )
    if not colon:
        document.setdefault("Volumes", {})[target] = {}
        return
    if source.startswith("."):
        source = os.path.abspath(os.path.join(context.folder, source))
    document["HostConfig"].setdefault("Binds", []).append(f"{source}:{target}")


def _read_long_mount(value: Value) -> dict[str, Any]:
    mount: dict[str, Any] = {"Type": "volume"}
    for part in value.text.split(","):
        name, equals, text = part.partition("=")
        name = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly"}.get(name, name)
        if name == "readonly":
            mount["ReadOnly"] = text.lower() in ("", "true", "1")
        elif name in ("type", "source", "target") and equals:
            mount[name.capitalize()] = text
        elif name == "bind-propagation":
            mount["BindOptions"] = {"Propagation": text}
        elif name == "tmpfs-size":
            mount.setdefault("TmpfsOptions", {})["SizeBytes"] = read_size(value.replace(text=text))
        elif name == "tmpfs-mode":
            mount.setdefault("TmpfsOptions", {})["Mode"] = int(text, 8) if text.isdecimal() else 0
        else:
            raise StatementError(
                f'the key "{name}" of a mount is not supported', code="mount", span=value.span,
            )  # fmt: skip
    return mount


def _set_tmpfs(document: dict[str, Any], value: Value, _context: PlanContext) -> None:
    target, _, options = value.text.partition(":")
    if not target.startswith("/"):
        raise invalid_value(value, "an absolute path, with options after a colon: /tmp:size=64m")
    document["HostConfig"].setdefault("Tmpfs", {})[target] = options


def _set_port(document: dict[str, Any], value: Value, _context: PlanContext) -> None:
    """Publish a port: [[ADDRESS:]HOST-PORT:]PORT[/PROTOCOL]."""
    text, _, protocol = value.text.partition("/")
    head, _, port = text.rpartition(":")
    address, _, host_port = head.rpartition(":")
    protocol = protocol.lower() or "tcp"
    if not port.isdecimal() or not (host_port or "0").isdecimal() or protocol not in _PROTOCOLS:
        raise invalid_value(value, "[[ADDRESS:]HOST-PORT:]PORT[/PROTOCOL], such as 8080:80")
    key = f"{port}/{protocol}"
    document.setdefault("ExposedPorts", {})[key] = {}
    binding = {"HostIp": address.strip("[]"), "HostPort": host_port}
    document["HostConfig"].setdefault("PortBindings", {}).setdefault(key, []).append(binding)


def _set_exposed_port(document: dict[str, Any], value: Value, _context: PlanContext) -> None:
    port, _, protocol = value.text.partition("/")
    if not port.isdecimal() or (protocol or "tcp").lower() not in _PROTOCOLS:
        raise invalid_value(value, "a port: 80, 53/udp")
    document.setdefault("ExposedPorts", {})[f"{port}/{protocol.lower() or 'tcp'}"] = {}


def _set_device(document: dict[str, Any], value: Value, _context: PlanContext) -> None:
    """Add a device of the host: PATH[:PATH-IN-CONTAINER[:PERMISSIONS]]."""
    source, _, rest = value.text.partition(":")
    target, _, permissions = rest.partition(":")
    device = {"PathOnHost": source, "PathInContainer": target or source, "CgroupPermissions": permissions or "rwm"}
    document["HostConfig"].setdefault("Devices", []).append(device)


def _set_sysctl(document: dict[str, Any], value: Value, _context: PlanContext) -> None:
    name, equals, text = value.text.partition("=")
    if not equals:
        raise invalid_value(value, "NAME=VALUE")
    document["HostConfig"].setdefault("Sysctls", {})[name] = text


def _set_security_option(document: dict[str, Any], value: Value, context: PlanContext) -> None:
    """Add an option of docker's `--security-opt`. The file of a seccomp profile is read here."""
    separator = next((one for one in value.text if one in "=:"), "=")
    name, _, text = value.text.partition(separator)
    if name == "seccomp" and text not in ("unconfined", "builtin", ""):
        path = os.path.join(context.folder, text)
        try:
            with open(path, encoding="utf-8") as file:
                text = file.read()
        except (OSError, UnicodeDecodeError) as problem:
            reason = getattr(problem, "strerror", None) or "it is not UTF-8"
            raise NotFound(f"{path} cannot be read: {reason}", code="no-such-file", span=value.span) from None
    option = f"{name}={text}" if text else name
    document["HostConfig"].setdefault("SecurityOpt", []).append(option)


def _read_swap(value: Value) -> int:
    return -1 if value.text.strip() == "-1" else read_size(value)


def _read_item(value: Value) -> list[str]:
    return [value.text]


def _set_limit(document: dict[str, Any], value: Value, _context: PlanContext) -> None:
    """Add a limit of resources: NAME=SOFT[:HARD]."""
    name, _, limits = value.text.partition("=")
    soft, _, hard = limits.partition(":")
    hard = hard or soft
    if not all(text.removeprefix("-").isdecimal() for text in (soft, hard)):
        raise invalid_value(value, "NAME=SOFT[:HARD], such as nofile=1024:2048")
    limit = {"Name": name, "Soft": int(soft), "Hard": int(hard)}
    document["HostConfig"].setdefault("Ulimits", []).append(limit)


def _set_restart_policy(document: dict[str, Any], value: Value, _context: PlanContext) -> None:
    name, _, count = value.text.partition(":")
    if count and not count.isdecimal():
        raise invalid_value(value, "no, always, unless-stopped, on-failure, or on-failure:COUNT")
    policy: dict[str, Any] = {"Name": "" if name == "no" else name}
    if count:
        policy["MaximumRetryCount"] = int(count)
    document["HostConfig"]["RestartPolicy"] = policy


def _set_stdin(document: dict[str, Any], value: Value, _context: PlanContext) -> None:
    is_on = read_flag(value)
    document |= {"OpenStdin": is_on, "StdinOnce": is_on, "AttachStdin": is_on}


def _read_text(value: Value) -> str:
    return value.text


def _read_list(value: Value) -> list[str]:
    return [one.strip() for one in value.text.split(",") if one.strip()]


def _read_cpus(value: Value) -> int:
    try:
        return round(float(value.text) * _NANO_CPUS)
    except (ValueError, OverflowError):
        raise invalid_value(value, "a number of CPUs: 1.5") from None


def _read_number(value: Value) -> int:
    if not value.text.removeprefix("-").isdecimal():
        raise invalid_value(value, "a number")
    return int(value.text)


def _setting(key: str, read: Callable[[Value], Any]) -> Callable[[dict[str, Any], Value, PlanContext], None]:
    """Return what sets a key of the document."""

    def set_(document: dict[str, Any], value: Value, _context: PlanContext) -> None:
        document[key] = read(value)

    return set_


def _host_setting(key: str, read: Callable[[Value], Any]) -> Callable[[dict[str, Any], Value, PlanContext], None]:
    """Return what sets a key of the part of the document about the host; values of a list are added."""

    def set_(document: dict[str, Any], value: Value, _context: PlanContext) -> None:
        host, new = document["HostConfig"], read(value)
        host[key] = [*host.get(key, ()), *new] if isinstance(new, list) else new

    return set_


_SETTERS: dict[str, Callable[[dict[str, Any], Value, PlanContext], None]] = {
    "env": _set_environment,
    "env_file": _set_environment_file,
    "label": _set_label,
    "label_file": _set_label_file,
    "group_add": _host_setting("GroupAdd", _read_item),
    "user": _setting("User", _read_text),
    "workdir": _setting("WorkingDir", _read_text),
    "hostname": _setting("Hostname", _read_text),
    "entrypoint": _setting("Entrypoint", lambda value: list(read_words(value)) or [""]),
    "mount": _set_mount,
    "tmpfs": _set_tmpfs,
    "volumes_from": _host_setting("VolumesFrom", _read_list),
    "network_mode": _host_setting("NetworkMode", _read_text),
    "publish": _set_port,
    "expose": _set_exposed_port,
    "add_host": _host_setting("ExtraHosts", _read_item),
    "dns": _host_setting("Dns", _read_item),
    "dns_search": _host_setting("DnsSearch", _read_item),
    "dns_option": _host_setting("DnsOptions", _read_item),
    "read_only": _host_setting("ReadonlyRootfs", read_flag),
    "privileged": _host_setting("Privileged", read_flag),
    "cap_add": _host_setting("CapAdd", _read_list),
    "cap_drop": _host_setting("CapDrop", _read_list),
    "security_opt": _set_security_option,
    "device": _set_device,
    "sysctl": _set_sysctl,
    "pid_mode": _host_setting("PidMode", _read_text),
    "ipc_mode": _host_setting("IpcMode", _read_text),
    "uts_mode": _host_setting("UTSMode", _read_text),
    "memory_limit": _host_setting("Memory", read_size),
    "memory_swap": _host_setting("MemorySwap", _read_swap),
    "memory_reservation": _host_setting("MemoryReservation", read_size),
    "shm_size": _host_setting("ShmSize", read_size),
    "cpu_shares": _host_setting("CpuShares", _read_number),
    "cpuset_cpus": _host_setting("CpusetCpus", _read_text),
    "cpuset_mems": _host_setting("CpusetMems", _read_text),
    "oom_score_adj": _host_setting("OomScoreAdj", _read_number),
    "init": _host_setting("Init", read_flag),
    "cpu_limit": _host_setting("NanoCpus", _read_cpus),
    "pids_limit": _host_setting("PidsLimit", _read_number),
    "ulimit": _set_limit,
    "restart_policy": _set_restart_policy,
    "stop_signal": _setting("StopSignal", _read_text),
    "stop_timeout": _setting("StopTimeout", read_seconds),
    "auto_remove": _host_setting("AutoRemove", read_flag),
    "stdin": _set_stdin,
    "terminal": _setting("Tty", read_flag),
}
