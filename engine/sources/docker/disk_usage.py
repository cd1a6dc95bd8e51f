"""The disk usage of an engine, in the form of the Engine API before 1.52."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

from .json_documents import read_object

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_CURRENT = {
    "Images": "ImageUsage",
    "Containers": "ContainerUsage",
    "Volumes": "VolumeUsage",
    "BuildCache": "BuildCacheUsage",
}
"""The lists of the response before API 1.52, and the objects that have them as `Items` since."""


def convert_disk_usage(document: object) -> Mapping[str, Any]:
    """Return a response for `system/df` with its lists by their former names; API 1.52 has both forms, 1.53 one."""
    usage = dict(read_object(document))
    for name, current in _CURRENT.items():
        if name not in usage and current in usage:
            usage[name] = read_object(usage[current]).get("Items")
    if "LayersSize" not in usage:
        usage["LayersSize"] = read_object(usage.get("ImageUsage")).get("TotalSize")
    return usage
