"""The tables `layers` and `history`: the layers of an image, and the steps of its build."""

from __future__ import annotations

from imq.engine.catalog.schema import DataType, Field, Relation, Table, TargetKind

_IMAGE = Relation("names", "images", "its image, one row for each name")

LAYERS = Table(
    "layers",
    "One row for each layer of each image, lowest layer first. Images in registries have layers too: layers of"
    " registry.local:5000/team/app:1, layers of (tags of registry.local:5000/team/app where …). These rows also have"
    " name, registry, repository, manifest_digest, platform and problem, and their size is download_size.",
    (
        Field("image", DataType.DIGEST, "the ID of the image", title="IMAGE"),
        Field("index", DataType.NUMBER, "the position in the image, 0 for the lowest"),
        Field("digest", DataType.DIGEST, "the digest of the compressed layer"),
        Field("diff_id", DataType.DIGEST, "the digest of the uncompressed layer"),
        Field("chain_id", DataType.DIGEST, "the chain ID: a digest of this layer and all layers below it"),
        Field("size", DataType.SIZE, "bytes of the files in the layer"),
        Field("download_size", DataType.SIZE, "bytes of the compressed layer"),
        Field("media_type", DataType.TEXT, "the media type of the layer"),
        Field("created", DataType.TIME, "when its build step ran"),
        Field("created_by", DataType.TEXT, "the command of its build step", title="CREATED BY"),
        Field("images", DataType.NUMBER, "the number of images of the store with the layer"),
        Field("source", DataType.TEXT, "the source that holds it"),
    ),
    default_columns=("image", "index", "digest", "size", "download_size", "images"),
    order=("image", "index"),
    key=("image", "index"),
    relations=(_IMAGE,),
    range_field="size",
    target=TargetKind.IMAGES,
)

HISTORY = Table(
    "history",
    "One row for each step of the build of each image, first step first; also for images in registries, like layers.",
    (
        Field("image", DataType.DIGEST, "the ID of the image", title="IMAGE"),
        Field("index", DataType.NUMBER, "the position of the step, 0 for the first"),
        Field(
            "created",
            DataType.TIME,
            "when the step ran",
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
            "bytes of the files in its layer; 0 for a step without a layer",
        ),
        Field("empty", DataType.BOOLEAN, "the step has no layer"),
        Field("comment", DataType.TEXT, "the comment of the builder"),
        Field("layer", DataType.DIGEST, "the digest of its layer", is_optional=True),
        Field("source", DataType.TEXT, "the source that holds it"),
    ),
    default_columns=("image", "created", "created_by", "size", "comment"),
    order=("image", "index"),
    key=("image", "index"),
    relations=(_IMAGE,),
    target=TargetKind.IMAGES,
)

BLOBS = Table(
    "blobs",
    "One row for each blob of a place, whether or not an image needs it: blobs in store, blobs in oci:DIR, blobs in"
    " containerd:k8s.io. A blob with no referenced_by is needed by no image. When a manifest or an index cannot be"
    " read, its blobs are not known; any blob that no other image needs then counts as one of them. Registries do not"
    " list blobs: blobs in registry.local:5000/team/* are those that the tags of these repositories need.",
    (
        Field("digest", DataType.DIGEST, "the digest"),
        Field("size", DataType.SIZE, "bytes of the blob as it is stored"),
        Field("media_type", DataType.TEXT, "the media type that manifests give it; unknown when none refers to it"),
        Field(
            "referenced_by",
            DataType.LIST,
            "the images that need it: their names, and the digests of those without a name",
        ),
        Field("source", DataType.TEXT, "the source that holds it"),
    ),
    default_columns=("digest", "size", "media_type", "referenced_by"),
    order=("-size", "digest"),
    key=("digest", "source"),
)

RECLAIM = Table(
    "reclaim",
    "One row for each image name of a query: what its source frees when exactly these names are removed, in this order,"
    " as rm does it. The sum of size is what all of them free. Without of: all images of the source.",
    (
        Field("id", DataType.DIGEST, "the image ID", title="IMAGE ID"),
        Field("name", DataType.REFERENCE, "the name"),
        Field(
            "removes",
            DataType.BOOLEAN,
            "the image goes with this name; false when another name or a container keeps it, or a later row removes it",
        ),
        Field(
            "size",
            DataType.SIZE,
            "bytes that are freed when this row is removed after the rows before it: those of blobs or layers that no"
            " other image has. Unknown where the source does not report sizes",
        ),
        Field("alone", DataType.SIZE, "bytes that removing only this row frees"),
        Field("blobs", DataType.NUMBER, "the blobs or layers that are freed with this row"),
        Field("note", DataType.TEXT, "why the image stays"),
        Field("source", DataType.TEXT, "the source that holds it"),
    ),
    default_columns=("name", "id", "size", "alone", "blobs", "note"),
    order=(),
    key=("name", "id", "source"),
    target=TargetKind.IMAGES,
    target_fields=("id", "name", "source"),
)
