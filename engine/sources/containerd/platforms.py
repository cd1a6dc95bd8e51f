"""The platforms of the images of namespaces, by the documents in the content store."""

from __future__ import annotations

from imq.engine.sources.platform_rows import PlatformScan, list_platforms
from imq.grammar.record import TYPE_CHECKING

from .content import name_of_record

if TYPE_CHECKING:
    from imq.engine.oci.config import Config
    from imq.engine.oci.manifest import Descriptor, Index, Manifest
    from imq.engine.query.source import ScanRequest
    from imq.engine.sources.platform_rows import PlatformRow

    from .reader import ContainerdReader


def open_platforms(reader: ContainerdReader, request: ScanRequest) -> PlatformScan:
    """Return the scan of the namespaces of a request: `containerd:*` is all of them."""
    refs = tuple(ref.replace(text=name) for ref in request.refs for name in reader.expand(ref.text))
    return PlatformScan(
        reader.connection,
        request.replace(refs=refs),
        lambda text, target: _read_platforms(reader, text, target),
        reader.add_problem,
    )


def _read_platforms(reader: ContainerdReader, text: str, target: str | None) -> list[PlatformRow]:
    """Return the platforms of the images with a name, an ID or a digest in a namespace; of all for None."""
    reader.check_namespace(text)
    chosen = None if target is None else {listed.descriptor.digest for listed in reader.read(text).find(target)}
    namespace = reader.get_namespace(text)
    documents = reader.make_namespace_reader(namespace)

    def read(descriptor: Descriptor) -> Manifest | Index | None:
        return documents.parse(descriptor) if descriptor.digest in documents.blobs else None

    def read_config(manifest: Manifest) -> Config:
        return documents.parse_config(manifest.config.digest, f"the config {manifest.config.digest.short}")

    rows: list[PlatformRow] = []
    for record in reader.client.list_images(namespace):
        if chosen is None or record.target.digest in chosen:
            rows += list_platforms(name_of_record(record.name), record.target, read, read_config)
    return rows
