"""The fields of JSON documents and their types, as declared by the structs of tools that are written in Go.

Go matches keys to fields case-insensitively, and of several matches the last wins. Python compares keys exactly. So a
document with such keys is ambiguous, and is rejected. Maps with arbitrary keys (labels, annotations, environment) are
not structs: their keys are data.

A field with a wrong type is an error for every tool if the OCI specification has the field, and only for docker if
docker has added it. Errors of the first kind are raised, those of the second kind are returned.
"""

from __future__ import annotations

from imq.engine.units.exact_json import JsonNumber
from imq.grammar.errors import Malformed
from imq.grammar.record import TYPE_CHECKING

from .timestamp import is_rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    Doubts = list["_WrongTypeError"]
    Check = Callable[[Any, Doubts], None]
    """Checks a value that is not null, and raises `_FieldError`; errors for docker alone are appended to the list."""

_MAX_INTEGER = (1 << 63) - 1
_TYPE_NAMES = {
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    JsonNumber: "a number",
    dict: "an object",
    list: "a list",
}


class _FieldError(Exception):
    """An error in a document. `path` is the path to the value, from the inside out."""

    code = "document"
    hints: tuple[str, ...] = ()

    def __init__(self, problem: str, *path: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.path = list(path)

    def __str__(self) -> str:
        """Return the path from the outside in, and the problem. Example: `config.Labels['a'] is a number`."""
        path = "".join(reversed(self.path)).removeprefix(".")
        return f"{path or 'the document'} {self.problem}"


class _WrongTypeError(_FieldError):
    """A value that does not have the type of its field."""

    def __init__(self, expected: str, value: object) -> None:
        super().__init__(f"is {_TYPE_NAMES.get(type(value), 'null')}, expected {expected}")


class _AmbiguousKeyError(_FieldError):
    """A key that case-insensitive tools confuse with another one."""

    code = "ambiguous-key"
    hints = (
        "most tools ignore the case of keys, so the document is ambiguous",
        "build the image again",
    )


class Struct:
    """The fields of an object, by their exact keys; `docker` has the fields that docker has added."""

    __slots__ = ("_docker", "_fields", "_folded")

    def __init__(self, fields: Mapping[str, Check], docker: Mapping[str, Check] | None = None) -> None:
        self._fields = fields
        self._docker = docker or {}
        self._folded: dict[str, str] = {}
        """The exact key of each case-folded key; built when the first unknown key is checked."""

    def check(self, document: Any, name: str) -> tuple[str, ...]:
        """Raise `Malformed` for ambiguous keys and for fields with wrong types; `name` names the document in errors.

        Returns the errors in fields that docker has added.
        """
        doubts: Doubts = []
        try:
            self(document, doubts)
        except _FieldError as problem:
            raise Malformed(f"{name}: {problem}", code=problem.code, hints=problem.hints) from None
        return tuple(f"{name}: {doubt}" for doubt in doubts)

    def __call__(self, document: Any, doubts: Doubts) -> None:
        """Check an object; errors for docker alone are appended to `doubts`."""
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
        """Check the keys that are not in the specification."""
        seen: dict[str, str] = {}
        for key in others:
            field = self._docker.get(key)
            if field is None:
                folded = fold_case(key)
                match = self._find_field(folded) or seen.setdefault(folded, key)
                if match != key:
                    raise _AmbiguousKeyError(f"has the key {key[:60]!r}, which most tools read as {match[:60]!r}")
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


def match_fields(document: Mapping[str, Any], fields: Iterable[str], name: str) -> dict[str, Any]:
    """Return an object in which the keys of `fields` are written as there: Go's readers ignore their case.

    Raises `Malformed` (`ambiguous-key`) when two keys are the same field; `name` names the object in the error. Other
    keys are unchanged.
    """
    folded = {fold_case(field): field for field in fields}
    written: dict[str, str] = {}
    matched: dict[str, Any] = {}
    for key, value in document.items():
        field = folded.get(fold_case(key), key)
        if written.setdefault(field, key) != key:
            raise Malformed(
                f"{name} has the keys {written[field]!r} and {key[:60]!r}, which most tools read as one",
                code=_AmbiguousKeyError.code,
                hints=(f"leave only {field!r}",),
            )
        matched[field] = value
    return matched


def fold_case(key: str) -> str:
    """Return the case-folded key: two results are equal exactly if Go's `strings.EqualFold` is true for the keys."""
    if key.isascii():
        return key.lower()
    return "".join(map(_fold_character, key))


def _fold_character(character: str) -> str:
    """Return the simple case folding of a character. Examples: s for U+017F, k for U+212A."""
    folded = character.casefold()
    if len(folded) == 1:
        return folded
    lower = character.lower()
    return lower if len(lower) == 1 else character


def _check_any(_value: Any, _doubts: Doubts) -> None:
    """Accept any value: its reader checks it."""


def _check_string(value: Any, _doubts: Doubts) -> None:
    if type(value) is not str:
        raise _WrongTypeError("a string", value)


def _check_boolean(value: Any, _doubts: Doubts) -> None:
    if type(value) is not bool:
        raise _WrongTypeError("a boolean", value)


def _check_integer(value: Any, _doubts: Doubts) -> None:
    if type(value) is not int or not -_MAX_INTEGER <= value <= _MAX_INTEGER:
        raise _WrongTypeError("an integer", value)


def _check_time(value: Any, _doubts: Doubts) -> None:
    if type(value) is not str or not is_rfc3339(value):
        raise _WrongTypeError("an RFC 3339 time", value)


def _check_base64(value: Any, _doubts: Doubts) -> None:
    from binascii import a2b_base64  # rarely needed

    try:
        a2b_base64(value, strict_mode=True)
    except (TypeError, ValueError):
        raise _WrongTypeError("base64", value) from None


def _list_of(item: Check) -> Check:
    def check(value: Any, doubts: Doubts) -> None:
        if type(value) is not list:
            raise _WrongTypeError("a list", value)
        for index, one in enumerate(value):
            if one is not None:
                try:
                    item(one, doubts)
                except _FieldError as problem:
                    problem.path.append(f"[{index}]")
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
    """Check a command: a list of strings, or a single string, which docker accepts too."""
    if type(value) is not str:
        _check_strings(value, doubts)


_check_strings = _list_of(_check_string)
_check_string_map = _map_of(_check_string)
_check_set = _map_of(Struct({}))
"""Checks a set in Go's form: a map with empty objects as values."""

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
"""An image config of OCI or docker."""

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
"""A descriptor; its digest and size are checked by its parser."""

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
"""A manifest, an index, the index.json of a layout, or a list of referrers, without the descriptors in them."""

ARCHIVE_IMAGE = Struct(
    {
        "Config": _check_string,
        "RepoTags": _check_strings,
        "Layers": _check_strings,
        "Parent": _check_string,
        "LayerSources": _map_of(DESCRIPTOR),
    },
)
"""An entry of manifest.json in docker's archives."""

LAYOUT = Struct({"imageLayoutVersion": _check_string})
"""The file oci-layout of an image layout."""
