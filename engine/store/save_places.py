"""Writes images of a store as an OCI layout, a docker archive, or a folder of skopeo's dir transport.

Blobs are verified while they are copied. An image is listed only when all of its blobs are written.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from contextlib import closing, nullcontext

from imq.engine.atomic_writer import exchange_paths, make_sibling_path, rename_without_replacing
from imq.engine.layers.compression import decompress, detect_compression
from imq.engine.oci.config import Config
from imq.engine.oci.manifest import Descriptor, Index, Manifest, parse_manifest
from imq.engine.oci.manifest_walk import read_manifest_tree
from imq.engine.oci.platform import host_platform
from imq.engine.oci.reference import parse_name
from imq.engine.progress import CountingReader
from imq.grammar.errors import Conflict, DigestMismatch, Malformed
from imq.grammar.record import TYPE_CHECKING

from .atomic_files import lock_file, replace_file
from .corruption import mark_corrupt
from .directory import Directory
from .index_check import make_holds
from .index_json import IndexEntry
from .layout import BLOBS, EMPTY_INDEX_DOCUMENT, INDEX, LAYOUT_DOCUMENT, LAYOUT_FILE, LOCK, Layout, new_temporary_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from imq.engine.oci.digest import Digest
    from imq.engine.oci.manifest_walk import ManifestTree

    from .save import Writable
    from .store import Store

    NamedImages = Sequence[tuple[Digest, Sequence[str]]]
    """The digests of manifests or indexes in a store, each with its names."""

_CHUNK_SIZE = 1 << 20
_MAGIC_SIZE = 512
DIR_MANIFEST = "manifest.json"
DIR_VERSION_FILE = "version"
_DIR_VERSION = b"Directory Transport Version: 1.1\n"


def _read_tree(store: Store, root: Digest) -> tuple[ManifestTree, dict[Digest, bytes]]:
    """Read the documents below a manifest or index that the store holds; return them parsed, and as bytes."""
    contents: dict[Digest, bytes] = {}

    def read(descriptor: Descriptor) -> Manifest | Index:
        contents[descriptor.digest] = store.read_document(descriptor.digest)
        return parse_manifest(contents[descriptor.digest])

    return read_manifest_tree(Descriptor("", root, 0), read, descends=make_holds(store.index, root)), contents


def _iter_blobs(tree: ManifestTree) -> Iterator[Descriptor]:
    """Yield the configs and layers below a manifest or index, each once."""
    seen: set[Digest] = set()
    for node in tree.bottom_up():
        if isinstance(node.document, Manifest):
            for blob in (node.document.config, *node.document.layers):
                if blob.digest not in seen:
                    seen.add(blob.digest)
                    yield blob


# OCI layouts


def save_layout(store: Store, images: NamedImages, path: str, on_progress: Callable[[int], None]) -> None:
    """Add images to the OCI layout in a folder, which is created if it is missing.

    Existing entries with the same names are replaced. Existing blobs are kept.
    """
    layout = Layout(path)
    _create_layout(layout)
    entries: list[IndexEntry] = []
    for root, names in images:
        tree, contents = _read_tree(store, root)
        for blob in _iter_blobs(tree):
            _write_blob(store, layout, blob, on_progress)
        for node in tree.bottom_up():
            digest = node.descriptor.digest
            _write_content(layout, digest, contents[digest])
        descriptor = Descriptor(tree.nodes[root].document.media_type, root, len(contents[root]))
        entries += [IndexEntry(descriptor, parse_name(name)) for name in names] or [IndexEntry(descriptor)]
    _add_entries(layout, entries)


def _create_layout(layout: Layout) -> None:
    """Create an empty layout where nothing is. Raises `StoreError` for a folder with other things in it."""
    if layout.exists and layout.has_index():
        return
    if os.path.lexists(layout.root):
        layout.check()
    os.makedirs(layout.root, exist_ok=True)
    root = layout.root_directory
    layout.make_directory(BLOBS, "sha256")
    for name, content in ((INDEX, EMPTY_INDEX_DOCUMENT), (LAYOUT_FILE, LAYOUT_DOCUMENT)):
        if not root.has_file(name):
            replace_file(root, name, (content,), root, new_temporary_name())


def _write_blob(store: Store, layout: Layout, blob: Descriptor, on_progress: Callable[[int], None]) -> None:
    if layout.blob_size(blob.digest) == blob.size:
        on_progress(blob.size)
        return
    with closing(store.open_verified(blob.digest)) as source:
        if source.size != blob.size:
            raise mark_corrupt(store.layout, blob.digest)
        reader = CountingReader(source, on_progress)
        _write_chunks(layout, blob.digest, iter(lambda: reader.read(_CHUNK_SIZE), b""))


def _write_content(layout: Layout, digest: Digest, content: bytes) -> None:
    if layout.blob_size(digest) != len(content):
        _write_chunks(layout, digest, iter((content,)))


def _write_chunks(layout: Layout, digest: Digest, chunks: Iterator[bytes]) -> None:
    """Write a blob to a temporary file, and rename it when it is complete and synced."""
    directory = layout.make_directory(BLOBS, digest.algorithm)
    temporary = new_temporary_name()
    try:
        with os.fdopen(directory.create_file(temporary), "wb") as target:
            for chunk in chunks:
                target.write(chunk)
            target.flush()
            os.fsync(target.fileno())
        directory.rename(temporary, digest.encoded)
    except BaseException:
        directory.remove_file(temporary)
        raise


def _add_entries(layout: Layout, entries: Sequence[IndexEntry]) -> None:
    """Add entries to index.json, replacing those with the same names."""
    root = layout.root_directory
    names = {str(entry.name) for entry in entries if entry.name is not None}
    unnamed = {entry.descriptor.digest for entry in entries if entry.name is None}
    store_lock = layout.lock() if root.has_file(LOCK) else nullcontext()  # a store of imq
    with lock_file(root, LAYOUT_FILE), store_lock:
        kept = [
            entry
            for entry in layout.read_entries()
            if (str(entry.name) not in names if entry.name is not None else entry.descriptor.digest not in unnamed)
        ]
        content = layout.encode_entries([*kept, *entries])
        replace_file(root, INDEX, (content,), root, new_temporary_name())
    root.sync()


# Archives of docker


def save_docker_archive(
    store: Store, images: NamedImages, target: Writable, on_progress: Callable[[int], None]
) -> None:
    """Write images as docker did until version 24: configs, uncompressed layers, and a manifest.json.

    Of an index every image is written; its names go to the image for this machine, else to the first.
    """
    written: set[str] = set()
    listing: list[dict[str, Any]] = []
    sink: Any = target  # tarfile only calls write()
    with tarfile.open(fileobj=sink, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for root, names in images:
            tree, _ = _read_tree(store, root)
            found = [node.document for node in tree.top_down() if isinstance(node.document, Manifest)]
            manifests = [manifest for manifest in found if manifest.is_image]
            if not manifests:
                raise Malformed(f"{', '.join(names) or root.short} is no image, and docker archives hold only images")
            configs = [store.read_document(manifest.config.digest) for manifest in manifests]
            named = _choose_image(store, [Config.parse(content) for content in configs])
            tags = [name for name in names if (parsed := parse_name(name)).registry and parsed.tag]
            for position, (manifest, content) in enumerate(zip(manifests, configs, strict=True)):
                paths = _write_docker_image(store, manifest, content, archive, written, on_progress)
                listing.append(
                    {
                        "Config": f"{manifest.config.digest.encoded}.json",
                        "RepoTags": tags if position == named else [],
                        "Layers": paths,
                    }
                )
        _add_member(archive, "manifest.json", json.dumps(listing, separators=(",", ":")).encode())


def _choose_image(store: Store, configs: Sequence[Config]) -> int:
    """Return the position of the image for this machine, else of the first."""
    platform = store.platform or host_platform()
    ranks = [platform.rank(config.platform) for config in configs]
    matching = [(rank, position) for position, rank in enumerate(ranks) if rank is not None]
    return min(matching)[1] if matching else 0


def _add_member(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    archive.addfile(_make_member(name, len(content)), io.BytesIO(content))


def _make_member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = size
    member.mode = 0o644
    return member


def _write_docker_image(
    store: Store,
    manifest: Manifest,
    config: bytes,
    archive: tarfile.TarFile,
    written: set[str],
    on_progress: Callable[[int], None],
) -> list[str]:
    """Write the config and the layers of an image; return the names of the layers."""
    name = f"{manifest.config.digest.encoded}.json"
    if name not in written:
        written.add(name)
        _add_member(archive, name, config)
    paths = []
    for layer, diff_id in zip(manifest.layers, Config.parse(config).diff_ids, strict=True):
        paths.append(f"{diff_id.encoded}.tar")
        if paths[-1] not in written:
            written.add(paths[-1])
            _write_layer(store, layer, diff_id, paths[-1], archive, on_progress)
    return paths


def _write_layer(
    store: Store,
    layer: Descriptor,
    diff_id: Digest,
    name: str,
    archive: tarfile.TarFile,
    on_progress: Callable[[int], None],
) -> None:
    """Write a layer uncompressed. A tar header needs the size first, so it is decompressed twice if that is unknown."""
    row = store.index.connection.execute(
        "SELECT max(tar_size) FROM descriptor WHERE digest = ?", (layer.digest,)
    ).fetchone()
    size = row[0] if row and row[0] is not None else sum(map(len, _iter_uncompressed(store, layer)))
    hasher = diff_id.new_hash()

    def iter_hashed() -> Iterator[bytes | memoryview]:
        for chunk in _iter_uncompressed(store, layer, on_progress):
            hasher.update(chunk)
            yield chunk

    reader: Any = _ChunkReader(iter_hashed())
    archive.addfile(_make_member(name, size), reader)
    if hasher.hexdigest() != diff_id.encoded:
        raise DigestMismatch(f"the layer {layer.digest} does not have the diff ID {diff_id}", code="diff-id-mismatch")


def _iter_uncompressed(
    store: Store, layer: Descriptor, on_progress: Callable[[int], None] = lambda _: None
) -> Iterator[bytes | memoryview]:
    """Yield the content of a layer, decompressed and verified."""
    with closing(store.open_verified(layer.digest)) as source:
        first = source.read(_CHUNK_SIZE)

        def iter_chunks() -> Iterator[bytes]:
            chunk = first
            while chunk:
                on_progress(len(chunk))
                yield chunk
                chunk = source.read(_CHUNK_SIZE)

        yield from decompress(detect_compression(first[:_MAGIC_SIZE]), iter_chunks())


class _ChunkReader:
    """Reads a stream of chunks."""

    def __init__(self, chunks: Iterator[bytes | memoryview]) -> None:
        self._chunks = chunks
        self._chunk = memoryview(b"")

    def read(self, count: int = -1, /) -> bytes:
        """Return the next `count` bytes; fewer at the end."""
        pieces = []
        while count:
            if not self._chunk:
                piece = next(self._chunks, None)
                if piece is None:
                    break
                self._chunk = memoryview(piece)
            taken = self._chunk[:count] if count > 0 else self._chunk
            self._chunk = self._chunk[len(taken) :]
            pieces.append(bytes(taken))
            count -= len(taken)
        return b"".join(pieces)


# Folders of skopeo's dir transport


def save_dir(store: Store, root: Digest, path: str, on_progress: Callable[[int], None], *, replace: bool) -> None:
    """Write one image, or an index with its images, into a new folder. It appears when it is complete.

    With `replace` a folder of the same transport is replaced. Raises `Conflict` for anything else at the path.
    """
    path = path.rstrip("/") or path
    if os.path.lexists(path) and not (replace and is_dir_folder(path)) and not _is_empty_folder(path):
        raise Conflict(f"{path} exists already", code="exists", hints=("to replace it, add: force",))
    temporary = make_sibling_path(path)
    os.mkdir(temporary)
    try:
        _write_dir(store, root, temporary, on_progress)
        if os.path.isdir(path) and not exchange_paths(temporary, path):
            shutil.rmtree(path)
        if os.path.isdir(path):
            shutil.rmtree(temporary)  # now it has what was at the path
        else:
            rename_without_replacing(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def is_dir_folder(path: str) -> bool:
    """Whether a folder is one of skopeo's dir transport."""
    return all(os.path.isfile(os.path.join(path, name)) for name in (DIR_MANIFEST, DIR_VERSION_FILE))


def _is_empty_folder(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path) and not os.listdir(path)


def _write_dir(store: Store, root: Digest, folder: str, on_progress: Callable[[int], None]) -> None:
    tree, contents = _read_tree(store, root)
    directory = Directory.open(folder)
    for blob in _iter_blobs(tree):
        with (
            closing(store.open_verified(blob.digest)) as source,
            os.fdopen(directory.create_file(blob.digest.encoded), "wb") as target,
        ):
            reader = CountingReader(source, on_progress)
            while chunk := reader.read(_CHUNK_SIZE):
                target.write(chunk)
    for digest, content in contents.items():
        name = DIR_MANIFEST if digest == root else f"{digest.encoded}.manifest.json"
        with os.fdopen(directory.create_file(name), "wb") as target:
            target.write(content)
    with os.fdopen(directory.create_file(DIR_VERSION_FILE), "wb") as target:
        target.write(_DIR_VERSION)
