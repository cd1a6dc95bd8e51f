"""The table `images`."""

from __future__ import annotations

from imq.engine.catalog.schema import DataType, Field, Relation, Table, make_content_relations, make_registry_relation
from imq.grammar.record import TYPE_CHECKING

from .image_config import CONFIG_FIELDS
from .version_fields import VERSION_FIELDS

if TYPE_CHECKING:
    from collections.abc import Callable


def _import_late(name: str) -> Callable[[str], str]:
    """Return a function of `oci/platform.py`, which is imported when a value is first compared with such a field."""

    def normalize(text: str) -> str:
        from imq.engine.oci import platform

        normalized: str = getattr(platform, name)(text)
        return normalized

    return normalize


def normalize_registry(text: str) -> str:
    """Return the host of a registry as the fields have it; see `oci/reference.py`."""
    from imq.engine.oci import reference

    return reference.normalize_registry(text)


normalize_os = _import_late("normalize_os")
normalize_architecture = _import_late("normalize_architecture")
normalize_variant = _import_late("normalize_variant")

LINEAGE_RELATIONS = (
    Relation(
        "base",
        "images",
        "the image of the same source with the most layers that are the lowest layers of this one; one of its names",
        join="fields chain_id=base_chain_id source",
        is_many=False,
        is_of_same_source=True,
    ),
    Relation(
        "children",
        "images",
        "the images with this image as their base",
        join="fields base_chain_id=chain_id source",
        is_of_same_source=True,
    ),
)
"""The relations between images by their layers. Images with the same layers are the same base."""

IMAGES = Table(
    "images",
    "One row for each name of each image, as in `docker image ls`; an image without a name is one row."
    " A name of several platforms has a row for each of them.",
    (
        Field(
            "id",
            DataType.DIGEST,
            "the image ID: the digest of the config",
            docker_placeholders=(("ID", "short"),),
            title="IMAGE ID",
        ),
        Field(
            "name",
            DataType.REFERENCE,
            "the repository and tag or digest, in docker's short form",
            aliases=("reference",),
        ),
        Field(
            "registry",
            DataType.TEXT,
            "the host of the registry; docker.io when the name has none",
            normalise=normalize_registry,
        ),
        Field(
            "repository",
            DataType.REPOSITORY,
            "the name without its tag, in docker's short form",
            aliases=("repo",),
            docker_placeholders=(("Repository", "or-none"),),
        ),
        Field("tag", DataType.TAG, "the tag", docker_placeholders=(("Tag", "or-none"),)),
        *VERSION_FIELDS,
        Field(
            "digest",
            DataType.DIGEST,
            "the digest of the name in its registry; unknown when it did not come from a registry",
            docker_placeholders=(("Digest", "or-none"),),
        ),
        Field("manifest_digest", DataType.DIGEST, "the digest of the manifest of this platform"),
        Field(
            "created",
            DataType.TIME,
            "the time of the build; unknown when the config has none, zero or the epoch",
            docker_placeholders=(("CreatedSince", "ago"), ("CreatedAt", "go-time")),
            title="CREATED",
        ),
        Field(
            "size",
            DataType.SIZE,
            "bytes of the files in the layers; shared layers count in full. In places on disk unknown where layers are"
            " compressed",
            docker_placeholders=(("Size", "size"), ("VirtualSize", "size-4")),
            title="SIZE",
        ),
        Field("download_size", DataType.SIZE, "bytes of the config and the compressed layers"),
        Field(
            "shared_size",
            DataType.SIZE,
            "the part of size in layers that other images of the store have too",
        ),
        Field(
            "unique_size",
            DataType.SIZE,
            "the part of size in layers that no other image of the store has",
        ),
        Field(
            "chain_id",
            DataType.DIGEST,
            "the chain ID: a digest of all layers in order; images with the same layers have the same",
        ),
        Field("layer_count", DataType.NUMBER, "the number of layers", aliases=("layers",)),
        Field("diff_ids", DataType.LIST, "the digests of the uncompressed layers, lowest layer first", on_request=True),
        Field(
            "chain_ids",
            DataType.LIST,
            "the chain ID of each layer, lowest layer first; the last one is chain_id",
            on_request=True,
        ),
        Field(
            "base_chain_id",
            DataType.DIGEST,
            "the chain ID of the base: of the most lower layers that are all layers of another image of the source",
            is_optional=True,
            on_request=True,
        ),
        Field("platform", DataType.PLATFORM, "os/architecture[/variant]"),
        Field("os", DataType.TEXT, "the operating system", aliases=("operating_system",), normalise=normalize_os),
        Field(
            "architecture",
            DataType.TEXT,
            "the architecture, by its name in Go. Example: amd64, arm64",
            aliases=("arch",),
            normalise=normalize_architecture,
        ),
        Field(
            "variant", DataType.TEXT, "the variant of the architecture. Example: v7, v8", normalise=normalize_variant
        ),
        Field("os_version", DataType.TEXT, "the version of the operating system; Windows images have one"),
        *CONFIG_FIELDS,
        Field(
            "annotations",
            DataType.MAP,
            "the annotations of the manifest; annotations.KEY is one of them",
            aliases=("annotation",),
        ),
        Field("media_type", DataType.TEXT, "the media type of the manifest"),
        Field("dangling", DataType.BOOLEAN, "the image has no tag"),
        Field(
            "in_use",
            DataType.BOOLEAN,
            "a container, running or stopped, was made from the image",
            about_containers=True,
        ),
        Field(
            "containers",
            DataType.NUMBER,
            "the number of containers made from the image",
            about_containers=True,
        ),
        Field("pulled_at", DataType.TIME, "when the name was pulled or last set"),
        Field(
            "last_used",
            DataType.TIME,
            "when a container last used the image; unknown if none was seen",
            about_containers=True,
        ),
        Field(
            "complete",
            DataType.BOOLEAN,
            "all blobs of the image are here: its manifest, its config and its layers",
            on_request=True,
        ),
        Field(
            "pinned", DataType.BOOLEAN, "the kubelet never removes the image: containerd labels it so", on_request=True
        ),
        Field(
            "store_path",
            DataType.TEXT,
            "where it is on disk. In the store, the file of its manifest, relative to the folder of the store; in an"
            " engine, the folder of its top layer on the engine's host",
            on_request=True,
        ),
        Field("source", DataType.TEXT, "the source that holds it"),
    ),
    default_columns=("repository", "tag", "id", "created", "size"),
    order=("-created", "repository", "tag", "id"),
    has_ordered_index=True,
    key=("name", "id"),
    tree_fields=("name", "id", "size", "unique_size", "shared_size", "chain_ids", "source"),
    relations=(
        Relation(
            "layers",
            "layers",
            "the layers of the image",
            item_name="layer",
            item_fields=("digest", "diff_id"),
        ),
        Relation("history", "history", "the steps of the build"),
        Relation("containers", "containers", "the containers made from the image", join="container"),
        *LINEAGE_RELATIONS,
        *make_content_relations("id"),
        make_registry_relation("name"),
    ),
)

MAP_TABLES = {field.name: f"image_{field.name}" for field in IMAGES.fields if field.type is DataType.MAP}
"""The tables in which the index of the store keeps the maps of images, one row per key, by the name of the field."""
