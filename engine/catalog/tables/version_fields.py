"""The fields of what a tag says as a version: of images and of tags alike."""

from __future__ import annotations

from imq.engine.catalog.schema import DataType, Field


def _make_field(part: int, name: str, kind: DataType, doc: str, *aliases: str) -> Field:
    return Field(name, kind, doc, aliases, computed_from=("version", "tag", part))


VERSION_FIELDS = (
    _make_field(
        0,
        "version",
        DataType.VERSION,
        "the version that the tag says; unknown when it says none. version.major, version.minor, version.patch,"
        " version.prerelease and version.variant are its parts",
    ),
    _make_field(1, "version_major", DataType.NUMBER, "the first number of the version", "major"),
    _make_field(2, "version_minor", DataType.NUMBER, "the second number of the version", "minor"),
    _make_field(3, "version_patch", DataType.NUMBER, "the third number of the version", "patch"),
    _make_field(
        4, "version_prerelease", DataType.TEXT, "what says that it is no release yet: rc1, beta.2", "prerelease"
    ),
    _make_field(5, "version_variant", DataType.TEXT, "what stands behind the version: alpine, bookworm-slim"),
)
"""The version, and its parts in the order in which `read_version` returns them."""
