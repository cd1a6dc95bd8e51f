"""The scan of each table of engines."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

from .changes import Changes
from .containers import BuildCache, Containers, Usage
from .images import History, Images, Layers
from .logs import Logs
from .mounts import Mounts
from .platforms import Platforms
from .reclaim import EngineReclaim
from .services import Services

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from imq.engine.query.source import ScanRequest, TableScan

    from .reader import EngineReader

SCANS: Mapping[str, Callable[[EngineReader, ScanRequest], TableScan]] = {
    "images": Images,
    "layers": Layers,
    "history": History,
    "containers": Containers,
    "logs": Logs,
    "changes": Changes,
    "mounts": Mounts,
    "usage": Usage,
    "build_cache": BuildCache,
    "services": Services,
    "platforms": Platforms,
    "reclaim": EngineReclaim,
}
