"""Images made from images: the same layers with further ones on top, another config, or all layers as one.

Lower layers are shared, not copied. The same image and the same changes give the same image: times are those of the
image below unless others are given.
"""

from __future__ import annotations

from imq.engine.oci import media_types
from imq.engine.oci.config import Config
from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Descriptor, Manifest, encode_json, parse_manifest
from imq.engine.oci.timestamp import format_time
from imq.grammar.errors import StoreError
from imq.grammar.record import TYPE_CHECKING, Record

from .image_builder import store_manifest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from imq.engine.oci.reference import Reference

    from .ingest import ImportedLayer, Ingest
    from .store import Store

_OCI_LAYERS = {
    media_types.DOCKER_LAYER: media_types.OCI_LAYER,
    media_types.DOCKER_LAYER_GZIP: media_types.OCI_LAYER_GZIP,
    media_types.DOCKER_LAYER_ZSTD: media_types.OCI_LAYER_ZSTD,
}
"""The media types of docker's layers in an OCI manifest."""
_OF_CONTAINERS = ("container", "container_config", "id", "parent", "docker_version")
"""Keys of old configs about the container that made the image."""


class Step(Record):
    """A further step of the history. `created` is nanoseconds since the epoch; None is the time of the image below."""

    created_by: str
    comment: str = ""
    author: str = ""
    created: int | None = None
    empty: bool = False


class BaseImage(Record):
    """The image that another is made from: its manifest, its config, and the text of its times."""

    manifest: Manifest
    config: Config

    @property
    def created(self) -> Any:
        """When the image was created, as its config has it; None when that is unknown."""
        return self.config.document.get("created")


def read_base(store: Store, manifest: Digest) -> BaseImage:
    """Return an image of the store. Raises `StoreError` when one of its documents is missing or corrupt."""
    document = parse_manifest(store.read_document(manifest))
    if not isinstance(document, Manifest):
        raise StoreError(f"{manifest} is not the manifest of an image", code="not-an-image")
    return BaseImage(document, Config.parse(store.read_document(document.config.digest)))


def store_derived(
    ingest: Ingest,
    base: BaseImage,
    runtime: Mapping[str, Any],
    steps: Sequence[Step],
    layers: Sequence[ImportedLayer] = (),
    *,
    created: int | None = None,
    replaces_layers: bool = False,
    author: str = "",
) -> tuple[Descriptor, Digest]:
    """Store an image with the layers of `base` and further ones; return the descriptor of its manifest and its ID.

    `runtime` is its object `config`. With `replaces_layers` it has the further layers only, and the history of the
    layers below has no layers. The caller reserves the lower layers.
    """
    content = make_config(
        base, runtime, steps, [layer.measure.diff_id for layer in layers], created=created,
        replaces_layers=replaces_layers, author=author,
    )  # fmt: skip
    descriptor = Descriptor(media_types.OCI_CONFIG, Digest.of(content), len(content))
    kept = () if replaces_layers else list_oci_layers(base)
    blobs = (*kept, *(layer.descriptor for layer in layers))
    return store_manifest(ingest, descriptor, content, blobs), descriptor.digest


def make_config(
    base: BaseImage,
    runtime: Mapping[str, Any],
    steps: Sequence[Step],
    diff_ids: Sequence[Digest] = (),
    *,
    created: int | None = None,
    replaces_layers: bool = False,
    author: str = "",
) -> bytes:
    """Return the config of an image with the layers of `base` and further ones, of these diff IDs: `store_derived`."""
    document = {name: value for name, value in base.config.document.items() if name not in _OF_CONTAINERS}
    time = base.created if created is None else format_time(created)
    history = [dict(entry) for entry in document.get("history") or () if isinstance(entry, dict)]
    if replaces_layers:
        history = [{**entry, "empty_layer": True} for entry in history]
    elif not history and base.config.diff_ids:
        history = [{"created": base.created or format_time(0)} for _ in base.config.diff_ids]
    for step in steps:
        entry = {
            "created": time if step.created is None else format_time(step.created),
            "created_by": step.created_by,
            "author": step.author,
            "comment": step.comment,
        }
        history.append({name: value for name, value in entry.items() if value})
        if step.empty:
            history[-1]["empty_layer"] = True
    lower = () if replaces_layers else base.config.diff_ids
    document |= {
        "config": dict(runtime),
        "rootfs": {"type": "layers", "diff_ids": [str(one) for one in (*lower, *diff_ids)]},
        "history": history,
    }
    if time is not None:
        document["created"] = time
    if author:
        document["author"] = author
    return encode_json(document)


def list_oci_layers(base: BaseImage) -> tuple[Descriptor, ...]:
    """Return the layers of an image as an OCI manifest lists them."""
    return tuple(map(_to_oci_layer, base.manifest.layers))


def _to_oci_layer(layer: Descriptor) -> Descriptor:
    return layer.replace(media_type=_OCI_LAYERS.get(layer.media_type, layer.media_type))


def reserve_layers(ingest: Ingest, base: BaseImage) -> None:
    """Protect the layers of an image from collection until the ingest ends. Raises `StoreError` when one is gone."""
    stored = ingest.reserve(base.manifest.layers)
    for layer in base.manifest.layers:
        if layer.digest not in stored:
            raise StoreError(f"the layer {layer.digest} is not in the store any more", code="blob-missing")


def set_derived_name(store: Store, ingest: Ingest, name: Reference | None, descriptor: Descriptor, now: int) -> None:
    """Make what an ingest stored durable, and set the name of the image, if it has one."""
    ingest.sync()
    with store.start_transaction(ingest.measures) as transaction:
        if name is not None:
            transaction.set_name(name, descriptor, None, now)
        else:
            transaction.add_unnamed(descriptor, now)
