"""The tables `layers` and `history`: what an image is made of, and how."""

from __future__ import annotations

from imq.engine.catalog.schema import Field, Kind, Of, Relation, Table

_IMAGE = Relation("names", "images", "the image that has it, once for each name")

LAYERS = Table(
    "layers",
    "One row for each layer of each image, bottom layer first. Those of images in registries are asked of them:"
    " layers of registry.local:5000/team/app:1, layers of (tags of registry.local:5000/team/app where …). These"
    " also tell name, registry, repository, manifest_digest, platform and problem, and their size is download_size.",
    (
        Field("image", Kind.DIGEST, "the id of the image", title="IMAGE"),
        Field("index", Kind.NUMBER, "the place in the image, 0 at the bottom"),
        Field("digest", Kind.DIGEST, "the digest of the layer as it travels"),
        Field("diff_id", Kind.DIGEST, "the digest of the layer unpacked"),
        Field("chain_id", Kind.DIGEST, "the digest that stands for this layer and all below it"),
        Field("size", Kind.SIZE, "bytes of the files in the layer"),
        Field("download_size", Kind.SIZE, "bytes of the layer as it travels"),
        Field("media_type", Kind.TEXT, "the media type of the layer"),
        Field("created", Kind.TIME, "when the step that made it was run"),
        Field("created_by", Kind.TEXT, "the step that made it", title="CREATED BY"),
        Field("images", Kind.NUMBER, "how many images of the store have the layer"),
        Field("source", Kind.TEXT, "the place that holds it"),
    ),
    shown=("image", "index", "digest", "size", "download_size", "images"),
    order=("image", "index"),
    key=("image", "index"),
    relations=(_IMAGE,),
    takes=Of.IMAGES,
)

HISTORY = Table(
    "history",
    "One row for each step of the build of each image, first step first; of images in registries too, as layers are.",
    (
        Field("image", Kind.DIGEST, "the id of the image", title="IMAGE"),
        Field("index", Kind.NUMBER, "the place of the step, 0 for the first"),
        Field(
            "created",
            Kind.TIME,
            "when the step was run",
            placeholders=(("CreatedSince", "ago"), ("CreatedAt", "rfc3339")),
        ),
        Field(
            "created_by",
            Kind.TEXT,
            "the command of the step",
            title="CREATED BY",
            placeholders=(("CreatedBy", "plain"),),
        ),
        Field(
            "size",
            Kind.SIZE,
            "bytes of the files in the layer it made; 0 for a step without a layer",
        ),
        Field("empty", Kind.BOOLEAN, "the step made no layer"),
        Field("comment", Kind.TEXT, "what the builder remarked"),
        Field("layer", Kind.DIGEST, "the digest of the layer it made"),
        Field("source", Kind.TEXT, "the place that holds it"),
    ),
    shown=("image", "created", "created_by", "size", "comment"),
    order=("image", "index"),
    key=("image", "index"),
    relations=(_IMAGE,),
    takes=Of.IMAGES,
)
