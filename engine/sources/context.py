"""The interface that a session offers to its sources."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Protocol, TextIO

    from imq.engine.configuration.configuration import Configuration
    from imq.engine.layer_index.index_cache import IndexCache
    from imq.engine.oci.platform import Platform
    from imq.engine.postgresql.catalogue import Catalogue
    from imq.engine.progress import Progress
    from imq.engine.query.source import Sources
    from imq.engine.query.sqlite_executor import SqliteExecutor
    from imq.engine.registry.settings import Settings
    from imq.engine.store.store import Store

    from .contents.protocol import LayerWorkers
else:
    Protocol = object  # typing is slow to import, and a Protocol has no effect at run time


class SourceContext(Protocol):
    """The session of a source. Settings may change, so a source reads them when it needs them.

    - `runner` is the SQLite database into which rows are loaded.
    - `sources` are all sources of the session.
    - `jobs` is the number of parallel tasks.
    - `folder` is the base of relative paths, and `home` replaces `~`.
    - `shows_intermediate_images`: the images of engines include the steps of builds.
    - `stdin` is None if the statement itself was read from standard input.
    - `workers` are the processes that read layers; None: this one does.
    - `index_cache` is the shared cache of indexes of layers; None without one.
    """

    @property
    def store(self) -> Store: ...  # noqa: D102 - see the class
    @property
    def configuration(self) -> Configuration: ...  # noqa: D102
    @property
    def platform(self) -> Platform | None: ...  # noqa: D102
    @property
    def progress(self) -> Progress: ...  # noqa: D102
    @property
    def clock(self) -> Callable[[], int]: ...  # noqa: D102
    @property
    def runner(self) -> SqliteExecutor: ...  # noqa: D102
    @property
    def catalogue(self) -> Catalogue | None: ...  # noqa: D102
    @property
    def sources(self) -> Sources: ...  # noqa: D102
    @property
    def jobs(self) -> int: ...  # noqa: D102
    @property
    def shows_intermediate_images(self) -> bool: ...  # noqa: D102
    @property
    def environment(self) -> Mapping[str, str]: ...  # noqa: D102
    @property
    def folder(self) -> str: ...  # noqa: D102
    @property
    def home(self) -> str | None: ...  # noqa: D102
    @property
    def stdin(self) -> TextIO | None: ...  # noqa: D102
    @property
    def workers(self) -> LayerWorkers | None: ...  # noqa: D102
    @property
    def index_cache(self) -> IndexCache | None: ...  # noqa: D102

    def network(self) -> Settings:
        """Report that requests are about to be sent, and return the settings of the registry client."""
