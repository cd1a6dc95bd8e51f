"""Replacing a container by a new one: how long the new one is watched, and what is undone when it does not work."""

from __future__ import annotations

import time

from imq.grammar.errors import Conflict, ImqError
from imq.grammar.record import TYPE_CHECKING, Record

from .container_values import read_named_values, read_seconds

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from imq.engine.oci.digest import Digest
    from imq.grammar import ast

    from .action import PlanContext

DEFAULT_TIMEOUT = 300
"""The seconds that a container has to become healthy."""
NEW, OLD = ".new", ".old"
"""What the names of the two containers end with while one replaces the other."""
_SETTLED = 3.0
"""The seconds that a container without a health check must run to count as working."""
_POLL = 0.1


class NotHealthy(ImqError):
    """A new container did not start to work, so the old one is back."""

    exit_status = 1


class Observed(Record):
    """A container at one moment.

    `health` is starting, healthy or unhealthy, "" without a health check; `output` that of its last check. `restarts`
    counts how often it was started again by its restart policy.
    """

    status: str
    health: str = ""
    exit_code: int | None = None
    restarts: int = 0
    output: str = ""


def await_health(observe: Callable[[], Observed], name: str, timeout: int) -> None:
    """Return when a container is healthy, or has run for some seconds without a health check.

    Raises `NotHealthy`, also after `timeout` seconds.
    """
    start = time.monotonic()
    while True:
        seen = observe()
        waited = time.monotonic() - start
        output = f": {seen.output}" if seen.output else ""
        if seen.status != "running" or seen.restarts:
            code = "" if seen.exit_code is None else f" with exit code {seen.exit_code}"
            raise _not_healthy(name, f"ended{code}")
        if seen.health == "unhealthy":
            raise _not_healthy(name, f"is unhealthy{output}")
        if seen.health == "healthy" or (not seen.health and waited >= _SETTLED):
            return
        if seen.health and waited >= timeout:
            raise _not_healthy(name, f"is not healthy after {timeout} seconds{output}")
        time.sleep(_POLL)


def _not_healthy(name: str, reason: str) -> NotHealthy:
    return NotHealthy(
        f"the new container of {name} {reason}; the old one is back",
        code="not-healthy",
        hints=("for a container that needs more time to become healthy: with timeout = 10m",)
        if "after" in reason
        else (),
    )


def describe_change(old: Digest | None, new: Digest) -> str:
    """Return what a plan says of the image of a container before its replacement."""
    if old == new:
        return "the same image"
    return f"instead of {old.short}" if old is not None else "instead of another image"


def container_changed(name: str) -> Conflict:
    """Return the error for a container that is not as it was when its replacement was planned."""
    return Conflict(
        f"the container {name} has changed since the plan was made, so it was left alone",
        code="changed",
        hints=("run the statement again",),
    )


def not_replaceable(name: str, reason: str, hint: str) -> Conflict:
    """Return the error for a container that could not be put back if the new one failed."""
    return Conflict(f"the container {name} cannot be made again: {reason}", code="not-replaceable", hints=(hint,))


def image_gone(name: str) -> Conflict:
    """Return the error for a container without its image: its options cannot be separated from those of the image."""
    return not_replaceable(
        name,
        "its image was removed, so the options that the container was given are unknown",
        "before an image gets the name of another, give the other a name: tag web:1 as web:old",
    )


def read_replacement(act: ast.ActionStatement, context: PlanContext) -> tuple[str, int]:
    """Return the name of the new image, "" for that of each container, and the seconds to become healthy."""
    image, timeout = "", DEFAULT_TIMEOUT
    for value in read_named_values(act, ("image", "timeout"), context):
        if value.name == "image":
            image = value.text
        else:
            timeout = read_seconds(value)
    return image, timeout


REMOVES_ITSELF = (
    "it is removed when it stops, so it could not be started again if the new one failed",
    "stop it, and run its image again",
)
"""Why a container with `auto_remove` is not replaced, and what to do instead."""


class Undo:
    """Steps that are undone, the last one first, when the block fails. A context manager.

    When a step cannot be undone, the error of the block says so, and the other steps are undone still.
    """

    def __init__(self) -> None:
        self._steps: list[tuple[str, Callable[[], object]]] = []

    def add(self, description: str, undo: Callable[[], object]) -> None:
        """Add a call that undoes a step, and what it does: "start web"."""
        self._steps.append((description, undo))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if error is None:
            return
        for description, undo in reversed(self._steps):
            try:
                undo()
            except ImqError as problem:
                if isinstance(error, ImqError):
                    error.hints = (*error.hints, f"this failed too: {description}: {problem.message}")
