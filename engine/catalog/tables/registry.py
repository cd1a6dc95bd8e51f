"""The tables that only registries fill."""

from __future__ import annotations

from imq.engine.catalog.schema import DataType, Field, Relation, Table, TargetKind
from imq.engine.oci.platform import normalise_architecture, normalise_os, normalise_variant

from .image_config import CONFIG_FIELDS
from .images import IMAGES
from .version_fields import VERSION_FIELDS

_IMAGE_FIELDS = {field.name: field for field in IMAGES.fields}


def _get_image_fields(names: str) -> tuple[Field, ...]:
    """Return fields of images by their names."""
    return tuple(_IMAGE_FIELDS[name] for name in names.split())


_LOOKUP_BY_DIGEST: tuple[str, bool, str, tuple[str, ...], tuple[str, ...]] = (
    "asked name",
    True,
    "",
    (),
    ("name", "digest"),
)
"""How what is asked by the name of a row and its digest belongs to it: link, many, singular, keys, drives."""


def _layer_relations(digest: str, layers: str, history: str) -> tuple[Relation, Relation]:
    """Return the relations to the layers and steps of the very image whose manifest's digest is in this field."""
    join = "asked name manifest_digest" + ("" if digest == "manifest_digest" else f"={digest}")
    lookup_fields = ("name", digest)
    return (
        Relation(
            "layers",
            "layers",
            layers,
            join,
            item_name="layer",
            item_fields=("digest", "diff_id"),
            lookup_fields=lookup_fields,
        ),
        Relation("history", "history", history, join, lookup_fields=lookup_fields),
    )


_PROBLEM = Field("problem", DataType.TEXT, "why its registry did not tell more of it")
_SOURCE = Field("source", DataType.TEXT, "the registry that holds it")
_REGISTRY = Field("registry", DataType.TEXT, "the registry's host")
_REPOSITORY = Field("repository", DataType.REPOSITORY, "the repository, as one writes it")
_PLATFORM_FIELDS = (
    Field("os", DataType.TEXT, "the operating system", normalise=normalise_os),
    Field("architecture", DataType.TEXT, "the processor", aliases=("arch",), normalise=normalise_architecture),
    Field("variant", DataType.TEXT, "the processor's variant", normalise=normalise_variant),
    Field("os_version", DataType.TEXT, "the version of the operating system"),
)

TAGS = Table(
    "tags",
    "One row for each tag of repositories of registries. Of an index it tells of the image for this machine, or for the"
    " platform that the condition names (platform = linux/arm64).",
    (
        *_get_image_fields("name registry repository tag"),
        *VERSION_FIELDS,
        _IMAGE_FIELDS["digest"].replace(doc="the digest that the tag stands for"),
        Field("media_type", DataType.TEXT, "the media type of what the tag stands for"),
        Field("artifact_type", DataType.TEXT, "what kind of artifact it is; unknown for images"),
        Field(
            "platforms",
            DataType.LIST,
            "the platforms of an index, without attestations",
            items=DataType.PLATFORM,
        ),
        _IMAGE_FIELDS["manifest_digest"],
        *_get_image_fields("id layer_count annotations"),
        _IMAGE_FIELDS["size"].replace(
            doc="bytes of its config and layers as they travel; registries do not tell what they unpack to",
        ),
        *_get_image_fields("download_size"),
        *_get_image_fields("created platform os architecture variant os_version"),
        *CONFIG_FIELDS,
        Field(
            "signed",
            DataType.BOOLEAN,
            "a signature of it is there: cosign's tag, or attached as a referrer",
        ),
        _PROBLEM,
        _SOURCE,
    ),
    default_columns=("repository", "tag"),
    order=("repository", "-version", "tag"),
    key=("name",),
    relations=(
        Relation(
            "platforms",
            "platforms",
            "the entries of its index; the image itself when it is none",
            "asked name",
            lookup_fields=("name", "digest"),
        ),
        Relation("referrers", "referrers", "what is attached to it", *_LOOKUP_BY_DIGEST),
        *_layer_relations("manifest_digest", "the layers of the image", "the steps of the image's build"),
    ),
    target=TargetKind.REPOSITORIES,
)

REPOSITORIES = Table(
    "repositories",
    "One row for each repository of a registry, as its catalog lists them.",
    (
        Field("name", DataType.REPOSITORY, "the repository, as one writes it", aliases=("repository",)),
        _REGISTRY,
        Field("tag_count", DataType.NUMBER, "how many tags it has"),
        Field(
            "size",
            DataType.SIZE,
            "bytes of what its tags reach, manifests, configs and layers, each once; a sum of several repositories"
            " counts what they share in each",
        ),
        _PROBLEM,
        _SOURCE,
    ),
    default_columns=("name",),
    order=("name",),
    key=("name",),
    relations=(Relation("tags", "tags", "its tags", "asked name", lookup_fields=("name",)),),
)

PLATFORMS = Table(
    "platforms",
    "One row for each entry of an index, attestations too; a single image is one row.",
    (
        Field("name", DataType.REFERENCE, "what the index was asked as"),
        _REGISTRY,
        _REPOSITORY,
        Field("position", DataType.NUMBER, "its place in the index, 0 for the first"),
        Field("platform", DataType.PLATFORM, "os/architecture[/variant]"),
        *_PLATFORM_FIELDS,
        Field("digest", DataType.DIGEST, "the digest of the entry's manifest"),
        Field("media_type", DataType.TEXT, "the media type of the entry's manifest"),
        Field(
            "attestation",
            DataType.BOOLEAN,
            "it is no image, but says something about another entry",
        ),
        Field("annotations", DataType.MAP, "the annotations of the entry", aliases=("annotation",)),
        Field(
            "size",
            DataType.SIZE,
            "bytes of its config and layers as they travel",
            aliases=("download_size",),
        ),
        Field("layer_count", DataType.NUMBER, "how many layers it has"),
        _IMAGE_FIELDS["id"],
        _IMAGE_FIELDS["created"],
        _PROBLEM,
        _SOURCE,
    ),
    default_columns=("name", "platform", "digest", "attestation"),
    order=("name", "position"),
    key=("name", "digest"),
    relations=(
        Relation(
            "manifests",
            "manifests",
            "its manifest, if the registry has it",
            "asked name digest",
            lookup_fields=("name", "digest"),
        ),
        *_layer_relations("digest", "its layers", "the steps of its build"),
    ),
    target=TargetKind.NAMES,
)

MANIFESTS = Table(
    "manifests",
    "One row for each manifest of a repository that is known: those of its tags, the children of their indexes, what"
    " is attached to them, and those that once were, as far as imq has seen them and they are still there. Registries"
    " list none without a tag.",
    (
        Field("name", DataType.REFERENCE, "repository@digest"),
        _REGISTRY,
        _REPOSITORY,
        Field("digest", DataType.DIGEST, "its digest"),
        Field("tags", DataType.LIST, "its tags; unknown when it has none", aliases=("tag",)),
        Field("parent_index", DataType.DIGEST, "an index that lists it"),
        Field("subject", DataType.DIGEST, "what it is attached to"),
        Field("media_type", DataType.TEXT, "its media type"),
        Field("artifact_type", DataType.TEXT, "what kind of artifact it is; unknown for images"),
        Field("annotations", DataType.MAP, "its annotations", aliases=("annotation",)),
        Field(
            "size",
            DataType.SIZE,
            "bytes of its config and layers as they travel",
            aliases=("download_size",),
        ),
        Field("layer_count", DataType.NUMBER, "how many layers it has"),
        _IMAGE_FIELDS["id"],
        _IMAGE_FIELDS["created"],
        Field("platform", DataType.PLATFORM, "os/architecture[/variant]"),
        _PROBLEM,
        _SOURCE,
    ),
    default_columns=("repository", "digest", "media_type", "tags", "parent_index", "size"),
    order=("repository", "tags", "digest"),
    key=("repository", "digest"),
    target=TargetKind.REPOSITORIES,
)

REFERRERS = Table(
    "referrers",
    "One row for each artifact that is attached to an image: signatures, attestations, bills of materials.",
    (
        Field("name", DataType.REFERENCE, "repository@digest"),
        _REGISTRY,
        _REPOSITORY,
        Field("subject", DataType.DIGEST, "what it is attached to"),
        Field("artifact_type", DataType.TEXT, "what kind of artifact it is"),
        Field("digest", DataType.DIGEST, "the digest of its manifest"),
        Field("media_type", DataType.TEXT, "the media type of its manifest"),
        Field("annotations", DataType.MAP, "its annotations", aliases=("annotation",)),
        Field(
            "created",
            DataType.TIME,
            "when it was made, as its annotation org.opencontainers.image.created says",
        ),
        Field("size", DataType.SIZE, "bytes of its manifest"),
        _PROBLEM,
        _SOURCE,
    ),
    default_columns=("subject", "artifact_type", "digest", "created", "size"),
    order=("subject", "artifact_type", "digest"),
    key=("subject", "digest"),
    target=TargetKind.NAMES,
)

SEARCH = Table(
    "search",
    "One row for each repository that a search finds: search redis, search redis in registry.local:5000.",
    (
        Field("name", DataType.REPOSITORY, "the repository, as one writes it"),
        _REGISTRY,
        Field("description", DataType.TEXT, "what its owner says of it"),
        Field("stars", DataType.NUMBER, "how many like it", docker_placeholders=(("StarCount", "plain"),)),
        Field(
            "official",
            DataType.BOOLEAN,
            "it is one of Docker's official images",
            docker_placeholders=(("IsOfficial", "ok"),),
        ),
        Field(
            "automated",
            DataType.BOOLEAN,
            "it is built automatically",
            docker_placeholders=(("IsAutomated", "ok"),),
        ),
        _SOURCE,
    ),
    default_columns=("name", "description", "stars", "official"),
    order=("-stars", "name"),
    key=("name",),
    target=TargetKind.TERM,
)

REGISTRY_TABLES = (TAGS, REPOSITORIES, PLATFORMS, MANIFESTS, REFERRERS, SEARCH)
