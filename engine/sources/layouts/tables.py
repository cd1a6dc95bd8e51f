"""The tables of places on disk. All fields but sizes are known when a place has been read."""

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
from imq.engine.catalog.tables import HISTORY, IMAGES, LAYERS
from imq.engine.catalog.tables.images import LINEAGE_RELATIONS

SIZES = FetchLevel("sizes", "the sizes of uncompressed layers", "none: the headers of their archives are read")
BASES = FetchLevel("bases", "the layers of all images of the place", "none: they have been read")
BASE_FIELDS = "base_chain_id"
LEVELS = {"images": (BASES, SIZES), "layers": (SIZES,), "history": (SIZES,)}
SIZE_FIELDS = {"images": "size shared_size unique_size", "layers": "size", "history": "size"}
_PROBLEM = Field("problem", DataType.TEXT, "why not everything of the image could be read")
_DOCS = {
    "size": "bytes of the files in the layers; unknown where the layers are compressed",
    "shared_size": "the part of size in layers that other images of the place have too",
    "unique_size": "the part of size in layers that no other image of the place has",
    "images": "the number of images of the place with the layer",
}
_LOOKUP = ("id", "source")
_IMAGE_LOOKUP = ("image", "source")
_IMAGE_RELATIONS = (
    Relation(
        "layers",
        "layers",
        "the layers of the image",
        "lookup id source",
        item_name="layer",
        item_fields=("digest", "diff_id"),
        lookup_fields=_LOOKUP,
    ),
    Relation("history", "history", "the steps of the build", "lookup id source", lookup_fields=_LOOKUP),
    *make_content_relations("id"),
    *LINEAGE_RELATIONS,
    make_registry_relation("name"),
)
_NAMES = Relation(
    "names", "images", "its image, one row for each name", "lookup image source", lookup_fields=_IMAGE_LOOKUP
)


def _adapt(table: Table, relations: tuple[Relation, ...], unseen: tuple[str, ...], kind: str) -> Table:
    """Return a table with the field `problem`, and with `unseen` fields marked as those that no place can know."""
    fields = tuple(
        field.replace(doc=_DOCS.get(field.name, field.doc), is_unavailable=field.name in unseen)
        for field in table.fields
    )
    adapted = table.replace(fields=(*fields, _PROBLEM), relations=relations, source_kind=kind)
    if table.name == "images":
        adapted = adapted.replace(key=("name", "id", "source"))
        return adapted.with_levels({BASES: BASE_FIELDS, SIZES: SIZE_FIELDS["images"]})
    return adapted.with_levels({SIZES: SIZE_FIELDS[table.name]})


def make_tables(kind: str, unseen: tuple[str, ...]) -> dict[str, Table]:
    """Return the tables of one kind of place. `kind` names it in messages about fields that it cannot know."""
    return {
        "images": _adapt(IMAGES, _IMAGE_RELATIONS, unseen, kind),
        "layers": _adapt(LAYERS, (_NAMES,), (), kind),
        "history": _adapt(HISTORY, (_NAMES,), (), kind),
    }


def make_platforms_table(kind: str) -> Table:
    """Return the table `platforms` of one kind of place."""
    from imq.engine.catalog.tables.registry import PLATFORMS

    return PLATFORMS.replace(relations=(), source_kind=kind)
