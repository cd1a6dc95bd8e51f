"""Every table and field of the language, declared once."""

from __future__ import annotations

from .declaration import Cost, Field, Kind, Table, folded
from .images import IMAGES
from .layers import HISTORY, LAYERS

TABLES: dict[str, Table] = {table.name: table for table in (IMAGES, LAYERS, HISTORY)}

__all__ = ["HISTORY", "IMAGES", "LAYERS", "TABLES", "Cost", "Field", "Kind", "Table", "folded"]
