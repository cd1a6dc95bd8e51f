"""The tables of registries, and the fetch level of each field."""

from __future__ import annotations

from imq.engine.catalog.schema import DataType, FetchLevel, Field, Table
from imq.engine.catalog.tables import BLOBS, CONFIG_FIELDS, HISTORY, IMAGES, LAYERS
from imq.engine.catalog.tables.registry import MANIFESTS, PLATFORMS, REFERRERS, REPOSITORIES, SEARCH, TAGS

DIGEST = FetchLevel("digest", "the digests", "1 request for each")
ROOT_MANIFEST = FetchLevel(
    "root manifest", "the manifests and indexes of these digests", "1 request for each digest that is not cached"
)
MANIFEST = FetchLevel("manifest", "the manifests", "1 request for each digest that is not cached, 2 below an index")
CONFIG = FetchLevel("config", "the configs", "1 request for each manifest and 1 for each config that is not cached")
BASES = FetchLevel(
    "bases",
    "the configs of all tags of the query",
    "1 request for each manifest and 1 for each config that is not cached",
)
REFERRERS_LEVEL = FetchLevel(
    "referrers", "their referrers", "2 requests for each, 3 for registries without the referrers API"
)
LEVELS = (DIGEST, ROOT_MANIFEST, MANIFEST, CONFIG, BASES, REFERRERS_LEVEL)

TAG_COUNT = FetchLevel("tags", "their tags", "1 request for each 1,000 tags")
TAG_SIZES = FetchLevel("sizes", "the manifests of their tags", "1 request for each 1,000 tags, and for each manifest")

_CONFIG_FIELDS = " ".join(
    ("created platform os architecture variant os_version", *(field.name for field in CONFIG_FIELDS))
)
_TAG_LEVELS = {
    DIGEST: "digest media_type",
    ROOT_MANIFEST: "artifact_type manifest_digest",
    MANIFEST: "id layer_count annotations size download_size",
    CONFIG: f"{_CONFIG_FIELDS} platforms diff_ids chain_ids chain_id",
    BASES: "base_chain_id",
    REFERRERS_LEVEL: "signed",
}
_IMAGES_FIELDS = {field.name: field for field in IMAGES.fields}
_TAGS_FIELDS = {field.name: field for field in TAGS.fields}
_IMAGE_FIELDS = (
    Field("name", DataType.REFERENCE, "the name by which the image was requested"),
    _TAGS_FIELDS["registry"].replace(type=DataType.TEXT, doc="the registry's host"),
    _TAGS_FIELDS["repository"].replace(doc="the repository, in its short form"),
    _IMAGES_FIELDS["manifest_digest"],
    _IMAGES_FIELDS["platform"],
    _TAGS_FIELDS["problem"],
)
"""Fields of layers and build steps that describe their image in a registry."""


def _mark_unseen(field: Field) -> Field:
    """Mark a field of images as unavailable in registries, except `dangling`: images of registries have a tag."""
    return field.replace(is_unavailable=field.name != "dangling")


def _add_image_fields(table: Table, default_columns: tuple[str, ...]) -> Table:
    return table.replace(
        fields=(*table.fields, *_IMAGE_FIELDS),
        default_columns=default_columns,
        order=("name", "index"),
        key=("manifest_digest", "index"),
        relations=(),
    )


TABLES: dict[str, Table] = {
    "tags": TAGS.with_levels(_TAG_LEVELS),
    "images": IMAGES.replace(
        fields=(
            *(_TAGS_FIELDS.get(field.name) or _mark_unseen(field) for field in IMAGES.fields),
            *(field for field in TAGS.fields if field.name not in _IMAGES_FIELDS),
        ),
        relations=TAGS.relations,
        tree_fields=(),  # the layers of all tags would be requested
    ).with_levels(_TAG_LEVELS),
    "layers": _add_image_fields(LAYERS, ("name", "index", "digest", "size", "media_type")).with_levels(
        {CONFIG: "diff_id chain_id created created_by platform"}
    ),
    "history": _add_image_fields(HISTORY, ("name", "created", "created_by", "size", "comment")).with_levels(
        {CONFIG: "platform"}
    ),
    "repositories": REPOSITORIES.with_levels({TAG_COUNT: "tag_count", TAG_SIZES: "size"}),
    "platforms": PLATFORMS.with_levels({MANIFEST: "size layer_count id", CONFIG: "created"}),
    "manifests": MANIFESTS.with_levels({CONFIG: "created platform"}),
    "referrers": REFERRERS.with_levels({}),
    "blobs": BLOBS,
    "search": SEARCH.with_levels({}),
}
LISTING_COST = {
    "repositories": "1 request for each 1,000 repositories",
    "search": "1 request for each 100 hits",
    "platforms": "2 requests for each name, 1 if its index is cached",
    "referrers": "2 requests for each name",
    "layers": "1 request for each name, and 1 for its manifest if that is not cached, 2 below an index",
    "history": "1 request for each name, and 2 for its manifest and config if they are not cached, 3 below an index",
    "manifests": "1 request for each 1,000 tags, and for each tag and each manifest of an index",
    "blobs": "1 request for each 1,000 tags, and for each tag and each manifest that is not cached",
}
"""The number of requests that listing a table takes, except for the tables of tags."""
TAGS_LISTING_COST = "1 request for each 1,000 tags of a repository, none for a name with its tag"
TARGETLESS_TABLES = ("tags", "images", "repositories", "manifests", "blobs", "search")
"""Tables that can be read with `in HOST` alone, without a target."""


def list_levels(table: Table) -> tuple[FetchLevel, ...]:
    """Return the levels of a table's fields, cheapest first."""
    used = {field.level for field in table.fields}
    return tuple(level for level in (*LEVELS, TAG_COUNT, TAG_SIZES) if level in used)
