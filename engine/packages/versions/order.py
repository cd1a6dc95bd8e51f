"""The keys of versions by the type of their package, and what a version means as the bound of a condition."""

from __future__ import annotations

from functools import cache, lru_cache
from importlib import import_module

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_MAKE_KEY = {
    "deb": ("debian", "make_key"),
    "apk": ("alpine", "make_key"),
    "rpm": ("rpm", "make_key"),
    "python": ("python", "make_key"),
    "npm": ("semantic", "make_npm_key"),
    "go": ("semantic", "make_go_key"),
    "gem": ("ruby", "make_key"),
}
"""The function for each type, and its module, which is imported when a version of the type is first read."""
_MAX_LENGTH = 4096
"""The most characters of a version. Longer ones are no versions, and their keys would only fill the index."""


@lru_cache(maxsize=4096)
def version_key(package_type: str, version: str) -> bytes | None:
    """Return bytes whose order is that of versions by the rules of a package system (`PACKAGE_TYPES`).

    Versions that are equal by these rules (`1.0` and `1.0-0` of Debian) have the same key. None: not a version in this
    system, so that its order is unknown. Raises `KeyError` for another type.
    """
    make_key = _find_function(package_type)
    return make_key(version) if len(version) <= _MAX_LENGTH else None


@cache
def _find_function(package_type: str) -> Callable[[str], bytes | None]:
    module, name = _MAKE_KEY[package_type]
    function: Callable[[str], bytes | None] = getattr(import_module(f".{module}", __package__), name)
    return function


def version_range(package_type: str, version: str) -> tuple[bytes, bytes] | None:
    """Return the lowest and the highest key that equal a bound; None if the bound is not a version in this system.

    `version < B` is `key < lowest`, `<=` is `key <= highest`, `=` is `key BETWEEN lowest AND highest`, `>=` is
    `key >= lowest`, `>` is `key > highest`. The two differ only for a bound of RPM without release, which equals every
    release of its version, as in the dependencies of packages. For dpkg and apk a missing revision is one of its own,
    older than most: `<= 1.2` does not hold for `1.2-1` and `1.2-r0`.
    """
    key = version_key(package_type, version)
    if key is None:
        return None
    if package_type == "rpm" and "-" not in version:
        from .rpm import AFTER_ALL_RELEASES

        return key, key + AFTER_ALL_RELEASES
    return key, key


def compare_versions(package_type: str, left: str, right: str) -> int | None:
    """Return -1, 0 or 1 as `left` is older than, equal to or newer than `right`; None if either is not a version."""
    first, second = version_key(package_type, left), version_key(package_type, right)
    if first is None or second is None:
        return None
    return (first > second) - (first < second)


def is_version(text: str) -> bool:
    """Whether a string is a version in any package system."""
    return any(version_key(package_type, text) is not None for package_type in _MAKE_KEY)


SEPARATOR = "\x1f"
"""Follows the key in `encode_version`, as in `oci/tag_version.py`."""


def encode_version(package_type: str, version: str) -> str:
    """Return a version for a database: its type and key, whose order SQLite knows, then `SEPARATOR` and its text."""
    key = version_key(package_type, version)
    return f"{package_type}:{key.hex() if key is not None else ''}{SEPARATOR}{version}"


@lru_cache(maxsize=256)
def _encode_range(package_type: str, bound: str) -> tuple[str, str] | None:
    keys = version_range(package_type, bound)
    return None if keys is None else (keys[0].hex(), keys[1].hex())


def compare_with_bound(encoded: str, bound: str) -> int | None:
    """Return -1, 0 or 1 as an encoded version is older than, equal to or newer than a bound, by the rules of its type.

    None: one of them is no version in that system, and they are not the same string.
    """
    head, _, text = encoded.partition(SEPARATOR)
    package_type, _, key = head.partition(":")
    keys = _encode_range(package_type, bound) if package_type in _MAKE_KEY else None
    if keys is None or not key:
        return 0 if text == bound else None
    return -1 if key < keys[0] else 1 if key > keys[1] else 0
