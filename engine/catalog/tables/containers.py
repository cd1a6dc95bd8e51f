"""The table `containers`: what was made from images."""

from __future__ import annotations

from imq.engine.catalog.schema import Field, Kind, Of, Relation, Table

CONTAINERS = Table(
    "containers",
    "One row for each container, running or stopped. The embedded store makes none.",
    (
        Field("id", Kind.DIGEST, "the container's id", title="CONTAINER ID"),
        Field("name", Kind.TEXT, "its name"),
        Field("image", Kind.REFERENCE, "the name of the image that it was made from"),
        Field("image_id", Kind.DIGEST, "the id of that image"),
        Field(
            "status",
            Kind.TEXT,
            "created, running, paused, exited or dead",
            values=("created", "running", "paused", "exited", "dead"),
        ),
        Field("created", Kind.TIME, "when it was made"),
        Field("finished", Kind.TIME, "when it last ended; unknown while it runs"),
        Field("size_rw", Kind.SIZE, "bytes that it has written", title="SIZE"),
        Field("labels", Kind.MAP, "its labels; labels.KEY is one of them", aliases=("label",)),
        Field("ports", Kind.LIST, "its ports"),
        Field("source", Kind.TEXT, "the place that holds it"),
    ),
    shown=("id", "image", "status", "created", "name"),
    order=("-created", "id"),
    key=("id",),
    relations=(Relation("names", "images", "the image that it was made from, once for each name", link="container"),),
    takes=Of.IMAGES,
)
