"""What is set for good: named registries, mirrors, certificates, limits, views, and the settings of every session.

It is read from TOML files once, before a session; a plain question pays for it only when there is such a file.
"""

from __future__ import annotations

import os

from imq.grammar.errors import ImqError
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from imq.engine.registry.settings import Host, Settings

SYSTEM_FILE = "/etc/imq/config.toml"
"""The file of the machine, below that of the user."""


class Registry(Record):
    """A registry that has a name of its own. `namespace` is where in it names begin: "" or `team`, `team/apps`."""

    name: str
    host: str
    namespace: str = ""

    @property
    def prefix(self) -> str:
        """Host and namespace: what stands before the names of repositories."""
        return f"{self.host}/{self.namespace}" if self.namespace else self.host


class Configuration(Record):
    """What the files say, whole and checked; an empty one says nothing.

    `registries` are found by their names in lower case. `source` is where questions are asked, `root` where the store
    lies; "" says nothing. `settings` have the names and values of `set`, `views` their queries as text. `insecure`,
    `authority` (a file of certificates), `hosts`, `mirrors` and `limits` are for the registry client, as its `Settings`
    have them. `files` are those that were read, each above the ones before it.
    """

    registries: Mapping[str, Registry] = {}
    source: str = ""
    root: str = ""
    settings: Mapping[str, str] = {}
    views: Mapping[str, str] = {}
    insecure: frozenset[str] = frozenset()
    ca_file: str = ""
    hosts: Mapping[str, Host] = {}
    mirrors: Mapping[str, tuple[str, ...]] = {}
    limits: Mapping[str, int | float] = {}
    files: tuple[str, ...] = ()

    def __hash__(self) -> int:
        """Hash by identity: it holds mappings."""
        return id(self)

    def find_registry(self, name: str) -> Registry | None:
        """Return the registry of this name, in whatever case it is written."""
        return self.registries.get(name.lower())

    def build_client_settings(
        self, environment: Mapping[str, str], *, insecure: frozenset[str] = frozenset(), **overrides: int
    ) -> Settings:
        """Return what a registry client is told; `insecure` adds hosts that the command line names.

        `told` are what else its `Settings` have that is not of the file's limits, such as `jobs`.
        """
        from imq.engine.registry.settings import Settings

        return Settings(
            insecure=self.insecure | insecure,
            environment=environment,
            authority=self.ca_file,
            hosts=self.hosts,
            mirrors=self.mirrors,
            **(overrides | dict(self.limits)),  # type: ignore[arg-type] # named and checked by the declaration
        )


def find_user_file(environment: Mapping[str, str]) -> tuple[str, bool]:
    """Return the path of the user's file, and whether it was named outright, so that it has to be there."""
    if is_explicit := environment.get("IMQ_CONFIG"):
        return is_explicit, True
    folder = environment.get("XDG_CONFIG_HOME", "")
    if not os.path.isabs(folder):
        home = environment.get("HOME", "")
        folder = os.path.join(home, ".config") if home else ""
    return (os.path.join(folder, "imq", "config.toml"), False) if folder else ("", False)


def read_configuration(environment: Mapping[str, str], file: str | None = None) -> Configuration:
    """Return what the machine's file says and, above it, the user's, or `file` in its place.

    Raises `ImqError` (code `configuration`) for a file that cannot be read or says what cannot be meant.
    """
    path, is_explicit = (file, True) if file is not None else find_user_file(environment)
    texts: list[tuple[str, str]] = []
    for path_, required in ((SYSTEM_FILE, False), (path, is_explicit)):
        text = _text(path_, required=required) if path_ else None
        if text is not None and text.strip():
            texts.append((path_, text))
    if not texts:
        return Configuration()
    from .reader import parse_configuration  # with tomllib, which those without a file do without

    return parse_configuration(texts, environment)


_LARGEST_FILE = 1 << 20


def _text(path: str, *, required: bool) -> str | None:
    """Return what a file holds; None when it is not there and need not be."""
    try:
        with open(path, "rb") as file:
            content = file.read(_LARGEST_FILE + 1)
    except (FileNotFoundError, NotADirectoryError) as problem:
        if not required:
            return None
        raise _unreadable(path, problem) from None
    except OSError as problem:
        raise _unreadable(path, problem) from None
    if len(content) > _LARGEST_FILE:
        raise ImqError(f"the configuration file {path} has more than {_LARGEST_FILE} bytes", code="configuration")
    try:
        return content.decode()
    except UnicodeDecodeError as problem:
        line = content.count(b"\n", 0, problem.start) + 1
        raise ImqError(f"{path}, line {line}: this is no UTF-8", code="configuration") from None


def _unreadable(path: str, problem: OSError) -> ImqError:
    reason = (problem.strerror or "unknown reason").lower()
    return ImqError(
        f"the configuration file {path} cannot be read: {reason}",
        code="configuration",
        hints=("--no-config goes on without",),
    )


__all__ = ["SYSTEM_FILE", "Configuration", "Registry", "find_user_file", "read_configuration"]
