"""The resources of a session: the store, the sources, and the SQL connection that joins their rows."""

from __future__ import annotations

import os

from imq.engine.catalog.settings import parse_duration_setting, parse_size_limit, parse_size_setting
from imq.engine.query.sqlite_executor import SqliteExecutor
from imq.engine.sources import open_sources
from imq.engine.store.store import Store
from imq.engine.units.paths import home_directory
from imq.grammar.record import TYPE_CHECKING

from .state import DEFAULT_SOURCE, SessionState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TextIO

    from imq.engine.configuration.configuration import Configuration
    from imq.engine.oci.platform import Platform
    from imq.engine.progress import Progress
    from imq.engine.query.source import SourceRef
    from imq.engine.registry.settings import Settings as RegistrySettings

    from .context import SessionContext


class Resources:
    """The resources of one session. They implement the `SourceContext` of the sources.

    `context` may be replaced between statements, so it is read at each use. Relative paths of statements start at
    `folder`.
    """

    def __init__(self, context: SessionContext) -> None:
        self.context = context
        self.state = SessionState(context.configuration)
        self.store = Store(context.root, creates_for_cache=context.missing_store != "refuse")
        self.store.layout.on_lock_wait = self._warn_about_lock
        self.store.platform = context.platform
        self.folder = os.curdir
        self.sources = open_sources(self)
        self._runner: SqliteExecutor | None = None

    def prepare_statement(self) -> None:
        """Prepare the store for a statement and apply the current limits."""
        self.store.quota = parse_size_limit(self.state.settings["quota"])
        self.store.largest_document = parse_size_setting(self.state.settings["largest_document"])
        self.store.begin_statement()

    def default_refs(self) -> tuple[SourceRef, ...]:
        """Return the sources of statements that name none: the chosen ones, else the store.

        On a machine without a store, an engine that answers is chosen instead, which the user is told once.
        """
        state = self.state
        if state.source is None and state.found_source is None:
            state.found_source = (self._find_engine() if self.context.finds_source else None) or DEFAULT_SOURCE
        return self.sources.resolve_all(state.current_source)

    def chosen_refs(self) -> tuple[SourceRef, ...]:
        """Return the sources that `use`, `--source` or the configuration chose; none without a choice.

        Statements that bring images in go to them, and without a choice to the store.
        """
        return self.sources.resolve_all(self.state.source) if self.state.source is not None else ()

    def _find_engine(self) -> str | None:
        if self.store.layout.exists and self.store.has_images():
            return None
        found = self.sources.find_default()
        if found is None:
            return None
        name, address = found
        self.progress.warn(f"source: {name} ({address}); change it with use, --source or the configuration")
        return name

    def close(self) -> None:
        """Close the store."""
        self.store.close()

    @property
    def runner(self) -> SqliteExecutor:
        """The executor of SQL on the store's index, which is brought up to date with the layout."""
        connection = self.store.index.connection
        if self._runner is None or self._runner.connection is not connection:
            self._runner = SqliteExecutor(connection)
        return self._runner

    @property
    def configuration(self) -> Configuration:
        """The configuration of the session."""
        return self.context.configuration

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment variables."""
        return self.context.environment

    @property
    def platform(self) -> Platform | None:
        """The platform that is selected from an index; None means that of this machine."""
        return self.context.platform

    @property
    def progress(self) -> Progress:
        """The receiver of progress and warnings."""
        return self.context.progress

    @property
    def clock(self) -> Callable[[], int]:
        """The clock, in nanoseconds since the epoch."""
        return self.context.clock

    @property
    def jobs(self) -> int:
        """The number of layers that are transferred or unpacked at once."""
        return int(self.state.settings["jobs"])

    @property
    def fresh(self) -> int:
        """The number of nanoseconds for which a cached tag is fresh."""
        return parse_duration_setting(self.state.settings["fresh"]) or 0

    @property
    def home(self) -> str | None:
        """The home folder, which `~` stands for; None when it is unknown."""
        return home_directory(self.context.environment)

    @property
    def stdin(self) -> TextIO | None:
        """Standard input; None when the statements are read from it."""
        return self.context.stdin

    def _warn_about_lock(self) -> None:
        self.progress.warn(f"another process holds the lock of the store {self.store.root}; waiting for it")

    def network(self) -> RegistrySettings:
        """Report that requests are about to be sent, and return the settings of the registry client."""
        if self.context.on_network is not None:
            self.context.on_network()
        return self.context.registry_settings(self.state.settings)
