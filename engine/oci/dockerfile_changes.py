"""Dockerfile instructions that change a config, as `docker import --change` takes them."""

from __future__ import annotations

import posixpath
import re

from imq.engine.units.go_strconv import quote, read_duration
from imq.grammar.errors import StatementError, closest_hint
from imq.grammar.record import TYPE_CHECKING

from .dockerfile import Dockerfile, Node, parse
from .exposed_ports import container_ports
from .shell_words import expand, expand_words

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    Runtime = dict[str, Any]

_SHELL = ("/bin/sh", "-c")
_MILLISECOND = 1_000_000
_MOST_RETRIES = (1 << 31) - 1
_TIMES = {
    "interval": "Interval", "timeout": "Timeout", "start-period": "StartPeriod", "start-interval": "StartInterval",
}  # fmt: skip
_SIGNALS = (
    "(ABRT|ALRM|BUS|CHLD|CLD|CONT|FPE|HUP|ILL|INT|IO|IOT|KILL|PIPE|POLL|PROF|PWR|QUIT|SEGV|STKFLT|STOP|SYS|TERM|TRAP"
    "|TSTP|TTIN|TTOU|URG|USR1|USR2|VTALRM|WINCH|XCPU|XFSZ|RTMIN(\\+([1-9]|1[0-5]))?|RTMAX(-([1-9]|1[0-4]))?)"
)
"""A pattern of Linux's signals, without the SIG before them."""


def apply_instructions(runtime: Runtime, changes: Sequence[str]) -> None:
    """Change the runtime part of a config as instructions say, each change a line: `LABEL env=prod`, `CMD ["sh"]`.

    Raises StatementError, code `instruction`, in docker's words.
    """
    if not changes:
        return
    name = ""
    try:
        dockerfile = parse("\n".join(changes))
        for node in dockerfile.nodes:
            name = node.name
            if name not in _INSTRUCTIONS:
                raise ValueError(f"{node.written.lower()} is not a valid change command")
        changing = _Changing(runtime, dockerfile)
        steps: list[Callable[[], None]] = []
        for node in dockerfile.nodes:
            name = node.name
            steps.append(_INSTRUCTIONS[name](changing, node))
        for node, step in zip(dockerfile.nodes, steps, strict=True):
            name = node.name
            step()
    except ValueError as problem:
        raise StatementError(str(problem), code="instruction", hints=_hints(name)) from None


def _hints(name: str) -> tuple[str, ...]:
    if name in _EXAMPLES:
        return (f"for example: {_EXAMPLES[name]}",)
    return (closest_hint(name, _INSTRUCTIONS) if name else "", "instructions: " + ", ".join(_INSTRUCTIONS))


class _Changing:
    """The config while it is changed. Reading an instruction returns what applies it: all are read before one is."""

    def __init__(self, runtime: Runtime, dockerfile: Dockerfile) -> None:
        self.runtime = runtime
        self.escape = dockerfile.escape
        self.has_command = False

    @property
    def variables(self) -> dict[str, str]:
        """The environment that variables are put in from; the first of a name counts."""
        pairs = [pair.partition("=") for pair in self.runtime.get("Env", ())]
        return {key: value for key, _, value in reversed(pairs)}

    def expanded(self, words: Sequence[str]) -> list[str]:
        """Return words with their variables put in."""
        variables = self.variables
        return [expand(word, variables, self.escape) for word in words]

    # ---- instructions

    def command(self, node: Node) -> Callable[[], None]:
        _flags(node)

        def change() -> None:
            self.runtime["Cmd"] = list(node.arguments) if node.listed else [*_SHELL, *node.arguments]
            self.has_command = bool(self.runtime["Cmd"])

        return change

    def entrypoint(self, node: Node) -> Callable[[], None]:
        """Read ENTRYPOINT, which takes away a command that no instruction set."""
        _flags(node)

        def change() -> None:
            words = list(node.arguments) if node.listed or not node.arguments else [*_SHELL, *node.arguments]
            self.set("Entrypoint", words)
            if not self.has_command:
                self.runtime.pop("Cmd", None)

        return change

    def environment(self, node: Node) -> Callable[[], None]:
        pairs = _pairs(node)

        def change() -> None:
            held = self.runtime.setdefault("Env", [])
            for key, value in _paired(self.expanded(pairs)):
                place = next((n for n, pair in enumerate(held) if pair.partition("=")[0] == key), len(held))
                held[place : place + 1] = [f"{key}={value}"]

        return change

    def label(self, node: Node) -> Callable[[], None]:
        pairs = _pairs(node)

        def change() -> None:
            self.runtime.setdefault("Labels", {}).update(_paired(self.expanded(pairs)))

        return change

    def expose(self, node: Node) -> Callable[[], None]:
        _at_least_one(node)
        _flags(node)

        def change() -> None:
            variables = self.variables
            words = [each for word in sorted(node.arguments) for each in expand_words(word, variables, self.escape)]
            ports = [port for word in words for port in container_ports(word)]
            self.set("ExposedPorts", self.runtime.get("ExposedPorts", {}) | {port: {} for port in sorted(ports)})

        return change

    def healthcheck(self, node: Node) -> Callable[[], None]:
        _at_least_one(node)
        kind, command = node.arguments[0].upper(), node.arguments[1:]
        check: dict[str, Any]
        if kind == "NONE":
            if command:
                raise ValueError("HEALTHCHECK NONE takes no arguments")
            check = {"Test": ["NONE"]}
        else:
            flags = _flags(node, *_TIMES, "retries")
            if kind != "CMD":
                raise ValueError(f"Unknown type {quote(kind)} in HEALTHCHECK (try CMD)")
            if not command:
                raise ValueError("Missing command after HEALTHCHECK CMD")
            check = {"Test": ["CMD" if node.listed else "CMD-SHELL", *command]}
            check |= {key: _interval(flag, flags[flag]) for flag, key in _TIMES.items() if flags.get(flag)}
            if flags.get("retries"):
                check["Retries"] = _retries(flags["retries"])

        def change() -> None:
            self.runtime["Healthcheck"] = check

        return change

    def trigger(self, node: Node) -> Callable[[], None]:
        _at_least_one(node)
        _flags(node)
        name = node.arguments[0].upper()
        if name == "ONBUILD":
            raise ValueError("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
        if name in {"FROM", "MAINTAINER"}:
            raise ValueError(f"{name} isn't allowed as an ONBUILD trigger")

        def change() -> None:
            self.runtime.setdefault("OnBuild", []).append(re.sub(r"(?i)^\s*ONBUILD\s*", "", node.line))

        return change

    def stop_signal(self, node: Node) -> Callable[[], None]:
        text = _exactly_one(node)

        def change() -> None:
            (signal,) = self.expanded([text])
            known = re.fullmatch(_SIGNALS, signal.upper().removeprefix("SIG"))
            if not known and not (signal.isascii() and signal.isdigit() and int(signal[:9])):
                raise ValueError(f"Invalid signal: {signal}")
            self.runtime["StopSignal"] = signal

        return change

    def user(self, node: Node) -> Callable[[], None]:
        text = _exactly_one(node)
        return lambda: self.set("User", *self.expanded([text]))

    def volume(self, node: Node) -> Callable[[], None]:
        _at_least_one(node)
        _flags(node)
        if not all(path.strip() for path in node.arguments):
            raise ValueError("VOLUME specified can not be an empty string")

        def change() -> None:
            paths = self.expanded([path.strip() for path in node.arguments])
            if not all(paths):
                raise ValueError("VOLUME specified can not be an empty string")
            self.runtime.setdefault("Volumes", {}).update((path, {}) for path in paths)

        return change

    def working_folder(self, node: Node) -> Callable[[], None]:
        """Read WORKDIR; a relative one is below the one that is set."""
        text = _exactly_one(node)

        def change() -> None:
            (path,) = self.expanded([text])
            if not path:
                raise ValueError("cannot normalize nothing")
            if not path.startswith("/"):
                path = posixpath.normpath(posixpath.join("/", self.runtime.get("WorkingDir", ""), path))
            self.runtime["WorkingDir"] = path

        return change

    def set(self, key: str, value: object) -> None:
        """Set a key; an empty value takes it away."""
        if value:
            self.runtime[key] = value
        else:
            self.runtime.pop(key, None)


# ---- what instructions have in common


def _flags(node: Node, *known: str) -> dict[str, str]:
    """Return the flags of an instruction that knows these."""
    flags: dict[str, str] = {}
    for text in node.flags:
        name, sign, value = text.removeprefix("--").partition("=")
        if name not in known:
            raise ValueError(f"Unknown flag: {name}")
        if name in flags:
            raise ValueError(f"Duplicate flag specified: {name}")
        if not sign:
            raise ValueError(f"Missing a value on flag: {name}")
        flags[name] = value
    return flags


def _at_least_one(node: Node) -> None:
    if not node.arguments:
        raise ValueError(f"{node.name} requires at least one argument")


def _exactly_one(node: Node) -> str:
    if len(node.arguments) != 1:
        raise ValueError(f"{node.name} requires exactly one argument")
    _flags(node)
    return node.arguments[0]


def _pairs(node: Node) -> tuple[str, ...]:
    _flags(node)
    _at_least_one(node)
    if not all(node.arguments[::2]):
        raise ValueError(f"{node.name} names can not be blank")
    return node.arguments


def _paired(words: Sequence[str]) -> list[tuple[str, str]]:
    return list(zip(words[::2], words[1::2], strict=True))


def _interval(flag: str, text: str) -> int:
    duration = read_duration(text)
    if duration < _MILLISECOND:
        raise ValueError(f"Interval {quote(flag)} cannot be less than 1ms")
    return duration


def _retries(text: str) -> int:
    if not re.fullmatch(r"[+-]?\d+", text, re.ASCII):
        raise ValueError(f"strconv.ParseInt: parsing {quote(text)}: invalid syntax")
    if not -_MOST_RETRIES - 1 <= int(text[:20]) <= _MOST_RETRIES:
        raise ValueError(f"strconv.ParseInt: parsing {quote(text)}: value out of range")
    if int(text) < 1:
        raise ValueError(f"--retries must be at least 1 (not {int(text)})")
    return int(text)


_INSTRUCTIONS: dict[str, Callable[[_Changing, Node], Callable[[], None]]] = {
    "CMD": _Changing.command,
    "ENTRYPOINT": _Changing.entrypoint,
    "ENV": _Changing.environment,
    "EXPOSE": _Changing.expose,
    "HEALTHCHECK": _Changing.healthcheck,
    "LABEL": _Changing.label,
    "ONBUILD": _Changing.trigger,
    "STOPSIGNAL": _Changing.stop_signal,
    "USER": _Changing.user,
    "VOLUME": _Changing.volume,
    "WORKDIR": _Changing.working_folder,
}
_EXAMPLES = {
    "CMD": 'CMD ["python3"]',
    "ENTRYPOINT": 'ENTRYPOINT ["/bin/app"]',
    "ENV": "ENV LANG=C.UTF-8",
    "EXPOSE": "EXPOSE 80/tcp",
    "HEALTHCHECK": "HEALTHCHECK --interval=30s CMD curl -f http://localhost/",
    "LABEL": "LABEL env=prod",
    "ONBUILD": "ONBUILD RUN make",
    "STOPSIGNAL": "STOPSIGNAL SIGINT",
    "USER": "USER 1000:1000",
    "VOLUME": "VOLUME /data",
    "WORKDIR": "WORKDIR /srv",
}
