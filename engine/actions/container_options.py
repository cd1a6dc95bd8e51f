"""The values of `with` for containers: `run redis:7 with name = cache, env.MODE = fast, memory_limit = 512MB`.

They have the names of the fields of the table `containers`, and those of docker's flags.
"""

from __future__ import annotations

import os

from imq.engine.containers.bundle import Mount
from imq.engine.containers.document import CreateOptions
from imq.engine.sources.container_values import (
    Value,
    invalid_value,
    read_flag,
    read_named_values,
    read_seconds,
    read_size,
    read_words,
)
from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from imq.engine.sources.action import PlanContext
    from imq.grammar import ast


class RunOptions(Record):
    """The options of a run that are not those of the container. `timeout` is in seconds, 0 without a limit."""

    detach: bool = False
    stdin: bool = False


def read_values(act: ast.ActionStatement, known: Sequence[str], context: PlanContext) -> list[Value]:
    """Return the values of `with`, by their declared names. Raises `UnknownName` for others."""
    return read_named_values(act, known, _ALIASES, context)


_ALIASES = {
    "env": ("environment",),
    "label": ("labels",),
    "mount": ("mounts", "volume", "volumes"),
    "network_mode": ("network", "net"),
    "memory_limit": ("memory",),
    "cpu_limit": ("cpus",),
    "auto_remove": ("rm",),
    "stdin": ("interactive",),
    "detach": ("detached",),
}
"""Further names of values: those of docker's flags."""
CREATION = (
    "name", "env", "label", "user", "workdir", "hostname", "entrypoint", "mount", "network_mode", "read_only",
    "memory_limit", "cpu_limit", "pids_limit", "stop_signal", "stop_timeout", "auto_remove", "timeout", "stdin",
)  # fmt: skip
RUNNING = (*CREATION, "detach")


def read_create_options(values: Sequence[Value], arguments: Sequence[str], folder: str) -> CreateOptions:
    """Return the options of a new container. Raises `StatementError` for an invalid value."""
    single: dict[str, Any] = {}
    environment: list[str] = []
    labels: list[tuple[str, str]] = []
    mounts: list[Mount] = []
    for value in values:
        if value.name == "env":
            environment.append(f"{value.key}={value.text}" if value.key else _read_variable(value.text))
        elif value.name == "label":
            name, _, text = (value.key, "", value.text) if value.key else value.text.partition("=")
            labels.append((name, text))
        elif value.name == "mount":
            mounts.append(read_mount(value, folder))
        elif value.name != "detach":
            field, read = _READERS[value.name]
            single[field] = read(value)
    return CreateOptions(
        arguments=tuple(arguments),
        environment=tuple(environment),
        labels=tuple(labels),
        mounts=tuple(mounts),
        **single,
    )


def _read_variable(text: str) -> str:
    """Return a variable of docker's flag -e; without a value it is that of this process."""
    return text if "=" in text else f"{text}={os.environ.get(text, '')}"


def read_mount(value: Value, folder: str) -> Mount:
    """Return the mount SOURCE:TARGET[:ro|rw]. Raises `StatementError` for another form."""
    source, colon, rest = value.text.partition(":")
    target, _, mode = rest.partition(":")
    if not colon or not source or not target.startswith("/") or mode not in ("", "ro", "rw") or target == "/":
        raise StatementError(
            f'invalid mount "{value.text}"',
            code="mount",
            span=value.span,
            hints=("SOURCE:TARGET, with :ro when the container may only read it; TARGET is an absolute path",),
        )
    if not source.startswith(("/", ".")):
        raise StatementError(
            f'"{source}" is the name of a volume, and named volumes are not supported',
            code="mount",
            span=value.span,
            hints=(f"mount a folder of this machine: /srv/{source}:{target}",),
        )
    return Mount(os.path.abspath(os.path.join(folder, source)), target, mode == "ro")


def read_signal(value: Value) -> str:
    """Return a signal by its name or number. Raises `StatementError` for an unknown one."""
    from imq.engine.containers.containers import parse_signal

    parse_signal(value.text)
    return value.text


def read_stop_options(act: ast.ActionStatement, context: PlanContext) -> tuple[int | None, str]:
    """Return the `timeout` of `with` in seconds, None if absent, and the `signal`, "" if absent."""
    timeout, signal = None, ""
    for value in read_values(act, ("timeout", "signal"), context):
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


def _read_number(value: Value) -> int:
    if not value.text.isdecimal():
        raise invalid_value(value, "a number")
    return int(value.text)


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
    "pids_limit": ("pids", _read_number),
    "stop_signal": ("stop_signal", read_signal),
    "stop_timeout": ("stop_timeout", read_seconds),
    "auto_remove": ("auto_remove", read_flag),
    "timeout": ("timeout", read_seconds),
    "stdin": ("keeps_stdin", read_flag),
}
