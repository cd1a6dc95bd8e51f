"""Semantic versions, as npm and Go compare them: `MAJOR.MINOR.PATCH[-PRERELEASE][+BUILD]`.

The build does not count. Omitted numbers are 0, which node-semver accepts in ranges and Go in versions.
"""

from __future__ import annotations

import re

from .sort_key import encode_number, encode_word

_NUMBERS = r"([0-9]+)(?:\.([0-9]+)(?:\.([0-9]+))?)?"
_IDENTIFIERS = r"[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*"
_NPM = re.compile(rf"[v=\s]*{_NUMBERS}(?:-?((?:(?<=-)|(?![0-9])){_IDENTIFIERS}))?(?:\+{_IDENTIFIERS})?")
_GO = re.compile(rf"v?{_NUMBERS}(?:-({_IDENTIFIERS}))?(?:\+{_IDENTIFIERS})?")
_GO_RELEASE = re.compile(rf"(?:go)?{_NUMBERS}(rc|beta|alpha)([0-9]+)")
_PRERELEASE, _RELEASE = b"\x01", b"\x02"
_END, _NUMBER, _WORD = b"\x01", b"\x02", b"\x03"


def make_npm_key(text: str) -> bytes | None:
    """Return the key of a version of an npm package, in the loose spellings of node-semver too; None for others."""
    match = _NPM.fullmatch(text.strip())
    return _make_key(match.groups()) if match is not None else None


def make_go_key(text: str) -> bytes | None:
    """Return the key of a version of a Go module, with or without `v`, or of Go itself; None for others.

    The order of pseudo-versions (`v0.0.0-20210908233432-aa78b53d3365`) is that of their times, and `+incompatible` is a
    build. Releases of Go are `1.22.4` and `1.23rc1`, here as everywhere: `1.22` is `1.22.0`.
    """
    text = text.strip().partition(" ")[0].removeprefix("go")
    match = _GO.fullmatch(text)
    if match is not None:
        return _make_key(match.groups())
    release = _GO_RELEASE.fullmatch(text)
    if release is None:
        return None
    return _make_key((*release.groups()[:3], f"{release[4]}.{release[5]}"))


def _make_key(parts: tuple[str | None, ...]) -> bytes:
    major, minor, patch, prerelease = parts
    key = b"".join(encode_number(number or "") for number in (major, minor, patch))
    if not prerelease:
        return key + _RELEASE
    pieces = [key, _PRERELEASE]
    for identifier in prerelease.split("."):
        is_number = identifier.isdecimal()
        pieces.append(_NUMBER + encode_number(identifier) if is_number else _WORD + encode_word(identifier))
    return b"".join(pieces) + _END
