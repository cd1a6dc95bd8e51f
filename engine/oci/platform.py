"""Platforms: `os[(version+feature)]/architecture[/variant]`, their normalization, and the selection of the best match.

The rules are those of containerd's package `platforms`: `Parse`, `Normalize`, `FormatAll` and `Only`. A requested
platform matches older variants that its processor can run, the nearest first, and compatible Windows versions.
"""

from __future__ import annotations

import re
from functools import lru_cache

from imq.grammar.errors import StatementError, closest_hint
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

_ARCHITECTURES = {
    "aarch64": ("arm64", None),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv6l": ("arm", "v6"),
    "armv7l": ("arm", "v7"),
    "armv8l": ("arm", "v8"),
    "i386": ("386", ""),
    "i686": ("386", ""),
    "x86_64": ("amd64", None),
    "x86-64": ("amd64", None),
}
"""Aliases of architectures, and the variant that an alias implies; None when it implies none."""
_VARIANTS = {
    "amd64": {"v1": ""},
    "arm64": {"8": "", "v8": "", "v8.0": "", "9": "v9", "9.0": "v9", "v9.0": "v9"},
    "arm": {"": "v7", "5": "v5", "6": "v6", "7": "v7", "8": "v8"},
}
"""Aliases of variants; the empty string is the default variant."""
_DEFAULT_VARIANTS = {"arm64": "v8", "amd64": "v1"}
_KNOWN_SYSTEMS = frozenset(
    (
        *(
            "aix",
            "android",
            "darwin",
            "dragonfly",
            "freebsd",
            "hurd",
            "illumos",
            "ios",
            "js",
            "linux",
            "nacl",
            "netbsd",
        ),
        *("openbsd", "plan9", "solaris", "wasip1", "windows", "zos"),
    )
)
"""The operating systems that Go supports."""
_KNOWN_ARCHITECTURES = frozenset(
    (
        *("386", "amd64", "amd64p32", "arm", "arm64", "arm64be", "armbe", "loong64", "mips", "mips64", "mips64le"),
        *("mips64p32", "mips64p32le", "mipsle", "ppc", "ppc64", "ppc64le", "riscv", "riscv64", "s390", "s390x"),
        *("sparc", "sparc64", "wasm"),
    )
)
"""The architectures that Go supports."""
_SYSTEM_PATTERN = r"([A-Za-z0-9_-]+)(?:\(([A-Za-z0-9_.%-]*)((?:\+[A-Za-z0-9_.%-]+)*)\))?\Z"
_COMPONENT_PATTERN = r"[A-Za-z0-9_.-]+\Z"
_WINDOWS_VERSION_PATTERN = r"(\d{1,3})\.(\d{1,3})\.(\d{1,5})(?:\.|\Z)"
_STABLE_BUILDS = (20348, 26100)
"""The builds of Windows Server 2022 and 2025. From the first on, a system also runs images of the previous
long-term release."""
_MAX_DISTANCE = 1 << 17
"""Larger than the distance between any two builds."""
_MAX_FEATURES = 1 << 7


class Platform(Record):
    """The platform of an image. Empty strings are unspecified values."""

    os: str
    architecture: str
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Parse and normalize a platform. Examples: `linux/arm64/v8`, `windows(10.0.20348)/amd64`, `arm64`.

        A single word must be an operating system or architecture that Go supports; in longer forms they may be others.
        """
        first, *rest = text.split("/")
        match = re.match(_SYSTEM_PATTERN, first)
        if match is None or len(rest) > 2 or not all(re.match(_COMPONENT_PATTERN, part) for part in rest):
            raise _invalid_platform(text)
        version, *features = (_unescape(option) for option in (match[2] or "", *(match[3] or "").split("+")[1:]))
        system = _normalize_os(match[1])
        if system in _KNOWN_SYSTEMS and not rest:
            return host_platform().replace(os=system, os_version=version, os_features=tuple(sorted(set(features))))
        alone = cls("linux", first).normalize()
        if rest:
            if alone.architecture in _KNOWN_ARCHITECTURES:
                raise _invalid_platform(text, f'did you mean "linux/{text[:80]}"?')
            architecture, variant = (*rest, "")[:2]
            return cls(system, architecture, variant, version, tuple(features)).normalize()
        if alone.architecture not in _KNOWN_ARCHITECTURES:
            raise _invalid_platform(
                text, closest_hint(first.lower(), [*_KNOWN_SYSTEMS, *_KNOWN_ARCHITECTURES, *_ARCHITECTURES])
            )
        return alone

    def normalize(self) -> Platform:
        """Return the platform with Go's names: x86_64 is amd64, arm64/v8 is arm64, arm is arm/v7."""
        architecture, variant = self.architecture.lower(), self.variant.lower()
        if architecture in _ARCHITECTURES:
            architecture, implied_variant = _ARCHITECTURES[architecture]
            variant = variant if implied_variant is None else implied_variant
        if architecture in _VARIANTS:
            variant = _VARIANTS[architecture].get(variant, variant)
        return Platform(
            _normalize_os(self.os), architecture, variant, self.os_version, tuple(sorted(set(self.os_features)))
        )

    @property
    def canonical(self) -> str:
        """`os/architecture[/variant]`, normalized: the value of the field `platform`."""
        same = self.normalize()
        return "/".join(part for part in (same.os, same.architecture, same.variant) if part)

    @property
    def field_values(self) -> tuple[str | None, str | None, str | None, str | None, str | None]:
        """The values of the fields platform, os, architecture, variant and os_version; None for unspecified values.

        A default variant is included if it was specified.
        """
        same = self.normalize()
        variant = same.variant or (_DEFAULT_VARIANTS.get(same.architecture) if self.variant else None)
        return self.canonical or None, same.os or None, same.architecture or None, variant, self.os_version or None

    @property
    def is_known(self) -> bool:
        """False for `unknown/unknown`, which marks attestations and not platforms."""
        return self.os not in ("", "unknown") and self.architecture not in ("", "unknown")

    def rank(self, offered: Platform) -> int | None:
        """Return how well `offered` matches this requested platform: 0 is exact, higher is worse, None is no match."""
        requested, offered = self.normalize(), offered.normalize()
        position = _compatible_variants(requested.architecture, requested.variant).get(
            (offered.architecture, offered.variant)
        )
        if position is None or offered.os != requested.os:
            return None
        features = set(offered.os_features) - ({"win32k"} if requested.os == "windows" else set())
        if not features <= set(requested.os_features):
            return None
        distance = _version_distance(requested, offered)
        if distance is None:
            return None
        missing = min(len(set(requested.os_features) - features), _MAX_FEATURES - 1)
        return (position * _MAX_FEATURES + missing) * _MAX_DISTANCE + distance

    def make_ranker(self) -> Callable[..., int | None]:
        """Return `rank` as a function of the columns os, architecture, variant, os_version and os_features (JSON)."""

        @lru_cache(maxsize=1024)
        def rank(
            os: str | None, architecture: str | None, variant: str | None, version: str | None, features: str | None
        ) -> int | None:
            import json

            if os is None or architecture is None:
                return None
            more = tuple(json.loads(features)) if features else ()
            return self.rank(Platform(os, architecture, variant or "", version or "", more))

        return rank

    def matches_exactly(self, offered: Platform) -> bool:
        """Whether `offered` is this platform, and not only compatible; unspecified version and features match any."""
        requested, offered = self.normalize(), offered.normalize()
        return (
            requested.canonical == offered.canonical
            and set(requested.os_features) <= set(offered.os_features)
            and (not requested.os_version or _has_version_prefix(offered.os_version, requested.os_version))
        )

    def __str__(self) -> str:
        """Return the form of `--platform`: `os[(version+feature)]/architecture[/variant]`."""
        options = "+".join(map(_escape, (self.os_version, *self.os_features)))
        system = f"{self.os}({options})" if options else self.os
        return "/".join(part for part in (system, self.architecture, self.variant) if part)


def normalize_os(text: str) -> str:
    """Return Go's name of an operating system: Linux is linux, macos is darwin."""
    return _normalize_os(text)


def normalize_architecture(text: str) -> str:
    """Return Go's name of an architecture: aarch64 is arm64.

    Raises `StatementError` for an alias that implies a variant. Example: armhf.
    """
    architecture, variant = _ARCHITECTURES.get(text.lower(), (text.lower(), None))
    if variant:
        raise StatementError(
            f"{text!r} is the architecture {architecture} with the variant {variant}",
            code="platform",
            hints=(f"write platform = linux/{architecture}/{variant}, or architecture = {architecture}",),
        )
    return architecture


def normalize_variant(text: str) -> str:
    """Return a variant in the form of image configs: 8 and V8.0 are v8."""
    number = re.match(r"v?(\d{1,2}(?:\.[1-9])?)(?:\.0)?\Z", text.lower(), re.ASCII)
    return f"v{number[1]}" if number is not None else text.lower()


def host_platform() -> Platform:
    """Return the platform of this machine; the operating system is always linux."""
    import os  # at call time: tests may change the machine

    return Platform("linux", os.uname().machine).normalize()


def parse_platform(document: Mapping[str, Any]) -> Platform:
    """Read the platform fields of a validated index entry or image config."""
    return Platform(
        document.get("os") or "",
        document.get("architecture") or "",
        document.get("variant") or "",
        document.get("os.version") or "",
        tuple(feature or "" for feature in document.get("os.features") or ()),
    )


def find_best_platform(requested: Platform, offered: Iterable[tuple[Platform, int]]) -> int | None:
    """Return the number paired with the best match for `requested`; the first of equal matches wins."""
    ranked = [(rank, number) for platform, number in offered if (rank := requested.rank(platform)) is not None]
    return min(ranked)[1] if ranked else None


def _normalize_os(name: str) -> str:
    name = name.lower()
    return "darwin" if name == "macos" else name


@lru_cache(maxsize=64)
def _compatible_variants(architecture: str, variant: str) -> dict[tuple[str, str], int]:
    """Return the normalized architectures and variants that a processor runs, each with its rank, the best first."""
    vector = [(architecture, variant)]
    number = re.match(r"v?(\d{1,2})\Z", variant, re.ASCII)
    if architecture == "amd64":
        newest = int(number[1]) if number is not None else 0
        vector += [("amd64", f"v{older}" if older > 1 else "") for older in range(newest, 0, -1)]
        vector.append(("386", ""))
    elif architecture == "arm":
        vector += [("arm", f"v{older}") for older in range(int(number[1]) if number else 0, 4, -1)]
    elif architecture == "arm64":
        for major, minor in _arm64_versions(variant):
            vector += [("arm64", _arm64_variant(major, older)) for older in range(minor, -1, -1)]
        vector += [("arm", f"v{older}") for older in range(8 if len(vector) > 1 else 0, 4, -1)]
    return {pair: rank for rank, pair in reversed([*enumerate(dict.fromkeys(vector))])}


def _arm64_versions(variant: str) -> list[tuple[int, int]]:
    """Return the newest versions of ARMv9 and ARMv8 that a processor of this variant runs."""
    match = re.match(r"v([89])(?:\.(\d))?\Z", variant or "v8", re.ASCII)
    if match is None:
        return []
    major, minor = int(match[1]), int(match[2] or 0)
    return [(8, minor)] if major == 8 else [(9, minor), (8, min(minor + 5, 9))]


def _arm64_variant(major: int, minor: int) -> str:
    return f"v{major}.{minor}" if minor else "" if major == 8 else f"v{major}"


def _version_distance(requested: Platform, offered: Platform) -> int | None:
    """Return the distance of the offered OS version from the requested one; None when they are incompatible."""
    version, offered_version = requested.os_version, offered.os_version
    if version in ("", offered_version):
        return 0
    if not offered_version:
        return _MAX_DISTANCE - 1
    if requested.os == "windows" and (build := _windows_build(version)):
        image = _windows_build(offered_version)
        if image is None or image[:2] != build[:2]:
            return None
        if build[2] < _STABLE_BUILDS[0]:
            return 1 if image[2] == build[2] else None
        oldest = max((stable for stable in _STABLE_BUILDS if stable < build[2]), default=_STABLE_BUILDS[0])
        return 1 + build[2] - image[2] if oldest <= image[2] <= build[2] else None
    return 1 if _has_version_prefix(offered_version, version) else None


def _windows_build(version: str) -> tuple[int, int, int] | None:
    match = re.match(_WINDOWS_VERSION_PATTERN, version, re.ASCII)
    return (int(match[1]), int(match[2]), int(match[3])) if match is not None else None


def _has_version_prefix(version: str, prefix: str) -> bool:
    """Whether a version equals the prefix or refines it: 10.0.17763.1 has the prefix 10.0.17763."""
    return version == prefix or version.startswith(f"{prefix}.")


def _escape(option: str) -> str:
    return re.sub(r"[%+()/]", lambda sign: f"%{ord(sign[0]):02X}", option)


def _unescape(option: str) -> str:
    if "%" not in option:
        return option
    from urllib.parse import unquote

    return unquote(option)


def _invalid_platform(text: str, hint: str = "") -> StatementError:
    return StatementError(
        f"{text[:80]!r} is not a platform",
        code="platform",
        hints=(hint, "a platform is os/architecture or os/architecture/variant, such as linux/arm64"),
    )
