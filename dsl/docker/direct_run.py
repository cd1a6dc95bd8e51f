"""`docker run` of an image of the store, without a session unless its layers have to be unpacked."""

from __future__ import annotations

import os
import time
from contextlib import suppress

from imq.grammar.errors import ImqError, Interrupted
from imq.grammar.record import TYPE_CHECKING, Record

from .creation_flags import list_creation_values
from .direct import read_direct_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imq.cli.output import Console
    from imq.engine.containers.containers import Containers
    from imq.engine.containers.document import CreateOptions, ImageFacts
    from imq.engine.containers.reader import Container

    from .direct import DirectLine

_LEFT_TO_SESSION = frozenset({"pull", "platform", "cidfile"})
NOT_RUN = 125
"""Docker's exit code when a container could not be started for a reason other than its program."""
NOT_EXECUTED = 126
"""Docker's exit code for a program that could not be executed in a container that runs."""


class _Plan(Record):
    """A container to be run: its options, its image, and the keys by which the user detaches."""

    containers: Containers
    options: CreateOptions
    image: ImageFacts
    keys: bytes

    def __hash__(self) -> int:
        """Hash by identity: the containers of a store are no value."""
        return id(self)


def run_directly(console: Console, arguments: Sequence[str]) -> int | None:
    """Run a command line of docker that runs a container; return its exit code, None when it is left to a session."""
    plan = None
    with suppress(Exception):  # nothing has been done: the session finds the error again, and says what to do
        if (line := read_direct_line(console, arguments, "run")) is not None:
            plan = _make_plan(console, line)
    return None if plan is None else _run(console, plan)


def _make_plan(console: Console, line: DirectLine) -> _Plan | None:
    parsed = line.flags
    image, *words = parsed.arguments
    if not _LEFT_TO_SESSION.isdisjoint(parsed.values):
        return None
    from imq.engine.actions.container_options import RUNNING, default_detach_keys, read_create_options
    from imq.engine.containers.attachment import parse_detach_keys
    from imq.engine.containers.known_images import find_known
    from imq.engine.sources.container_values import Value

    values = [Value(name, "", text) for name, text in list_creation_values(parsed)]
    if any(value.name not in RUNNING for value in values):
        return None
    options = read_create_options(values, words, os.curdir, console.environment)
    keys = next((parse_detach_keys(value.text) for value in values if value.name == "detach_keys"), None)
    containers = line.open_containers(console)
    store = containers.store
    facts = None
    try:
        if store.layout.exists:
            facts = find_known(store.layout, image) or _find_image(containers, image)
    finally:
        store.close()
    if facts is None or not containers.has_unpacked(facts):
        return None
    return _Plan(
        containers,
        options.replace(attaches=not parsed.is_on("detach")),
        facts,
        default_detach_keys() if keys is None else keys,
    )


def _find_image(containers: Containers, text: str) -> ImageFacts:
    """Return the image of a name by the index, and remember it. Raises `ImqError`."""
    from imq.engine.containers.known_images import remember
    from imq.engine.containers.unpacked import open_folder

    store = containers.store
    signature = store.layout.read_signature()
    found = store.find(text)
    facts = containers.read_image(found.name or text, found.manifest)
    if facts.signature == signature:  # else the name may have another image since it was found
        remember(store.layout, open_folder(store), text, facts)
    return facts


def _run(console: Console, plan: _Plan) -> int:
    from imq.engine.containers.running import ContainerFailed, run_new

    def create() -> Container:
        container = plan.containers.create(plan.options, plan.image, time.time_ns())
        plan.containers.store.close()  # before a monitor is forked
        return container

    detach = not plan.options.attaches
    try:
        plan.containers.recover()
        container, _ = run_new(plan.containers, plan.options, create, detach=detach, keys=plan.keys)
    except ContainerFailed as failure:
        return failure.exit_status
    except Interrupted:
        raise
    except ImqError as error:
        from .context import report_error

        console.stdout.flush()
        report_error(console.stderr, error, console.find_error_width())
        return int(getattr(error, "exit_status", NOT_RUN))
    finally:
        plan.containers.store.close()
    if detach:
        console.stdout.write(f"{container.id}\n")
    return 0
