"""The fields of the version in a tag, for the tables `images` and `tags`."""

from __future__ import annotations

from imq.engine.catalog.schema import DataType, Field


def _make_field(part: int, name: str, kind: DataType, doc: str, *aliases: str) -> Field:
    return Field(name, kind, doc, aliases, computed_from=("version", "tag", part))


VERSION_FIELDS = (
    _make_field(
        0,
        "version",
        DataType.VERSION,
        "the version in the tag; unknown when the tag has none. version.major, version.minor, version.patch,"
        " version.prerelease and version.variant are its parts",
    ),
    _make_field(1, "version_major", DataType.NUMBER, "the first number of the version", "major"),
    _make_field(2, "version_minor", DataType.NUMBER, "the second number of the version", "minor"),
    _make_field(3, "version_patch", DataType.NUMBER, "the third number of the version", "patch"),
    _make_field(
        4,
        "version_prerelease",
        DataType.TEXT,
        "the pre-release part of the version. Example: rc1, beta.2",
        "prerelease",
    ),
    _make_field(5, "version_variant", DataType.TEXT, "the variant after the version. Example: alpine, bookworm-slim"),
)
"""The version, and its parts in the order in which `read_version` returns them."""
