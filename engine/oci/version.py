"""Versions in tags: what `7.2`, `v1.14.3-alpine` and `3.13.0rc1` say, and in which order they stand.

A tag is a version when it begins with a number (after a `v`, if there is one) of up to four parts. What follows is a
prerelease when it begins with a word for one (`rc1`, `beta.2`, `alpha`, `SNAPSHOT` …); the rest is the variant, by
which images are built in streams (`alpine`, `bookworm-slim`). Everything else (`latest`, `3f5ab2`, `pr-12`) is none.
"""

from __future__ import annotations

import re

from imq.grammar.record import Record

SEPARATOR = "\x1f"
"""Between the key and the text of a version, in the one value that SQL sorts and compares."""
_NUMBERS = re.compile(r"[vV]?(\d{1,18}(?:\.\d{1,18}){0,3})(?![\d.])", re.ASCII)
_EARLY = re.compile(
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

    @property
    def raw(self) -> str:
        """The key and the text, as one value of SQL."""
        return f"{self.key}{SEPARATOR}{self.text}"


def parse_version(text: str) -> Version | None:
    """Return the version that a tag says, None when it says none.

    A number alone behind the numbers (`1.2.3-4`) is a further build of that version, as packagers count them.
    """
    found = _NUMBERS.match(text)
    if found is None:
        return None
    numbers = [int(part) for part in found[1].split(".")]
    rest = text[found.end() :]
    glued = bool(rest) and rest[0] not in "-_+."
    if glued and (len(numbers) == 1 or _EARLY.match(rest) is None):
        return None
    rest = rest if glued else rest[1:]
    builds: list[int] = []
    if (build := _BUILD.match(rest)) and not glued:
        builds, rest = [int(build[0])], rest[build.end() + 1 :]
    early = _EARLY.match(rest)
    prerelease = early[0] if early else None
    variant = rest[early.end() :].lstrip("-_.+") if early else rest
    counted = [*numbers, *[0] * (4 - len(numbers)), *builds]
    key = ".".join(_number(number) for number in counted) + (f"!{_early_key(prerelease)}" if prerelease else "#")
    padded = [*numbers, None, None]
    return Version(text, key, numbers[0], padded[1], padded[2], prerelease, variant or None)


def _number(number: int) -> str:
    """Write a number so that texts sort as numbers do: its length first."""
    digits = str(number)
    return f"{len(digits):02}{digits}"


def _early_key(prerelease: str) -> str:
    words = _IDENTIFIERS.findall(prerelease.lower())
    return " ".join(f"0{_number(int(word))}" if word.isdigit() else f"1{word}" for word in words)
