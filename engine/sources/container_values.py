"""The values of `with` for containers, of the store and of engines: `with env.MODE = fast, memory_limit = 512MB`.

They have the names of the fields of the table `containers`, and those of docker's flags.
"""

from __future__ import annotations

import os

from imq.grammar.errors import NotFound, StatementError, UnknownName, closest_hint, join_names
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from imq.grammar import ast

    from .action import PlanContext

_ALIASES = {
    "env": ("environment",),
    "label": ("labels",),
    "mount": ("mounts", "volume", "volumes"),
    "network_mode": ("network", "net"),
    "memory_limit": ("memory",),
    "cpu_limit": ("cpus",),
    "auto_remove": ("rm",),
    "stdin": ("interactive",),
    "terminal": ("tty",),
    "detach": ("detached",),
    "publish": ("ports", "published_ports"),
    "restart_policy": ("restart",),
    "ulimit": ("ulimits",),
    "pid_mode": ("pid",),
    "ipc_mode": ("ipc",),
    "uts_mode": ("uts",),
    "id_file": ("cidfile",),
}
"""Further names of values: those of docker's flags."""
_TRUE, _FALSE = ("true", "yes", "1"), ("false", "no", "0")


class Value(Record):
    """One value of `with`: its name, the keys after it (`env.MODE`), and its text."""

    name: str
    key: str
    text: str
    span: Any = None


def read_named_values(act: ast.ActionStatement, known: Sequence[str], context: PlanContext) -> list[Value]:
    """Return the values of `with`, by their declared names. Raises `UnknownName` for others."""
    from imq.engine.catalog.schema import casefold_name
    from imq.grammar import ast
    from imq.grammar.lexer import split_path

    from .action_options import get_option

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


def read_flag(value: Value) -> bool:
    """Return a value that is true or false."""
    text = value.text.lower()
    if text not in (*_TRUE, *_FALSE):
        raise invalid_value(value, "true or false")
    return text in _TRUE


def read_seconds(value: Value) -> int:
    """Return a number of seconds, given as a number or a duration."""
    from imq.engine.units.time import parse_duration

    if value.text.removeprefix("-").isdecimal():
        return int(value.text)
    duration = parse_duration(value.text)
    if duration is None:
        raise invalid_value(value, "a duration: 10s, 2 minutes")
    return -(-duration // 10**9)


def read_words(value: Value) -> tuple[str, ...]:
    """Return the words of an entry point: a JSON list, or one program; "" resets it."""
    import json

    if value.text.startswith("["):
        try:
            words = json.loads(value.text)
        except ValueError:
            words = None
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise invalid_value(value, 'a program, or a list: "[\\"sh\\", \\"-c\\"]"')
        return tuple(words)
    return (value.text,) if value.text else ()


def read_size(value: Value) -> int:
    """Return a size in bytes."""
    from imq.engine.units.size import parse_size

    size = parse_size(value.text)
    if size is None:
        raise invalid_value(value, "a size: 512MB, 1GiB")
    return size


def read_lines(value: Value, folder: str) -> list[str]:
    """Return the lines of a file of variables or labels, without comments."""
    path = os.path.join(folder, value.text)
    try:
        with open(path, encoding="utf-8-sig", errors="surrogateescape") as file:
            lines = [line.rstrip("\r\n").lstrip() for line in file]
    except OSError as problem:
        raise NotFound(f"{path} cannot be read: {problem.strerror}", code="no-such-file", span=value.span) from None
    kept = [line for line in lines if line and not line.startswith("#")]
    for line in kept:
        name = line.partition("=")[0]
        if not name or any(character.isspace() for character in name):
            raise StatementError(
                f"variable '{name}' contains whitespaces, or has no name, in {path}", code="option", span=value.span
            )
    return kept


def invalid_value(value: Value, expected: str) -> StatementError:
    """Return the error of a value. `expected` are the valid ones, in words."""
    return StatementError(
        f'invalid value "{value.text}" for {value.name}', code="option", span=value.span, hints=(f"values: {expected}",)
    )


def read_variable(text: str, variables: Mapping[str, str]) -> str:
    """Return a variable of docker's flag -e; one without a value has that of `variables`.

    One that is not there stays without a value: then a container does not have it, even if its image does.
    """
    return text if "=" in text or text not in variables else f"{text}={variables[text]}"


def read_file_variables(lines: Iterable[str], variables: Mapping[str, str]) -> list[str]:
    """Return the variables of the lines of a file; those without a value here or in `variables` are left out."""
    return [pair for pair in (read_variable(line, variables) for line in lines) if "=" in pair]
