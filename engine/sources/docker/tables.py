"""The tables that engines serve, and the levels at which their fields are fetched."""

from __future__ import annotations

from imq.engine.catalog.schema import (
    DataType,
    FetchLevel,
    Field,
    Relation,
    Table,
    make_content_relations,
    make_registry_relation,
)
from imq.engine.catalog.tables import BUILD_CACHE, CONFIG_FIELDS, CONTAINERS, HISTORY, IMAGES, LAYERS, LOGS, SERVICES
from imq.engine.catalog.tables.changes import CHANGES, MOUNTS
from imq.engine.catalog.tables.containers import CONTAINER_ROW_RELATIONS
from imq.engine.catalog.tables.images import LINEAGE_RELATIONS
from imq.engine.catalog.tables.layers import RECLAIM
from imq.engine.catalog.tables.local import USAGE
from imq.engine.catalog.tables.registry import PLATFORMS
from imq.engine.catalog.tables.volumes import VOLUMES

USERS = FetchLevel("containers", "which containers use them", "1 request for each engine")
IMAGE_DETAILS = FetchLevel("inspected", "their configs", "1 request for each image that is new to this session")
LAST_USE = FetchLevel("last use", "when their containers ran", "1 request for each container")
IMAGE_SIZES = FetchLevel(
    "disk usage", "the sizes of shared layers", "1 request for each engine, and 2 for each image of podman"
)
IMAGE_BASES = FetchLevel(
    "bases", "the layers of all images of the engine", "1 request for each image that is new to this session"
)
IMAGE_MANIFESTS = FetchLevel(
    "manifests",
    "the manifests that docker lists",
    "1 request for each engine, and 1 for each image of several platforms that is new to this session",
)
IMAGE_LEVELS = (USERS, IMAGE_DETAILS, IMAGE_MANIFESTS, IMAGE_BASES, LAST_USE, IMAGE_SIZES)

LAYER_USERS = FetchLevel("users", "how many images have them", "1 request for each image that is new to this session")
LAYER_LEVELS = (LAYER_USERS,)

CONTAINER_NAMES = FetchLevel(
    "image names", "the names of their images", "1 request for each container that is listed with an ID instead"
)
CONTAINER_DETAILS = FetchLevel("inspected", "their details", "1 request for each container")
CONTAINER_DIGESTS = FetchLevel("digests", "the digests of their images", "1 request for each engine")
CONTAINER_SIZES = FetchLevel("sizes", "the bytes that they wrote", "1 request for each engine")
CONTAINER_LEVELS = (CONTAINER_NAMES, CONTAINER_DIGESTS, CONTAINER_DETAILS, CONTAINER_SIZES)

LOG_LINES = FetchLevel("lines", "the lines of the logs", "1 request for each container, and 1 for its settings")
LOG_LEVELS = (LOG_LINES,)

CONTAINER_MOUNTS = FetchLevel("mounts", "what they mount", "1 request for each container")

VOLUME_SIZES = FetchLevel("sizes", "the sizes of their files", "1 request for each engine, which measures them")

CHANGED_PATHS = FetchLevel("changes", "the paths that they changed", "1 request for each container")
CHANGE_DETAILS = FetchLevel("files", "what these paths are", "1 request for each path")
CHANGE_LEVELS = (CHANGED_PATHS, CHANGE_DETAILS)

_LISTED_CONFIG_FIELDS = ("label",)
"""Fields of the config that a listing of images has as well."""
INSPECTED_FIELDS = tuple(field.name for field in CONFIG_FIELDS if field.name not in _LISTED_CONFIG_FIELDS)
_UNSEEN_IMAGE_FIELDS = ("annotations", "media_type", "complete", "pinned")

_PROBLEM = Field("problem", DataType.TEXT, "why the engine did not return more")
_STEP = Field("step", DataType.DIGEST, "the ID of the image that ends with this step, where the engine has it")
_CONTAINER_FIELDS = (
    Field("listed_image", DataType.TEXT, "the image as the engine lists it: by its ID when the name has another image"),
    Field("size_rootfs", DataType.SIZE, "bytes of all files of the container: those of its image, and its own"),
    Field("position", DataType.NUMBER, "the place in the listing of the engine: 0 for the container made last"),
)
_OF_IMAGE = Relation(
    "names", "images", "its image, one row for each name", "lookup image source", lookup_fields=("image", "source")
)

_IMAGES = IMAGES.replace(
    has_containers=True,
    fields=(
        *(field.replace(is_unavailable=field.name in _UNSEEN_IMAGE_FIELDS) for field in IMAGES.fields),
        _PROBLEM,
    ),
    key=("name", "id", "source"),
    relations=(
        Relation(
            "layers",
            "layers",
            "the layers of the image",
            "lookup id source",
            item_name="layer",
            item_fields=("digest", "diff_id"),
            lookup_fields=("id", "source"),
        ),
        Relation("history", "history", "the steps of the build", "lookup id source", lookup_fields=("id", "source")),
        Relation(
            "containers",
            "containers",
            "the containers made from the image",
            "lookup id source",
            lookup_fields=("id", "source"),
        ),
        *make_content_relations("id"),
        *LINEAGE_RELATIONS,
        make_registry_relation("name"),
    ),
)
_CONTAINERS = CONTAINERS.replace(
    has_containers=True,
    fields=(*CONTAINERS.fields, *_CONTAINER_FIELDS, _PROBLEM),
    key=("id", "source"),
    relations=(
        Relation(
            "names",
            "images",
            "its image, one row for each name",
            "lookup image_id source",
            lookup_fields=("image_id", "source"),
        ),
        *make_content_relations("id", owner="container"),
        *CONTAINER_ROW_RELATIONS,
        make_registry_relation("image"),
    ),
)

TABLES: dict[str, Table] = {
    "images": _IMAGES.with_levels(
        {
            USERS: "in_use containers",
            IMAGE_DETAILS: " ".join(
                (
                    "platform os architecture variant os_version layer_count diff_ids chain_ids chain_id pulled_at",
                    "store_path",
                    *INSPECTED_FIELDS,
                )
            ),
            IMAGE_MANIFESTS: "manifest_digest download_size",
            IMAGE_BASES: "base_chain_id",
            LAST_USE: "last_used",
            IMAGE_SIZES: "shared_size unique_size",
        }
    ),
    "layers": LAYERS.replace(
        fields=(*LAYERS.fields, _PROBLEM), key=("image", "index", "source"), relations=(_OF_IMAGE,)
    ).with_levels({LAYER_USERS: "images"}),
    "history": HISTORY.replace(
        fields=(*HISTORY.fields, _STEP, _PROBLEM), key=("image", "index", "source"), relations=(_OF_IMAGE,)
    ).with_levels({}),
    "containers": _CONTAINERS.with_levels(
        {
            CONTAINER_NAMES: "image",
            CONTAINER_DIGESTS: "image_digest",
            CONTAINER_DETAILS: (
                "command env health exit_code oom_killed restart_count restart_policy started finished log_size"
                " log_path volumes_from memory_limit cpu_limit privileged network_mode pid_mode user read_only"
                " driver"
            ),
            CONTAINER_SIZES: "size_rw size_rootfs",
        }
    ),
    "changes": CHANGES.replace(has_containers=True).with_levels(
        {CHANGED_PATHS: "path name directory status", CHANGE_DETAILS: "type size mode mtime link_target"}
    ),
    "mounts": MOUNTS.replace(has_containers=True).with_levels(
        {CONTAINER_MOUNTS: "type source_path volume target read_only driver propagation"}
    ),
    "volumes": VOLUMES.replace(has_containers=True).with_levels({VOLUME_SIZES: "size"}),
    "logs": LOGS.replace(has_containers=True).with_levels({LOG_LINES: "time stream text"}),
    "usage": USAGE.with_levels({}),
    "build_cache": BUILD_CACHE.with_levels({}),
    "services": SERVICES.with_levels({}),
    "reclaim": RECLAIM,
    "platforms": PLATFORMS.replace(relations=(), has_containers=True).with_levels({}),
}
LEVELS = {
    "images": IMAGE_LEVELS,
    "layers": LAYER_LEVELS,
    "containers": CONTAINER_LEVELS,
    "logs": LOG_LEVELS,
    "changes": CHANGE_LEVELS,
    "mounts": (CONTAINER_MOUNTS,),
    "volumes": (VOLUME_SIZES,),
}
ROWS_OF_CONTAINERS = ("logs", "changes", "mounts")
"""Tables of which containers are listed, and replaced by their rows."""
TIME_FIELDS = {"logs": "time"}
"""The `time_field` of a table (see query/source.py)."""
LISTING_COST = {
    "volumes": "2 requests for each engine",
    "layers": "2 requests for each image",
    "history": "2 requests for each image",
    "reclaim": "2 requests for each engine, 1 for each image that is new to this session, and 1 for each that goes",
    "usage": "1 request for each engine, and 2 for each image of podman",
}
"""The requests that listing the rows of a table takes; of the others, one for each engine."""
