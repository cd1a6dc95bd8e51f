"""Every table and field of the language, declared once."""

from __future__ import annotations

from .containers import CONTAINERS
from .declaration import DERIVED, Cost, Field, Kind, Of, Relation, Table, folded
from .images import IMAGES
from .layers import HISTORY, LAYERS
from .outside import LINES, ROWS, SOURCES, USAGE

TABLES: dict[str, Table] = {
    table.name: table for table in (IMAGES, LAYERS, HISTORY, CONTAINERS, LINES, ROWS, SOURCES, USAGE)
}

_REGISTRIES = "registries cannot be asked yet"
_INSIDES = "what is inside of layers cannot be asked yet"
ELSEWHERE: dict[str, str] = {
    "files": _INSIDES,
    "packages": _INSIDES,
    "tags": _REGISTRIES,
    "repositories": _REGISTRIES,
    "platforms": _REGISTRIES,
    "manifests": _REGISTRIES,
    "referrers": _REGISTRIES,
    "remote": _REGISTRIES,
}
"""Tables and relations of the language that no source here has, and why."""

__all__ = [
    "CONTAINERS", "DERIVED", "ELSEWHERE", "HISTORY", "IMAGES", "LAYERS", "LINES", "ROWS", "SOURCES", "TABLES", "USAGE",
    "Cost", "Field", "Kind", "Of", "Relation", "Table", "folded",
]  # fmt: skip
