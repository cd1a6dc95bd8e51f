"""Tables without images: lines and rows of files, the sources, and disk usage."""

from __future__ import annotations

from imq.engine.catalog.schema import DataType, Field, Table, TargetKind, make_registry_relation

LINES = Table(
    "lines",
    "One row for each line of a file that is not empty, or of standard input: lines of stdin.",
    (
        Field("line", DataType.TEXT, "the line, without surrounding blanks"),
        Field("number", DataType.NUMBER, "its number, 1 for the first that is not empty"),
    ),
    default_columns=("line",),
    order=("number",),
    key=("line",),
    relations=(make_registry_relation("line"),),
    target=TargetKind.FILE,
)

ROWS = Table(
    "rows",
    "One row for each object of a JSON, CSV or YAML file, with the fields of the file. If they have a field name, as in"
    " images as json, remote is the tag of that name in its registry. After `at`, keys lead to values in the file:"
    " rows of pods.yaml at items.spec.containers. `*` is each key, which is then in the column key, and parent has the"
    " scalar values of the item of a list, or the document, around a row: parent.metadata.name.",
    (),
    default_columns=(),
    order=(),
    relations=(make_registry_relation("name"),),
    target=TargetKind.FILE,
)

SOURCES = Table(
    "sources",
    "One row for each place that holds images: the store, engines, registries and groups. All are asked side by side.",
    (
        Field("name", DataType.TEXT, "the name after `in` and `use`"),
        Field("kind", DataType.TEXT, "the kind of source"),
        Field("address", DataType.TEXT, "its address; for a group, the names of its members"),
        Field("reachable", DataType.BOOLEAN, "it responds; for a group, all members respond"),
        Field("images", DataType.NUMBER, "the number of images; unknown when it does not respond or count them"),
        Field("use", DataType.TEXT, "how a query names it"),
        Field("problem", DataType.TEXT, "why it does not respond"),
    ),
    default_columns=("name", "kind", "address", "reachable", "images", "use", "problem"),
    order=("name",),
    key=("name",),
)

USAGE = Table(
    "usage",
    "Disk usage, one row for each type, as in docker system df.",
    (
        Field("type", DataType.TEXT, "the type"),
        Field("total", DataType.NUMBER, "the number of items"),
        Field("active", DataType.NUMBER, "the number of items that containers use", about_containers=True),
        Field("size", DataType.SIZE, "bytes on disk; shared bytes count once"),
        Field("reclaimable", DataType.SIZE, "the bytes that no active item needs", about_containers=True),
        Field("source", DataType.TEXT, "the source that uses the disk"),
    ),
    default_columns=("type", "total", "active", "size", "reclaimable"),
    order=(),
    key=("type", "source"),
)
