"""The contents of the configuration files: named registries, mirrors, certificates, limits, views and settings."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from imq.engine.registry.settings import HostSettings, Settings


class Registry(Record):
    """A registry with a short name. `namespace` is the prefix of its repositories: "", `team` or `team/apps`."""

    name: str
    host: str
    namespace: str = ""

    @property
    def prefix(self) -> str:
        """Host and namespace: the prefix of every repository name."""
        return f"{self.host}/{self.namespace}" if self.namespace else self.host


class Configuration(Record):
    """The merged and checked contents of the files. The default is an empty configuration.

    `registries` maps lower-case names to registries. `source` is the default source and `root` the folder of the store;
    "" means unset. `settings` maps the names of `set` to their values, and `views` maps names to the text of queries.
    `insecure`, `ca_file`, `hosts`, `mirrors` and `limits` go to the registry client's `Settings`. `files` lists the
    files that were read; a later file overrides an earlier one. `groups` maps names to the sources of each group.
    `shared` maps folders to the URLs at which workers read them.
    """

    registries: Mapping[str, Registry] = {}
    source: str = ""
    root: str = ""
    settings: Mapping[str, str] = {}
    views: Mapping[str, str] = {}
    insecure: frozenset[str] = frozenset()
    ca_file: str = ""
    hosts: Mapping[str, HostSettings] = {}
    mirrors: Mapping[str, tuple[str, ...]] = {}
    limits: Mapping[str, int | float] = {}
    files: tuple[str, ...] = ()
    groups: Mapping[str, tuple[str, ...]] = {}
    shared: Mapping[str, str] = {}

    def __hash__(self) -> int:
        """Hash by identity: the mappings are not hashable."""
        return id(self)

    def find_registry(self, name: str) -> Registry | None:
        """Return the registry of this name, ignoring case; None when it is not found."""
        return self.registries.get(name.lower())

    def build_client_settings(
        self, environment: Mapping[str, str], *, insecure: frozenset[str] = frozenset(), **defaults: int
    ) -> Settings:
        """Return the settings of the registry client. `insecure` adds the hosts of the command line.

        `defaults` are further fields of `Settings`, such as `jobs`. The limits of the files override them.
        """
        from imq.engine.registry.settings import Settings

        return Settings(
            insecure=self.insecure | insecure,
            environment=environment,
            authority=self.ca_file,
            hosts=self.hosts,
            mirrors=self.mirrors,
            **(defaults | dict(self.limits)),  # type: ignore[arg-type] # the schema declares and checks the names
        )
