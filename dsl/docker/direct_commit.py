"""`docker commit` of a container of the store, without a session."""

from __future__ import annotations

import os
import time
from contextlib import suppress

from imq.grammar.errors import ImqError, Interrupted
from imq.grammar.record import TYPE_CHECKING

from .direct import RUNTIME, read_direct_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imq.cli.output import Console
    from imq.engine.containers.commit import CommitOptions
    from imq.engine.containers.containers import Containers
    from imq.engine.containers.reader import Container

    from .direct import DirectLine
    from .flags import ParsedFlags


def commit_directly(console: Console, arguments: Sequence[str]) -> int | None:
    """Run a command line of docker that commits a container; return its exit code, None when a session must do it."""
    found = None
    with suppress(Exception):  # nothing has been done: the session finds the error again, and says what to do
        if (line := read_direct_line(console, arguments, "commit")) is not None:
            found = _find(console, line)
    if found is None:
        return None
    containers, container, options = found
    from imq.engine.containers.commit import commit_container

    try:
        containers.recover()
        id_, _ = commit_container(containers, containers.read(container.id), options, time.time_ns())
    except Interrupted:
        raise
    except ImqError as error:
        from .context import report_error

        console.stdout.flush()
        return report_error(console.stderr, error, console.find_error_width())
    finally:
        containers.store.close()
    console.stdout.write(f"{id_}\n")
    return 0


def _find(console: Console, line: DirectLine) -> tuple[Containers, Container, CommitOptions] | None:
    """Return the container of a name with the containers of its store, and how it is committed; None without one.

    None too for an ID, which is looked up in the index, and when the configuration may limit what a store takes.
    """
    if not line.configuration.settings.keys() <= {RUNTIME}:
        return None
    options = _read_options(line.flags)
    containers = line.open_containers(console)
    container = None
    try:
        container = _find_named(containers, line.flags.arguments[0])
    finally:
        if container is None:
            containers.store.close()
    return None if container is None else (containers, container, options)


def _find_named(containers: Containers, name: str) -> Container | None:
    from imq.engine.containers.names import read_names

    if not containers.store.layout.exists or not os.path.isdir(containers.path):
        return None
    id_ = read_names(containers.path).get(name.removeprefix("/"))
    if id_ is None:
        return None
    containers.read_state(id_)  # a damaged one is reported before anything is done
    return containers.read(id_)


def _read_options(parsed: ParsedFlags) -> CommitOptions:
    from imq.engine.containers.commit import CommitOptions
    from imq.engine.oci.reference import parse_tag_name

    name = next(map(parse_tag_name, parsed.arguments[1:]), None)
    changes = tuple(parsed.get_all("change"))
    if changes:
        from imq.engine.oci.dockerfile_changes import apply_instructions

        apply_instructions({}, changes)
    message, author = ("".join(parsed.get_all(flag)[-1:]) for flag in ("message", "author"))
    return CommitOptions(name, changes, message, author, parsed.is_on("pause", default=True))
