"""Applies Dockerfile instructions to a config, like `docker import --change`."""

from __future__ import annotations

import posixpath
import re

from imq.engine.units.go_strconv import parse_duration, quote
from imq.grammar.errors import StatementError, closest_hint
from imq.grammar.record import TYPE_CHECKING

from .dockerfile import Dockerfile, Instruction, parse_dockerfile
from .exposed_ports import parse_container_ports
from .shell_words import expand, expand_words

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    Runtime = dict[str, Any]

_SHELL = ("/bin/sh", "-c")
_MILLISECOND = 1_000_000
_MAX_RETRIES = (1 << 31) - 1
_DURATION_FLAGS = {
    "interval": "Interval", "timeout": "Timeout", "start-period": "StartPeriod", "start-interval": "StartInterval",
}  # fmt: skip
_SIGNALS = (
    "(ABRT|ALRM|BUS|CHLD|CLD|CONT|FPE|HUP|ILL|INT|IO|IOT|KILL|PIPE|POLL|PROF|PWR|QUIT|SEGV|STKFLT|STOP|SYS|TERM|TRAP"
    "|TSTP|TTIN|TTOU|URG|USR1|USR2|VTALRM|WINCH|XCPU|XFSZ|RTMIN(\\+([1-9]|1[0-5]))?|RTMAX(-([1-9]|1[0-4]))?)"
)
"""A pattern for the names of Linux signals without SIG."""


def apply_instructions(runtime: Runtime, changes: Sequence[str]) -> None:
    """Apply instructions to the `config` object of a config, one per line: `LABEL env=prod`, `CMD ["sh"]`.

    Raises `StatementError` (code `instruction`) with docker's messages.
    """
    if not changes:
        return
    name = ""
    try:
        dockerfile = parse_dockerfile("\n".join(changes))
        for instruction in dockerfile.instructions:
            name = instruction.name
            if name not in _INSTRUCTION_HANDLERS:
                raise ValueError(f"{instruction.name_as_written.lower()} is not a valid change command")
        editor = _ConfigEditor(runtime, dockerfile)
        steps: list[Callable[[], None]] = []
        for instruction in dockerfile.instructions:
            name = instruction.name
            steps.append(_INSTRUCTION_HANDLERS[name](editor, instruction))
        for instruction, step in zip(dockerfile.instructions, steps, strict=True):
            name = instruction.name
            step()
    except ValueError as error:
        raise StatementError(str(error), code="instruction", hints=_hints_for(name)) from None


def _hints_for(name: str) -> tuple[str, ...]:
    if name in _EXAMPLES:
        return (f"example: {_EXAMPLES[name]}",)
    return (
        closest_hint(name, _INSTRUCTION_HANDLERS) if name else "",
        "instructions: " + ", ".join(_INSTRUCTION_HANDLERS),
    )


class _ConfigEditor:
    """The config being changed. Each handler returns the function that applies it: all are parsed before any is."""

    def __init__(self, runtime: Runtime, dockerfile: Dockerfile) -> None:
        self.runtime = runtime
        self.escape = dockerfile.escape
        self.has_command = False

    @property
    def variables(self) -> dict[str, str]:
        """The environment for the expansion of variables; the first of several equal names wins."""
        pairs = [pair.partition("=") for pair in self.runtime.get("Env", ())]
        return {key: value for key, _, value in reversed(pairs)}

    def expand(self, words: Sequence[str]) -> list[str]:
        """Return words with expanded variables."""
        variables = self.variables
        return [expand(word, variables, self.escape) for word in words]

    # ---- instructions

    def set_command(self, instruction: Instruction) -> Callable[[], None]:
        _parse_flags(instruction)

        def change() -> None:
            self.runtime["Cmd"] = (
                list(instruction.arguments) if instruction.is_json else [*_SHELL, *instruction.arguments]
            )
            self.has_command = bool(self.runtime["Cmd"])

        return change

    def set_entrypoint(self, instruction: Instruction) -> Callable[[], None]:
        """Handle ENTRYPOINT, which resets a command that no instruction has set."""
        _parse_flags(instruction)

        def change() -> None:
            words = (
                list(instruction.arguments)
                if instruction.is_json or not instruction.arguments
                else [*_SHELL, *instruction.arguments]
            )
            self.set_key("Entrypoint", words)
            if not self.has_command:
                self.runtime.pop("Cmd", None)

        return change

    def add_environment(self, instruction: Instruction) -> Callable[[], None]:
        pairs = _require_pairs(instruction)

        def change() -> None:
            environment = self.runtime.setdefault("Env", [])
            for key, value in _group_pairs(self.expand(pairs)):
                position = next(
                    (index for index, pair in enumerate(environment) if pair.partition("=")[0] == key), len(environment)
                )
                environment[position : position + 1] = [f"{key}={value}"]

        return change

    def add_labels(self, instruction: Instruction) -> Callable[[], None]:
        pairs = _require_pairs(instruction)

        def change() -> None:
            self.runtime.setdefault("Labels", {}).update(_group_pairs(self.expand(pairs)))

        return change

    def add_ports(self, instruction: Instruction) -> Callable[[], None]:
        _require_arguments(instruction)
        _parse_flags(instruction)

        def change() -> None:
            variables = self.variables
            words = [
                each for word in sorted(instruction.arguments) for each in expand_words(word, variables, self.escape)
            ]
            ports = [port for word in words for port in parse_container_ports(word)]
            self.set_key("ExposedPorts", self.runtime.get("ExposedPorts", {}) | {port: {} for port in sorted(ports)})

        return change

    def set_healthcheck(self, instruction: Instruction) -> Callable[[], None]:
        _require_arguments(instruction)
        kind, command = instruction.arguments[0].upper(), instruction.arguments[1:]
        check: dict[str, Any]
        if kind == "NONE":
            if command:
                raise ValueError("HEALTHCHECK NONE takes no arguments")
            check = {"Test": ["NONE"]}
        else:
            flags = _parse_flags(instruction, *_DURATION_FLAGS, "retries")
            if kind != "CMD":
                raise ValueError(f"Unknown type {quote(kind)} in HEALTHCHECK (try CMD)")
            if not command:
                raise ValueError("Missing command after HEALTHCHECK CMD")
            check = {"Test": ["CMD" if instruction.is_json else "CMD-SHELL", *command]}
            check |= {
                key: _parse_duration_flag(flag, flags[flag]) for flag, key in _DURATION_FLAGS.items() if flags.get(flag)
            }
            if flags.get("retries"):
                check["Retries"] = _parse_retries(flags["retries"])

        def change() -> None:
            self.runtime["Healthcheck"] = check

        return change

    def add_trigger(self, instruction: Instruction) -> Callable[[], None]:
        _require_arguments(instruction)
        _parse_flags(instruction)
        name = instruction.arguments[0].upper()
        if name == "ONBUILD":
            raise ValueError("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
        if name in {"FROM", "MAINTAINER"}:
            raise ValueError(f"{name} isn't allowed as an ONBUILD trigger")

        def change() -> None:
            self.runtime.setdefault("OnBuild", []).append(re.sub(r"(?i)^\s*ONBUILD\s*", "", instruction.line))

        return change

    def set_stop_signal(self, instruction: Instruction) -> Callable[[], None]:
        text = _require_one_argument(instruction)

        def change() -> None:
            (signal,) = self.expand([text])
            is_name = re.fullmatch(_SIGNALS, signal.upper().removeprefix("SIG"))
            if not is_name and not (signal.isascii() and signal.isdigit() and int(signal[:9])):
                raise ValueError(f"Invalid signal: {signal}")
            self.runtime["StopSignal"] = signal

        return change

    def set_user(self, instruction: Instruction) -> Callable[[], None]:
        text = _require_one_argument(instruction)
        return lambda: self.set_key("User", *self.expand([text]))

    def add_volumes(self, instruction: Instruction) -> Callable[[], None]:
        _require_arguments(instruction)
        _parse_flags(instruction)
        if not all(path.strip() for path in instruction.arguments):
            raise ValueError("VOLUME specified can not be an empty string")

        def change() -> None:
            paths = self.expand([path.strip() for path in instruction.arguments])
            if not all(paths):
                raise ValueError("VOLUME specified can not be an empty string")
            self.runtime.setdefault("Volumes", {}).update((path, {}) for path in paths)

        return change

    def set_working_directory(self, instruction: Instruction) -> Callable[[], None]:
        """Handle WORKDIR; a relative path is joined to the current working directory."""
        text = _require_one_argument(instruction)

        def change() -> None:
            (path,) = self.expand([text])
            if not path:
                raise ValueError("cannot normalize nothing")
            if not path.startswith("/"):
                path = posixpath.normpath(posixpath.join("/", self.runtime.get("WorkingDir", ""), path))
            self.runtime["WorkingDir"] = path

        return change

    def set_key(self, key: str, value: object) -> None:
        """Set a key; an empty value removes it."""
        if value:
            self.runtime[key] = value
        else:
            self.runtime.pop(key, None)


# ---- helpers


def _parse_flags(instruction: Instruction, *known: str) -> dict[str, str]:
    """Return the flags of an instruction that accepts the flags `known`."""
    flags: dict[str, str] = {}
    for text in instruction.flags:
        name, equals, value = text.removeprefix("--").partition("=")
        if name not in known:
            raise ValueError(f"Unknown flag: {name}")
        if name in flags:
            raise ValueError(f"Duplicate flag specified: {name}")
        if not equals:
            raise ValueError(f"Missing a value on flag: {name}")
        flags[name] = value
    return flags


def _require_arguments(instruction: Instruction) -> None:
    if not instruction.arguments:
        raise ValueError(f"{instruction.name} requires at least one argument")


def _require_one_argument(instruction: Instruction) -> str:
    if len(instruction.arguments) != 1:
        raise ValueError(f"{instruction.name} requires exactly one argument")
    _parse_flags(instruction)
    return instruction.arguments[0]


def _require_pairs(instruction: Instruction) -> tuple[str, ...]:
    _parse_flags(instruction)
    _require_arguments(instruction)
    if not all(instruction.arguments[::2]):
        raise ValueError(f"{instruction.name} names can not be blank")
    return instruction.arguments


def _group_pairs(words: Sequence[str]) -> list[tuple[str, str]]:
    return list(zip(words[::2], words[1::2], strict=True))


def _parse_duration_flag(flag: str, text: str) -> int:
    duration = parse_duration(text)
    if duration < _MILLISECOND:
        raise ValueError(f"Interval {quote(flag)} cannot be less than 1ms")
    return duration


def _parse_retries(text: str) -> int:
    if not re.fullmatch(r"[+-]?\d+", text, re.ASCII):
        raise ValueError(f"strconv.ParseInt: parsing {quote(text)}: invalid syntax")
    if not -_MAX_RETRIES - 1 <= int(text[:20]) <= _MAX_RETRIES:
        raise ValueError(f"strconv.ParseInt: parsing {quote(text)}: value out of range")
    if int(text) < 1:
        raise ValueError(f"--retries must be at least 1 (not {int(text)})")
    return int(text)


_INSTRUCTION_HANDLERS: dict[str, Callable[[_ConfigEditor, Instruction], Callable[[], None]]] = {
    "CMD": _ConfigEditor.set_command,
    "ENTRYPOINT": _ConfigEditor.set_entrypoint,
    "ENV": _ConfigEditor.add_environment,
    "EXPOSE": _ConfigEditor.add_ports,
    "HEALTHCHECK": _ConfigEditor.set_healthcheck,
    "LABEL": _ConfigEditor.add_labels,
    "ONBUILD": _ConfigEditor.add_trigger,
    "STOPSIGNAL": _ConfigEditor.set_stop_signal,
    "USER": _ConfigEditor.set_user,
    "VOLUME": _ConfigEditor.add_volumes,
    "WORKDIR": _ConfigEditor.set_working_directory,
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
