"""The rows of `platforms` in places that have manifests: the store, layouts and namespaces of containerd."""

from __future__ import annotations

from imq.engine.oci.manifest import Index, Manifest
from imq.engine.oci.reference import Reference
from imq.engine.sources.scan_rows import ScanRows
from imq.engine.store.index_rows import replace_surrogates, to_json
from imq.grammar.errors import ImqError, NotFound
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator, Sequence

    from imq.engine.catalog.schema import Raw
    from imq.engine.oci.config import Config
    from imq.engine.oci.manifest import Descriptor
    from imq.engine.oci.reference import Name
    from imq.engine.query.source import FetchRequest, ScanRequest

_REFERENCE_TYPE = "vnd.docker.reference.type"
"""The annotation of an entry of an index that is not an image but about one: an attestation."""


class PlatformRow(Record):
    """A name of an entry of a listing, and one image of its index, or the entry itself.

    `manifest` and `config` are None when they are not in the place, or cannot be read: `problem` is why.
    """

    name: Name | None
    position: int
    entry: Descriptor
    manifest: Manifest | None
    config: Config | None
    problem: ImqError | None = None

    def __hash__(self) -> int:
        """Hash by identity: annotations are a mapping and cannot be hashed."""
        return id(self)


def list_platforms(
    name: Name | None,
    root: Descriptor,
    read: Callable[[Descriptor], Manifest | Index | None],
    read_config: Callable[[Manifest], Config],
) -> Iterator[PlatformRow]:
    """Yield a row for each entry of an index; one for a manifest. `read` returns None for a document that is not here.

    A document that cannot be read is a problem of its row. Raises the error of the root.
    """
    document = read(root)
    if document is None:
        raise NotFound(f"the manifest {root.digest} is missing", code="blob-missing")
    if not isinstance(document, Index):
        yield _read_row(name, 0, root, document, read_config)
        return
    for position, entry in enumerate(document.manifests):
        try:
            child = read(entry)
        except ImqError as error:
            yield PlatformRow(name, position, entry, None, None, error)
            continue
        yield _read_row(name, position, entry, child if isinstance(child, Manifest) else None, read_config)


def _read_row(
    name: Name | None,
    position: int,
    entry: Descriptor,
    manifest: Manifest | None,
    read_config: Callable[[Manifest], Config],
) -> PlatformRow:
    if manifest is None or not manifest.is_image:
        return PlatformRow(name, position, entry, manifest, None)
    try:
        return PlatformRow(name, position, entry, manifest, read_config(manifest))
    except ImqError as error:
        return PlatformRow(name, position, entry, manifest, None, error)


class PlatformScan(ScanRows):
    """The platforms of the places of a scan.

    `read` returns the rows of a place: those of a name, or of all for None; none when the place has no such name.
    `add_problem` records a problem of the scan with a subject.
    """

    columns = (
        "_lookup", "name", "registry", "repository", "position", "platform", "os", "architecture", "variant",
        "os_version", "digest", "media_type", "attestation", "annotations", "size", "layer_count", "id", "created",
        "source",
    )  # fmt: skip

    def __init__(
        self,
        connection: sqlite3.Connection,
        request: ScanRequest,
        read: Callable[[str, str | None], Sequence[PlatformRow]],
        add_problem: Callable[[str, str, ImqError], object],
    ) -> None:
        super().__init__(connection, request)
        self._read = read
        self._add_problem = add_problem

    def list_rows(self, names: Sequence[tuple[Raw, ...]], /) -> None:
        """List the platforms of all images of each place, or of the named ones. The error of the only one is raised."""
        self.create({})
        targets: list[str | None] = [*self.scan.targets, *(str(name[0]) for name in names)]
        if not targets and not self.scan.has_target_queries:
            targets = [None]
        places = list(dict.fromkeys(ref.text for ref in self.scan.refs))
        found: set[str | None] = set()
        for place in places:
            for target in targets:
                try:
                    rows = self._read(place, target)
                except ImqError as error:
                    if len(places) == len(targets) == 1:
                        raise
                    self._add_problem(self.scan.view, f"{target or 'images'} in {place}", error)
                    found.add(target)
                    continue
                found |= {target} if rows else set()
                self.insert(replace_surrogates(_make_row(row, target, place)) for row in rows)
                for row in rows:
                    if row.problem is not None:
                        self._add_problem(self.scan.view, f"{row.entry.digest.short} in {place}", row.problem)
        for target in targets:
            if target is not None and target not in found:
                missing = NotFound(f"no image {target} in {' and '.join(places)}", code="no-such-image")
                self._add_problem(self.scan.view, target, missing)

    def fetch(self, _request: FetchRequest, /) -> None:
        """Fetch nothing: the rows are listed whole."""


def _make_row(row: PlatformRow, target: str | None, place: str) -> tuple[object, ...]:
    name, manifest, config, entry = row.name, row.manifest, row.config, row.entry
    known = entry.platform if entry.platform is not None and entry.platform.is_known else None
    is_attestation = _REFERENCE_TYPE in entry.annotations or (entry.platform is not None and known is None)
    platform = known or (config.platform if config is not None and not is_attestation else None)
    reference = name if isinstance(name, Reference) else None
    return (
        target, str(name) if name is not None else None,
        reference.registry if reference is not None else None,
        reference.familiar_name if reference is not None else None, row.position,
        *(platform.field_values if platform is not None else (None,) * 5), entry.digest, entry.media_type or None,
        is_attestation, to_json(dict(entry.annotations)), manifest.download_size if manifest is not None else None,
        len(manifest.layers) if manifest is not None else None,
        manifest.config.digest if manifest is not None else None, config.created if config is not None else None,
        place, row.problem.message if row.problem is not None else None,
    )  # fmt: skip
