"""Podman's connections: the named endpoints of `podman system connection`.

Podman 5 stores them in `podman-connections.json`. Older versions store them in `containers.conf`, which podman 5 reads
too. A later file overrides an earlier one.
"""

from __future__ import annotations

import os

from imq.grammar.errors import EngineError, closest_hint
from imq.grammar.record import TYPE_CHECKING, Record

from .config_file import match_object_fields, read_json_object

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_SYSTEM_FILES = ("/usr/share/containers/containers.conf", "/etc/containers/containers.conf")


class Connection(Record):
    """An address with the path of the ssh key for it."""

    address: str
    identity: str | None = None


class Connections(Record):
    """Connections by name; `default` is the name of the default one, or empty. `broken` lists unreadable files."""

    by_name: Mapping[str, Connection]
    default: str = ""
    broken: tuple[str, ...] = ()

    def find(self, name: str) -> Connection:
        """Return a connection. Raises `EngineError` (code `engine-context`) when it is missing."""
        connection = self.by_name.get(name)
        if connection is None:
            hints = [closest_hint(name, self.by_name) or "`podman system connection list` lists the connections"]
            hints += [f"{path} is broken" for path in self.broken]
            raise EngineError(f"podman connection {name} not found", code="engine-context", hints=hints)
        return connection


def read_connections(environment: Mapping[str, str], home: str) -> Connections:
    """Read the connections of this user and machine."""
    configuration = environment.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")
    user_file = os.path.join(configuration, "containers", "containers.conf")
    override = environment.get("CONTAINERS_CONF")
    default, by_name, broken = "", {}, []
    for path in (override,) if override else (*_SYSTEM_FILES, user_file):
        try:
            engine = _read_engine_section(path)
        except FileNotFoundError:
            continue
        except (OSError, ValueError):
            broken.append(path)
            continue
        default = _text(engine, "active_service") or default
        by_name.update(_read_entries(engine.get("service_destinations"), "uri", "identity"))
    path = environment.get("PODMAN_CONNECTIONS_CONF") or os.path.join(
        configuration, "containers", "podman-connections.json"
    )
    try:
        section = read_json_object(path, ("Connection",)).get("Connection")
        if isinstance(section, dict):
            section = match_object_fields(section, ("Default", "Connections"))
    except FileNotFoundError:
        section = None
    except (OSError, ValueError):
        section = None
        broken.append(path)
    if isinstance(section, dict):
        default = _text(section, "Default") or default
        by_name.update(_read_entries(section.get("Connections"), "URI", "Identity"))
    return Connections(by_name, default, tuple(broken))


def _read_engine_section(path: str) -> dict[str, Any]:
    with open(path, "rb") as file:
        content = file.read()
    if b"service_destinations" not in content and b"active_service" not in content:
        return {}
    import tomllib  # slow to import, and few users have connections

    engine = tomllib.loads(content.decode("utf-8")).get("engine")
    return engine if isinstance(engine, dict) else {}


def _read_entries(entries: object, uri: str, identity: str) -> dict[str, Connection]:
    if not isinstance(entries, dict):
        return {}
    return {
        name: Connection(_text(entry, uri), _text(entry, identity) or None)
        for name, entry in entries.items()
        if isinstance(entry, dict) and _text(entry, uri)
    }


def _text(entry: Mapping[str, Any], key: str) -> str:
    value = entry.get(key)
    return value if isinstance(value, str) else ""
