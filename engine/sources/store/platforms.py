"""The platforms of the images of the store, by its documents."""

from __future__ import annotations

from imq.engine.oci.config import Config
from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Descriptor, parse_manifest
from imq.engine.oci.reference import parse_name
from imq.engine.sources.platform_rows import PlatformScan, list_platforms
from imq.engine.store.index_check import make_holds
from imq.grammar.errors import NotFound
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from imq.engine.oci.manifest import Index, Manifest
    from imq.engine.query.source import ScanRequest
    from imq.engine.sources.platform_rows import PlatformRow
    from imq.engine.store.store import Store
    from imq.grammar.errors import ImqError

_ROOTS = """
SELECT DISTINCT entry.name, root.digest, root.media_type, root.size
FROM main.entry JOIN main.descriptor AS root ON root.digest = entry.root
WHERE {condition} GROUP BY entry.name, root.digest ORDER BY min(entry.key)
"""
_CHOSEN = "entry.root = ?1 AND ?2 IN ('', entry.name)"
"""The condition of the names of an image: of all of them, or of one."""


def open_platforms(
    store: Store, request: ScanRequest, add_problem: Callable[[str, str, ImqError], object]
) -> PlatformScan:
    """Return the scan of the store."""
    store.index.sync_with_layout()
    return PlatformScan(
        store.index.connection, request, lambda _place, target: _read_platforms(store, target), add_problem
    )


def _read_platforms(store: Store, target: str | None) -> list[PlatformRow]:
    """Return the platforms of the image with a name, an ID or a digest; of all for None; none for an unknown one."""
    condition: str = "1"
    values: tuple[str, ...] = ()
    if target is not None:
        try:
            found = store.find(target)
        except NotFound as error:
            if error.code == "no-such-image":
                return []
            raise
        condition, values = _CHOSEN, (found.root, found.name or "")
    rows: list[PlatformRow] = []
    for name, digest, media_type, size in store.index.connection.execute(
        _ROOTS.format(condition=condition), values
    ).fetchall():
        root = Descriptor(media_type, Digest(digest), size)
        documents = _Documents(store, root)
        rows += list_platforms(
            parse_name(name) if name is not None else None, root, documents.read, documents.read_config
        )
    return rows


class _Documents:
    """The documents of one name of the store."""

    def __init__(self, store: Store, root: Descriptor) -> None:
        self._store = store
        self._root = root
        self._holds = make_holds(store.index, root.digest)

    def read(self, descriptor: Descriptor) -> Manifest | Index | None:
        """Return a manifest or an index; None for a platform that was not pulled."""
        if descriptor.digest != self._root.digest and not self._holds(descriptor):
            return None
        return parse_manifest(self._store.read_document(descriptor.digest), descriptor.media_type)

    def read_config(self, manifest: Manifest) -> Config:
        """Return the config of an image."""
        content = self._store.read_document(manifest.config.digest)
        return Config.parse(content, f"the config {manifest.config.digest}")
