"""Making images here: layers that nobody has described, and the config and manifest around layers in the store."""

from __future__ import annotations

from imq.engine.layers.compression import decompress, detect_compression
from imq.engine.oci import media_types
from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Descriptor, write_json
from imq.engine.oci.timestamp import write_time
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any, BinaryIO

    from imq.engine.oci.platform import Platform
    from imq.engine.oci.reference import Name
    from imq.grammar.errors import ImqError

    from .archive_files import Files
    from .ingest import Adopted, Ingest


_PIECE = 1 << 20
_HEAD = 512
"""Bytes that tell how a layer is packed."""


class Loaded(Record):
    """An image that was taken in, and the names it bore.

    Of an index, `held` are the manifests that came with it, `ids` the images of these, and `problems` say what is wrong
    with each that the archive has in part only.
    """

    descriptor: Descriptor
    id: Digest
    names: tuple[Name, ...]
    held: frozenset[Digest] = frozenset()
    ids: frozenset[Digest] = frozenset()
    problems: tuple[ImqError, ...] = ()


def make_image(
    ingest: Ingest, layer: Adopted, runtime: Mapping[str, Any], platform: Platform, created: int, comment: str
) -> tuple[Descriptor, Digest]:
    """Store the config and manifest of an image of one layer; return the manifest's descriptor and the image's id."""
    config: dict[str, Any] = {
        "created": write_time(created),
        "architecture": platform.architecture,
        "os": platform.os,
        "config": dict(runtime),
        "rootfs": {"type": "layers", "diff_ids": [str(layer.content.diff_id)]},
        "history": [{"created": write_time(created), "comment": comment}],
    }
    if platform.variant:
        config["variant"] = platform.variant
    content = write_json(config)
    described = Descriptor(media_types.OCI_CONFIG, Digest.of(content), len(content))
    return store_manifest(ingest, described, content, (layer.descriptor,)), described.digest


def store_manifest(ingest: Ingest, config: Descriptor, content: bytes, layers: Sequence[Descriptor]) -> Descriptor:
    """Store a config and an OCI manifest of it and its layers; return the manifest's descriptor."""
    manifest = write_json(
        {
            "schemaVersion": 2,
            "mediaType": media_types.OCI_MANIFEST,
            "config": config.document(),
            "layers": [layer.document() for layer in layers],
        }
    )
    descriptor = Descriptor(media_types.OCI_MANIFEST, Digest.of(manifest), len(manifest))
    ingest.document(config, content)
    ingest.document(descriptor, manifest)
    return descriptor


def adopt_unknown_layer(files: Files, source: BinaryIO, ingest: Ingest) -> Adopted:
    """Take in a layer whose diff ID nobody has said, packed in any way."""
    packed = detect_compression(source.read(_HEAD))
    source.seek(0)
    pieces = _pieces(files, source)
    if packed in media_types.LAYER_TYPES:
        return ingest.adopt(pieces, packed)
    return ingest.adopt(decompress(packed, pieces), "", repack="gzip")  # bzip2 and xz have no media type


def _pieces(files: Files, source: BinaryIO) -> Iterator[bytes]:
    while piece := source.read(_PIECE):
        files.moved(len(piece))
        yield piece
