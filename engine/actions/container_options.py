"""The values of `with` for containers: `run redis:7 with name = cache, env.MODE = fast, memory_limit = 512MB`.

They have the names of the fields of the table `containers`, and those of docker's flags.
"""

from __future__ import annotations

import os
import re

from imq.engine.containers.bundle import Mount
from imq.engine.containers.document import CreateOptions
from imq.engine.containers.volumes import is_volume_name
from imq.engine.sources.container_values import (
    Value,
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
from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING

from . import host_options
from .host_options import read_number

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from imq.engine.sources.action import PlanContext
    from imq.grammar import ast

_TRUE = ("true", "1")
_SHORTEST_HEALTH_TIME = 10**6
"""Nanoseconds; docker refuses shorter times too."""


_HEALTH_TIMES = {
    "health_interval": "Interval", "health_timeout": "Timeout", "health_start_period": "StartPeriod",
    "health_start_interval": "StartInterval",
}  # fmt: skip
"""The durations of a health check, and their keys in `Healthcheck`."""
_HEALTH = ("health_cmd", *_HEALTH_TIMES, "health_retries", "no_healthcheck")
CREATION = (
    "name", "env", "env_file", "label", "label_file", "user", "workdir", "hostname", "entrypoint", "mount",
    "network_mode", "read_only", "memory_limit", "cpu_limit", "pids_limit", "stop_signal", "stop_timeout",
    "auto_remove", "timeout", "stdin", "terminal", "privileged", "init", "expose", "id_file",
    *host_options.NAMES, *_HEALTH,
)  # fmt: skip
RUNNING = (*CREATION, "detach", "detach_keys")


def read_create_options(
    values: Sequence[Value], arguments: Sequence[str], folder: str, variables: Mapping[str, str]
) -> CreateOptions:
    """Return the options of a new container. Raises `StatementError` for an invalid value.

    Relative paths start at `folder`; `variables` are those of this process, for variables without a value.
    """
    single: dict[str, Any] = {}
    environment: list[str] = []
    from_files: list[str] = []
    labels: list[tuple[str, str]] = []
    mounts: list[Mount] = []
    ports: list[str] = []
    host: dict[str, Any] = {}
    health: dict[str, Any] = {}
    for value in values:
        if value.name == "env":
            environment.append(f"{value.key}={value.text}" if value.key else read_variable(value.text, variables))
        elif value.name == "env_file":
            from_files += read_file_variables(read_lines(value, folder), variables)
        elif value.name == "label_file":
            parts = (line.partition("=") for line in read_lines(value, folder))
            labels += [(name, text) for name, _, text in parts]
        elif value.name == "label":
            name, _, text = (value.key, "", value.text) if value.key else value.text.partition("=")
            labels.append((name, text))
        elif value.name == "mount":
            mount = read_mount(value, folder)
            if isinstance(mount, Mount):
                mounts.append(mount)
            else:
                host.setdefault("Tmpfs", {})[mount[0]] = mount[1]
        elif value.name == "expose":
            ports.append(_read_port(value))
        elif value.name in _HEALTH:
            health |= _read_health(value)
        elif value.name in host_options.NAMES:
            host_options.add_host_value(host, value, folder)
        elif value.name not in ("detach", "detach_keys", "id_file"):
            field, read = _READERS[value.name]
            single[field] = read(value)
    return CreateOptions(
        arguments=tuple(arguments),
        environment=(*from_files, *environment),
        labels=tuple(labels),
        mounts=tuple(mounts),
        ports=tuple(ports),
        host_config=host,
        health={"Test": ["NONE"]} if health.get("Test") == ["NONE"] else health,
        **single,
    )


def _read_health(value: Value) -> dict[str, Any]:
    """Return what one value changes in the object `Healthcheck` of an image."""
    from imq.engine.units.time import parse_duration

    if value.name == "health_cmd":
        return {"Test": ["CMD-SHELL", value.text]} if value.text else {}
    if value.name == "no_healthcheck":
        return {"Test": ["NONE"]} if read_flag(value) else {}
    if value.name == "health_retries":
        return {"Retries": read_number(value)}
    duration = parse_duration(value.text)
    if duration is None or 0 < duration < _SHORTEST_HEALTH_TIME:
        raise invalid_value(value, "a duration of at least 1ms: 10s, 2 minutes")
    return {_HEALTH_TIMES[value.name]: duration}


def _read_port(value: Value) -> str:
    """Return a port that the container listens on, with its protocol."""
    port, slash, protocol = value.text.partition("/")
    if not port.isdecimal() or not 0 < int(port[:6]) < 1 << 16 or (slash and protocol not in ("tcp", "udp", "sctp")):
        raise invalid_value(value, "a port: 80, 53/udp")
    return f"{port}/{protocol or 'tcp'}"


def read_mount(value: Value, folder: str) -> Mount | tuple[str, str]:
    """Return the mount SOURCE:TARGET[:OPTIONS], or one of docker's `--mount`: type=bind,source=SOURCE,target=TARGET.

    A source without a slash is the name of a volume; a target alone gets a volume without a name. A tmpfs is returned
    as its target and its options. Raises `StatementError` for another form.
    """
    if _LONG_MOUNT.match(value.text):
        return _read_long_mount(value, folder)
    source, colon, rest = value.text.partition(":")
    target, _, text = rest.partition(":")
    options = text.split(",") if text else []
    if not colon and _is_target(source):
        source, target = "", source
    elif not source or not _is_target(target) or not {*options} <= _MOUNT_OPTIONS:
        raise _invalid_mount(value)
    return _make_mount(value, folder, source, target, options)


_LONG_MOUNT = re.compile(r"(type|source|src|target|dst|destination)=")
_PROPAGATION = frozenset({"private", "rprivate", "slave", "rslave", "shared", "rshared"})
_IGNORED_OPTIONS = frozenset({"z", "Z", "cached", "delegated", "consistent", "default"})
"""Options for SELinux, which does not run where these are accepted, and for docker's virtual machines."""
_MOUNT_OPTIONS = frozenset({"ro", "rw", "nocopy"}) | _PROPAGATION | _IGNORED_OPTIONS


def _is_target(target: str) -> bool:
    return target.startswith("/") and target.strip("/") != ""


def _invalid_mount(value: Value) -> StatementError:
    return StatementError(
        f'invalid mount "{value.text}"',
        code="mount",
        span=value.span,
        hints=(
            "SOURCE:TARGET, with :ro when the container may only read it; TARGET is an absolute path",
            "SOURCE is a folder of this machine, or the name of a volume",
        ),
    )


def _make_mount(value: Value, folder: str, source: str, target: str, options: Sequence[str]) -> Mount:
    if source and not source.startswith(("/", ".")) and not is_volume_name(source):
        raise StatementError(
            f'"{source}" includes invalid characters for the name of a volume',
            code="mount",
            span=value.span,
            hints=("only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed; a folder of this machine begins with / or .",),
        )
    if {"z", "Z"} & {*options} and os.path.exists("/sys/fs/selinux/enforce"):
        raise StatementError(
            "mounts are not relabelled for SELinux",
            code="mount",
            span=value.span,
            hints=("chcon -t container_file_t relabels a folder",),
        )
    propagation = next((one for one in options if one in _PROPAGATION), "rprivate")
    if not source.startswith(("/", ".")):
        return Mount("", target, "ro" in options, volume=source, copies="nocopy" not in options)
    return Mount(os.path.abspath(os.path.join(folder, source)), target, "ro" in options, propagation)


_LONG_MOUNT_KEYS = (
    "type", "source", "target", "readonly", "bind-propagation", "tmpfs-size", "tmpfs-mode", "volume-nocopy",
)  # fmt: skip


def _read_long_mount(value: Value, folder: str) -> Mount | tuple[str, str]:
    """Return a mount of docker's flag `--mount`."""
    fields = {}
    for part in value.text.split(","):
        name, equals, text = part.partition("=")
        name = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly"}.get(name, name)
        if name not in _LONG_MOUNT_KEYS:
            raise StatementError(
                f'the key "{name}" of a mount is not supported',
                code="mount",
                span=value.span,
                hints=(f"supported: {', '.join(_LONG_MOUNT_KEYS)}",),
            )
        fields[name] = text if equals else "true"
    kind, source, target = fields.get("type", "volume"), fields.get("source", ""), fields.get("target", "")
    if not _is_target(target) or ((kind == "bind") != bool(source) and kind != "volume"):
        raise _invalid_mount(value)
    is_read_only = fields.get("readonly", "false") in _TRUE
    if kind == "tmpfs":
        size, mode = fields.get("tmpfs-size"), fields.get("tmpfs-mode")
        options = [f"size={size}" if size else "", f"mode={mode}" if mode else "", "ro" if is_read_only else ""]
        return target, ",".join(one for one in options if one)
    if kind not in ("bind", "volume"):
        raise StatementError(
            f'mounts of type "{kind}" are not supported',
            code="mount",
            span=value.span,
            hints=("types: bind, volume, tmpfs",),
        )
    propagation = fields.get("bind-propagation", "rprivate")
    if propagation not in _PROPAGATION:
        raise invalid_value(value, ", ".join(sorted(_PROPAGATION)))
    options = [propagation, *(["ro"] if is_read_only else [])]
    if kind == "volume":
        options += ["nocopy"] if fields.get("volume-nocopy", "false") in _TRUE else []
        if source and not is_volume_name(source):
            raise _invalid_mount(value)
    elif "volume-nocopy" in fields:
        raise _invalid_mount(value)
    return _make_mount(value, folder, source, target, options)


def default_detach_keys() -> bytes:
    """Return the keys by which a user detaches from a terminal unless others are given, as in docker."""
    from imq.engine.containers.attachment import DETACH_KEYS, parse_detach_keys

    return parse_detach_keys(DETACH_KEYS)


def read_signal(value: Value) -> str:
    """Return a signal by its name or number. Raises `StatementError` for an unknown one."""
    from imq.engine.containers.containers import parse_signal

    parse_signal(value.text)
    return value.text


def read_stop_options(act: ast.ActionStatement, context: PlanContext) -> tuple[int | None, str]:
    """Return the `timeout` of `with` in seconds, None if absent, and the `signal`, "" if absent."""
    timeout, signal = None, ""
    for value in read_named_values(act, ("timeout", "signal"), context):
        if value.name == "timeout":
            timeout = read_seconds(value)
        else:
            signal = read_signal(value)
    return timeout, signal


def _read_text(value: Value) -> str:
    return value.text


def _read_cpus(value: Value) -> float:
    try:
        cpus = float(value.text)
    except ValueError:
        cpus = 0.0
    available = os.cpu_count() or 1
    if not 0.01 <= cpus <= available:
        raise StatementError(
            f"range of CPUs is from 0.01 to {available}.00, as there are only {available} CPUs available",
            code="option",
            span=value.span,
        )
    return cpus


def _read_network(value: Value) -> str:
    return value.text


_READERS: dict[str, tuple[str, Callable[[Value], Any]]] = {
    "name": ("name", _read_text),
    "user": ("user", _read_text),
    "workdir": ("workdir", _read_text),
    "hostname": ("hostname", _read_text),
    "entrypoint": ("entrypoint", read_words),
    "network_mode": ("network", _read_network),
    "read_only": ("read_only", read_flag),
    "memory_limit": ("memory", read_size),
    "cpu_limit": ("cpus", _read_cpus),
    "pids_limit": ("pids", read_number),
    "stop_signal": ("stop_signal", read_signal),
    "stop_timeout": ("stop_timeout", read_seconds),
    "auto_remove": ("auto_remove", read_flag),
    "timeout": ("timeout", read_seconds),
    "stdin": ("keeps_stdin", read_flag),
    "terminal": ("terminal", read_flag),
    "privileged": ("privileged", read_flag),
    "init": ("init", read_flag),
}
