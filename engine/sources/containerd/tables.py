"""The tables of containerd, and the levels at which their fields are fetched."""

from __future__ import annotations

from imq.engine.catalog.schema import DataType, FetchLevel, Field, Relation, Table, make_content_relations
from imq.engine.catalog.tables import BLOBS, CONTAINERS, RECLAIM
from imq.engine.catalog.tables.containers import CONTAINER_ROW_RELATIONS
from imq.engine.catalog.tables.local import USAGE
from imq.engine.sources.layouts.tables import BASE_FIELDS, BASES, SIZE_FIELDS, make_tables

KIND = "containerd"
USERS = FetchLevel("containers", "which containers use them", "3 requests for each namespace")
SIZES = FetchLevel("sizes", "the sizes of their snapshots", "1 request for each layer")
WRITTEN = FetchLevel("written", "the bytes that they wrote", "1 request for each container")

_USE_FIELDS = "in_use containers last_used"
_SHOWN = ("complete", "pinned")
"""Fields that `select *` shows here: each image of a node has a value."""
_PROBLEM = Field("problem", DataType.TEXT, "why containerd did not return more")
_DOCS = {
    "complete": "all blobs of the image are here; false on nodes that discard unpacked layers",
    "size": "bytes of the snapshots of its layers on disk; unknown when it is not unpacked",
    "shared_size": "the part of size in layers that other images of the namespace have too",
    "unique_size": "the part of size in layers that no other image of the namespace has",
    "images": "the number of images of the namespace with the layer",
}
_UNSEEN_CONTAINER_FIELDS = (
    "health", "oom_killed", "restart_count", "restart_policy", "started", "log_size", "log_path", "ports",
    "published_ports", "volumes_from", "networks", "privileged",
)  # fmt: skip
"""What containerd leaves to its clients, so that it cannot say it."""
_CONTAINERS_OF_IMAGE = Relation(
    "containers",
    "containers",
    "the containers made from the image",
    "lookup id source",
    lookup_fields=("id", "source"),
)
_MOUNTS = next(relation for relation in CONTAINER_ROW_RELATIONS if relation.name == "mounts")
_NAMES = Relation(
    "names",
    "images",
    "its image, one row for each name",
    "lookup image_id source",
    lookup_fields=("image_id", "source"),
)


def _describe_fields(table: Table) -> Table:
    return table.replace(fields=tuple(field.replace(doc=_DOCS.get(field.name, field.doc)) for field in table.fields))


def _make_tables() -> dict[str, Table]:
    tables = {name: _describe_fields(table) for name, table in make_tables(KIND, ("store_path",)).items()}
    images = tables["images"]
    fields = tuple(field.replace(on_request=field.on_request and field.name not in _SHOWN) for field in images.fields)
    tables["images"] = images.replace(fields=fields, relations=(*images.relations, _CONTAINERS_OF_IMAGE)).with_levels(
        {USERS: _USE_FIELDS, BASES: BASE_FIELDS, SIZES: SIZE_FIELDS["images"]}
    )
    for name in ("layers", "history"):
        tables[name] = tables[name].with_levels({SIZES: SIZE_FIELDS[name]})
    container_fields = (
        field.replace(is_unavailable=field.name in _UNSEEN_CONTAINER_FIELDS, takes_any_text=field.name == "id")
        for field in (*CONTAINERS.fields, _PROBLEM)
    )
    tables["containers"] = CONTAINERS.replace(
        fields=tuple(container_fields),
        key=("id", "source"),
        relations=(_NAMES, _MOUNTS, *make_content_relations("id", owner="container")),
        source_kind=KIND,
    ).with_levels({WRITTEN: "size_rw"})
    tables["blobs"] = BLOBS
    tables["usage"] = USAGE.replace(source_kind=KIND)
    tables["reclaim"] = RECLAIM
    return tables


def make_mounts_table() -> Table:
    """Return the table `mounts`. What is a volume is known to nerdctl and Docker alone."""
    from imq.engine.catalog.tables.changes import MOUNTS

    unseen = ("volume", "driver")
    fields = tuple(
        field.replace(is_unavailable=field.name in unseen, takes_any_text=field.name == "container_id")
        for field in MOUNTS.fields
    )
    return MOUNTS.replace(fields=fields, source_kind=KIND)


TABLES = _make_tables()
LEVELS = {
    "images": (USERS, BASES, SIZES),
    "layers": (SIZES,),
    "history": (SIZES,),
    "containers": (WRITTEN,),
    "blobs": (),
    "usage": (),
    "reclaim": (),
}
LISTING = "3 requests for each namespace, 2 for each image that is new to this session"
LISTING_REQUESTS = {
    "containers": LISTING.replace("3 requests", "6 requests"),
    "mounts": LISTING.replace("3 requests", "6 requests"),
    "reclaim": f"{LISTING.replace('3 requests', '6 requests')}, and 1 for each snapshot of the images that go",
}
"""What listing the rows of a table takes."""
