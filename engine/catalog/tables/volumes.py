"""The table `volumes`: the named volumes that containers mount."""

from __future__ import annotations

from imq.engine.catalog.schema import DataType, Field, Table

VOLUMES = Table(
    "volumes",
    "One row for each volume of an engine, and each named volume of the store. It stays when its containers are"
    " removed: volumes where not in_use.",
    (
        Field("name", DataType.TEXT, "the name"),
        Field("path", DataType.TEXT, "the folder with its files"),
        Field("created", DataType.TIME, "when it was created"),
        Field("size", DataType.SIZE, "bytes of its files, each counted once"),
        Field("in_use", DataType.BOOLEAN, "a container mounts it, running or not"),
        Field("containers", DataType.LIST, "the names of the containers that mount it"),
        Field("source", DataType.TEXT, "the source that holds it"),
    ),
    default_columns=("name", "created", "size", "containers"),
    order=("source", "name"),
    key=("source", "name"),
)
