"""The values of `with` for containers: `run redis:7 with name = cache, env.MODE = fast, memory_limit = 512MB`.

They have the names of the fields of the table `containers`, and those of docker's flags.
"""

from __future__ import annotations

import os

from imq.engine.catalog.schema import casefold_name
from imq.engine.containers.bundle import Mount
from imq.engine.containers.document import CreateOptions
from imq.engine.sources.action_options import get_option
from imq.engine.units.size import parse_size
from imq.grammar import ast
from imq.grammar.errors import StatementError, UnknownName, closest_hint, join_names
from imq.grammar.lexer import split_path
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from imq.engine.sources.action import PlanContext

_TRUE, _FALSE = ("true", "yes", "1"), ("false", "no", "0")


class Value(Record):
    """One value of `with`: its name, the keys after it (`env.MODE`), and its text."""

    name: str
    key: str
    text: str
    span: Any = None


class RunOptions(Record):
    """The options of a run that are not those of the container. `timeout` is in seconds, 0 without a limit."""

    detach: bool = False
    stdin: bool = False


def read_values(act: ast.ActionStatement, known: Sequence[str], context: PlanContext) -> list[Value]:
    """Return the values of `with`, by their declared names. Raises `UnknownName` for others."""
    option = get_option(act, "with")
    if option is None:
        return []
    texts = context.literals(option.values[1::2])
    folded = {casefold_name(alias): name for name in known for alias in (name, *_ALIASES.get(name, ()))}
    values = []
    for node, text in zip(option.values[::2], texts, strict=True):
        assert isinstance(node, ast.Literal)
        first, *rest = split_path(node.text)
        name = folded.get(casefold_name(first))
        if name is None:
            raise UnknownName(
                f'{act.verb} has no "{first}"',
                span=node.span,
                hints=(closest_hint(first, known), f"known are: {join_names(sorted(known))}"),
            )
        if rest and name not in ("env", "label"):
            raise StatementError(f'"{node.text}": {name} has no parts', code="option", span=node.span)
        values.append(Value(name, ".".join(rest), text, node.span))
    return values


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


def read_flag(value: Value) -> bool:
    """Return a value that is true or false."""
    text = value.text.lower()
    if text not in (*_TRUE, *_FALSE):
        raise _invalid(value, "true or false")
    return text in _TRUE


def read_seconds(value: Value) -> int:
    """Return a number of seconds, given as a number or a duration."""
    from imq.engine.units.time import parse_duration

    if value.text.removeprefix("-").isdecimal():
        return int(value.text)
    duration = parse_duration(value.text)
    if duration is None:
        raise _invalid(value, "a duration: 10s, 2 minutes")
    return -(-duration // 10**9)


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


def _read_words(value: Value) -> tuple[str, ...]:
    """Return the words of an entry point: a JSON list, or one program; "" resets it."""
    import json

    if value.text.startswith("["):
        try:
            words = json.loads(value.text)
        except ValueError:
            words = None
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise _invalid(value, 'a program, or a list: "[\\"sh\\", \\"-c\\"]"')
        return tuple(words)
    return (value.text,) if value.text else ()


def _read_size(value: Value) -> int:
    size = parse_size(value.text)
    if size is None:
        raise _invalid(value, "a size: 512MB, 1GiB")
    return size


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
        raise _invalid(value, "a number")
    return int(value.text)


def _read_network(value: Value) -> str:
    return value.text


def _invalid(value: Value, expected: str) -> StatementError:
    return StatementError(
        f'invalid value "{value.text}" for {value.name}', code="option", span=value.span, hints=(f"values: {expected}",)
    )


_READERS: dict[str, tuple[str, Callable[[Value], Any]]] = {
    "name": ("name", _read_text),
    "user": ("user", _read_text),
    "workdir": ("workdir", _read_text),
    "hostname": ("hostname", _read_text),
    "entrypoint": ("entrypoint", _read_words),
    "network_mode": ("network", _read_network),
    "read_only": ("read_only", read_flag),
    "memory_limit": ("memory", _read_size),
    "cpu_limit": ("cpus", _read_cpus),
    "pids_limit": ("pids", _read_number),
    "stop_signal": ("stop_signal", read_signal),
    "stop_timeout": ("stop_timeout", read_seconds),
    "auto_remove": ("auto_remove", read_flag),
    "timeout": ("timeout", read_seconds),
    "stdin": ("keeps_stdin", read_flag),
}
