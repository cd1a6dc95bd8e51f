"""The resources of a session: the store, the sources, and the SQL connection that joins their rows."""

from __future__ import annotations

import os

from imq.engine.catalog.settings import (
    CLIENT,
    NO_CATALOGUE,
    NO_LIMIT,
    parse_duration_setting,
    parse_size_limit,
    parse_size_setting,
)
from imq.engine.query.sqlite_executor import SqliteExecutor
from imq.engine.sources import open_sources
from imq.engine.store.store import Store
from imq.grammar.record import TYPE_CHECKING

from .last_source import read_last_source, remember_source
from .state import DEFAULT_SOURCE, SessionState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TextIO

    from imq.engine.configuration.configuration import Configuration
    from imq.engine.layer_index.index_cache import IndexCache
    from imq.engine.oci.platform import Platform
    from imq.engine.postgresql.catalogue import Catalogue
    from imq.engine.progress import Progress
    from imq.engine.query.source import Place, SourceRef
    from imq.engine.registry.settings import Settings as RegistrySettings
    from imq.engine.store.index import StoreIndex
    from imq.engine.workers.workers import Workers
    from imq.grammar.errors import ImqError

    from .context import SessionContext

_EXPECTED = ("engine-unreachable", "engine-empty")
"""Errors of engines that most machines have which do not use this engine."""


def _read_containers(index: StoreIndex) -> None:
    """Bring the rows of containers up to date. Without containers nothing is loaded for it."""
    has_rows = "SELECT 1 FROM container UNION ALL SELECT 1 FROM image_use LIMIT 1"
    if index.has_containers() or index.connection.execute(has_rows).fetchone() is not None:
        from imq.engine.containers.index_rows import synchronize

        synchronize(index, index.layout)


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
        self.store.read_containers = _read_containers
        self.store.platform = context.platform
        self.folder = os.curdir
        self.explains_conditions = True
        """Whether a removal warns that the store has no containers, and a query of rows that it leaves out.

        Docker's command lines do not.
        """
        self.sources = open_sources(self)
        self._runner: SqliteExecutor | None = None
        self._catalogue: Catalogue | None = None
        self._workers: Workers | None = None
        self._index_cache: IndexCache | None = None
        self._reads_default = False
        self._silent_places: tuple[tuple[Place, ImqError], ...] = ()

    def prepare_statement(self) -> None:
        """Prepare the store for a statement and apply the current limits."""
        self._reads_default = False
        self.store.quota = parse_size_limit(self.state.settings["quota"])
        self.store.file_index_limit = parse_size_limit(self.state.settings["file_index"])
        cache = self.state.settings["index_cache"]
        self.store.index_cache_url = cache if cache != NO_LIMIT else ""
        self.store.index_cache_limit = parse_size_limit(self.state.settings["index_cache_size"])
        self.store.largest_document = parse_size_setting(self.state.settings["largest_document"])
        self.store.begin_statement()

    def default_refs(self, table: str = "images") -> tuple[SourceRef, ...]:
        """Return the sources of statements that name none: the chosen ones, else the store.

        On a machine without images in the store, an engine that responds is chosen instead, for the tables that
        engines have.
        """
        if self.state.source is None and self._may_use_engine() and not self.sources.has_default(table):
            return self.sources.resolve_all(DEFAULT_SOURCE)
        self._reads_default = True
        return self.sources.resolve_all(self.find_source())

    def _may_use_engine(self) -> bool:
        """Whether an engine may be the default source. If not, the sources of engines need not be imported."""
        if self.state.found_source is not None:
            return self.state.found_source != DEFAULT_SOURCE or bool(self._silent_places)
        return self.context.finds_source and not (self.store.layout.exists and self.store.has_images())

    def find_source(self) -> str:
        """Return the source of statements that name none, and choose it at the first call."""
        state = self.state
        if state.source is None and state.found_source is None:
            state.found_source, state.source_reason = self._choose_source()
        return state.current_source

    def chosen_refs(self) -> tuple[SourceRef, ...]:
        """Return the sources that `use`, `--source` or the configuration chose; none without a choice.

        Statements that bring images in go to them, and without a choice to the store.
        """
        return self.sources.resolve_all(self.state.source) if self.state.source is not None else ()

    def _choose_source(self) -> tuple[str, str]:
        """Return the default source, and why it is chosen. An engine is used when the store has no images."""
        if not self.context.finds_source:
            return DEFAULT_SOURCE, f"the default, {self.store.root}"
        if self.store.layout.exists and self.store.has_images():
            self.note_change_of_default()
            return DEFAULT_SOURCE, f"the default, since it has images, {self.store.root}"
        found, self._silent_places = self.sources.find_default()
        for place, error in self._silent_places:
            if error.code not in _EXPECTED:
                self.progress.warn(f"{error.message}, so {place.name} is not the default source")
        if found is None:
            return DEFAULT_SOURCE, f"the default, since no engine responds, {self.store.root}"
        self.progress.note(f"source: {found.name} ({found.address}); change it with use, --source or the configuration")
        remember_source(self.environment, found.name)
        return found.name, f"the store has no images, and this engine responds at {found.address}"

    def note_change_of_default(self) -> None:
        """Report once that the store, which has images by now, is the default source in place of an engine.

        A session that reads the engine already goes on to do so: the next one reports it.
        """
        if self.state.source is not None or self.state.found_source is not None or not self.context.finds_source:
            return
        if (last := read_last_source(self.environment)) in ("", DEFAULT_SOURCE) or not self.store.has_images():
            return
        self.progress.note(
            f"source: the store, since it has images now, and no longer {last}; to keep {last}: --source {last},"
            f' IMQ_SOURCE={last}, or source = "{last}" in the configuration'
        )
        remember_source(self.environment, DEFAULT_SOURCE)

    def explain_first_use(self) -> None:
        """Report where imq looked, and what to do next, when no source of this machine has images."""
        self._reads_default = True
        if self.find_source() == DEFAULT_SOURCE:
            self.explain_empty("images")

    def explain_empty(self, table: str) -> None:
        """Report once where imq looked, after an empty result of the store on a machine where no engine responds."""
        if not (self._silent_places and self._reads_default and self.state.current_source == DEFAULT_SOURCE):
            return
        if not (self.store.layout.exists and self.store.has_images()):
            lines = [f"no {table} found: the store {self.store.root} is empty, and no engine responds"]
            lines += [f"  {error.message}" for _, error in self._silent_places]
            lines += ["  to add images to the store: imq pull alpine, or imq load FILE"]
            lines += ["  to try imq on a sample: imq demo"]
            lines += ["  to read another place: imq --source SOURCE, or `use SOURCE`; imq sources lists the places"]
            self.progress.note("\n".join(lines))
        self._silent_places = ()

    def close(self) -> None:
        """End the workers, and close the store and the connection to the catalogue."""
        self._close_workers()
        self.store.close()
        if self._catalogue is not None:
            self._catalogue.close()

    def _close_workers(self) -> None:
        if self._workers is not None:
            self._workers.close()
            self._workers = None

    @property
    def workers(self) -> Workers | None:
        """The processes that read layers, by the setting; None: this one does."""
        setting = self.state.settings["workers"]
        if self._workers is not None and self._workers.setting != setting:
            self._close_workers()
        if setting == NO_LIMIT:
            return None
        if self._workers is None:
            from imq.engine.workers.workers import Workers

            context = self.context
            settings = context.registry_settings(self.state.settings)
            client = context.dask_client if setting == CLIENT else None
            shared = context.configuration.shared
            self._workers = Workers(setting, settings, context.environment, context.progress, client, shared)
        self._workers.host_limit = int(self.state.settings["layers_per_registry"])
        self._workers.cache = self.store.index_cache_url
        return self._workers

    @property
    def index_cache(self) -> IndexCache | None:
        """The shared cache of indexes of layers, by the setting; None without one."""
        url = self.store.index_cache_url
        if not url:
            return None
        if self._index_cache is None or self._index_cache.url != url:
            from imq.engine.layer_index.index_cache import open_cache

            self._index_cache = open_cache(url)
        return self._index_cache

    @property
    def runner(self) -> SqliteExecutor:
        """The executor of SQL on the store's index, which is brought up to date with the layout."""
        connection = self.store.index.connection
        if self._runner is None or self._runner.connection is not connection:
            self._runner = SqliteExecutor(connection)
        return self._runner

    @property
    def catalogue(self) -> Catalogue | None:
        """The catalogue that answers queries; None when SQLite does. It is not connected here."""
        url = self.state.settings["catalogue"]
        if self._catalogue is not None and self._catalogue.url != url:
            self._catalogue.close()
            self._catalogue = None
        if self._catalogue is None and url != NO_CATALOGUE:
            from imq.engine.postgresql.catalogue import Catalogue

            self._catalogue = Catalogue(url, self.environment)
        return self._catalogue

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
    def shows_intermediate_images(self) -> bool:
        """Whether the images of engines include the steps of builds."""
        return self.state.settings["intermediate"] == "show"

    @property
    def home(self) -> str | None:
        """The home folder, the value of `~`; None when it is unknown."""
        from imq.engine.units.paths import home_directory

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
