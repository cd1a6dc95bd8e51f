"""The platforms of the images of the store, by its documents."""

from __future__ import annotations

from imq.engine.oci.config import Config
from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Descriptor, parse_manifest
from imq.engine.oci.reference import parse_name
from imq.engine.sources.platform_rows import PlatformRow, PlatformScan, list_platforms
from imq.grammar.errors import ImqError, NotFound
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from imq.engine.oci.manifest import Index, Manifest
    from imq.engine.query.source import ScanRequest
    from imq.engine.store.store import Store

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
    documents = _Documents(store)
    for name, digest, media_type, size in store.index.connection.execute(
        _ROOTS.format(condition=condition), values
    ).fetchall():
        root = Descriptor(media_type, Digest(digest), size)
        parsed = parse_name(name) if name is not None else None
        try:
            rows += list_platforms(parsed, root, documents.read, documents.read_config)
        except ImqError as error:
            if target is not None:
                raise
            rows.append(PlatformRow(parsed, 0, root, None, None, error))
    return rows


class _Documents:
    """The documents of the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def read(self, descriptor: Descriptor) -> Manifest | Index | None:
        """Return a manifest or an index; None for a platform that was not pulled."""
        if not self._store.layout.has_blob(descriptor.digest):
            return None
        return parse_manifest(self._store.read_document(descriptor.digest), descriptor.media_type)

    def read_config(self, manifest: Manifest) -> Config:
        """Return the config of an image."""
        content = self._store.read_document(manifest.config.digest)
        return Config.parse(content, f"the config {manifest.config.digest}")
