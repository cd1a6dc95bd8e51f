"""The tables `differences` and `waste`: what one image has otherwise than another, and what its layers waste."""

from __future__ import annotations

from imq.engine.catalog.schema import DataType, Field, Table, TargetKind

KINDS = ("config", "env", "label", "history", "layer", "package", "file")
CHANGES = ("added", "removed", "changed")
ASPECTS = ("content", "type", "mode", "owner", "link", "xattrs", "time")

DIFFERENCES = Table(
    "differences",
    "One row for each difference between two images: differences of app:1, app:2. In before is what the first image"
    " has, in after what the second one has.",
    (
        Field("kind", DataType.TEXT, "what differs", values=KINDS),
        Field("change", DataType.TEXT, "how the second image differs from the first", values=CHANGES),
        Field(
            "key",
            DataType.TEXT,
            "the path of a file, the name of a package, variable, label or setting, the position of a layer or step",
        ),
        Field("before", DataType.TEXT, "the value in the first image"),
        Field("after", DataType.TEXT, "the value in the second image"),
        Field(
            "aspects",
            DataType.LIST,
            "what of a file changed: content, type, mode, owner, link, xattrs, time",
        ),
        Field("size_before", DataType.SIZE, "bytes of the file or the package in the first image", is_optional=True),
        Field("size_after", DataType.SIZE, "bytes of the file or the package in the second image", is_optional=True),
        Field(
            "growth", DataType.SIZE, "bytes that the second image has more; negative if it has less", is_optional=True
        ),
    ),
    default_columns=("kind", "change", "key", "before", "after"),
    order=("kind", "key"),
    key=("kind", "key"),
    target=TargetKind.IMAGES,
)

WASTE = Table(
    "waste",
    "One row for each image: the bytes in its layers that no container sees, because an upper layer has the path again"
    " or deletes it. For the paths: all files of app:1 where status in (overwritten, deleted).",
    (
        Field(
            "efficiency",
            DataType.NUMBER,
            "the smallest copies of all files, divided by all copies; a deletion counts as a copy. 1 is the best; the"
            " score of dive",
        ),
        Field("wasted_size", DataType.SIZE, "bytes of files that upper layers hide"),
        Field("size", DataType.SIZE, "bytes of the files in all layers"),
        Field("paths", DataType.NUMBER, "the number of paths with wasted bytes"),
        Field("image", DataType.DIGEST, "the ID of the image"),
        Field("image_name", DataType.TEXT, "the name of the image, as the statement spells it", title="IMAGE NAME"),
        Field("place", DataType.TEXT, "the source that holds the image: store, docker, a registry …"),
    ),
    default_columns=("image_name", "efficiency", "wasted_size", "size", "paths"),
    order=("-wasted_size", "image_name"),
    key=("image", "place"),
    target=TargetKind.IMAGES,
)
