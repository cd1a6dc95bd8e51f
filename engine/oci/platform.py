"""Platforms: `os/architecture[/variant]`, normalised, and the choice of the best entry of an index for one.

The rules are containerd's `platforms.Only`: a wanted platform accepts older variants that its processor also runs,
the nearest first.
"""

from __future__ import annotations

from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

_ARCHITECTURES = {
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "i386": ("386", ""),
    "i686": ("386", ""),
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
}
_DEFAULT_VARIANT = {"arm64": "v8", "arm": "v7", "amd64": "v1"}
_ARM_ORDER = ("v8", "v7", "v6", "v5")


class Platform(Record):
    """What an image runs on. Empty strings mean: not said."""

    os: str
    architecture: str
    variant: str = ""
    os_version: str = ""

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Return the platform that `text` writes (`linux/arm64/v8`, `linux/x86_64`, `arm64`)."""
        parts = text.strip().lower().split("/")
        if len(parts) == 1:
            parts = (
                ["linux", *parts]
                if parts[0] not in ("linux", "windows", "darwin", "freebsd")
                else [*parts, host().architecture]
            )
        if len(parts) > 3 or not all(parts):
            raise StatementError(
                f"{text!r} is not a platform",
                code="platform",
                hints=("a platform is os/architecture or os/architecture/variant, such as linux/arm64",),
            )
        return cls(*parts).normalised()

    def normalised(self) -> Platform:
        """Return the same platform in Go's words: x86_64 is amd64, aarch64 is arm64, armhf is arm/v7."""
        architecture, variant = _ARCHITECTURES.get(self.architecture.lower(), (self.architecture.lower(), ""))
        return self.replace(architecture=architecture, variant=self.variant.lower() or variant, os=self.os.lower())

    @property
    def canonical(self) -> str:
        """`os/architecture[/variant]` as containerd writes it: in Go's words, without the variant that goes unsaid."""
        same = self.normalised()
        unsaid = same.architecture != "arm" and same.variant == _DEFAULT_VARIANT.get(same.architecture)
        return str(same.replace(variant="") if unsaid else same)

    @property
    def known(self) -> bool:
        """False for `unknown/unknown`, which marks attestations and not platforms."""
        return self.os not in ("", "unknown") and self.architecture not in ("", "unknown")

    def rank(self, offered: Platform) -> int | None:
        """Say how well `offered` serves this wanted platform: 0 is exact, higher is worse, None is not at all."""
        offered = offered.normalised()
        if offered.os != self.os:
            return None
        if self.os_version and offered.os_version and self.os_version != offered.os_version:
            return None
        mine = self.variant or _DEFAULT_VARIANT.get(self.architecture, "")
        theirs = offered.variant or _DEFAULT_VARIANT.get(offered.architecture, "")
        if offered.architecture == self.architecture:
            if mine == theirs:
                return 0
            if self.architecture == "arm" and mine in _ARM_ORDER and theirs in _ARM_ORDER:
                distance = _ARM_ORDER.index(theirs) - _ARM_ORDER.index(mine)
                return distance if distance > 0 else None
            if mine[:1] == theirs[:1] == "v" and mine[1:].isdigit() and theirs[1:].isdigit():
                distance = int(mine[1:]) - int(theirs[1:])
                return distance if distance > 0 else None
            return None
        if self.architecture == "arm64" and offered.architecture == "arm":
            return 10 + _ARM_ORDER.index(theirs) if theirs in _ARM_ORDER else None
        if self.architecture == "amd64" and offered.architecture == "386":
            return 20
        return None

    def ranked(self, offered: str | None) -> int | None:
        """Say the same of a platform as it is written, of which None may be all that is known."""
        return self.rank(Platform.parse(offered)) if offered else None

    def __str__(self) -> str:
        """Return `os/architecture[/variant]`, the way `--platform` takes it."""
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


def host() -> Platform:
    """Return the platform of this machine; the operating system is linux, for that is what images here hold."""
    import os  # the machine is asked when it matters, not at import

    return Platform("linux", os.uname().machine).normalised()


def platform_of(document: Mapping[str, Any]) -> Platform:
    """Read the platform fields of an index entry or an image config."""

    def text(key: str) -> str:
        value = document.get(key)
        return value if isinstance(value, str) else ""

    return Platform(text("os"), text("architecture"), text("variant"), text("os.version"))


def best(wanted: Platform, offered: Iterable[tuple[Platform, int]]) -> int | None:
    """Return the number paired with the platform that serves `wanted` best; the first of equals wins."""
    ranked = [(rank, place) for place_platform, place in offered if (rank := wanted.rank(place_platform)) is not None]
    return min(ranked)[1] if ranked else None
