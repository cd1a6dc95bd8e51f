"""The tables of registries. What a registry lists is cheap; the rest is fetched for the rows that it is needed for."""

from __future__ import annotations

from imq.engine.catalog.schema import Cost, Field, Kind, Of, Relation, Table

from .images import IMAGES
from .layers import HISTORY, LAYERS
from .version_fields import VERSION

_OF_IMAGES = {field.name: field for field in IMAGES.fields}


def _as_in_images(names: str, cost: Cost) -> tuple[Field, ...]:
    """Return fields of images, at what a registry asks for them."""
    return tuple(_OF_IMAGES[name].replace(cost=cost) for name in names.split())


_ITSELF: tuple[str, bool, str, tuple[str, ...], tuple[str, ...]] = ("asked name", True, "", (), ("name", "digest"))
"""How what is asked by the name of a row and its digest belongs to it: link, many, singular, keys, drives."""


def _inside(digest: str, layers: str, history: str) -> tuple[Relation, Relation]:
    """Return the relations to the layers and steps of the very image whose manifest's digest is in this field."""
    link = "asked name manifest_digest" + ("" if digest == "manifest_digest" else f"={digest}")
    drives = ("name", digest)
    return (
        Relation("layers", "layers", layers, link, singular="layer", keys=("digest", "diff_id"), drives=drives),
        Relation("history", "history", history, link, drives=drives),
    )


_PROBLEM = Field("problem", Kind.TEXT, "why its registry did not tell more of it", cost=Cost.LISTED)
_SOURCE = Field("source", Kind.TEXT, "the registry that holds it", cost=Cost.LISTED)
_REGISTRY = Field("registry", Kind.TEXT, "the registry's host", cost=Cost.LISTED)
_REPOSITORY = Field("repository", Kind.REPOSITORY, "the repository, as one writes it", cost=Cost.LISTED)
_PLACE = (
    Field("os", Kind.TEXT, "the operating system", cost=Cost.LISTED),
    Field("architecture", Kind.TEXT, "the processor", aliases=("arch",), cost=Cost.LISTED),
    Field("variant", Kind.TEXT, "the processor's variant", cost=Cost.LISTED),
    Field("os_version", Kind.TEXT, "the version of the operating system", cost=Cost.LISTED),
)

TAGS = Table(
    "tags",
    "One row for each tag of repositories of registries. Of an index it tells of the image for this machine, or for the"
    " platform that the condition names (platform = linux/arm64).",
    (
        *_as_in_images("name registry repository tag", Cost.LISTED),
        *VERSION,
        _OF_IMAGES["digest"].replace(doc="the digest that the tag stands for", cost=Cost.DIGEST),
        Field("media_type", Kind.TEXT, "the media type of what the tag stands for", cost=Cost.DIGEST),
        Field("artifact_type", Kind.TEXT, "what kind of artifact it is; unknown for images", cost=Cost.NAMED),
        Field(
            "platforms",
            Kind.LIST,
            "the platforms of an index, without attestations",
            cost=Cost.NAMED,
            items=Kind.PLATFORM,
        ),
        _OF_IMAGES["manifest_digest"].replace(cost=Cost.NAMED),
        *_as_in_images("id layer_count annotations", Cost.MANIFEST),
        _OF_IMAGES["size"].replace(
            doc="bytes of its config and layers as they travel; registries do not tell what they unpack to",
            cost=Cost.MANIFEST,
        ),
        *_as_in_images("download_size", Cost.MANIFEST),
        *_as_in_images(
            "created platform os architecture variant os_version label env user entrypoint cmd workdir ports volumes"
            " healthcheck stop_signal author",
            Cost.CONFIG,
        ),
        Field(
            "signed",
            Kind.BOOLEAN,
            "a signature of it is there: cosign's tag, or attached as a referrer",
            cost=Cost.ATTACHED,
        ),
        _PROBLEM,
        _SOURCE,
    ),
    shown=("repository", "tag"),
    order=("repository", "-version", "tag"),
    key=("name",),
    relations=(
        Relation(
            "platforms",
            "platforms",
            "the entries of its index; the image itself when it is none",
            "asked name",
            drives=("name", "digest"),
        ),
        Relation("referrers", "referrers", "what is attached to it", *_ITSELF),
        *_inside("manifest_digest", "the layers of the image", "the steps of the image's build"),
    ),
    takes=Of.REPOSITORIES,
    remote=True,
    places=True,
)

REPOSITORIES = Table(
    "repositories",
    "One row for each repository of a registry, as its catalog lists them.",
    (
        Field("name", Kind.REPOSITORY, "the repository, as one writes it", aliases=("repository",), cost=Cost.LISTED),
        _REGISTRY,
        Field("tag_count", Kind.NUMBER, "how many tags it has", cost=Cost.DIGEST),
        Field(
            "size",
            Kind.SIZE,
            "bytes of what its tags reach, manifests, configs and layers, each once; a sum of several repositories"
            " counts what they share in each",
            cost=Cost.MANIFEST,
        ),
        _PROBLEM,
        _SOURCE,
    ),
    shown=("name",),
    order=("name",),
    key=("name",),
    relations=(Relation("tags", "tags", "its tags", "asked name", drives=("name",)),),
    remote=True,
    places=True,
)

PLATFORMS = Table(
    "platforms",
    "One row for each entry of an index, attestations too; a single image is one row.",
    (
        Field("name", Kind.REFERENCE, "what the index was asked as", cost=Cost.LISTED),
        _REGISTRY,
        _REPOSITORY,
        Field("position", Kind.NUMBER, "its place in the index, 0 for the first", cost=Cost.LISTED),
        Field("platform", Kind.PLATFORM, "os/architecture[/variant]", cost=Cost.LISTED),
        *_PLACE,
        Field("digest", Kind.DIGEST, "the digest of the entry's manifest", cost=Cost.LISTED),
        Field("media_type", Kind.TEXT, "the media type of the entry's manifest", cost=Cost.LISTED),
        Field(
            "attestation",
            Kind.BOOLEAN,
            "it is no image, but says something about another entry",
            cost=Cost.LISTED,
        ),
        Field("annotations", Kind.MAP, "the annotations of the entry", aliases=("annotation",), cost=Cost.LISTED),
        Field(
            "size",
            Kind.SIZE,
            "bytes of its config and layers as they travel",
            aliases=("download_size",),
            cost=Cost.MANIFEST,
        ),
        Field("layer_count", Kind.NUMBER, "how many layers it has", cost=Cost.MANIFEST),
        _OF_IMAGES["id"].replace(cost=Cost.MANIFEST),
        _OF_IMAGES["created"].replace(cost=Cost.CONFIG),
        _PROBLEM,
        _SOURCE,
    ),
    shown=("name", "platform", "digest", "attestation"),
    order=("name", "position"),
    key=("name", "digest"),
    relations=(
        Relation(
            "manifests",
            "manifests",
            "its manifest, if the registry has it",
            "asked name digest",
            drives=("name", "digest"),
        ),
        *_inside("digest", "its layers", "the steps of its build"),
    ),
    takes=Of.NAMES,
    remote=True,
)

MANIFESTS = Table(
    "manifests",
    "One row for each manifest of a repository that is known: those of its tags, the children of their indexes, what"
    " is attached to them, and those that once were, as far as imq has seen them and they are still there. Registries"
    " list none without a tag.",
    (
        Field("name", Kind.REFERENCE, "repository@digest", cost=Cost.LISTED),
        _REGISTRY,
        _REPOSITORY,
        Field("digest", Kind.DIGEST, "its digest", cost=Cost.LISTED),
        Field("tags", Kind.LIST, "its tags; unknown when it has none", aliases=("tag",), cost=Cost.LISTED),
        Field("parent_index", Kind.DIGEST, "an index that lists it", cost=Cost.LISTED),
        Field("subject", Kind.DIGEST, "what it is attached to", cost=Cost.LISTED),
        Field("media_type", Kind.TEXT, "its media type", cost=Cost.LISTED),
        Field("artifact_type", Kind.TEXT, "what kind of artifact it is; unknown for images", cost=Cost.LISTED),
        Field("annotations", Kind.MAP, "its annotations", aliases=("annotation",), cost=Cost.LISTED),
        Field(
            "size",
            Kind.SIZE,
            "bytes of its config and layers as they travel",
            aliases=("download_size",),
            cost=Cost.LISTED,
        ),
        Field("layer_count", Kind.NUMBER, "how many layers it has", cost=Cost.LISTED),
        _OF_IMAGES["id"].replace(cost=Cost.LISTED),
        _OF_IMAGES["created"].replace(cost=Cost.CONFIG),
        Field("platform", Kind.PLATFORM, "os/architecture[/variant]", cost=Cost.CONFIG),
        _PROBLEM,
        _SOURCE,
    ),
    shown=("repository", "digest", "media_type", "tags", "parent_index", "size"),
    order=("repository", "tags", "digest"),
    key=("repository", "digest"),
    takes=Of.REPOSITORIES,
    remote=True,
    places=True,
)

REFERRERS = Table(
    "referrers",
    "One row for each artifact that is attached to an image: signatures, attestations, bills of materials.",
    (
        Field("name", Kind.REFERENCE, "repository@digest", cost=Cost.LISTED),
        _REGISTRY,
        _REPOSITORY,
        Field("subject", Kind.DIGEST, "what it is attached to", cost=Cost.LISTED),
        Field("artifact_type", Kind.TEXT, "what kind of artifact it is", cost=Cost.LISTED),
        Field("digest", Kind.DIGEST, "the digest of its manifest", cost=Cost.LISTED),
        Field("media_type", Kind.TEXT, "the media type of its manifest", cost=Cost.LISTED),
        Field("annotations", Kind.MAP, "its annotations", aliases=("annotation",), cost=Cost.LISTED),
        Field(
            "created",
            Kind.TIME,
            "when it was made, as its annotation org.opencontainers.image.created says",
            cost=Cost.LISTED,
        ),
        Field("size", Kind.SIZE, "bytes of its manifest", cost=Cost.LISTED),
        _PROBLEM,
        _SOURCE,
    ),
    shown=("subject", "artifact_type", "digest", "created", "size"),
    order=("subject", "artifact_type", "digest"),
    key=("subject", "digest"),
    takes=Of.NAMES,
    remote=True,
)

SEARCH = Table(
    "search",
    "One row for each repository that a search finds: search redis, search redis in registry.local:5000.",
    (
        Field("name", Kind.REPOSITORY, "the repository, as one writes it", cost=Cost.LISTED),
        _REGISTRY,
        Field("description", Kind.TEXT, "what its owner says of it", cost=Cost.LISTED),
        Field("stars", Kind.NUMBER, "how many like it", placeholders=(("StarCount", "plain"),), cost=Cost.LISTED),
        Field(
            "official",
            Kind.BOOLEAN,
            "it is one of Docker's official images",
            placeholders=(("IsOfficial", "ok"),),
            cost=Cost.LISTED,
        ),
        Field(
            "automated",
            Kind.BOOLEAN,
            "it is built automatically",
            placeholders=(("IsAutomated", "ok"),),
            cost=Cost.LISTED,
        ),
        _SOURCE,
    ),
    shown=("name", "description", "stars", "official"),
    order=("-stars", "name"),
    key=("name",),
    takes=Of.TERM,
    remote=True,
    places=True,
)

_OF_TAGS = {field.name: field for field in TAGS.fields}


def _only_of_a_store(field: Field) -> Field:
    """Return a field of images that a registry does not tell; that an image there has a tag is known."""
    return field.replace(cost=Cost.LISTED, unseen=field.name != "dangling")


IMAGES_THERE = IMAGES.replace(
    fields=(
        *(_OF_TAGS.get(field.name) or _only_of_a_store(field) for field in IMAGES.fields),
        *(field for field in TAGS.fields if field.name not in _OF_IMAGES),
    ),
    relations=TAGS.relations,
    remote=True,
    places=True,
)
"""The table `images` as registries fill it: what only a store can tell is unknown."""

_OF_AN_IMAGE = (
    Field("name", Kind.REFERENCE, "what the image was asked as", cost=Cost.LISTED),
    _REGISTRY,
    _REPOSITORY,
    _OF_IMAGES["manifest_digest"].replace(cost=Cost.LISTED),
    _OF_IMAGES["platform"].replace(cost=Cost.CONFIG),
    _PROBLEM,
)
"""What rows of layers and steps tell of their image, when it is in a registry."""
_FROM_CONFIGS = ("diff_id", "chain_id", "created", "created_by")
LAYERS_THERE = LAYERS.replace(
    fields=(
        *(field.replace(cost=Cost.CONFIG if field.name in _FROM_CONFIGS else Cost.LISTED) for field in LAYERS.fields),
        *_OF_AN_IMAGE,
    ),
    shown=("name", "index", "digest", "size", "media_type"),
    order=("name", "index"),
    key=("manifest_digest", "index"),
    relations=(),
    remote=True,
)
"""The table `layers` as registries fill it; the size is that of the layer as it travels."""
HISTORY_THERE = HISTORY.replace(
    fields=(*(field.replace(cost=Cost.LISTED) for field in HISTORY.fields), *_OF_AN_IMAGE),
    shown=("name", "created", "created_by", "size", "comment"),
    order=("name", "index"),
    key=("manifest_digest", "index"),
    relations=(),
    remote=True,
)
"""The table `history` as registries fill it."""

THERE = {table.name: table for table in (IMAGES_THERE, LAYERS_THERE, HISTORY_THERE)}
"""What tables of the store are when registries fill them."""
REMOTE = (TAGS, REPOSITORIES, PLATFORMS, MANIFESTS, REFERRERS, SEARCH)
