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

from .timestamp import is_time

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    Doubts = list["_MistypedError"]
    Check = Callable[[Any, Doubts], None]
    """Checks a value that is not null, and raises `_FieldError`; what is wrong for docker alone goes to the list."""

_LARGEST_INTEGER = (1 << 63) - 1
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


class _MistypedError(_FieldError):
    """A value of another type than its field."""

    def __init__(self, expected: str, value: object) -> None:
        super().__init__(f"is {_TYPE_NAMES.get(type(value), 'null')}, and {expected} is expected")


class _AmbiguousError(_FieldError):
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

    def check(self, document: Any, what: str) -> tuple[str, ...]:
        """Raise `Malformed` for keys that Go's readers confuse and for fields of other types.

        `what` names the document in errors. Returns what is wrong with fields that only docker's readers know.
        """
        doubts: Doubts = []
        try:
            self(document, doubts)
        except _FieldError as problem:
            raise Malformed(f"{what}: {problem}", code=problem.code, hints=problem.hints) from None
        return tuple(f"{what}: {doubt}" for doubt in doubts)

    def __call__(self, document: Any, doubts: Doubts) -> None:
        """Check an object within another."""
        if type(document) is not dict:
            raise _MistypedError("an object", document)
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
            self._check_others(document, others, doubts)

    def _check_others(self, document: Mapping[str, Any], others: list[str], doubts: Doubts) -> None:
        """Check the keys that are no fields of the specification."""
        met: dict[str, str] = {}
        for key in others:
            field = self._docker.get(key)
            if field is None:
                folded = fold(key)
                known = self._known(folded) or met.setdefault(folded, key)
                if known != key:
                    raise _AmbiguousError(f"has the key {key[:60]!r}, which readers take for {known[:60]!r}")
            elif (value := document[key]) is not None:
                inner: Doubts = []
                try:
                    field(value, inner)
                except _MistypedError as problem:
                    inner.append(problem)
                except _AmbiguousError as problem:
                    problem.path.append(f".{key}")
                    raise
                for doubt in inner:
                    doubt.path.append(f".{key}")
                doubts += inner

    def _known(self, folded: str) -> str | None:
        if not self._folded:
            self._folded = {fold(key): key for key in (*self._fields, *self._docker)}
        return self._folded.get(folded)


def fold(key: str) -> str:
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


def _free(_value: Any, _doubts: Doubts) -> None:
    """Take any value: it is checked by whoever reads it."""


def _text(value: Any, _doubts: Doubts) -> None:
    if type(value) is not str:
        raise _MistypedError("a text", value)


def _boolean(value: Any, _doubts: Doubts) -> None:
    if type(value) is not bool:
        raise _MistypedError("a boolean", value)


def _integer(value: Any, _doubts: Doubts) -> None:
    if type(value) is not int or not -_LARGEST_INTEGER <= value <= _LARGEST_INTEGER:
        raise _MistypedError("a whole number", value)


def _time(value: Any, _doubts: Doubts) -> None:
    if type(value) is not str or not is_time(value):
        raise _MistypedError("a time of RFC 3339", value)


def _base64(value: Any, _doubts: Doubts) -> None:
    from binascii import a2b_base64  # hardly any document has such a field

    try:
        a2b_base64(value, strict_mode=True)
    except (TypeError, ValueError):
        raise _MistypedError("base64", value) from None


def _list_of(item: Check) -> Check:
    def check(value: Any, doubts: Doubts) -> None:
        if type(value) is not list:
            raise _MistypedError("a list", value)
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
            raise _MistypedError("an object", value)
        for key, one in value.items():
            if one is not None:
                try:
                    item(one, doubts)
                except _FieldError as problem:
                    problem.path.append(f"[{key[:60]!r}]")
                    raise

    return check


def _words(value: Any, doubts: Doubts) -> None:
    """Check a command: a list of texts, or the one text that docker takes, too."""
    if type(value) is not str:
        _texts(value, doubts)


_texts = _list_of(_text)
_text_map = _map_of(_text)
_set = _map_of(Struct({}))
"""Checks a set as Go writes it: a map to empty objects."""

_HEALTHCHECK = Struct(
    {
        "Test": _texts,
        "Interval": _integer,
        "Timeout": _integer,
        "StartPeriod": _integer,
        "StartInterval": _integer,
        "Retries": _integer,
    }
)
_RUNTIME = Struct(
    {
        "User": _text,
        "ExposedPorts": _set,
        "Env": _texts,
        "Entrypoint": _words,
        "Cmd": _words,
        "Volumes": _set,
        "WorkingDir": _text,
        "Labels": _text_map,
        "StopSignal": _text,
        "ArgsEscaped": _boolean,
    },
    {
        "Hostname": _text,
        "Domainname": _text,
        "AttachStdin": _boolean,
        "AttachStdout": _boolean,
        "AttachStderr": _boolean,
        "Tty": _boolean,
        "OpenStdin": _boolean,
        "StdinOnce": _boolean,
        "Healthcheck": _HEALTHCHECK,
        "Image": _text,
        "NetworkDisabled": _boolean,
        "MacAddress": _text,
        "OnBuild": _texts,
        "StopTimeout": _integer,
        "Shell": _words,
    },
)
_HISTORY = Struct(
    {"created": _time, "created_by": _text, "author": _text, "comment": _text, "empty_layer": _boolean},
)
CONFIG = Struct(
    {
        "created": _time,
        "author": _text,
        "architecture": _text,
        "os": _text,
        "os.version": _text,
        "os.features": _texts,
        "variant": _text,
        "config": _RUNTIME,
        "rootfs": Struct({"type": _text, "diff_ids": _texts}),
        "history": _list_of(_HISTORY),
    },
    {
        "id": _text,
        "parent": _text,
        "comment": _text,
        "container": _text,
        "container_config": _RUNTIME,
        "docker_version": _text,
    },
)
"""An image config, OCI's and docker's."""

PLATFORM = Struct(
    {
        "architecture": _text,
        "os": _text,
        "os.version": _text,
        "os.features": _texts,
        "variant": _text,
    },
    {"features": _texts},
)
DESCRIPTOR = Struct(
    {
        "mediaType": _text,
        "digest": _free,
        "size": _free,
        "urls": _texts,
        "annotations": _text_map,
        "data": _base64,
        "platform": PLATFORM,
        "artifactType": _text,
    },
)
"""A descriptor; its digest and size have errors of their own."""

MANIFEST = Struct(
    {
        "schemaVersion": _integer,
        "mediaType": _text,
        "artifactType": _text,
        "config": _free,
        "layers": _free,
        "manifests": _free,
        "subject": _free,
        "annotations": _text_map,
        "fsLayers": _free,
        "history": _free,
    },
)
"""A manifest, an index, the index.json of a layout and the answer to a question for referrers; not what they list."""

ARCHIVE_IMAGE = Struct(
    {"Config": _text, "RepoTags": _texts, "Layers": _texts, "Parent": _text, "LayerSources": _map_of(DESCRIPTOR)},
)
"""An entry of the manifest.json of docker's archives."""

LAYOUT = Struct({"imageLayoutVersion": _text})
"""The oci-layout file of an image layout."""
