"""The table `containers`: the containers made from images."""

from __future__ import annotations

from imq.engine.catalog.schema import DataType, Field, Relation, Table, TargetKind

CONTAINERS = Table(
    "containers",
    "One row for each container, running or stopped. The embedded store has none.",
    (
        Field("id", DataType.DIGEST, "the container ID", title="CONTAINER ID"),
        Field("name", DataType.TEXT, "its name"),
        Field("image", DataType.REFERENCE, "the name of its image"),
        Field("image_id", DataType.DIGEST, "the ID of its image"),
        Field(
            "status",
            DataType.TEXT,
            "created, running, paused, exited or dead",
            values=("created", "running", "paused", "exited", "dead"),
        ),
        Field("created", DataType.TIME, "when it was created"),
        Field("finished", DataType.TIME, "when it last stopped; unknown while it runs"),
        Field("size_rw", DataType.SIZE, "bytes written by the container", title="SIZE"),
        Field("labels", DataType.MAP, "its labels; labels.KEY is one of them", aliases=("label",)),
        Field("ports", DataType.LIST, "its ports"),
        Field("source", DataType.TEXT, "the source that holds it"),
    ),
    default_columns=("id", "image", "status", "created", "name"),
    order=("-created", "id"),
    key=("id",),
    relations=(Relation("names", "images", "its image, one row for each name", join="container"),),
    target=TargetKind.IMAGES,
)
