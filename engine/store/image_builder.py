"""Builds images: layers of unknown digest, and the config and manifest for layers in the store."""

from __future__ import annotations

from imq.engine.layers.compression import decompress, detect_compression
from imq.engine.oci import media_types
from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Descriptor, encode_json
from imq.engine.oci.timestamp import format_time
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any, BinaryIO

    from imq.engine.oci.platform import Platform
    from imq.engine.oci.reference import Name
    from imq.grammar.errors import ImqError

    from .archive_files import ImageFiles
    from .ingest import ImportedLayer, Ingest


_CHUNK_SIZE = 1 << 20
_MAGIC_SIZE = 512
"""Bytes from which the compression of a layer is detected."""


class LoadedImage(Record):
    """An image that was loaded, and the names it has in the archive.

    For an index, `manifests` are its manifests in the archive, `ids` are the IDs of their images, and `problems` has an
    error for each manifest that is incomplete.
    """

    descriptor: Descriptor
    id: Digest
    names: tuple[Name, ...]
    manifests: frozenset[Digest] = frozenset()
    ids: frozenset[Digest] = frozenset()
    problems: tuple[ImqError, ...] = ()


def build_image(
    ingest: Ingest, layer: ImportedLayer, runtime: Mapping[str, Any], platform: Platform, created: int, comment: str
) -> tuple[Descriptor, Digest]:
    """Store the config and manifest of an image with one layer; return the manifest's descriptor and the image ID."""
    config: dict[str, Any] = {
        "created": format_time(created),
        "architecture": platform.architecture,
        "os": platform.os,
        "config": dict(runtime),
        "rootfs": {"type": "layers", "diff_ids": [str(layer.measure.diff_id)]},
        "history": [{"created": format_time(created), "comment": comment}],
    }
    if platform.variant:
        config["variant"] = platform.variant
    content = encode_json(config)
    descriptor = Descriptor(media_types.OCI_CONFIG, Digest.of(content), len(content))
    return store_manifest(ingest, descriptor, content, (layer.descriptor,)), descriptor.digest


def make_manifest(config: Descriptor, layers: Sequence[Descriptor]) -> bytes:
    """Return the OCI manifest of an image."""
    return encode_json(
        {
            "schemaVersion": 2,
            "mediaType": media_types.OCI_MANIFEST,
            "config": config.to_json(),
            "layers": [layer.to_json() for layer in layers],
        }
    )


def store_manifest(ingest: Ingest, config: Descriptor, content: bytes, layers: Sequence[Descriptor]) -> Descriptor:
    """Store a config and an OCI manifest for it and its layers; return the manifest's descriptor."""
    manifest = make_manifest(config, layers)
    descriptor = Descriptor(media_types.OCI_MANIFEST, Digest.of(manifest), len(manifest))
    ingest.store_document(config, content)
    ingest.store_document(descriptor, manifest)
    return descriptor


def import_unknown_layer(files: ImageFiles, source: BinaryIO, ingest: Ingest) -> ImportedLayer:
    """Store a layer of unknown diff ID and with any compression."""
    compression = detect_compression(source.read(_MAGIC_SIZE))
    source.seek(0)
    chunks = _read_chunks(files, source)
    if compression in media_types.LAYER_TYPES:
        return ingest.import_layer(chunks, compression)
    # bzip2 and xz have no media type
    return ingest.import_plain_layer(decompress(compression, chunks), in_thread=True)


def _read_chunks(files: ImageFiles, source: BinaryIO) -> Iterator[bytes]:
    while chunk := source.read(_CHUNK_SIZE):
        files.on_progress(len(chunk))
        yield chunk
