"""Parses and orders versions in tags, such as `7.2`, `v1.14.3-alpine` and `3.13.0rc1`.

A tag is a version when it begins with an optional `v` and a number of up to four parts. The rest is a prerelease if it
begins with a word for one (`rc1`, `beta.2`, `alpha`, `SNAPSHOT` …); the remainder is the variant (`alpine`,
`bookworm-slim`). Other tags (`latest`, `3f5ab2`, `pr-12`) are not versions.
"""

from __future__ import annotations

import re
from functools import lru_cache

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    VersionParts = tuple[str, int, int | None, int | None, str | None, str | None]

SEPARATOR = "\x1f"
"""Separates the sort key and the text of a version, in the single value that SQL sorts and compares."""
_NUMBERS = re.compile(r"[vV]?(\d{1,18}(?:\.\d{1,18}){0,3})(?![\d.])", re.ASCII)
_PRERELEASE = re.compile(
    r"(?:alpha|beta|rc|pre|preview|dev|snapshot|nightly|canary|next|test|eap|ea|cr|milestone|m|a|b)(?:[.-]?\d+)*"
    r"(?=[-_.+]|\Z)",
    re.ASCII | re.IGNORECASE,
)
_BUILD = re.compile(r"\d{1,18}(?=[-_+]|\Z)", re.ASCII)
_IDENTIFIERS = re.compile(r"\d+|[a-z]+", re.ASCII)


def parse_version(text: str) -> VersionParts | None:
    """Return the version of a tag; None when the tag is not a version.

    Its parts are the value for SQL (sort key, `SEPARATOR`, tag), major, minor, patch, prerelease and variant. Minor and
    patch are None when the tag omits them. A number after the version (`1.2.3-4`) is a build number, as in packages of
    distributions.

    The key is a string that sorts in the order of versions: numerically, and a prerelease before its release. Omitted
    parts count as 0, and the variant is ignored: `7.2`, `v7.2.0` and `7.2-alpine` have the same key.

    Lists can have hundreds of thousands of tags, and creating a record would take as long as the parsing.
    """
    match = _NUMBERS.match(text)
    if match is None:
        return None
    numbers = match[1].split(".")
    count, end = len(numbers), match.end()
    key = ".".join(map(_make_sortable, numbers)) + _DEFAULT_PARTS[count]
    major, minor = int(numbers[0]), int(numbers[1]) if count > 1 else None
    patch = int(numbers[2]) if count > 2 else None
    if end == len(text):
        return f"{key}#{SEPARATOR}{text}", major, minor, patch, None, None
    rest = text[end:]
    if rest[0] in "-_+.":
        rest = rest[1:]
        if build := _BUILD.match(rest):
            key += f".{_make_sortable(build[0])}"
            rest = rest[build.end() + 1 :]
    elif count == 1 or _PRERELEASE.match(rest) is None:
        return None
    prerelease = _PRERELEASE.match(rest)
    if prerelease is None:
        return f"{key}#{SEPARATOR}{text}", major, minor, patch, None, rest or None
    variant = rest[prerelease.end() :].lstrip("-_.+") or None
    return f"{key}!{_make_prerelease_key(prerelease[0])}{SEPARATOR}{text}", major, minor, patch, prerelease[0], variant


_DEFAULT_PARTS = ("", ".010.010.010", ".010.010", ".010", "")
"""The key of the omitted parts of a version, by the number of its parts."""


@lru_cache(maxsize=4096)
def _make_sortable(digits: str) -> str:
    """Return a string for a number that sorts numerically: its length comes first."""
    digits = digits.lstrip("0") or "0"
    return f"{len(digits):02}{digits}"


def _make_prerelease_key(prerelease: str) -> str:
    words = _IDENTIFIERS.findall(prerelease.lower())
    return " ".join(f"0{_make_sortable(word)}" if word.isdigit() else f"1{word}" for word in words)
