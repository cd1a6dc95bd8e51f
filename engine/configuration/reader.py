"""From the text of configuration files to a `Configuration`; what is wrong is said with its file, line and column."""

from __future__ import annotations

import os
import re
import tomllib

from imq.engine.catalog.settings import check_setting
from imq.engine.oci.reference import Reference
from imq.engine.registry.settings import Host
from imq.engine.units.paths import home_folder
from imq.engine.units.size import parse_size
from imq.engine.units.time import parse_duration
from imq.grammar.errors import ImqError, InvalidReference, Span, StatementError, nearest
from imq.grammar.record import TYPE_CHECKING, Record

from .configuration import Configuration, Registry
from .schema import SECRET_KEYS, SECTIONS, ValueType

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from .schema import Key

    Path = tuple[str, ...]
    """Where a key stands: `("registry", "work", "host")`."""

_SOURCES = ("store", "docker", "podman", "containerd", "stdin")
"""Names of places that no registry can be called."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*\Z")
_CREDENTIAL_KEYS = ("password-file", "password-variable", "credentials-helper", "credentials-file")
"""Keys that lead to credentials, of which a registry has one."""
_POSITION = re.compile(r"\(at (?:line (\d+), column (\d+)|end of document)\)")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def parse_configuration(texts: Sequence[tuple[str, str]], environment: Mapping[str, str]) -> Configuration:
    """Return what the texts, each with its path, say together: key by key, the later ones win; lists are not mixed."""
    entries: dict[Path, _Entry] = {}
    for path, text in texts:
        entries.update(_parse_file(_ConfigFile(path, text, home_folder(environment))))
    tops = {path[0]: entry.value for path, entry in entries.items() if len(path) == 1}
    hosts, mirrors, insecure, registries = _collect_registries(entries)
    return Configuration(
        registries,
        tops.get("source", ""),
        tops.get("root", ""),
        {path[1]: entry.value for path, entry in entries.items() if path[0] == "settings"},
        {path[1]: entry.value for path, entry in entries.items() if path[0] == "views"},
        frozenset(tops.get("insecure", ())) | insecure,
        tops.get("ca", ""),
        hosts,
        mirrors,
        {_get_key(path).client_field: entry.value for path, entry in entries.items() if path[0] == "limits"},
        tuple(path for path, _ in texts),
    )


class _Entry(Record):
    """A value, checked, and the file that says it."""

    value: Any
    file: _ConfigFile


class _ConfigFile:
    """One file: its path, its text, and what its paths begin with."""

    def __init__(self, path: str, text: str, home: str) -> None:
        self.path = path
        self.text = text
        self.home = home
        self.folder = os.path.dirname(os.path.abspath(path))

    def resolve_path(self, text: str) -> str:
        """Return the path that a text means: from the folder of this file, `~` the user's home."""
        if text == "~" or text.startswith("~/"):
            if not self.home:
                raise self.error_at(
                    None, f"{text} begins in the home folder of the user, and none is known", "set HOME"
                )
            return os.path.join(self.home, text[2:]) if text != "~" else self.home
        return os.path.normpath(os.path.join(self.folder, text))

    def error_at(self, prefix: tuple[int, int] | None, message: str, *hints: str, length: int = 0) -> ImqError:
        """Return an error at a place (line and column from 1); an excerpt shows `shown` characters, 0: none."""
        match = f", line {prefix[0]}, column {prefix[1]}" if prefix else ""
        error = ImqError(f"{self.path}{match}: {message}", code="configuration", hints=hints)
        if prefix and length and not self._may_hold_secret(prefix[0]):
            start = self._line_offset(prefix[0]) + prefix[1] - 1
            error.span, error.text = Span(start, start + length), self.text
        return error

    def key_error(self, path: Path, message: str, *hints: str) -> ImqError:
        """Return an error about a key; the excerpt ends with the key, for what follows may be a secret."""
        prefix = self._find_position(path)
        error = self.error_at(prefix, message, *hints)
        if prefix:
            start = self._line_offset(prefix[0])
            line = self.text[start:].partition("\n")[0]
            end = prefix[1] - 1 + _key_length(line, prefix[1] - 1)
            cut = line[:end] + (" = …" if line[end:].lstrip(" \t\"'").startswith("=") else line[end:][:2].rstrip())
            error.span = Span(start + prefix[1] - 1, start + end)
            error.text = self.text[:start] + cut + self.text[start + len(line) :]
        return error

    def value_error(self, path: Path, message: str, *hints: str) -> ImqError:
        """Return an error about what a key is set to."""
        prefix = self._find_position(path)
        if prefix is None:
            return self.error_at(None, message, *hints)
        line = self.text[self._line_offset(prefix[0]) :].partition("\n")[0]
        equals = line.find("=", prefix[1] - 1)
        column = (
            prefix[1] if equals < 0 else equals + 1 + len(line[equals + 1 :]) - len(line[equals + 1 :].lstrip()) + 1
        )
        return self.error_at((prefix[0], column), message, *hints, length=max(1, len(line.rstrip()) - column + 1))

    @property
    def end_position(self) -> tuple[int, int]:
        """Line and column behind all that the file says."""
        text = self.text.rstrip()
        return text.count("\n") + 1, len(text) - text.rfind("\n")

    def _line_offset(self, line: int) -> int:
        """Return the offset at which a line starts."""
        return sum(len(entry) for entry in self.text.splitlines(keepends=True)[: line - 1])

    def _may_hold_secret(self, line: int) -> bool:
        """Whether a line may hold a secret, so that it is not shown."""
        text = self.text.splitlines()[line - 1].lower() if line <= len(self.text.splitlines()) else ""
        return "@" in text or any(word in text for word in SECRET_KEYS)

    def _find_position(self, path: Path) -> tuple[int, int] | None:
        """Return line and column of a key: the last line without which the text does not say it, in whatever form."""
        lines = self.text.splitlines(keepends=True)
        before = 0
        for count in range(1, len(lines) + 1):
            try:
                document: Any = tomllib.loads("".join(lines[:count]))
            except tomllib.TOMLDecodeError:
                continue  # in the middle of a value of several lines
            for part in path:
                document = document.get(part) if isinstance(document, dict) else None
            if document is not None:
                column = lines[before].find(path[-1])
                return before + 1, max(column, 0) + 1
            before = count
        return None


def _key_length(line: str, start: int) -> int:
    """Return how long the key is that stands at `start`."""
    result = re.match(r"[^\s=\"'\].]+", line[start:])
    return len(result[0]) if result else 1


def _parse_file(file: _ConfigFile) -> dict[Path, _Entry]:
    """Return every value of a file, checked by itself; of a registry also that it is there, however little is said."""
    try:
        document = tomllib.loads(file.text)
    except tomllib.TOMLDecodeError as problem:
        entries = str(problem)
        match = _POSITION.search(entries)
        prefix = (int(match[1]), int(match[2])) if match and match[1] else file.end_position if match else None
        reason = _POSITION.sub("", entries).strip()
        raise file.error_at(prefix, reason[:1].lower() + reason[1:], length=1) from None
    except RecursionError:
        raise file.error_at(None, "it is nested too deep") from None
    result: dict[Path, _Entry] = {}
    for path, value in _iter_entries(file, document):
        key = _get_key(path) if path[0] != "registry" or len(path) > 2 else None
        result[path] = _Entry(_check_value(file, path, key, value) if key is not None else value, file)
    return result


def _iter_entries(file: _ConfigFile, document: Mapping[str, Any]) -> Iterator[tuple[Path, Any]]:
    """Yield every key that the file sets and its value; raise for what is no key."""
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
                raise file.value_error((name,), f"{name} is a table of tables: [{name}.NAME]")
            for given, inner in value.items():
                yield (name, given), None
                yield from _iter_table(file, (name, given), inner)


def _iter_table(file: _ConfigFile, above: Path, value: Any) -> Iterator[tuple[Path, Any]]:
    if not isinstance(value, dict):
        raise file.value_error(above, f"{_format_path(above)} is a table: [{_format_path(above)}]")
    section = SECTIONS[above[0]]
    for name, inner in value.items():
        if section.find_key(name) is None:
            raise _unknown_key_error(file, (*above, name), [key.name for key in section.keys])
        yield (*above, name), inner


def _get_key(path: Path) -> Key:
    key = SECTIONS[path[0] if len(path) > 1 else ""].find_key(path[-1])
    assert key is not None
    return key


def _format_path(path: Path) -> str:
    """Return a path as the file would write it."""
    return ".".join(part if _NAME.match(part) else f'"{part}"' for part in path)


def _unknown_key_error(file: _ConfigFile, path: Path, known: Sequence[str]) -> ImqError:
    within = f" in [{_format_path(path[:-1])}]" if len(path) > 1 else ""
    if path[-1].lower().replace("_", "-") in SECRET_KEYS:
        return file.key_error(
            path,
            f"secrets are not written into this file: {path[-1]}{within}",
            "refer to it: password-file, password-variable or credentials-helper in [registry.NAME]",
            "or store it where docker does: imq login HOST",
        )
    other = next(
        (f"there is one in {f'[{name}]' if name else 'the file itself, above the first [table]'}"
         for name, section in SECTIONS.items()
         if not section.has_free_keys and section.name != path[0] and section.find_key(path[-1])),
        "",
    )  # fmt: skip
    close = nearest(path[-1], known)
    return file.key_error(path, f"there is no key {path[-1]!r}{within}", close or other, f"keys: {', '.join(known)}")


def _check_value(file: _ConfigFile, path: Path, key: Key, value: Any) -> Any:
    """Return a value as it is used; raise when it is none of the key's kind."""
    result: Any = None
    match key.type:
        case ValueType.STRING | ValueType.QUERY if isinstance(value, str) and value.strip() and value.isprintable():
            result = value.strip()
        case ValueType.PATH if isinstance(value, str) and value and "\0" not in value:
            result = file.resolve_path(value)
        case ValueType.BOOLEAN if isinstance(value, bool):
            result = value
        case ValueType.INTEGER if isinstance(value, int) and not isinstance(value, bool):
            result = value
        case ValueType.DURATION if isinstance(value, int | float | str) and not isinstance(value, bool):
            nanoseconds = parse_duration(value) if isinstance(value, str) else None
            result = value if not isinstance(value, str) else nanoseconds and nanoseconds / 1e9
        case ValueType.SIZE if isinstance(value, int | str) and not isinstance(value, bool):
            result = parse_size(value) if isinstance(value, str) else value
        case ValueType.PREFIX if isinstance(value, str):
            result = _parse_prefix(file, path, value)
        case ValueType.PREFIXES | ValueType.HOSTS if isinstance(value, list) and all(
            isinstance(entry, str) for entry in value
        ):
            read = _parse_prefix if key.type is ValueType.PREFIXES else _parse_host
            result = tuple(dict.fromkeys(read(file, path, entry) for entry in value))
        case ValueType.SETTING if isinstance(value, str | int) and not isinstance(value, bool):
            try:
                result = check_setting(path[-1], str(value))[1]
            except StatementError as problem:
                raise file.value_error(path, problem.message, *problem.hints) from None
    if result is None:
        entries = f"{_format_path(path)} is to be {key.type.value}"
        raise file.value_error(path, entries, f"it is {_describe_type(value)}" if not isinstance(value, str) else "")
    if isinstance(result, int | float) and not isinstance(result, bool) and not key.minimum <= result <= _MAX_NUMBER:
        raise file.value_error(path, f"{_format_path(path)} is to be at least {key.minimum}, and at most {_MAX_NUMBER}")
    return result


_MAX_NUMBER = 10**12


def _describe_type(value: Any) -> str:
    if isinstance(value, list) and value:
        return "a list of other things"
    names = {bool: "true or false", int: "a whole number", float: "a number", list: "a list", dict: "a table"}
    return names.get(type(value), "a date or a time")


def _parse_prefix(file: _ConfigFile, path: Path, text: str) -> str:
    """Return `host[:port][/namespace]` in its written form; a scheme and a slash at its end are let pass."""
    prefix = text.removeprefix("https://").rstrip("/")
    if prefix.startswith("http://"):
        raise file.value_error(
            path, "a registry's host has no scheme", "for plain http name it without, and as insecure too"
        )
    try:
        reference = Reference.parse(f"{prefix}/x")
    except InvalidReference:
        reference = None
    host = prefix.partition("/")[0]
    if reference is None or reference.tag or (reference.registry == "docker.io" and "docker.io" not in host):
        raise file.value_error(
            path, "this is no registry's host, with its port and a namespace if need be",
            "such as registry.local:5000/team; a host without a dot needs its port",
        )  # fmt: skip
    namespace = prefix.partition("/")[2]
    return f"{reference.registry}/{namespace}" if namespace else reference.registry


def _parse_host(file: _ConfigFile, path: Path, text: str) -> str:
    """Return a host or an address range."""
    if "/" in text and text.replace(".", "").replace("/", "").replace(":", "").isalnum() and "://" not in text:
        from ipaddress import ip_network

        try:
            return str(ip_network(text, strict=False))
        except ValueError:
            pass
    if not text or any(sign in text for sign in "/@ ") or not text.isprintable():
        raise file.value_error(
            path, "this is neither a host nor a range of addresses", "such as registry.local:5000, or 10.0.0.0/8"
        )
    return text.lower()


# What is said of registries, together


def _collect_registries(
    entries: Mapping[Path, _Entry],
) -> tuple[dict[str, Host], dict[str, tuple[str, ...]], frozenset[str], dict[str, Registry]]:
    """Return what is set for hosts, mirrors by the places they are of, insecure hosts, and the named registries."""
    hosts: dict[str, Host] = {}
    mirrors: dict[str, tuple[str, ...]] = {}
    insecure: set[str] = set()
    named: dict[str, Registry] = {}
    for path, entry in entries.items():
        if path[0] != "registry" or len(path) != 2:
            continue
        keys = {inner[2]: value for inner, value in entries.items() if len(inner) == 3 and inner[:2] == path}
        prefix = keys["host"].value if "host" in keys else _prefix_from_name(path, entry.file)
        host, _, namespace = prefix.partition("/")
        name = path[1].lower()
        if name in _SOURCES or (name in named):
            reason = "another registry has this name" if name in named else "this is the name of another place"
            raise entry.file.key_error(path, f"no registry can be called {path[1]!r}: {reason}")
        if "host" in keys and not (_NAME.match(path[1]) or _is_host(path[1])):
            raise entry.file.key_error(
                path, f"{path[1]!r} can be no registry's name", "letters, digits, - and _, and a letter first"
            )
        named[name] = Registry(name, host, namespace)
        if "mirrors" in keys:
            mirrors[prefix] = tuple(mirror for mirror in keys["mirrors"].value if mirror != prefix)
        if "insecure" in keys and keys["insecure"].value:
            insecure.add(host)
        host_settings = _collect_host(path, keys)
        if host_settings is not None and hosts.setdefault(host, host_settings) != host_settings:
            raise entry.file.key_error(
                path, f"another registry says other certificates or credentials for {host}", "say them once"
            )
    return hosts, mirrors, frozenset(insecure), named


def _is_host(text: str) -> bool:
    """Whether a name is the host that it stands for."""
    return any(sign in text for sign in ".:") or text == "localhost"


def _prefix_from_name(path: Path, file: _ConfigFile) -> str:
    if not _is_host(path[1]):
        raise file.key_error(path, f"{_format_path(path)} says no host", 'such as: host = "registry.local:5000"')
    return _parse_prefix(file, path, path[1])


def _collect_host(path: Path, keys: Mapping[str, _Entry]) -> Host | None:
    """Return what is set for the host of a registry; None when that is nothing."""
    values = {name: entry.value for name, entry in keys.items()}
    credential_keys = [name for name in _CREDENTIAL_KEYS if name in values]
    if len(credential_keys) > 1:
        raise keys[credential_keys[1]].file.key_error(
            (*path, credential_keys[1]), f"there are two ways to credentials: {', '.join(credential_keys)}"
        )
    for name, needed in (("certificate", "key"), ("key", "certificate")):
        if name in values and needed not in values:
            raise keys[name].file.key_error((*path, name), f"{name} needs {needed} beside it")
    secret = bool({"password-file", "password-variable"} & values.keys())
    if secret and "user" not in values:
        raise keys[credential_keys[0]].file.key_error(
            (*path, credential_keys[0]), f'{credential_keys[0]} needs user beside it ("<token>" for a token)'
        )
    if "user" in values and not secret:
        raise keys["user"].file.key_error((*path, "user"), "user needs password-file or password-variable beside it")
    variable, helper = values.get("password-variable", ""), values.get("credentials-helper", "")
    if variable and not _VARIABLE.match(variable):
        raise keys["password-variable"].file.value_error((*path, "password-variable"), "this is no variable's name")
    if "/" in helper:
        raise keys["credentials-helper"].file.value_error(
            (*path, "credentials-helper"), "a helper is named by what follows docker-credential- in its name"
        )
    result = Host(
        values.get("ca", ""),
        values.get("certificate", ""),
        values.get("key", ""),
        values.get("user", ""),
        variable,
        values.get("password-file", ""),
        helper,
        values.get("credentials-file", ""),
    )
    return result if result != Host() else None
