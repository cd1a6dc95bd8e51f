"""Tables that no image store fills: lists from files, the sources themselves, and what the disk is used for."""

from __future__ import annotations

from imq.engine.catalog.schema import Field, Kind, Of, Table, remote_by

LINES = Table(
    "lines",
    "One row for each line of a text file (or of standard input: lines of stdin) that is not empty.",
    (
        Field("line", Kind.TEXT, "the line, without the blanks around it"),
        Field("number", Kind.NUMBER, "its number, 1 for the first that is not empty"),
    ),
    shown=("line",),
    order=("number",),
    key=("line",),
    relations=(remote_by("line"),),
    takes=Of.FILE,
)

ROWS = Table(
    "rows",
    "One row for each object of a JSON, CSV or YAML file; its fields are what the file has. Of a file with names"
    " (images as json) it can be asked what registries have under them.",
    (),
    shown=(),
    order=(),
    relations=(remote_by("name"),),
    takes=Of.FILE,
)

SOURCES = Table(
    "sources",
    "One row for each place that images can be asked of.",
    (
        Field("name", Kind.TEXT, "what it is called after `in` and `use`"),
        Field("kind", Kind.TEXT, "what it is"),
        Field("address", Kind.TEXT, "where it is"),
        Field("reachable", Kind.BOOLEAN, "it answers"),
        Field("images", Kind.NUMBER, "how many images it has; unknown when it does not answer"),
    ),
    shown=("name", "kind", "address", "reachable", "images"),
    order=("name",),
    key=("name",),
)

USAGE = Table(
    "usage",
    "What the disk is used for, one row for each kind of thing, as docker system df shows it.",
    (
        Field("type", Kind.TEXT, "the kind of thing"),
        Field("total", Kind.NUMBER, "how many there are"),
        Field("active", Kind.NUMBER, "how many containers use", of_containers=True),
        Field("size", Kind.SIZE, "bytes on disk, shared ones once"),
        Field("reclaimable", Kind.SIZE, "the part of it that nothing active needs", of_containers=True),
    ),
    shown=("type", "total", "active", "size", "reclaimable"),
    order=(),
    key=("type",),
)
