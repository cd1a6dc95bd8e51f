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
from .schema import SECRETS, SECTIONS, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from .schema import Key

    Path = tuple[str, ...]
    """Where a key stands: `("registry", "work", "host")`."""

_SOURCES = ("store", "docker", "podman", "containerd", "stdin")
"""Names of places that no registry can be called."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*\Z")
_WAYS = ("password-file", "password-variable", "credentials-helper", "credentials-file")
"""Keys that lead to credentials, of which a registry has one."""
_AT = re.compile(r"\(at (?:line (\d+), column (\d+)|end of document)\)")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def configuration(texts: Sequence[tuple[str, str]], environment: Mapping[str, str]) -> Configuration:
    """Return what the texts, each with its path, say together: key by key, the later ones win; lists are not mixed."""
    said: dict[Path, _Said] = {}
    for path, text in texts:
        said.update(_read(_File(path, text, home_folder(environment))))
    tops = {path[0]: one.value for path, one in said.items() if len(path) == 1}
    hosts, mirrors, insecure, registries = _registries(said)
    return Configuration(
        registries,
        tops.get("source", ""),
        tops.get("root", ""),
        {path[1]: one.value for path, one in said.items() if path[0] == "settings"},
        {path[1]: one.value for path, one in said.items() if path[0] == "views"},
        frozenset(tops.get("insecure", ())) | insecure,
        tops.get("ca", ""),
        hosts,
        mirrors,
        {_declared(path).field: one.value for path, one in said.items() if path[0] == "limits"},
        tuple(path for path, _ in texts),
    )


class _Said(Record):
    """A value, checked, and the file that says it."""

    value: Any
    file: _File


class _File:
    """One file: its path, its text, and what its paths begin with."""

    def __init__(self, path: str, text: str, home: str) -> None:
        self.path = path
        self.text = text
        self.home = home
        self.folder = os.path.dirname(os.path.abspath(path))

    def located(self, text: str) -> str:
        """Return the path that a text means: from the folder of this file, `~` the user's home."""
        if text == "~" or text.startswith("~/"):
            if not self.home:
                raise self.wrong(None, f"{text} begins in the home folder of the user, and none is known", "set HOME")
            return os.path.join(self.home, text[2:]) if text != "~" else self.home
        return os.path.normpath(os.path.join(self.folder, text))

    def wrong(self, place: tuple[int, int] | None, message: str, *hints: str, shown: int = 0) -> ImqError:
        """Return an error at a place (line and column from 1); an excerpt shows `shown` characters, 0: none."""
        at = f", line {place[0]}, column {place[1]}" if place else ""
        error = ImqError(f"{self.path}{at}: {message}", code="configuration", hints=hints)
        if place and shown and not self._secretive(place[0]):
            start = self._start(place[0]) + place[1] - 1
            error.span, error.text = Span(start, start + shown), self.text
        return error

    def wrong_key(self, path: Path, message: str, *hints: str) -> ImqError:
        """Return an error about a key; the excerpt ends with the key, for what follows may be a secret."""
        place = self._place(path)
        error = self.wrong(place, message, *hints)
        if place:
            start = self._start(place[0])
            line = self.text[start:].partition("\n")[0]
            end = place[1] - 1 + _width(line, place[1] - 1)
            cut = line[:end] + (" = …" if line[end:].lstrip(" \t\"'").startswith("=") else line[end:][:2].rstrip())
            error.span = Span(start + place[1] - 1, start + end)
            error.text = self.text[:start] + cut + self.text[start + len(line) :]
        return error

    def wrong_value(self, path: Path, message: str, *hints: str) -> ImqError:
        """Return an error about what a key is set to."""
        place = self._place(path)
        if place is None:
            return self.wrong(None, message, *hints)
        line = self.text[self._start(place[0]) :].partition("\n")[0]
        equals = line.find("=", place[1] - 1)
        column = place[1] if equals < 0 else equals + 1 + len(line[equals + 1 :]) - len(line[equals + 1 :].lstrip()) + 1
        return self.wrong((place[0], column), message, *hints, shown=max(1, len(line.rstrip()) - column + 1))

    @property
    def end(self) -> tuple[int, int]:
        """Line and column behind all that the file says."""
        text = self.text.rstrip()
        return text.count("\n") + 1, len(text) - text.rfind("\n")

    def _start(self, line: int) -> int:
        """Return the offset at which a line starts."""
        return sum(len(one) for one in self.text.splitlines(keepends=True)[: line - 1])

    def _secretive(self, line: int) -> bool:
        """Whether a line may hold a secret, so that it is not shown."""
        text = self.text.splitlines()[line - 1].lower() if line <= len(self.text.splitlines()) else ""
        return "@" in text or any(word in text for word in SECRETS)

    def _place(self, path: Path) -> tuple[int, int] | None:
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


def _width(line: str, start: int) -> int:
    """Return how long the key is that stands at `start`."""
    found = re.match(r"[^\s=\"'\].]+", line[start:])
    return len(found[0]) if found else 1


def _read(file: _File) -> dict[Path, _Said]:
    """Return every value of a file, checked by itself; of a registry also that it is there, however little is said."""
    try:
        document = tomllib.loads(file.text)
    except tomllib.TOMLDecodeError as problem:
        said = str(problem)
        at = _AT.search(said)
        place = (int(at[1]), int(at[2])) if at and at[1] else file.end if at else None
        why = _AT.sub("", said).strip()
        raise file.wrong(place, why[:1].lower() + why[1:], shown=1) from None
    except RecursionError:
        raise file.wrong(None, "it is nested too deep") from None
    found: dict[Path, _Said] = {}
    for path, value in _leaves(file, document):
        key = _declared(path) if path[0] != "registry" or len(path) > 2 else None
        found[path] = _Said(_checked(file, path, key, value) if key is not None else value, file)
    return found


def _leaves(file: _File, document: Mapping[str, Any]) -> Iterator[tuple[Path, Any]]:
    """Yield every key that the file sets and its value; raise for what is no key."""
    top = SECTIONS[""]
    for name, value in document.items():
        section = SECTIONS.get(name) if name else None
        if section is None:
            if top.key(name) is None:
                raise _unknown(file, (name,), [*(key.name for key in top.keys), *filter(None, SECTIONS)])
            yield (name,), value
        elif not section.named:
            yield from _table(file, (name,), value)
        else:
            if not isinstance(value, dict):
                raise file.wrong_value((name,), f"{name} is a table of tables: [{name}.NAME]")
            for given, inner in value.items():
                yield (name, given), None
                yield from _table(file, (name, given), inner)


def _table(file: _File, above: Path, value: Any) -> Iterator[tuple[Path, Any]]:
    if not isinstance(value, dict):
        raise file.wrong_value(above, f"{_shown(above)} is a table: [{_shown(above)}]")
    section = SECTIONS[above[0]]
    for name, inner in value.items():
        if section.key(name) is None:
            raise _unknown(file, (*above, name), [key.name for key in section.keys])
        yield (*above, name), inner


def _declared(path: Path) -> Key:
    key = SECTIONS[path[0] if len(path) > 1 else ""].key(path[-1])
    assert key is not None
    return key


def _shown(path: Path) -> str:
    """Return a path as the file would write it."""
    return ".".join(part if _NAME.match(part) else f'"{part}"' for part in path)


def _unknown(file: _File, path: Path, known: Sequence[str]) -> ImqError:
    within = f" in [{_shown(path[:-1])}]" if len(path) > 1 else ""
    if path[-1].lower().replace("_", "-") in SECRETS:
        return file.wrong_key(
            path,
            f"secrets are not written into this file: {path[-1]}{within}",
            "refer to it: password-file, password-variable or credentials-helper in [registry.NAME]",
            "or store it where docker does: imq login HOST",
        )
    other = next(
        (f"there is one in {f'[{name}]' if name else 'the file itself, above the first [table]'}"
         for name, section in SECTIONS.items()
         if not section.free and section.name != path[0] and section.key(path[-1])),
        "",
    )  # fmt: skip
    close = nearest(path[-1], known)
    return file.wrong_key(path, f"there is no key {path[-1]!r}{within}", close or other, f"keys: {', '.join(known)}")


def _checked(file: _File, path: Path, key: Key, value: Any) -> Any:
    """Return a value as it is used; raise when it is none of the key's kind."""
    found: Any = None
    match key.kind:
        case Kind.TEXT | Kind.QUERY if isinstance(value, str) and value.strip() and value.isprintable():
            found = value.strip()
        case Kind.PATH if isinstance(value, str) and value and "\0" not in value:
            found = file.located(value)
        case Kind.SWITCH if isinstance(value, bool):
            found = value
        case Kind.COUNT if isinstance(value, int) and not isinstance(value, bool):
            found = value
        case Kind.SECONDS if isinstance(value, int | float | str) and not isinstance(value, bool):
            nanoseconds = parse_duration(value) if isinstance(value, str) else None
            found = value if not isinstance(value, str) else nanoseconds and nanoseconds / 1e9
        case Kind.SIZE if isinstance(value, int | str) and not isinstance(value, bool):
            found = parse_size(value) if isinstance(value, str) else value
        case Kind.PLACE if isinstance(value, str):
            found = _place(file, path, value)
        case Kind.PLACES | Kind.HOSTS if isinstance(value, list) and all(isinstance(one, str) for one in value):
            read = _place if key.kind is Kind.PLACES else _host
            found = tuple(dict.fromkeys(read(file, path, one) for one in value))
        case Kind.SETTING if isinstance(value, str | int) and not isinstance(value, bool):
            try:
                found = check_setting(path[-1], str(value))[1]
            except StatementError as problem:
                raise file.wrong_value(path, problem.message, *problem.hints) from None
    if found is None:
        said = f"{_shown(path)} is to be {key.kind.value}"
        raise file.wrong_value(path, said, f"it is {_kind(value)}" if not isinstance(value, str) else "")
    if isinstance(found, int | float) and not isinstance(found, bool) and not key.least <= found <= _MOST:
        raise file.wrong_value(path, f"{_shown(path)} is to be at least {key.least}, and at most {_MOST}")
    return found


_MOST = 10**12


def _kind(value: Any) -> str:
    if isinstance(value, list) and value:
        return "a list of other things"
    names = {bool: "true or false", int: "a whole number", float: "a number", list: "a list", dict: "a table"}
    return names.get(type(value), "a date or a time")


def _place(file: _File, path: Path, text: str) -> str:
    """Return `host[:port][/namespace]` in its written form; a scheme and a slash at its end are let pass."""
    place = text.removeprefix("https://").rstrip("/")
    if place.startswith("http://"):
        raise file.wrong_value(
            path, "a registry's host has no scheme", "for plain http name it without, and as insecure too"
        )
    try:
        reference = Reference.parse(f"{place}/x")
    except InvalidReference:
        reference = None
    host = place.partition("/")[0]
    if reference is None or reference.tag or (reference.registry == "docker.io" and "docker.io" not in host):
        raise file.wrong_value(
            path, "this is no registry's host, with its port and a namespace if need be",
            "such as registry.local:5000/team; a host without a dot needs its port",
        )  # fmt: skip
    namespace = place.partition("/")[2]
    return f"{reference.registry}/{namespace}" if namespace else reference.registry


def _host(file: _File, path: Path, text: str) -> str:
    """Return a host or an address range."""
    if "/" in text and text.replace(".", "").replace("/", "").replace(":", "").isalnum() and "://" not in text:
        from ipaddress import ip_network

        try:
            return str(ip_network(text, strict=False))
        except ValueError:
            pass
    if not text or any(sign in text for sign in "/@ ") or not text.isprintable():
        raise file.wrong_value(
            path, "this is neither a host nor a range of addresses", "such as registry.local:5000, or 10.0.0.0/8"
        )
    return text.lower()


# What is said of registries, together


def _registries(
    said: Mapping[Path, _Said],
) -> tuple[dict[str, Host], dict[str, tuple[str, ...]], frozenset[str], dict[str, Registry]]:
    """Return what is set for hosts, mirrors by the places they are of, insecure hosts, and the named registries."""
    hosts: dict[str, Host] = {}
    mirrors: dict[str, tuple[str, ...]] = {}
    insecure: set[str] = set()
    named: dict[str, Registry] = {}
    for path, one in said.items():
        if path[0] != "registry" or len(path) != 2:
            continue
        keys = {inner[2]: value for inner, value in said.items() if len(inner) == 3 and inner[:2] == path}
        place = keys["host"].value if "host" in keys else _named_place(path, one.file)
        host, _, namespace = place.partition("/")
        name = path[1].lower()
        if name in _SOURCES or (name in named):
            why = "another registry has this name" if name in named else "this is the name of another place"
            raise one.file.wrong_key(path, f"no registry can be called {path[1]!r}: {why}")
        if "host" in keys and not (_NAME.match(path[1]) or _is_place(path[1])):
            raise one.file.wrong_key(
                path, f"{path[1]!r} can be no registry's name", "letters, digits, - and _, and a letter first"
            )
        named[name] = Registry(name, host, namespace)
        if "mirrors" in keys:
            mirrors[place] = tuple(mirror for mirror in keys["mirrors"].value if mirror != place)
        if "insecure" in keys and keys["insecure"].value:
            insecure.add(host)
        own = _of_host(path, keys)
        if own is not None and hosts.setdefault(host, own) != own:
            raise one.file.wrong_key(
                path, f"another registry says other certificates or credentials for {host}", "say them once"
            )
    return hosts, mirrors, frozenset(insecure), named


def _is_place(text: str) -> bool:
    """Whether a name is the host that it stands for."""
    return any(sign in text for sign in ".:") or text == "localhost"


def _named_place(path: Path, file: _File) -> str:
    if not _is_place(path[1]):
        raise file.wrong_key(path, f"{_shown(path)} says no host", 'such as: host = "registry.local:5000"')
    return _place(file, path, path[1])


def _of_host(path: Path, keys: Mapping[str, _Said]) -> Host | None:
    """Return what is set for the host of a registry; None when that is nothing."""
    values = {name: one.value for name, one in keys.items()}
    ways = [name for name in _WAYS if name in values]
    if len(ways) > 1:
        raise keys[ways[1]].file.wrong_key((*path, ways[1]), f"there are two ways to credentials: {', '.join(ways)}")
    for name, needed in (("certificate", "key"), ("key", "certificate")):
        if name in values and needed not in values:
            raise keys[name].file.wrong_key((*path, name), f"{name} needs {needed} beside it")
    secret = bool({"password-file", "password-variable"} & values.keys())
    if secret and "user" not in values:
        raise keys[ways[0]].file.wrong_key((*path, ways[0]), f'{ways[0]} needs user beside it ("<token>" for a token)')
    if "user" in values and not secret:
        raise keys["user"].file.wrong_key((*path, "user"), "user needs password-file or password-variable beside it")
    variable, helper = values.get("password-variable", ""), values.get("credentials-helper", "")
    if variable and not _VARIABLE.match(variable):
        raise keys["password-variable"].file.wrong_value((*path, "password-variable"), "this is no variable's name")
    if "/" in helper:
        raise keys["credentials-helper"].file.wrong_value(
            (*path, "credentials-helper"), "a helper is named by what follows docker-credential- in its name"
        )
    found = Host(
        values.get("ca", ""),
        values.get("certificate", ""),
        values.get("key", ""),
        values.get("user", ""),
        variable,
        values.get("password-file", ""),
        helper,
        values.get("credentials-file", ""),
    )
    return found if found != Host() else None
