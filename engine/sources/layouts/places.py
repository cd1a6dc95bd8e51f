"""The places on disk that statements name: `oci:DIR`, `docker-archive:FILE`, a path."""

from __future__ import annotations

import os

from imq.engine.units.paths import expand_path
from imq.grammar.errors import NotFound, StatementError
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Mapping

OCI, OCI_ARCHIVE, DOCKER_ARCHIVE, DIR = "oci", "oci-archive", "docker-archive", "dir"
STORAGE = "containers-storage"
FOLDER, ARCHIVE = "folder", "archive"
"""Kinds of a path without a prefix; `inspect_kind` determines the form when the path is read."""
LAYOUT_KIND, STORAGE_KIND = "an image layout or archive", "the storage of Podman"
"""The kinds of the two sources, for messages."""
FORMS = ("oci:DIR", "oci-archive:FILE", "docker-archive:FILE", "dir:DIR", "containers-storage:[ROOT]")
"""How places are written, for help and completion."""
LISTINGS = {
    OCI: ("index.json",),
    OCI_ARCHIVE: ("index.json",),
    DIR: ("index.json",),
    DOCKER_ARCHIVE: ("manifest.json", "repositories"),
    STORAGE: ("index.json", "manifest.json"),
    FOLDER: ("index.json", "manifest.json", "repositories"),
    ARCHIVE: ("index.json", "manifest.json", "repositories"),
}
"""The files that list the images of a place, by its kind."""
PREFIXES = tuple(form[: form.index(":") + 1] for form in FORMS)
"""The beginnings of places, for completion."""
_PATH_BEGINNINGS = ("/", "./", "../", "~/")
_ARCHIVE_ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.zst", ".tar.xz", ".tar.bz2")
_ROOT_STORAGE = "/var/lib/containers/storage"
_USER_STORAGE = "containers/storage"


class Place(Record):
    """A place on disk: `text` is how the user wrote it, `kind` a key of `LISTINGS`, `path` the file or folder."""

    text: str
    kind: str
    path: str


def parse_place(text: str, folder: str, home: str | None, environment: Mapping[str, str]) -> Place | None:
    """Return the place that a string names; None when it names none. The disk is not accessed.

    A string without a prefix is a path when it begins like one (`/`, `./`, `../`, `~/`), or when it has the ending of
    an archive (`backup.tar`). Everything else can be a registry. A relative path begins at `folder`. Raises
    `StatementError` for a prefix without a path.
    """
    prefix, colon, rest = text.partition(":")
    if colon and prefix == STORAGE:
        root = rest[1:-1] if rest.startswith("[") and rest.endswith("]") else rest
        return Place(text, STORAGE, expand_path(root, folder, home) if root else find_storage(home, environment))
    if colon and prefix in (OCI, OCI_ARCHIVE, DOCKER_ARCHIVE, DIR):
        if not rest:
            form = next(form for form in FORMS if form.startswith(f"{prefix}:"))
            raise StatementError(f'"{text}" has no path', code="path", hints=(f"write it as {form}",))
        return Place(text, prefix, expand_path(rest, folder, home))
    if is_path(text):
        return Place(text, ARCHIVE if text.endswith(_ARCHIVE_ENDINGS) else FOLDER, expand_path(text, folder, home))
    return None


def name_match(pattern: str, path: str, folder: str) -> str:
    """Return the string that names a path, with the prefix of a pattern and relative to `folder` where that is."""
    prefix = next((prefix for prefix in PREFIXES if pattern.startswith(prefix)), "")
    if not pattern.removeprefix(prefix).startswith(("/", "~/")):
        path = os.path.relpath(path, folder)
    return f"{prefix}{path}" if prefix or is_path(path) else f"./{path}"


def is_path(text: str) -> bool:
    """Whether a string can only be a path, and not the name of a registry."""
    if text.startswith(_PATH_BEGINNINGS) or text in (".", ".."):
        return True
    return text.endswith(_ARCHIVE_ENDINGS) and not ("/" in text and _is_like_host(text.partition("/")[0]))


def _is_like_host(text: str) -> bool:
    return "." in text or ":" in text or text == "localhost"


def find_storage(home: str | None, environment: Mapping[str, str]) -> str:
    """Return the root of the user's storage: that of the system for root, else the one in the user's home."""
    if os.geteuid() == 0:
        return _ROOT_STORAGE
    data = environment.get("XDG_DATA_HOME", "")
    if not os.path.isabs(data):
        data = os.path.join(home or "/", ".local/share")
    return os.path.join(data, _USER_STORAGE)


def has_storage(root: str) -> bool:
    """Whether a folder is the root of a storage with images."""
    try:
        lists = [os.path.join(root, name, "images.json") for name in os.listdir(root) if name.endswith("-images")]
        return any(os.path.getsize(path) > len("[]\n") for path in lists)
    except OSError:
        return False


def inspect_kind(place: Place) -> Place:
    """Return the place; a path without a prefix gets the kind of the folder there. Raises `NotFound`."""
    if not os.path.exists(place.path):
        hints = ("archives of docker save and imq save can be read, and OCI layouts",)
        raise NotFound(f"no such file: {place.path}", hints=hints)
    if place.kind not in (FOLDER, ARCHIVE):
        return place
    if not os.path.isdir(place.path):
        return place.replace(kind=ARCHIVE)
    names = set(os.listdir(place.path))
    if "index.json" in names:
        return place
    if any(name.endswith("-images") for name in names):
        return place.replace(kind=STORAGE)
    if {"manifest.json", "version"} <= names:
        return place.replace(kind=DIR)
    return place
