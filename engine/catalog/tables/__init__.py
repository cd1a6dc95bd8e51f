"""Every table and field of the language, declared once."""

from __future__ import annotations

from functools import cache

from imq.engine.catalog.predicates import PREDICATES
from imq.engine.catalog.schema import DERIVED, DataType, FetchLevel, Field, Relation, Table, TargetKind, casefold_name
from imq.grammar.lexer import is_field_path, split_path

from .containers import BUILD_CACHE, CONTAINERS
from .image_config import CONFIG_FIELDS
from .images import IMAGES, MAP_TABLES
from .layers import HISTORY, LAYERS
from .local import LINES, ROWS, SOURCES, USAGE
from .registry import REGISTRY_TABLES, TAGS

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        IMAGES,
        LAYERS,
        HISTORY,
        CONTAINERS,
        BUILD_CACHE,
        *REGISTRY_TABLES,
        LINES,
        ROWS,
        SOURCES,
        USAGE,
    )
}

SEARCH_TABLES = frozenset(name for name, table in TABLES.items() if table.target is TargetKind.TERM)
"""Tables whose operand is a search term: `search redis`."""

_NO_LAYER_CONTENTS = "the contents of layers cannot be queried yet"
UNAVAILABLE_TABLES: dict[str, str] = {
    "files": _NO_LAYER_CONTENTS,
    "packages": _NO_LAYER_CONTENTS,
}
"""Tables and relations that no source serves yet, and why."""


def is_field_name(text: str) -> bool:
    """Return whether a bare word is ambiguous: the name or path of a field or relation, or a predicate."""
    return is_field_path(text) and casefold_name(split_path(text)[0]) in _list_field_names()


@cache
def _list_field_names() -> frozenset[str]:
    names = {name for table in TABLES.values() for one in table.fields for name in one.all_names}
    relations = (relation.name for table in TABLES.values() for relation in table.relations)
    return frozenset(casefold_name(name) for name in (*names, *relations, *PREDICATES))


__all__ = [
    "BUILD_CACHE",
    "CONFIG_FIELDS",
    "CONTAINERS",
    "DERIVED",
    "HISTORY",
    "IMAGES",
    "LAYERS",
    "LINES",
    "MAP_TABLES",
    "ROWS",
    "SEARCH_TABLES",
    "SOURCES",
    "TABLES",
    "TAGS",
    "UNAVAILABLE_TABLES",
    "USAGE",
    "DataType",
    "FetchLevel",
    "Field",
    "Relation",
    "Table",
    "TargetKind",
    "casefold_name",
    "is_field_name",
]  # fmt: skip
