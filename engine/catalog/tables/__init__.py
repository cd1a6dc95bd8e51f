"""Every table and field of the language, declared once.

The tables of registries and of files are imported when one of them is read: a query of the store needs none.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from imq.engine.catalog.schema import DERIVED, DataType, FetchLevel, Field, Relation, Table, TargetKind, casefold_name
from imq.grammar.lexer import is_field_path, split_path
from imq.grammar.record import TYPE_CHECKING

from .containers import BUILD_CACHE, CONTAINERS, LOGS, SERVICES
from .image_config import CONFIG_FIELDS
from .images import IMAGES, MAP_TABLES
from .layers import BLOBS, HISTORY, LAYERS, RECLAIM

if TYPE_CHECKING:
    from collections.abc import Iterator

_LATE_MODULES = {
    "changes": ("changes", "mounts"),
    "registry": ("tags", "repositories", "platforms", "manifests", "referrers", "search"),
    "files": ("files", "all_files", "archive_files"),
    "packages": ("packages", "os_releases"),
    "differences": ("differences", "waste"),
    "texts": ("texts",),
    "volumes": ("volumes",),
    "local": ("lines", "rows", "sources", "usage"),
}
"""The modules that are imported late, with the names of their tables."""


class _Tables(Mapping[str, Table]):
    """The tables by name, in the order of the documentation."""

    def __init__(self) -> None:
        eager = (IMAGES, LAYERS, HISTORY, BLOBS, RECLAIM, CONTAINERS, LOGS, SERVICES, BUILD_CACHE)
        self._loaded: dict[str, Table] = {table.name: table for table in eager}
        self._late = {name: module for module, names in _LATE_MODULES.items() for name in names}
        self._names = (*self._loaded, *self._late)

    def __getitem__(self, name: str) -> Table:
        table = self._loaded.get(name)
        if table is None:
            module = __import__(f"{__name__}.{self._late[name]}", fromlist=[name.upper()])
            table = self._loaded[name] = getattr(module, name.upper())
        return table

    def __iter__(self) -> Iterator[str]:
        yield from self._names

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names


TABLES: Mapping[str, Table] = _Tables()

SEARCH_TABLES = frozenset({"search"})
"""Tables whose operand is a search term: `search redis`."""

UNAVAILABLE_TABLES: dict[str, str] = {}
"""Tables and relations that no source serves yet, and why."""


def is_field_name(text: str) -> bool:
    """Return whether a bare word is ambiguous: the name or path of a field or relation, or a predicate."""
    return is_field_path(text) and casefold_name(split_path(text)[0]) in _list_field_names()


@cache
def _list_field_names() -> frozenset[str]:
    from imq.engine.catalog.predicates import PREDICATES

    names = {name for table in TABLES.values() for one in table.fields for name in one.all_names}
    relations = (relation.name for table in TABLES.values() for relation in table.relations)
    return frozenset(casefold_name(name) for name in (*names, *relations, *PREDICATES))


__all__ = [
    "BLOBS",
    "BUILD_CACHE",
    "CONFIG_FIELDS",
    "CONTAINERS",
    "DERIVED",
    "HISTORY",
    "IMAGES",
    "LAYERS",
    "LOGS",
    "MAP_TABLES",
    "RECLAIM",
    "SEARCH_TABLES",
    "SERVICES",
    "TABLES",
    "UNAVAILABLE_TABLES",
    "DataType",
    "FetchLevel",
    "Field",
    "Relation",
    "Table",
    "TargetKind",
    "casefold_name",
    "is_field_name",
]  # fmt: skip
