"""The table `differences`: what one image has otherwise than another."""

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
        Field("size_before", DataType.SIZE, "bytes of the file or the package in the first image"),
        Field("size_after", DataType.SIZE, "bytes of the file or the package in the second image"),
        Field("growth", DataType.SIZE, "bytes that the second image has more; negative if it has less"),
    ),
    default_columns=("kind", "change", "key", "before", "after"),
    order=("kind", "key"),
    key=("kind", "key"),
    target=TargetKind.IMAGES,
)
