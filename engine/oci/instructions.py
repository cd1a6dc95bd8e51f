"""Dockerfile instructions that change a config, as `docker import --change` takes them."""

from __future__ import annotations

import json
import shlex

from imq.grammar.errors import StatementError, nearest
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Runtime = dict[str, Any]

_SHELL = ["/bin/sh", "-c"]


def apply_instruction(runtime: Runtime, instruction: str) -> None:
    """Change the runtime part of a config as the instruction says: `LABEL env=prod`, `CMD ["sh"]`, `ENV A=b`."""
    word, _, rest = instruction.strip().partition(" ")
    act = _INSTRUCTIONS.get(word.upper())
    if act is None:
        raise StatementError(
            f'"{word}" is not an instruction that changes an image',
            code="instruction",
            hints=(nearest(word, _INSTRUCTIONS), "instructions: " + ", ".join(_INSTRUCTIONS)),
        )
    if not rest.strip():
        raise StatementError(
            f'"{word}" needs a value', code="instruction", hints=(f"such as: {_EXAMPLES[word.upper()]}",)
        )
    try:
        act(runtime, rest.strip())
    except ValueError as problem:
        raise StatementError(
            f"cannot read {instruction!r}: {problem}",
            code="instruction",
            hints=(f"such as: {_EXAMPLES[word.upper()]}",),
        ) from None


def _words(text: str) -> list[str]:
    """Read the JSON form of a command, or the shell form."""
    if text.startswith("["):
        words = json.loads(text)
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise ValueError("a list of texts is wanted")
        return words
    return [*_SHELL, text]


def _pairs(text: str) -> dict[str, str]:
    """Read `key=value key2="value 2"`, or the old form `key value`."""
    parts = shlex.split(text)
    if parts and "=" not in parts[0] and len(parts) > 1:
        return {parts[0]: text.split(None, 1)[1]}
    pairs = [part.partition("=") for part in parts]
    if not all(key and sign for key, sign, _ in pairs):
        raise ValueError("key=value is wanted")
    return {key: value for key, _, value in pairs}


def _label(runtime: Runtime, text: str) -> None:
    runtime.setdefault("Labels", {}).update(_pairs(text))


def _env(runtime: Runtime, text: str) -> None:
    held = runtime.setdefault("Env", [])
    for key, value in _pairs(text).items():
        held[:] = [pair for pair in held if pair.partition("=")[0] != key] + [f"{key}={value}"]


def _expose(runtime: Runtime, text: str) -> None:
    for port in text.split():
        runtime.setdefault("ExposedPorts", {})[port if "/" in port else f"{port}/tcp"] = {}


def _volume(runtime: Runtime, text: str) -> None:
    for path in _words(text) if text.startswith("[") else text.split():
        runtime.setdefault("Volumes", {})[path] = {}


def _healthcheck(runtime: Runtime, text: str) -> None:
    if text.upper() == "NONE":
        runtime["Healthcheck"] = {"Test": ["NONE"]}
        return
    word, _, command = text.partition(" ")
    if word.upper() != "CMD" or not command.strip():
        raise ValueError("CMD and a command, or NONE, is wanted")
    listed = command.strip().startswith("[")
    runtime["Healthcheck"] = {"Test": ["CMD", *_words(command.strip())] if listed else ["CMD-SHELL", command.strip()]}


def _setting(key: str) -> Callable[[Runtime, str], None]:
    def change(runtime: Runtime, text: str) -> None:
        runtime[key] = text

    return change


def _command(key: str) -> Callable[[Runtime, str], None]:
    def change(runtime: Runtime, text: str) -> None:
        runtime[key] = _words(text)

    return change


_INSTRUCTIONS: dict[str, Callable[[Runtime, str], None]] = {
    "CMD": _command("Cmd"),
    "ENTRYPOINT": _command("Entrypoint"),
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "STOPSIGNAL": _setting("StopSignal"),
    "USER": _setting("User"),
    "VOLUME": _volume,
    "WORKDIR": _setting("WorkingDir"),
}
_EXAMPLES = {
    "CMD": 'CMD ["python3"]',
    "ENTRYPOINT": 'ENTRYPOINT ["/bin/app"]',
    "ENV": "ENV LANG=C.UTF-8",
    "EXPOSE": "EXPOSE 80/tcp",
    "HEALTHCHECK": "HEALTHCHECK CMD curl -f http://localhost/",
    "LABEL": "LABEL env=prod",
    "STOPSIGNAL": "STOPSIGNAL SIGINT",
    "USER": "USER 1000:1000",
    "VOLUME": "VOLUME /data",
    "WORKDIR": "WORKDIR /srv",
}
