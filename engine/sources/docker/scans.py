"""The scan of each table of engines, whose module is imported when the table is read."""

from __future__ import annotations

from importlib import import_module

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from imq.engine.query.source import ScanRequest, TableScan

    from .reader import EngineReader

_SCANS = {
    "images": ("images", "Images"),
    "layers": ("images", "Layers"),
    "history": ("images", "History"),
    "containers": ("containers", "Containers"),
    "logs": ("logs", "Logs"),
    "changes": ("changes", "Changes"),
    "mounts": ("mounts", "Mounts"),
    "volumes": ("volumes", "Volumes"),
    "usage": ("containers", "Usage"),
    "build_cache": ("containers", "BuildCache"),
    "services": ("services", "Services"),
    "platforms": ("platforms", "Platforms"),
    "reclaim": ("reclaim", "EngineReclaim"),
}
"""The module and the class of each table."""


def make_scan(reader: EngineReader, request: ScanRequest, table: str) -> TableScan:
    """Return the scan of a table."""
    module, name = _SCANS[table]
    scan: TableScan = getattr(import_module(f"{__package__}.{module}"), name)(reader, request)
    return scan
