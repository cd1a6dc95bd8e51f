"""The objects of the formats and the types of their fields, as the structs of Go's readers declare them.

Go's readers match a key to a field without regard to case, and of several matches the last wins. Python's compare keys
exactly. A document with such keys has two meanings, so it is refused. Maps with free keys (labels, annotations,
environment) are no structs: their keys are data.

A field of another type ends every reader of the OCI specification; those that docker added end only docker's. The first
are refused here, too, and the second are reported.
"""

from __future__ import annotations

from imq.grammar.errors import Malformed
from imq.grammar.record import TYPE_CHECKING

from .timestamp import is_rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    Doubts = list["_WrongTypeError"]
    Check = Callable[[Any, Doubts], None]
    """Checks a value that is not null, and raises `_FieldError`; what is wrong for docker alone goes to the list."""

_MAX_INTEGER = (1 << 63) - 1
_TYPE_NAMES = {str: "a text", bool: "a boolean", int: "a number", float: "a number", dict: "an object", list: "a list"}


class _FieldError(Exception):
    """What is wrong inside of a document. `path` leads to it from the inside out."""

    code = "document"
    hints: tuple[str, ...] = ()

    def __init__(self, problem: str, *path: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.path = list(path)

    def __str__(self) -> str:
        """Return where it is, from the outside in, and what is wrong: `config.Labels['a'] is a number`."""
        place = "".join(reversed(self.path)).removeprefix(".")
        return f"{place or 'the document'} {self.problem}"


class _WrongTypeError(_FieldError):
    """A value of another type than its field."""

    def __init__(self, expected: str, value: object) -> None:
        super().__init__(f"is {_TYPE_NAMES.get(type(value), 'null')}, and {expected} is expected")


class _AmbiguousKeyError(_FieldError):
    """A key that readers take for another one."""

    code = "ambiguous-key"
    hints = (
        "most tools match keys without regard to case: the document has two meanings",
        "build the image again",
    )


class Struct:
    """The fields of an object, by their exact keys; `docker` are those that only docker's readers know."""

    __slots__ = ("_docker", "_fields", "_folded")

    def __init__(self, fields: Mapping[str, Check], docker: Mapping[str, Check] | None = None) -> None:
        self._fields = fields
        self._docker = docker or {}
        self._folded: dict[str, str] = {}
        """The exact key of each folded one; made when a key is met that is no field."""

    def check(self, document: Any, name: str) -> tuple[str, ...]:
        """Raise `Malformed` for keys that Go's readers confuse and for fields of other types.

        `what` names the document in errors. Returns what is wrong with fields that only docker's readers know.
        """
        doubts: Doubts = []
        try:
            self(document, doubts)
        except _FieldError as problem:
            raise Malformed(f"{name}: {problem}", code=problem.code, hints=problem.hints) from None
        return tuple(f"{name}: {doubt}" for doubt in doubts)

    def __call__(self, document: Any, doubts: Doubts) -> None:
        """Check an object within another."""
        if type(document) is not dict:
            raise _WrongTypeError("an object", document)
        fields = self._fields
        others: list[str] = []
        known = len(doubts)
        for key, value in document.items():
            field = fields.get(key)
            if field is None:
                others.append(key)
            elif value is not None:
                try:
                    field(value, doubts)
                except _FieldError as problem:
                    problem.path.append(f".{key}")
                    raise
                if len(doubts) > known:
                    for doubt in doubts[known:]:
                        doubt.path.append(f".{key}")
                    known = len(doubts)
        if others:
            self._check_unknown_keys(document, others, doubts)

    def _check_unknown_keys(self, document: Mapping[str, Any], others: list[str], doubts: Doubts) -> None:
        """Check the keys that are no fields of the specification."""
        seen: dict[str, str] = {}
        for key in others:
            field = self._docker.get(key)
            if field is None:
                folded = fold_case(key)
                match = self._find_field(folded) or seen.setdefault(folded, key)
                if match != key:
                    raise _AmbiguousKeyError(f"has the key {key[:60]!r}, which readers take for {match[:60]!r}")
            elif (value := document[key]) is not None:
                inner: Doubts = []
                try:
                    field(value, inner)
                except _WrongTypeError as problem:
                    inner.append(problem)
                except _AmbiguousKeyError as problem:
                    problem.path.append(f".{key}")
                    raise
                for doubt in inner:
                    doubt.path.append(f".{key}")
                doubts += inner

    def _find_field(self, folded: str) -> str | None:
        if not self._folded:
            self._folded = {fold_case(key): key for key in (*self._fields, *self._docker)}
        return self._folded.get(folded)


def fold_case(key: str) -> str:
    """Return what equals that of another key exactly when Go's `strings.EqualFold` says so of the two."""
    if key.isascii():
        return key.lower()
    return "".join(map(_fold_character, key))


def _fold_character(character: str) -> str:
    """Return the simple case folding of a character: of U+017F it is s, of U+212A it is k."""
    folded = character.casefold()
    if len(folded) == 1:
        return folded
    lower = character.lower()
    return lower if len(lower) == 1 else character


def _check_any(_value: Any, _doubts: Doubts) -> None:
    """Take any value: it is checked by whoever reads it."""


def _check_string(value: Any, _doubts: Doubts) -> None:
    if type(value) is not str:
        raise _WrongTypeError("a text", value)


def _check_boolean(value: Any, _doubts: Doubts) -> None:
    if type(value) is not bool:
        raise _WrongTypeError("a boolean", value)


def _check_integer(value: Any, _doubts: Doubts) -> None:
    if type(value) is not int or not -_MAX_INTEGER <= value <= _MAX_INTEGER:
        raise _WrongTypeError("a whole number", value)


def _check_time(value: Any, _doubts: Doubts) -> None:
    if type(value) is not str or not is_rfc3339(value):
        raise _WrongTypeError("a time of RFC 3339", value)


def _check_base64(value: Any, _doubts: Doubts) -> None:
    from binascii import a2b_base64  # hardly any document has such a field

    try:
        a2b_base64(value, strict_mode=True)
    except (TypeError, ValueError):
        raise _WrongTypeError("base64", value) from None


def _list_of(item: Check) -> Check:
    def check(value: Any, doubts: Doubts) -> None:
        if type(value) is not list:
            raise _WrongTypeError("a list", value)
        for place, one in enumerate(value):
            if one is not None:
                try:
                    item(one, doubts)
                except _FieldError as problem:
                    problem.path.append(f"[{place}]")
                    raise

    return check


def _map_of(item: Check) -> Check:
    def check(value: Any, doubts: Doubts) -> None:
        if type(value) is not dict:
            raise _WrongTypeError("an object", value)
        for key, one in value.items():
            if one is not None:
                try:
                    item(one, doubts)
                except _FieldError as problem:
                    problem.path.append(f"[{key[:60]!r}]")
                    raise

    return check


def _check_command(value: Any, doubts: Doubts) -> None:
    """Check a command: a list of texts, or the one text that docker takes, too."""
    if type(value) is not str:
        _check_strings(value, doubts)


_check_strings = _list_of(_check_string)
_check_string_map = _map_of(_check_string)
_check_set = _map_of(Struct({}))
"""Checks a set as Go writes it: a map to empty objects."""

_HEALTHCHECK = Struct(
    {
        "Test": _check_strings,
        "Interval": _check_integer,
        "Timeout": _check_integer,
        "StartPeriod": _check_integer,
        "StartInterval": _check_integer,
        "Retries": _check_integer,
    }
)
_RUNTIME = Struct(
    {
        "User": _check_string,
        "ExposedPorts": _check_set,
        "Env": _check_strings,
        "Entrypoint": _check_command,
        "Cmd": _check_command,
        "Volumes": _check_set,
        "WorkingDir": _check_string,
        "Labels": _check_string_map,
        "StopSignal": _check_string,
        "ArgsEscaped": _check_boolean,
    },
    {
        "Hostname": _check_string,
        "Domainname": _check_string,
        "AttachStdin": _check_boolean,
        "AttachStdout": _check_boolean,
        "AttachStderr": _check_boolean,
        "Tty": _check_boolean,
        "OpenStdin": _check_boolean,
        "StdinOnce": _check_boolean,
        "Healthcheck": _HEALTHCHECK,
        "Image": _check_string,
        "NetworkDisabled": _check_boolean,
        "MacAddress": _check_string,
        "OnBuild": _check_strings,
        "StopTimeout": _check_integer,
        "Shell": _check_command,
    },
)
_HISTORY = Struct(
    {
        "created": _check_time,
        "created_by": _check_string,
        "author": _check_string,
        "comment": _check_string,
        "empty_layer": _check_boolean,
    },
)
CONFIG = Struct(
    {
        "created": _check_time,
        "author": _check_string,
        "architecture": _check_string,
        "os": _check_string,
        "os.version": _check_string,
        "os.features": _check_strings,
        "variant": _check_string,
        "config": _RUNTIME,
        "rootfs": Struct({"type": _check_string, "diff_ids": _check_strings}),
        "history": _list_of(_HISTORY),
    },
    {
        "id": _check_string,
        "parent": _check_string,
        "comment": _check_string,
        "container": _check_string,
        "container_config": _RUNTIME,
        "docker_version": _check_string,
    },
)
"""An image config, OCI's and docker's."""

PLATFORM = Struct(
    {
        "architecture": _check_string,
        "os": _check_string,
        "os.version": _check_string,
        "os.features": _check_strings,
        "variant": _check_string,
    },
    {"features": _check_strings},
)
DESCRIPTOR = Struct(
    {
        "mediaType": _check_string,
        "digest": _check_any,
        "size": _check_any,
        "urls": _check_strings,
        "annotations": _check_string_map,
        "data": _check_base64,
        "platform": PLATFORM,
        "artifactType": _check_string,
    },
)
"""A descriptor; its digest and size have errors of their own."""

MANIFEST = Struct(
    {
        "schemaVersion": _check_integer,
        "mediaType": _check_string,
        "artifactType": _check_string,
        "config": _check_any,
        "layers": _check_any,
        "manifests": _check_any,
        "subject": _check_any,
        "annotations": _check_string_map,
        "fsLayers": _check_any,
        "history": _check_any,
    },
)
"""A manifest, an index, the index.json of a layout and the answer to a question for referrers; not what they list."""

ARCHIVE_IMAGE = Struct(
    {
        "Config": _check_string,
        "RepoTags": _check_strings,
        "Layers": _check_strings,
        "Parent": _check_string,
        "LayerSources": _map_of(DESCRIPTOR),
    },
)
"""An entry of the manifest.json of docker's archives."""

LAYOUT = Struct({"imageLayoutVersion": _check_string})
"""The oci-layout file of an image layout."""
