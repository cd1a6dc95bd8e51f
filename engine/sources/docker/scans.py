"""The scan of each table of engines."""

from __future__ import annotations

from .changes import Changes
from .containers import BuildCache, Containers, Usage
from .images import History, Images, Layers
from .logs import Logs
from .services import Services

SCANS = {
    "images": Images,
    "layers": Layers,
    "history": History,
    "containers": Containers,
    "logs": Logs,
    "changes": Changes,
    "usage": Usage,
    "build_cache": BuildCache,
    "services": Services,
}
