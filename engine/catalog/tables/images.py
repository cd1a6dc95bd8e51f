"""The table `images`."""

from __future__ import annotations

from imq.engine.catalog.schema import DataType, Field, Relation, Table, registry_relation
from imq.engine.oci.platform import normalise_architecture, normalise_os, normalise_variant

from .image_config import CONFIG_FIELDS
from .version_fields import VERSION_FIELDS

IMAGES = Table(
    "images",
    "One row for each name of each image, as `docker image ls` shows them; an image without a name is one row.",
    (
        Field(
            "id",
            DataType.DIGEST,
            "the image's id: the digest of its config",
            docker_placeholders=(("ID", "short"),),
            title="IMAGE ID",
        ),
        Field(
            "name",
            DataType.REFERENCE,
            "repository and tag (or digest) as one writes them",
            aliases=("reference",),
        ),
        Field("registry", DataType.TEXT, "the registry's host; docker.io when the name gives none"),
        Field(
            "repository",
            DataType.REPOSITORY,
            "the name without its tag, as docker shows it",
            aliases=("repo",),
            docker_placeholders=(("Repository", "or-none"),),
        ),
        Field("tag", DataType.TAG, "the tag", docker_placeholders=(("Tag", "or-none"),)),
        *VERSION_FIELDS,
        Field(
            "digest",
            DataType.DIGEST,
            "the digest by which the registry knows the name; unknown when it never came from one",
            docker_placeholders=(("Digest", "or-none"),),
        ),
        Field("manifest_digest", DataType.DIGEST, "the digest of the manifest of this platform"),
        Field(
            "created",
            DataType.TIME,
            "when the image was built; unknown when its config says nothing, zero or the epoch",
            docker_placeholders=(("CreatedSince", "ago"), ("CreatedAt", "go-time")),
            title="CREATED",
        ),
        Field(
            "size",
            DataType.SIZE,
            "bytes of the files in its layers, unpacked; shared layers count in full",
            docker_placeholders=(("Size", "size"), ("VirtualSize", "size-4")),
            title="SIZE",
        ),
        Field("download_size", DataType.SIZE, "bytes of its config and layers as they travel"),
        Field(
            "shared_size",
            DataType.SIZE,
            "the part of size in layers that another image of the store has too",
        ),
        Field(
            "unique_size",
            DataType.SIZE,
            "the part of size in layers that no other image of the store has",
        ),
        Field(
            "chain_id",
            DataType.DIGEST,
            "the digest that stands for all its layers in their order; images with the same files have the same",
        ),
        Field("layer_count", DataType.NUMBER, "how many layers it has", aliases=("layers",)),
        Field("platform", DataType.PLATFORM, "os/architecture[/variant]"),
        Field("os", DataType.TEXT, "the operating system", aliases=("operating_system",), normalise=normalise_os),
        Field(
            "architecture",
            DataType.TEXT,
            "the processor, in Go's words: amd64, arm64",
            aliases=("arch",),
            normalise=normalise_architecture,
        ),
        Field("variant", DataType.TEXT, "the processor's variant: v7, v8", normalise=normalise_variant),
        Field("os_version", DataType.TEXT, "the version of the operating system (Windows images say it)"),
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
            "how many containers were made from the image",
            about_containers=True,
        ),
        Field("pulled_at", DataType.TIME, "when this name was brought here or last set here"),
        Field(
            "last_used",
            DataType.TIME,
            "when a container last used the image; unknown until imq has seen one",
            about_containers=True,
        ),
        Field("source", DataType.TEXT, "the place that holds it"),
    ),
    default_columns=("repository", "tag", "id", "created", "size"),
    order=("-created", "repository", "tag", "id"),
    key=("name", "id"),
    relations=(
        Relation(
            "layers",
            "layers",
            "the layers it is made of",
            item_name="layer",
            item_fields=("digest", "diff_id"),
        ),
        Relation("history", "history", "the steps of its build"),
        Relation("containers", "containers", "the containers made from it", join="container"),
        Relation(
            "base",
            "images",
            "the image of the store with the most layers that are the first of this one's; one name of it",
            join="base",
            is_many=False,
        ),
        Relation("children", "images", "the images whose base it is", join="children"),
        registry_relation("name"),
    ),
)
