"""The session as its sources see it."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Protocol, TextIO

    from imq.engine.configuration.configuration import Configuration
    from imq.engine.oci.platform import Platform
    from imq.engine.progress import Progress
    from imq.engine.query.source import Sources
    from imq.engine.query.sqlite_executor import SqliteExecutor
    from imq.engine.registry.settings import Settings
    from imq.engine.store.store import Store
else:
    Protocol = object  # typing is slow to import, and a Protocol says nothing at run time


class SourceContext(Protocol):
    """The session of a source, as it is when it is read.

    `runner` runs SQL where rows go; `sources` are all sources of the session. `jobs` is how much is done at once. Paths
    begin at `folder`; `home` is what `~` means. No `stdin`: the statement itself came from there.
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
    def sources(self) -> Sources: ...  # noqa: D102
    @property
    def jobs(self) -> int: ...  # noqa: D102
    @property
    def environment(self) -> Mapping[str, str]: ...  # noqa: D102
    @property
    def folder(self) -> str: ...  # noqa: D102
    @property
    def home(self) -> str | None: ...  # noqa: D102
    @property
    def stdin(self) -> TextIO | None: ...  # noqa: D102

    def network(self) -> Settings:
        """Announce that registries are about to be asked, and return the settings of their client."""
