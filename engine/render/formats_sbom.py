"""The formats for bills of materials: CycloneDX and SPDX, made of whole rows of `packages`."""

from __future__ import annotations

from imq.engine.catalog.json_values import to_json_value
from imq.engine.packages.os_release import OsRelease
from imq.engine.packages.package import Package
from imq.engine.packages.sbom import SbomImage, SbomPackage
from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING

from .formats_data import to_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from imq.engine.result import RowSet

    from .values import DisplayOptions

_TEXTS = ("architecture", "source", "source_version", "licence", "maintainer", "homepage", "toolchain")
_NEEDED = (
    "type", "name", "version", "path", "size", "image", "image_name", "image_digest", "image_created",
    "image_platform", "layer", "distribution", *_TEXTS,
)  # fmt: skip


def write_cyclonedx(row_set: RowSet, options: DisplayOptions) -> Iterator[str]:
    """Yield a document in the JSON form of CycloneDX 1.6."""
    from imq.engine.packages.cyclonedx import make_cyclonedx

    yield to_json(make_cyclonedx(_read_images(row_set, "cyclonedx"), options.version), indent=2) + "\n"


def write_spdx(row_set: RowSet, options: DisplayOptions) -> Iterator[str]:
    """Yield a document in the JSON form of SPDX 2.3."""
    from imq.engine.packages.spdx import make_spdx

    yield to_json(make_spdx(_read_images(row_set, "spdx"), options.version), indent=2) + "\n"


def _read_images(row_set: RowSet, format_name: str) -> list[SbomImage]:
    """Return the images of the rows, with their packages. Raises `StatementError` for rows that are no packages."""
    names = [column.name for column in row_set.columns]
    if row_set.table is None or row_set.table.name != "packages" or not {*_NEEDED} <= {*names}:
        raise StatementError(
            f'"as {format_name}" writes whole rows of packages',
            code="format",
            hints=(f"packages of app:1 as {format_name}", "leave out select, group by and count"),
        )
    packages: dict[str, list[SbomPackage]] = {}
    first: dict[str, dict[str, Any]] = {}
    types = [column.type for column in row_set.columns]
    for raw in row_set.rows:
        row: dict[str, Any] = dict(zip(names, map(to_json_value, types, raw), strict=True))
        first.setdefault(row["image"], row)
        packages.setdefault(row["image"], []).append(SbomPackage(_make_package(row), row["layer"] or ""))
    return [_make_image(first[image], tuple(found)) for image, found in packages.items()]


def _make_package(row: dict[str, Any]) -> Package:
    texts = {name: row[name] or "" for name in _TEXTS}
    if texts["source"] == row["name"]:
        texts["source"] = ""
    if texts["source_version"] == row["version"]:
        texts["source_version"] = ""
    return Package(row["type"], row["name"], row["version"], row["path"].lstrip("/"), size=row["size"], **texts)


def _make_image(row: dict[str, Any], packages: tuple[SbomPackage, ...]) -> SbomImage:
    from imq.engine.oci.reference import Reference, parse_name

    name = row["image_name"] or row["image"]
    parsed = parse_name(name)
    is_reference = isinstance(parsed, Reference) and not name.startswith("sha256:")
    system = None
    if row["distribution"]:
        id_, _, version = row["distribution"].partition(" ")
        system = OsRelease(id_, version, row["distribution"])
    return SbomImage(
        name,
        row["image_digest"] or row["image"],
        packages,
        created=row["image_created"] or "",
        architecture=(row["image_platform"] or "").partition("/")[2],
        os=(row["image_platform"] or "").partition("/")[0],
        repository=f"{parsed.registry}/{parsed.repository}" if is_reference else "",  # type: ignore[union-attr]
        tag=(parsed.tag or "") if is_reference else "",
        system=system,
    )
