"""Versions in tags: what `7.2`, `v1.14.3-alpine` and `3.13.0rc1` say, and in which order they stand.

A tag is a version when it begins with a number (after a `v`, if there is one) of up to four parts. What follows is a
prerelease when it begins with a word for one (`rc1`, `beta.2`, `alpha`, `SNAPSHOT` …); the rest is the variant, by
which images are built in streams (`alpine`, `bookworm-slim`). Everything else (`latest`, `3f5ab2`, `pr-12`) is none.
"""

from __future__ import annotations

import re
from functools import lru_cache

from imq.grammar.record import Record

SEPARATOR = "\x1f"
"""Between the key and the text of a version, in the one value that SQL sorts and compares."""
_NUMBERS = re.compile(r"[vV]?(\d{1,18}(?:\.\d{1,18}){0,3})(?![\d.])", re.ASCII)
_PRERELEASE = re.compile(
    r"(?:alpha|beta|rc|pre|preview|dev|snapshot|nightly|canary|next|test|eap|ea|cr|milestone|m|a|b)(?:[.-]?\d+)*"
    r"(?=[-_.+]|\Z)",
    re.ASCII | re.IGNORECASE,
)
_BUILD = re.compile(r"\d{1,18}(?=[-_+]|\Z)", re.ASCII)
_IDENTIFIERS = re.compile(r"\d+|[a-z]+", re.ASCII)


class Version(Record):
    """A version. `text` is the tag; minor and patch are None when the tag leaves them out.

    `key` is a text that sorts as versions do: a prerelease before its release, numbers as numbers. Parts left out count
    as 0, and the variant does not count: `7.2`, `v7.2.0` and `7.2-alpine` have one key.
    """

    text: str
    key: str
    major: int
    minor: int | None
    patch: int | None
    prerelease: str | None
    variant: str | None


def parse_version(text: str) -> Version | None:
    """Return the version that a tag says, None when it says none.

    A number alone behind the numbers (`1.2.3-4`) is a further build of that version, as packagers count them.
    """
    parts = parse_version_parts(text)
    if parts is None:
        return None
    raw, major, minor, patch, prerelease, variant = parts
    return Version(text, raw.partition(SEPARATOR)[0], major, minor, patch, prerelease, variant)


def parse_version_parts(text: str) -> tuple[str, int, int | None, int | None, str | None, str | None] | None:
    """Return what `parse_version` tells as plain values: key and text in one, major, minor, patch, prerelease, variant.

    Lists have hundreds of thousands of tags, and making a record takes as long as all the rest.
    """
    found = _NUMBERS.match(text)
    if found is None:
        return None
    numbers = found[1].split(".")
    count, end = len(numbers), found.end()
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
"""What stands for the numbers that a version leaves out, by how many it has."""


@lru_cache(maxsize=4096)
def _make_sortable(digits: str) -> str:
    """Write a number so that texts sort as numbers do: its length first."""
    digits = digits.lstrip("0") or "0"
    return f"{len(digits):02}{digits}"


def _make_prerelease_key(prerelease: str) -> str:
    words = _IDENTIFIERS.findall(prerelease.lower())
    return " ".join(f"0{_make_sortable(word)}" if word.isdigit() else f"1{word}" for word in words)
