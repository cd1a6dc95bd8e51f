"""Making images here: the config and manifest around layers that are in the store."""

from __future__ import annotations

from imq.engine.oci import media
from imq.engine.oci.digest import Digest
from imq.engine.oci.document import Descriptor, write_json
from imq.engine.oci.timestamp import write_time
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from imq.engine.oci.platform import Platform

    from .ingest import Adopted, Ingest


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
    described = Descriptor(media.OCI_CONFIG, Digest.of(content), len(content))
    return store_manifest(ingest, described, content, (layer.descriptor,)), described.digest


def store_manifest(ingest: Ingest, config: Descriptor, content: bytes, layers: Sequence[Descriptor]) -> Descriptor:
    """Store a config and an OCI manifest of it and its layers; return the manifest's descriptor."""
    manifest = write_json(
        {
            "schemaVersion": 2,
            "mediaType": media.OCI_MANIFEST,
            "config": config.document(),
            "layers": [layer.document() for layer in layers],
        }
    )
    descriptor = Descriptor(media.OCI_MANIFEST, Digest.of(manifest), len(manifest))
    ingest.document(config, content)
    ingest.document(descriptor, manifest)
    return descriptor
