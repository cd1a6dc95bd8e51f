"""The table `containers`: what was made from images."""

from __future__ import annotations

from imq.engine.catalog.schema import DataType, Field, Relation, Table, TargetKind

CONTAINERS = Table(
    "containers",
    "One row for each container, running or stopped. The embedded store makes none.",
    (
        Field("id", DataType.DIGEST, "the container's id", title="CONTAINER ID"),
        Field("name", DataType.TEXT, "its name"),
        Field("image", DataType.REFERENCE, "the name of the image that it was made from"),
        Field("image_id", DataType.DIGEST, "the id of that image"),
        Field(
            "status",
            DataType.TEXT,
            "created, running, paused, exited or dead",
            values=("created", "running", "paused", "exited", "dead"),
        ),
        Field("created", DataType.TIME, "when it was made"),
        Field("finished", DataType.TIME, "when it last ended; unknown while it runs"),
        Field("size_rw", DataType.SIZE, "bytes that it has written", title="SIZE"),
        Field("labels", DataType.MAP, "its labels; labels.KEY is one of them", aliases=("label",)),
        Field("ports", DataType.LIST, "its ports"),
        Field("source", DataType.TEXT, "the place that holds it"),
    ),
    default_columns=("id", "image", "status", "created", "name"),
    order=("-created", "id"),
    key=("id",),
    relations=(Relation("names", "images", "the image that it was made from, once for each name", join="container"),),
    target=TargetKind.IMAGES,
)
