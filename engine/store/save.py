"""Saves images to an archive: an OCI layout with an additional `manifest.json`, as docker writes since version 25."""

from __future__ import annotations

import io
import json
import tarfile
from contextlib import closing

from imq.engine.oci import media_types
from imq.engine.oci.manifest import Descriptor, Index, Manifest, encode_json, parse_manifest
from imq.engine.oci.manifest_walk import read_manifest_tree
from imq.engine.oci.reference import Reference, parse_name
from imq.engine.progress import CountingReader
from imq.grammar.record import TYPE_CHECKING

from .archive_listing import get_blob_path
from .corruption import mark_corrupt
from .index_check import make_holds
from .index_json import CONTAINERD_NAME, REF_NAME, get_foreign_annotations
from .layout import LAYOUT_DOCUMENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any, Protocol

    from imq.engine.oci.digest import Digest

    from .store import Store

    class Writable(Protocol):
        """A binary file, or the beginning of a pipe."""

        def write(self, content: bytes | memoryview, /) -> int:
            """Write all of the content."""


def save(
    store: Store,
    images: Sequence[tuple[Digest, Sequence[str]]],
    target: Writable,
    on_progress: Callable[[int], None],
    *,
    lists_for_docker: bool = True,
) -> None:
    """Write images, each with its names, to one archive that docker load, podman, skopeo and imq can read.

    `on_progress` is called with the number of bytes of blobs written since the last call.
    """
    written: set[str] = set()
    listing: list[dict[str, Any]] = []
    entries: list[dict[str, Any]] = []
    sink: Any = target  # a tar stream needs only its write()
    with tarfile.open(fileobj=sink, mode="w|", format=tarfile.PAX_FORMAT) as archive:

        def add(name: str, content: bytes) -> None:
            if name not in written:
                written.add(name)
                archive.addfile(_make_member(name, len(content)), io.BytesIO(content))

        add("oci-layout", LAYOUT_DOCUMENT)
        foreign_of = _read_foreign_annotations(store)
        for root, names in images:
            descriptor, manifests = _save_tree(store, root, archive, written, add, on_progress)
            entries += _build_index_entries(descriptor, names, foreign_of)
            listing += [_build_docker_entry(manifest, names) for manifest in manifests if manifest.is_image]
        add("index.json", encode_json({"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": entries}))
        if lists_for_docker:
            add("manifest.json", json.dumps(listing, separators=(",", ":")).encode())


def _read_foreign_annotations(store: Store) -> dict[tuple[Digest, str], dict[str, str]]:
    """Return the annotations of other tools in index.json, by the digest and name of their entry."""
    return {
        (entry.descriptor.digest, str(entry.name or "")): get_foreign_annotations(entry.descriptor.annotations)
        for entry in store.layout.read_entries()
    }


def _build_index_entries(
    descriptor: Descriptor, names: Sequence[str], foreign_of: Mapping[tuple[Digest, str], dict[str, str]]
) -> Iterator[dict[str, Any]]:
    for name in names or ("",):
        annotations = dict(foreign_of.get((descriptor.digest, name), {}))
        if name:
            reference = parse_name(name)
            if isinstance(reference, Reference):
                tagged = f"{reference.canonical_name}:{reference.tag}" if reference.tag else name
                annotations |= {CONTAINERD_NAME: tagged, REF_NAME: reference.tag or name}
            else:
                annotations[REF_NAME] = name
        yield descriptor.replace(annotations=annotations).to_json()


def _build_docker_entry(manifest: Manifest, names: Sequence[str]) -> dict[str, Any]:
    return {
        "Config": get_blob_path(manifest.config.digest),
        "RepoTags": [name for name in names if (parsed := parse_name(name)).registry and parsed.tag],
        "Layers": [get_blob_path(layer.digest) for layer in manifest.layers],
    }


def _save_tree(
    store: Store,
    root: Digest,
    archive: tarfile.TarFile,
    written: set[str],
    add: Callable[[str, bytes], None],
    on_progress: Callable[[int], None],
) -> tuple[Descriptor, list[Manifest]]:
    """Write a manifest or index, the documents below it, and their blobs; each index after its manifests."""
    contents: dict[Digest, bytes] = {}

    def read(descriptor: Descriptor) -> Manifest | Index:
        contents[descriptor.digest] = store.read_document(descriptor.digest)
        return parse_manifest(contents[descriptor.digest])

    tree = read_manifest_tree(Descriptor("", root, 0), read, descends=make_holds(store.index, root))
    manifests: list[Manifest] = []
    for node in tree.bottom_up():
        if isinstance(node.document, Manifest):
            manifests.append(node.document)
            for blob in (node.document.config, *node.document.layers):
                _save_blob(store, blob, archive, written, on_progress)
        add(get_blob_path(node.descriptor.digest), contents[node.descriptor.digest])
    return Descriptor(tree.nodes[root].document.media_type, root, len(contents[root])), manifests


def _save_blob(
    store: Store, blob: Descriptor, archive: tarfile.TarFile, written: set[str], on_progress: Callable[[int], None]
) -> None:
    name = get_blob_path(blob.digest)
    if name in written:
        return
    written.add(name)
    with closing(store.open_verified(blob.digest)) as source:
        if source.size != blob.size:
            raise mark_corrupt(store.layout, blob.digest)
        archive.addfile(_make_member(name, blob.size), CountingReader(source, on_progress))


def _make_member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = size
    member.mode = 0o644
    return member
