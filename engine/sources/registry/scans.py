"""The scan class of each table of registries."""

from __future__ import annotations

from imq.engine.oci.platform import Platform
from imq.grammar.record import TYPE_CHECKING

from .blobs import Blobs
from .layers import History, Layers
from .manifests import Manifests
from .platforms import Platforms
from .referrers import Referrers
from .repositories import Repositories
from .search import Search
from .tags import Tags

if TYPE_CHECKING:
    from collections.abc import Callable

    from imq.engine.query.source import ScanRequest, TableScan

    from .reader import RegistryReader

_SCANS: dict[str, Callable[[RegistryReader, ScanRequest], TableScan]] = {
    "blobs": Blobs,
    "manifests": Manifests,
    "platforms": Platforms,
    "referrers": Referrers,
    "repositories": Repositories,
    "search": Search,
}
_PLATFORM_SCANS: dict[str, Callable[[RegistryReader, ScanRequest, Platform], TableScan]] = {
    "history": History,
    "images": Tags,
    "layers": Layers,
    "tags": Tags,
}
"""The scans of tables whose rows depend on the selected platform."""


def open_scan(reader: RegistryReader, request: ScanRequest) -> TableScan:
    """Open the scan of the requested table."""
    if (kind := _SCANS.get(request.table.name)) is not None:
        return kind(reader, request)
    platform = Platform.parse(request.platform) if request.platform else reader.platform
    return _PLATFORM_SCANS[request.table.name](reader, request, platform)
