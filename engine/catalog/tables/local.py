"""Tables that no image store fills: lists from files, the sources themselves, and what the disk is used for."""

from __future__ import annotations

from imq.engine.catalog.schema import DataType, Field, Table, TargetKind, registry_relation

LINES = Table(
    "lines",
    "One row for each line of a text file (or of standard input: lines of stdin) that is not empty.",
    (
        Field("line", DataType.TEXT, "the line, without the blanks around it"),
        Field("number", DataType.NUMBER, "its number, 1 for the first that is not empty"),
    ),
    default_columns=("line",),
    order=("number",),
    key=("line",),
    relations=(registry_relation("line"),),
    target=TargetKind.FILE,
)

ROWS = Table(
    "rows",
    "One row for each object of a JSON, CSV or YAML file; its fields are what the file has. Of a file with names"
    " (images as json) it can be asked what registries have under them.",
    (),
    default_columns=(),
    order=(),
    relations=(registry_relation("name"),),
    target=TargetKind.FILE,
)

SOURCES = Table(
    "sources",
    "One row for each place that images can be asked of.",
    (
        Field("name", DataType.TEXT, "what it is called after `in` and `use`"),
        Field("kind", DataType.TEXT, "what it is"),
        Field("address", DataType.TEXT, "where it is"),
        Field("reachable", DataType.BOOLEAN, "it answers"),
        Field("images", DataType.NUMBER, "how many images it has; unknown when it does not answer"),
    ),
    default_columns=("name", "kind", "address", "reachable", "images"),
    order=("name",),
    key=("name",),
)

USAGE = Table(
    "usage",
    "What the disk is used for, one row for each kind of thing, as docker system df shows it.",
    (
        Field("type", DataType.TEXT, "the kind of thing"),
        Field("total", DataType.NUMBER, "how many there are"),
        Field("active", DataType.NUMBER, "how many containers use", about_containers=True),
        Field("size", DataType.SIZE, "bytes on disk, shared ones once"),
        Field("reclaimable", DataType.SIZE, "the part of it that nothing active needs", about_containers=True),
    ),
    default_columns=("type", "total", "active", "size", "reclaimable"),
    order=(),
    key=("type",),
)
