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
_COMPLETE = Field(
    "complete", DataType.BOOLEAN, "all blobs of the image are here; false on nodes that discard unpacked layers"
)
_PINNED = Field("pinned", DataType.BOOLEAN, "the kubelet never removes the image: it is labelled as pinned")
_PROBLEM = Field("problem", DataType.TEXT, "why containerd did not return more")
_SIZE_DOCS = {
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


def _describe_sizes(table: Table) -> Table:
    return table.replace(
        fields=tuple(field.replace(doc=_SIZE_DOCS.get(field.name, field.doc)) for field in table.fields)
    )


def _make_tables() -> dict[str, Table]:
    tables = {name: _describe_sizes(table) for name, table in make_tables(KIND, ()).items()}
    images = tables["images"]
    tables["images"] = images.replace(
        fields=(*images.fields, _COMPLETE, _PINNED), relations=(*images.relations, _CONTAINERS_OF_IMAGE)
    ).with_levels({USERS: _USE_FIELDS, BASES: BASE_FIELDS, SIZES: SIZE_FIELDS["images"]})
    for name in ("layers", "history"):
        tables[name] = tables[name].with_levels({SIZES: SIZE_FIELDS[name]})
    fields = (
        field.replace(is_unavailable=field.name in _UNSEEN_CONTAINER_FIELDS) for field in (*CONTAINERS.fields, _PROBLEM)
    )
    tables["containers"] = CONTAINERS.replace(
        fields=tuple(fields),
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
    fields = tuple(field.replace(is_unavailable=field.name in unseen) for field in MOUNTS.fields)
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
