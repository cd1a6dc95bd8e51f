"""What bills of materials are made of: images and their packages. `cyclonedx` and `spdx` write them.

A document is a pure function of its images: packages are sorted, identifiers are derived from digests, and the time is
that of the newest image. So two documents of the same images are the same bytes.
"""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING, Record

from .licences import is_identifier, to_expression

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .os_release import OsRelease
    from .package import Package


class SbomPackage(Record):
    """A package of an image, with the layer that brought it."""

    package: Package
    layer: str = ""
    """The diff ID of the layer, or ""."""


class SbomImage(Record):
    """An image with its packages."""

    name: str
    """The reference by which the image was named, or a short ID."""
    digest: str
    """The digest of the manifest, `sha256:HEX`; that of the config if no manifest is known."""
    packages: tuple[SbomPackage, ...]
    repository: str = ""
    """The registry and path of the name, or ""."""
    tag: str = ""
    created: str = ""
    """The time of creation, RFC 3339; "" if unknown."""
    architecture: str = ""
    os: str = ""
    system: OsRelease | None = None


def sort_packages(packages: Iterable[SbomPackage]) -> list[SbomPackage]:
    """Return packages by type, name, version and path, without repetitions."""
    unique = dict.fromkeys(packages)
    return sorted(
        unique,
        key=lambda item: (
            item.package.type, item.package.name, item.package.version, item.package.architecture, item.package.path,
            item.layer,
        ),
    )  # fmt: skip


def make_uuid(kind: str, images: Sequence[SbomImage]) -> str:
    """Return a UUID that the kind of document, the digests and the names of its images determine."""
    from uuid import NAMESPACE_URL, uuid5

    return str(uuid5(NAMESPACE_URL, "\n".join([f"imq:{kind}", *(f"{image.name} {image.digest}" for image in images)])))


def find_time(images: Sequence[SbomImage]) -> str:
    """Return the time of the newest image in UTC, without fractions of a second; "" if none is known."""
    from datetime import UTC, datetime

    times = []
    for image in images:
        try:
            created = datetime.fromisoformat(image.created)
        except ValueError:
            continue
        if created.tzinfo is not None:
            times.append(created.astimezone(UTC))
    return max(times).strftime("%Y-%m-%dT%H:%M:%SZ") if times else ""


def split_licences(package: Package) -> list[tuple[str, bool]]:
    """Return the licences of a package, each with whether it is an SPDX expression.

    There is more than one only for Debian, whose copyright files list the licences of all parts.
    """
    if not package.licence:
        return []
    expression = to_expression(package.licence)
    if expression is not None:
        return [(expression, True)]
    parts = package.licence.split(", ") if package.type == "deb" else [package.licence]
    found = [(known, True) if (known := to_expression(part)) is not None else (part, False) for part in parts]
    return [*dict.fromkeys(found)]


def is_single_licence(expression: str) -> bool:
    """Whether an expression is one identifier of the SPDX License List."""
    return is_identifier(expression)


def is_url(text: str) -> bool:
    """Whether a text can stand where a document requires a URL."""
    return (
        text.startswith(("http://", "https://"))
        and text.isascii()
        and text.isprintable()
        and not set(text) & set(' "<>\\^`{|}')
    )
