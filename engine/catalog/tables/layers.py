"""The tables `layers` and `history`: what an image is made of, and how."""

from __future__ import annotations

from imq.engine.catalog.schema import DataType, Field, Relation, Table, TargetKind

_IMAGE = Relation("names", "images", "the image that has it, once for each name")

LAYERS = Table(
    "layers",
    "One row for each layer of each image, bottom layer first. Those of images in registries are asked of them:"
    " layers of registry.local:5000/team/app:1, layers of (tags of registry.local:5000/team/app where …). These"
    " also tell name, registry, repository, manifest_digest, platform and problem, and their size is download_size.",
    (
        Field("image", DataType.DIGEST, "the id of the image", title="IMAGE"),
        Field("index", DataType.NUMBER, "the place in the image, 0 at the bottom"),
        Field("digest", DataType.DIGEST, "the digest of the layer as it travels"),
        Field("diff_id", DataType.DIGEST, "the digest of the layer unpacked"),
        Field("chain_id", DataType.DIGEST, "the digest that stands for this layer and all below it"),
        Field("size", DataType.SIZE, "bytes of the files in the layer"),
        Field("download_size", DataType.SIZE, "bytes of the layer as it travels"),
        Field("media_type", DataType.TEXT, "the media type of the layer"),
        Field("created", DataType.TIME, "when the step that made it was run"),
        Field("created_by", DataType.TEXT, "the step that made it", title="CREATED BY"),
        Field("images", DataType.NUMBER, "how many images of the store have the layer"),
        Field("source", DataType.TEXT, "the place that holds it"),
    ),
    default_columns=("image", "index", "digest", "size", "download_size", "images"),
    order=("image", "index"),
    key=("image", "index"),
    relations=(_IMAGE,),
    target=TargetKind.IMAGES,
)

HISTORY = Table(
    "history",
    "One row for each step of the build of each image, first step first; of images in registries too, as layers are.",
    (
        Field("image", DataType.DIGEST, "the id of the image", title="IMAGE"),
        Field("index", DataType.NUMBER, "the place of the step, 0 for the first"),
        Field(
            "created",
            DataType.TIME,
            "when the step was run",
            docker_placeholders=(("CreatedSince", "ago"), ("CreatedAt", "rfc3339")),
        ),
        Field(
            "created_by",
            DataType.TEXT,
            "the command of the step",
            title="CREATED BY",
            docker_placeholders=(("CreatedBy", "plain"),),
        ),
        Field(
            "size",
            DataType.SIZE,
            "bytes of the files in the layer it made; 0 for a step without a layer",
        ),
        Field("empty", DataType.BOOLEAN, "the step made no layer"),
        Field("comment", DataType.TEXT, "what the builder remarked"),
        Field("layer", DataType.DIGEST, "the digest of the layer it made"),
        Field("source", DataType.TEXT, "the place that holds it"),
    ),
    default_columns=("image", "created", "created_by", "size", "comment"),
    order=("image", "index"),
    key=("image", "index"),
    relations=(_IMAGE,),
    target=TargetKind.IMAGES,
)
