"""`docker run` of an image of the store, without a session: a container starts sooner than a statement.

A session loads the binder, the tables and the sources, which a container of an image known by its name does not need.
Everything else is left to the session: other sources, options of imq, layers to unpack, and every error before the
container is created. So both ways make the same containers, and only the session has messages about command lines.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress

from imq.cli.docker_words import list_keywords
from imq.cli.open_session import locate_store, read_configuration
from imq.grammar.errors import ImqError, Interrupted
from imq.grammar.record import TYPE_CHECKING, Record

from .creation_flags import list_creation_values
from .detect import parse_docker_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from imq.cli.output import Console
    from imq.engine.containers.containers import Container, Containers
    from imq.engine.containers.document import CreateOptions, ImageFacts

    from .detect import CommandLine

_OWN_OPTIONS = frozenset({"root", "no_config", "no_progress", "yes"})
"""The options of imq that change nothing but the place of the store, its configuration, the progress and prompts."""
_LEFT_TO_SESSION = frozenset({"pull", "platform", "cidfile"})
NOT_RUN = 125
"""Docker's exit code when a container could not be started for a reason other than its program."""


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
    if os.geteuid() != 0 or console.environment.get("IMQ_SOURCE"):
        return None
    plan = None
    with suppress(Exception):  # nothing has been done: the session finds the error again, and says what to do
        if (line := parse_docker_line(arguments, ())) is not None:
            plan = _make_plan(console, line)
    return None if plan is None else _run(console, plan)


def _make_plan(console: Console, line: CommandLine) -> _Plan | None:
    parsed = line.flags
    if line.command is None or line.command.names[0] != "run" or line.help is not None or line.error is not None:
        return None
    if not (line.options.values.keys() | line.options.flags) <= _OWN_OPTIONS or parsed.engine_error is not None:
        return None
    image, *words = parsed.arguments
    if not _LEFT_TO_SESSION.isdisjoint(parsed.values) or _is_keyword(image):
        return None
    environment = console.environment
    configuration = read_configuration(line.options, environment)
    root = line.options.value("root") or environment.get("IMQ_ROOT") or configuration.root
    if configuration.source or (not root and _has_found_engine(environment)):
        return None
    from imq.engine.actions.container_options import RUNNING, default_detach_keys, read_create_options
    from imq.engine.containers.attachment import parse_detach_keys
    from imq.engine.containers.factory import make_containers
    from imq.engine.containers.known_images import find_known
    from imq.engine.containers.runtime import AUTO
    from imq.engine.sources.container_values import Value
    from imq.engine.store.store import Store

    values = [Value(name, "", text) for name, text in list_creation_values(parsed)]
    if any(value.name not in RUNNING for value in values):
        return None
    options = read_create_options(values, words, os.curdir, environment)
    keys = next((parse_detach_keys(value.text) for value in values if value.name == "detach_keys"), None)
    store = Store(locate_store(line.options, environment, configuration.root), creates_for_cache=False)
    store.layout.on_lock_wait = lambda: console.progress(line.options).warn(
        f"another process holds the lock of the store {store.root}; waiting for it"
    )
    containers = make_containers(store, configuration.settings.get("runtime", AUTO), environment)
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


def _is_keyword(word: str) -> bool:
    """Whether a word is one of the language, and so the line is a statement."""
    return word.replace("_", "").isalpha() and word.lower() in list_keywords()


def _has_found_engine(environment: Mapping[str, str]) -> bool:
    """Whether the last statement without a source had an engine: then the session reports that the store is read."""
    from imq.engine.session.last_source import read_last_source

    return read_last_source(environment) not in ("", "store")


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
