"""What the command lines of docker share that run without a session: they start sooner than a statement.

A session loads the binder, the tables and the sources, which work on one container of the store does not need.
Everything else is left to the session: other sources, options of imq, and every error before anything is done. So both
ways do the same, and only the session has messages about command lines.
"""

from __future__ import annotations

import os

from imq.cli.docker_words import list_keywords
from imq.cli.open_session import locate_store, read_configuration
from imq.grammar.record import TYPE_CHECKING, Record

from .detect import parse_docker_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from imq.cli.options import Options
    from imq.cli.output import Console
    from imq.engine.configuration.configuration import Configuration
    from imq.engine.containers.containers import Containers

    from .flags import ParsedFlags

_OWN_OPTIONS = frozenset({"root", "no_config", "no_progress", "yes"})
"""The options of imq that change nothing but the place of the store, its configuration, the progress and prompts."""
RUNTIME = "runtime"
"""The setting of this name, which containers need."""


class DirectLine(Record):
    """A command line of docker for the containers of the store, with what it needs of the configuration."""

    flags: ParsedFlags
    options: Options
    configuration: Configuration

    def open_containers(self, console: Console) -> Containers:
        """Return the containers of the store, which the caller closes."""
        from imq.engine.containers.factory import make_containers
        from imq.engine.containers.runtime import AUTO
        from imq.engine.store.store import Store

        store = Store(locate_store(self.options, console.environment, self.configuration.root), creates_for_cache=False)
        store.layout.on_lock_wait = lambda: console.progress(self.options).warn(
            f"another process holds the lock of the store {store.root}; waiting for it"
        )
        return make_containers(store, self.configuration.settings.get(RUNTIME, AUTO), console.environment)


def read_direct_line(console: Console, arguments: Sequence[str], command: str) -> DirectLine | None:
    """Return a command line of this command of docker; None for others, and for one that needs a session.

    Raises `ImqError` for an invalid one, which is left to the session too.
    """
    environment = console.environment
    if os.geteuid() != 0 or environment.get("IMQ_SOURCE"):
        return None
    line = parse_docker_line(arguments, ())
    if line is None or line.command is None or line.command.names[0] != command:
        return None
    if line.help is not None or line.error is not None or line.flags.engine_error is not None:
        return None
    if not (line.options.values.keys() | line.options.flags) <= _OWN_OPTIONS:
        return None
    if any(map(_is_keyword, line.flags.arguments[: line.command.program_at])):
        return None
    configuration = read_configuration(line.options, environment)
    root = line.options.value("root") or environment.get("IMQ_ROOT") or configuration.root
    if configuration.source or (not root and _has_found_engine(environment)):
        return None
    return DirectLine(line.flags, line.options, configuration)


def _is_keyword(word: str) -> bool:
    """Whether a word is one of the language, and so the line is a statement."""
    return word.replace("_", "").isalpha() and word.lower() in list_keywords()


def _has_found_engine(environment: Mapping[str, str]) -> bool:
    """Whether the last statement without a source had an engine: then the session reports that the store is read."""
    from imq.engine.session.last_source import read_last_source

    return read_last_source(environment) not in ("", "store")
