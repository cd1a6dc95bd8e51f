"""Parses and checks configuration files. Every error has the file, and where known the line and column."""

from __future__ import annotations

import os
import re
import tomllib

from imq.engine.catalog.settings import check_setting, is_folder_url
from imq.engine.oci.reference import Reference
from imq.engine.registry.settings import HostSettings
from imq.engine.units.paths import home_directory
from imq.engine.units.size import parse_size
from imq.engine.units.time import parse_duration
from imq.grammar.errors import ImqError, InvalidReference, Span, StatementError, closest_hint
from imq.grammar.record import TYPE_CHECKING, Record

from .configuration import Configuration, Registry
from .schema import SECRET_KEYS, SECTIONS, ValueType

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from .schema import Key

    KeyPath = tuple[str, ...]
    """The path of a key: `("registry", "work", "host")`."""

_RESERVED_NAMES = ("store", "docker", "podman", "containerd", "stdin")
"""Names of sources, which no registry may have."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*\Z")
_CREDENTIAL_KEYS = ("password-file", "password-variable", "credentials-helper", "credentials-file")
"""Keys that refer to credentials. A registry may have one of them."""
_TOML_POSITION = re.compile(r"\(at (?:line (\d+), column (\d+)|end of document)\)")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_MAX_NUMBER = 10**12


def parse_configuration(texts: Sequence[tuple[str, str]], environment: Mapping[str, str]) -> Configuration:
    """Return the configuration of several files, each a path and its text.

    A key of a later file overrides the same key of an earlier one. Lists are replaced, not merged.
    """
    entries: dict[KeyPath, _Entry] = {}
    for path, text in texts:
        entries.update(_parse_file(_ConfigFile(path, text, home_directory(environment))))
    top_level = {path[0]: entry.value for path, entry in entries.items() if len(path) == 1}
    hosts, mirrors, insecure, registries = _collect_registries(entries)
    return Configuration(
        registries,
        top_level.get("source", ""),
        top_level.get("root", ""),
        {path[1]: entry.value for path, entry in entries.items() if path[0] == "settings"},
        {path[1]: entry.value for path, entry in entries.items() if path[0] == "views"},
        frozenset(top_level.get("insecure", ())) | insecure,
        top_level.get("ca", ""),
        hosts,
        mirrors,
        {_get_key(path).client_field: entry.value for path, entry in entries.items() if path[0] == "limits"},
        tuple(path for path, _ in texts),
        _collect_groups(entries, registries),
        dict(_collect_shared(entries)),
    )


class _Entry(Record):
    """A checked value and the file that sets it."""

    value: Any
    file: _ConfigFile


class _ConfigFile:
    """One file: its path, its text, and the user's home folder."""

    def __init__(self, path: str, text: str, home: str) -> None:
        self.path = path
        self.text = text
        self.home = home
        self.folder = os.path.dirname(os.path.abspath(path))

    def resolve_path(self, text: str) -> str:
        """Return a path of the file as an absolute path: relative to the file's folder, `~` is the home folder."""
        if text == "~" or text.startswith("~/"):
            if not self.home:
                raise self.error_at(None, f"{text} needs the home folder, which is unknown", "set HOME")
            return os.path.join(self.home, text[2:]) if text != "~" else self.home
        return os.path.normpath(os.path.join(self.folder, text))

    def error_at(self, position: tuple[int, int] | None, message: str, *hints: str, length: int = 0) -> ImqError:
        """Return an error at a line and column, both from 1. The excerpt marks `length` characters; 0: no excerpt."""
        where = f", line {position[0]}, column {position[1]}" if position else ""
        error = ImqError(f"{self.path}{where}: {message}", code="configuration", hints=hints)
        if position and length and not self._may_hold_secret(position[0]):
            start = self._line_offset(position[0]) + position[1] - 1
            error.span, error.text = Span(start, start + length), self.text
        return error

    def key_error(self, path: KeyPath, message: str, *hints: str) -> ImqError:
        """Return an error about a key. The excerpt ends with the key, because its value may be a secret."""
        position = self._find_position(path)
        error = self.error_at(position, message, *hints)
        if position:
            start = self._line_offset(position[0])
            line = self.text[start:].partition("\n")[0]
            end = position[1] - 1 + _key_length(line, position[1] - 1)
            cut = line[:end] + (" = …" if line[end:].lstrip(" \t\"'").startswith("=") else line[end:][:2].rstrip())
            error.span = Span(start + position[1] - 1, start + end)
            error.text = self.text[:start] + cut + self.text[start + len(line) :]
        return error

    def value_error(self, path: KeyPath, message: str, *hints: str) -> ImqError:
        """Return an error about the value of a key."""
        position = self._find_position(path)
        if position is None:
            return self.error_at(None, message, *hints)
        number, column = position
        line = self.text[self._line_offset(number) :].partition("\n")[0]
        equals = line.find("=", column - 1)
        if equals >= 0:
            value = line[equals + 1 :]
            column = equals + 1 + len(value) - len(value.lstrip()) + 1
        return self.error_at((number, column), message, *hints, length=max(1, len(line.rstrip()) - column + 1))

    @property
    def end_position(self) -> tuple[int, int]:
        """Line and column after the last character that is not blank."""
        text = self.text.rstrip()
        return text.count("\n") + 1, len(text) - text.rfind("\n")

    def _line_offset(self, number: int) -> int:
        """Return the offset at which a line starts."""
        return sum(len(line) for line in self.text.splitlines(keepends=True)[: number - 1])

    def _may_hold_secret(self, number: int) -> bool:
        """Return whether a line may hold a secret, so that no excerpt shows it."""
        lines = self.text.splitlines()
        line = lines[number - 1].lower() if number <= len(lines) else ""
        return "@" in line or any(word in line for word in SECRET_KEYS)

    def _find_position(self, path: KeyPath) -> tuple[int, int] | None:
        """Return line and column of a key.

        `tomllib` reports no positions. The key is on the first line up to which the text sets it; this holds for every
        way of writing a key.
        """
        lines = self.text.splitlines(keepends=True)
        before = 0
        for count in range(1, len(lines) + 1):
            try:
                document: Any = tomllib.loads("".join(lines[:count]))
            except tomllib.TOMLDecodeError:
                continue  # within a value of several lines
            for part in path:
                document = document.get(part) if isinstance(document, dict) else None
            if document is not None:
                column = lines[before].find(path[-1])
                return before + 1, max(column, 0) + 1
            before = count
        return None


def _key_length(line: str, start: int) -> int:
    """Return the length of the key at an offset of a line."""
    match = re.match(r"[^\s=\"'\].]+", line[start:])
    return len(match[0]) if match else 1


def _parse_file(file: _ConfigFile) -> dict[KeyPath, _Entry]:
    """Return the checked values of a file. A named table (`[registry.NAME]`) has its own entry, without a value."""
    try:
        document = tomllib.loads(file.text)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        match = _TOML_POSITION.search(message)
        position = (int(match[1]), int(match[2])) if match and match[1] else file.end_position if match else None
        reason = _TOML_POSITION.sub("", message).strip()
        raise file.error_at(position, reason[:1].lower() + reason[1:], length=1) from None
    except RecursionError:
        raise file.error_at(None, "the nesting is too deep") from None
    entries: dict[KeyPath, _Entry] = {}
    for path, value in _iter_entries(file, document):
        key = _get_key(path) if len(path) != 2 or not SECTIONS[path[0]].has_named_tables else None
        entries[path] = _Entry(_check_value(file, path, key, value) if key is not None else value, file)
    return entries


def _iter_entries(file: _ConfigFile, document: Mapping[str, Any]) -> Iterator[tuple[KeyPath, Any]]:
    """Yield every key that a file sets, with its value. Raises for an unknown key."""
    top = SECTIONS[""]
    for name, value in document.items():
        section = SECTIONS.get(name) if name else None
        if section is None:
            if top.find_key(name) is None:
                raise _unknown_key_error(file, (name,), [*(key.name for key in top.keys), *filter(None, SECTIONS)])
            yield (name,), value
        elif not section.has_named_tables:
            yield from _iter_table(file, (name,), value)
        else:
            if not isinstance(value, dict):
                raise file.value_error((name,), f"{name} must be a table of tables: [{name}.NAME]")
            for table_name, table in value.items():
                yield (name, table_name), None
                yield from _iter_table(file, (name, table_name), table)


def _iter_table(file: _ConfigFile, parent: KeyPath, table: Any) -> Iterator[tuple[KeyPath, Any]]:
    if not isinstance(table, dict):
        raise file.value_error(parent, f"{_format_path(parent)} must be a table: [{_format_path(parent)}]")
    section = SECTIONS[parent[0]]
    for name, value in table.items():
        if section.find_key(name) is None:
            raise _unknown_key_error(file, (*parent, name), [key.name for key in section.keys])
        yield (*parent, name), value


def _get_key(path: KeyPath) -> Key:
    key = SECTIONS[path[0] if len(path) > 1 else ""].find_key(path[-1])
    assert key is not None
    return key


def _format_path(path: KeyPath) -> str:
    """Return a path as TOML writes it."""
    return ".".join(part if _NAME.match(part) else f'"{part}"' for part in path)


def _unknown_key_error(file: _ConfigFile, path: KeyPath, known_keys: Sequence[str]) -> ImqError:
    within = f" in [{_format_path(path[:-1])}]" if len(path) > 1 else ""
    if path[-1].lower().replace("_", "-") in SECRET_KEYS:
        return file.key_error(
            path,
            f"this file cannot hold secrets: {path[-1]}{within}",
            "refer to it: password-file, password-variable or credentials-helper in [registry.NAME]",
            "or store it as docker does: imq login HOST",
        )
    other = next(
        (f"this key exists {f'in [{name}]' if name else 'at the top of the file, before the first [table]'}"
         for name, section in SECTIONS.items()
         if not section.has_free_keys and section.name != path[0] and section.find_key(path[-1])),
        "",
    )  # fmt: skip
    close = closest_hint(path[-1], known_keys)
    return file.key_error(path, f"unknown key {path[-1]!r}{within}", close or other, f"keys: {', '.join(known_keys)}")


def _check_value(file: _ConfigFile, path: KeyPath, key: Key, value: Any) -> Any:
    """Return a value converted to the type of its key. Raises when it does not have that type."""
    checked: Any = None
    match key.type:
        case ValueType.STRING | ValueType.QUERY if isinstance(value, str) and value.strip() and value.isprintable():
            checked = value.strip()
        case ValueType.PATH if isinstance(value, str) and value and "\0" not in value:
            checked = file.resolve_path(value)
        case ValueType.BOOLEAN if isinstance(value, bool):
            checked = value
        case ValueType.INTEGER if isinstance(value, int) and not isinstance(value, bool):
            checked = value
        case ValueType.DURATION if isinstance(value, int | float | str) and not isinstance(value, bool):
            nanoseconds = parse_duration(value) if isinstance(value, str) else None
            checked = value if not isinstance(value, str) else nanoseconds and nanoseconds / 1e9
        case ValueType.SIZE if isinstance(value, int | str) and not isinstance(value, bool):
            checked = parse_size(value) if isinstance(value, str) else value
        case ValueType.PREFIX if isinstance(value, str):
            checked = _parse_prefix(file, path, value)
        case ValueType.PREFIXES | ValueType.HOSTS if _is_string_list(value):
            parse = _parse_prefix if key.type is ValueType.PREFIXES else _parse_host
            checked = tuple(dict.fromkeys(parse(file, path, item) for item in value))
        case ValueType.SOURCES if _is_string_list(value) and value and all(item.strip() for item in value):
            checked = tuple(dict.fromkeys(item.strip() for item in value))
        case ValueType.SETTING if isinstance(value, str | int) and not isinstance(value, bool):
            try:
                checked = check_setting(path[-1], str(value))[1]
            except StatementError as error:
                raise file.value_error(path, error.message, *error.hints) from None
    if checked is None:
        hint = f"it is {_describe_type(value)}" if not isinstance(value, str) else ""
        raise file.value_error(path, f"{_format_path(path)} must be {key.type.value}", hint)
    is_number = isinstance(checked, int | float) and not isinstance(checked, bool)
    if is_number and not key.minimum <= checked <= _MAX_NUMBER:
        raise file.value_error(path, f"{_format_path(path)} must be from {key.minimum} to {_MAX_NUMBER}")
    return checked


def _is_string_list(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _describe_type(value: Any) -> str:
    if isinstance(value, list) and value:
        return "a list of other values"
    names = {bool: "a boolean", int: "an integer", float: "a number", list: "a list", dict: "a table"}
    return names.get(type(value), "a date or a time")


def _parse_prefix(file: _ConfigFile, path: KeyPath, text: str) -> str:
    """Return `host[:port][/namespace]` in canonical form. `https://` and a trailing slash are ignored."""
    prefix = text.removeprefix("https://").rstrip("/")
    if prefix.startswith("http://"):
        raise file.value_error(
            path, "a registry host has no scheme", "for plain HTTP leave out the scheme and list the host in insecure"
        )
    try:
        reference = Reference.parse(f"{prefix}/x")
    except InvalidReference:
        reference = None
    host = prefix.partition("/")[0]
    if reference is None or reference.tag or (reference.registry == "docker.io" and "docker.io" not in host):
        raise file.value_error(
            path, "invalid registry: expected HOST[:PORT][/NAMESPACE]",
            "example: registry.local:5000/team; a host without a dot needs its port",
        )  # fmt: skip
    namespace = prefix.partition("/")[2]
    return f"{reference.registry}/{namespace}" if namespace else reference.registry


def _parse_host(file: _ConfigFile, path: KeyPath, text: str) -> str:
    """Return a host in lower case, or an address range in canonical form."""
    if "/" in text and text.replace(".", "").replace("/", "").replace(":", "").isalnum() and "://" not in text:
        from ipaddress import ip_network

        try:
            return str(ip_network(text, strict=False))
        except ValueError:
            pass
    if not text or any(char in text for char in "/@ ") or not text.isprintable():
        raise file.value_error(
            path, "invalid host: expected a host or an address range", "examples: registry.local:5000, 10.0.0.0/8"
        )
    return text.lower()


# Checks across the keys of a registry


def _collect_registries(
    entries: Mapping[KeyPath, _Entry],
) -> tuple[dict[str, HostSettings], dict[str, tuple[str, ...]], frozenset[str], dict[str, Registry]]:
    """Return the settings by host, the mirrors by prefix, the insecure hosts, and the registries by name."""
    hosts: dict[str, HostSettings] = {}
    mirrors: dict[str, tuple[str, ...]] = {}
    insecure: set[str] = set()
    registries: dict[str, Registry] = {}
    for path, entry in entries.items():
        if path[0] != "registry" or len(path) != 2:
            continue
        keys = {inner[2]: value for inner, value in entries.items() if len(inner) == 3 and inner[:2] == path}
        prefix = keys["host"].value if "host" in keys else _prefix_from_name(path, entry.file)
        host, _, namespace = prefix.partition("/")
        name = path[1].lower()
        if name in _RESERVED_NAMES or name in registries:
            reason = "another registry has this name" if name in registries else "it is the name of another source"
            raise entry.file.key_error(path, f"invalid registry name {path[1]!r}: {reason}")
        if "host" in keys and not (_NAME.match(path[1]) or _is_host(path[1])):
            raise entry.file.key_error(
                path, f"invalid registry name {path[1]!r}", "use letters, digits, - and _, and begin with a letter"
            )
        registries[name] = Registry(name, host, namespace)
        if "mirrors" in keys:
            mirrors[prefix] = tuple(mirror for mirror in keys["mirrors"].value if mirror != prefix)
        if "insecure" in keys and keys["insecure"].value:
            insecure.add(host)
        settings = _collect_host(path, keys)
        if settings is not None and hosts.setdefault(host, settings) != settings:
            raise entry.file.key_error(
                path, f"another registry sets different certificates or credentials for {host}", "set them once"
            )
    return hosts, mirrors, frozenset(insecure), registries


def _collect_groups(
    entries: Mapping[KeyPath, _Entry], registries: Mapping[str, Registry]
) -> dict[str, tuple[str, ...]]:
    """Return the sources of each group, by its name in lower case. A nested group is replaced by its sources."""
    groups: dict[str, tuple[KeyPath, _Entry]] = {}
    for path, entry in entries.items():
        if path[0] != "group" or len(path) != 2:
            continue
        name = path[1].lower()
        if name in _RESERVED_NAMES or name in registries or name in groups or not _NAME.match(path[1]):
            reason = "another source has this name" if _NAME.match(path[1]) else "use letters, digits, - and _"
            raise entry.file.key_error(path, f"invalid group name {path[1]!r}: {reason}")
        sources = entries.get((*path, "sources"))
        if sources is None:
            raise entry.file.key_error(path, f"{_format_path(path)} has no sources", 'example: sources = ["ssh://a"]')
        groups[name] = (*path, "sources"), sources
    return {name: tuple(dict.fromkeys(_list_members((name,), groups))) for name in groups}


def _collect_shared(entries: Mapping[KeyPath, _Entry]) -> Iterator[tuple[str, str]]:
    """Yield the folders that workers read elsewhere, and their URLs."""
    for path, entry in entries.items():
        if path[0] != "shared" or len(path) != 2:
            continue
        folder, url = entries.get((*path, "folder")), entries.get((*path, "url"))
        if folder is None or url is None:
            missing = "folder" if folder is None else "url"
            raise entry.file.key_error(path, f"{_format_path(path)} has no {missing}", 'example: url = "s3://images"')
        if not is_folder_url(url.value):
            raise url.file.value_error(
                (*path, "url"), f'invalid URL "{url.value}"', 'example: url = "s3://images", without credentials'
            )
        yield folder.value.rstrip("/"), url.value.rstrip("/")


def _list_members(names: tuple[str, ...], groups: Mapping[str, tuple[KeyPath, _Entry]]) -> Iterator[str]:
    """Yield the sources of the last of these groups, each of which is a member of the one before it."""
    path, entry = groups[names[-1]]
    for member in entry.value:
        inner = member.lower()
        if inner in names:
            raise entry.file.value_error(path, f"a group cannot contain itself: {', '.join((*names, inner))}")
        if inner in groups:
            yield from _list_members((*names, inner), groups)
        else:
            yield member


def _is_host(text: str) -> bool:
    """Return whether the name of a registry is itself a host."""
    return any(char in text for char in ".:") or text == "localhost"


def _prefix_from_name(path: KeyPath, file: _ConfigFile) -> str:
    if not _is_host(path[1]):
        raise file.key_error(path, f"{_format_path(path)} has no host", 'example: host = "registry.local:5000"')
    return _parse_prefix(file, path, path[1])


def _collect_host(path: KeyPath, keys: Mapping[str, _Entry]) -> HostSettings | None:
    """Return the settings of a registry's host, None when it has none."""

    def key_error(name: str, message: str) -> ImqError:
        return keys[name].file.key_error((*path, name), message)

    values = {name: entry.value for name, entry in keys.items()}
    credentials = [name for name in _CREDENTIAL_KEYS if name in values]
    if len(credentials) > 1:
        raise key_error(credentials[1], f"only one of these is allowed: {', '.join(credentials)}")
    for name, required in (("certificate", "key"), ("key", "certificate")):
        if name in values and required not in values:
            raise key_error(name, f"{name} requires {required}")
    has_password = bool({"password-file", "password-variable"} & values.keys())
    if has_password and "user" not in values:
        raise key_error(credentials[0], f'{credentials[0]} requires user ("<token>" for a token)')
    if "user" in values and not has_password:
        raise key_error("user", "user requires password-file or password-variable")
    variable, helper = values.get("password-variable", ""), values.get("credentials-helper", "")
    if variable and not _VARIABLE.match(variable):
        raise keys["password-variable"].file.value_error((*path, "password-variable"), "invalid variable name")
    if "/" in helper:
        raise keys["credentials-helper"].file.value_error(
            (*path, "credentials-helper"), "invalid helper: expected NAME of docker-credential-NAME"
        )
    host = HostSettings(
        values.get("ca", ""),
        values.get("certificate", ""),
        values.get("key", ""),
        values.get("user", ""),
        variable,
        values.get("password-file", ""),
        helper,
        values.get("credentials-file", ""),
    )
    return host if host != HostSettings() else None
