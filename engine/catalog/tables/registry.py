"""The tables of registries."""

from __future__ import annotations

from imq.engine.catalog.schema import DataType, Field, Relation, Table, TargetKind, make_content_relations

from .image_config import CONFIG_FIELDS
from .images import (
    IMAGES,
    LINEAGE_RELATIONS,
    normalize_architecture,
    normalize_os,
    normalize_registry,
    normalize_variant,
)
from .version_fields import VERSION_FIELDS

_IMAGE_FIELDS = {field.name: field for field in IMAGES.fields}


def _get_image_fields(names: str) -> tuple[Field, ...]:
    """Return fields of images by their names."""
    return tuple(_IMAGE_FIELDS[name] for name in names.split())


_LOOKUP_BY_DIGEST: tuple[str, bool, str, tuple[str, ...], tuple[str, ...]] = (
    "lookup name",
    True,
    "",
    (),
    ("name", "digest"),
)
"""The fields of a relation whose rows are looked up by the name and digest of a row: `join` to `lookup_fields`."""


def _make_layer_relations(digest: str, layers: str) -> tuple[Relation, Relation]:
    """Return the relations to the layers and build steps of the image whose manifest digest is in this field."""
    join = "lookup name manifest_digest" + ("" if digest == "manifest_digest" else f"={digest}")
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
        Relation("history", "history", "the steps of the build", join, lookup_fields=lookup_fields),
    )


_LINEAGE_DOCS = {
    "base": "the tag of the same query, in the same registry, with the most layers that are the lowest layers of this"
    " image; one of them",
    "children": "the tags of the same query with this image as their base",
}
_PROBLEM = Field("problem", DataType.TEXT, "why its registry did not return more")
_SOURCE = Field("source", DataType.TEXT, "the registry that holds it")
_REGISTRY = Field("registry", DataType.TEXT, "the host of the registry", normalise=normalize_registry)
_REPOSITORY = Field("repository", DataType.REPOSITORY, "the repository, in docker's short form")
_DIGEST_REFERENCE = Field("name", DataType.REFERENCE, "repository@digest")
_ANNOTATIONS = Field("annotations", DataType.MAP, "its annotations", aliases=("annotation",))
_PLATFORM = Field("platform", DataType.PLATFORM, "os/architecture[/variant]")
_PLATFORM_FIELDS = (
    Field("os", DataType.TEXT, "the operating system", normalise=normalize_os),
    Field("architecture", DataType.TEXT, "the architecture", aliases=("arch",), normalise=normalize_architecture),
    Field("variant", DataType.TEXT, "the variant of the architecture", normalise=normalize_variant),
    Field("os_version", DataType.TEXT, "the version of the operating system"),
)

_MANIFEST_FIELDS = (
    Field("size", DataType.SIZE, "bytes of the config and the compressed layers", aliases=("download_size",)),
    Field("layer_count", DataType.NUMBER, "the number of layers"),
    *_get_image_fields("id created"),
)

TAGS = Table(
    "tags",
    "One row for each tag of repositories in registries. For an index the row describes the image for this machine, or"
    " for the platform in the condition (platform = linux/arm64).",
    (
        *_get_image_fields("name registry repository tag"),
        *VERSION_FIELDS,
        _IMAGE_FIELDS["digest"].replace(doc="the digest of the tag"),
        Field("media_type", DataType.TEXT, "the media type of the manifest or index of the tag"),
        Field("artifact_type", DataType.TEXT, "the artifact type; unknown for images"),
        Field(
            "platforms",
            DataType.LIST,
            "the platforms of an index, without attestations",
            items=DataType.PLATFORM,
        ),
        _IMAGE_FIELDS["manifest_digest"],
        *_get_image_fields("id layer_count diff_ids chain_ids chain_id base_chain_id annotations"),
        _IMAGE_FIELDS["size"].replace(
            doc="bytes of the config and the compressed layers; registries do not report uncompressed sizes",
        ),
        *_get_image_fields("download_size"),
        *_get_image_fields("created platform os architecture variant os_version"),
        *CONFIG_FIELDS,
        Field(
            "signed",
            DataType.BOOLEAN,
            "it has a signature: a tag of cosign, or a referrer",
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
            "the entries of its index; the image itself without an index",
            "lookup name",
            lookup_fields=("name", "digest"),
        ),
        Relation("referrers", "referrers", "its referrers", *_LOOKUP_BY_DIGEST),
        *_make_layer_relations("manifest_digest", "the layers of the image"),
        *make_content_relations("name", "manifest_digest"),
        *(relation.replace(table="tags", doc=_LINEAGE_DOCS[relation.name]) for relation in LINEAGE_RELATIONS),
    ),
    target=TargetKind.REPOSITORIES,
)

REPOSITORIES = Table(
    "repositories",
    "One row for each repository in the catalog of a registry.",
    (
        Field("name", DataType.REPOSITORY, "the repository, in docker's short form", aliases=("repository",)),
        _REGISTRY,
        Field("tag_count", DataType.NUMBER, "the number of tags"),
        Field(
            "size",
            DataType.SIZE,
            "bytes of the manifests, configs and layers of its tags, each once; in a sum over repositories, shared"
            " blobs count once for each repository",
        ),
        _PROBLEM,
        _SOURCE,
    ),
    default_columns=("name",),
    order=("name",),
    key=("name",),
    relations=(Relation("tags", "tags", "its tags", "lookup name", lookup_fields=("name",)),),
)

PLATFORMS = Table(
    "platforms",
    "One row for each entry of an index, including attestations; a single image is one row. Without in, it is read"
    " in the registry of the name: the store keeps only what was pulled of an index.",
    (
        Field("name", DataType.REFERENCE, "the name by which the index was requested"),
        _REGISTRY,
        _REPOSITORY,
        Field("position", DataType.NUMBER, "its position in the index, 0 for the first"),
        _PLATFORM,
        *_PLATFORM_FIELDS,
        Field("digest", DataType.DIGEST, "the digest of the manifest"),
        Field("media_type", DataType.TEXT, "the media type of the manifest"),
        Field(
            "attestation",
            DataType.BOOLEAN,
            "it is not an image but an attestation of another entry",
        ),
        _ANNOTATIONS.replace(doc="the annotations of the entry"),
        *_MANIFEST_FIELDS,
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
            "lookup name digest",
            lookup_fields=("name", "digest"),
        ),
        *_make_layer_relations("digest", "its layers"),
    ),
    target=TargetKind.NAMES,
)

MANIFESTS = Table(
    "manifests",
    "One row for each known manifest of a repository: those of its tags, the entries of their indexes, their referrers,"
    " and earlier ones that imq has seen and that still exist. Registries do not list manifests without a tag.",
    (
        _DIGEST_REFERENCE,
        _REGISTRY,
        _REPOSITORY,
        Field("digest", DataType.DIGEST, "the digest"),
        Field("tags", DataType.LIST, "its tags; unknown when it has none", aliases=("tag",)),
        Field("parent_index", DataType.DIGEST, "an index with this manifest", is_optional=True),
        Field("subject", DataType.DIGEST, "the digest of its subject", is_optional=True),
        Field("media_type", DataType.TEXT, "the media type"),
        Field("artifact_type", DataType.TEXT, "the artifact type; unknown for images"),
        _ANNOTATIONS,
        *_MANIFEST_FIELDS,
        _PLATFORM,
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
    "One row for each referrer of an image: signatures, attestations, SBOMs.",
    (
        _DIGEST_REFERENCE,
        _REGISTRY,
        _REPOSITORY,
        Field("subject", DataType.DIGEST, "the digest of its subject", is_optional=True),
        Field("artifact_type", DataType.TEXT, "the artifact type"),
        Field("digest", DataType.DIGEST, "the digest of the manifest"),
        Field("media_type", DataType.TEXT, "the media type of the manifest"),
        _ANNOTATIONS,
        Field(
            "created",
            DataType.TIME,
            "when it was created, from the annotation org.opencontainers.image.created",
        ),
        Field("size", DataType.SIZE, "bytes of the manifest"),
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
    "One row for each repository found by a search: search redis, search redis in registry.local:5000.",
    (
        Field("name", DataType.REPOSITORY, "the repository, in docker's short form"),
        _REGISTRY,
        Field("description", DataType.TEXT, "the description of its owner"),
        Field("stars", DataType.NUMBER, "the number of stars", docker_placeholders=(("StarCount", "plain"),)),
        Field(
            "official",
            DataType.BOOLEAN,
            "it is one of Docker's official images",
            docker_placeholders=(("IsOfficial", "ok"),),
        ),
        Field(
            "automated",
            DataType.BOOLEAN,
            "it is an automated build",
            docker_placeholders=(("IsAutomated", "ok"),),
        ),
        _SOURCE,
    ),
    default_columns=("name", "description", "stars", "official"),
    order=("-stars", "name"),
    key=("name",),
    target=TargetKind.TERM,
)
