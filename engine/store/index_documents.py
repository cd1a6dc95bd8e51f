"""Reads and verifies the manifests, indexes and configs of a layout."""

from __future__ import annotations

from imq.engine.oci import media_types
from imq.engine.oci.config import Config
from imq.engine.oci.manifest import Index, Manifest, check_document_size, parse_manifest
from imq.engine.oci.manifest_walk import IndexDepthError, read_manifest_tree
from imq.grammar.errors import DigestMismatch, ImqError, Malformed, StoreError
from imq.grammar.record import TYPE_CHECKING

from .atomic_files import store_errors
from .bounded_read import read_bounded
from .index_json import HELD_MANIFESTS, is_held
from .mentions import find_mentions
from .unreadable_images import UnreadableDocument, is_opaque

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from imq.engine.oci.manifest import Descriptor

    from .layout import Layout

_DOCUMENT_CACHE_SIZE = 8 << 20
"""The maximum size in bytes of cached documents; parsed they take several times as much."""


class DocumentReader:
    """Reads the documents of one layout. With `caches` each is read once, as far as the cache has room."""

    def __init__(self, layout: Layout, *, caches: bool) -> None:
        self._layout = layout
        self._document_cache: dict[tuple[str, str, int], Config | Manifest | Index] | None = {} if caches else None
        self._cached_bytes = 0
        self.mentions: dict[str, bytes | None] = {}
        """What the text of each manifest and index mentions that was read; see mentions.py."""

    def read_image_config(self, manifest: Manifest) -> Config:
        """Return the config of an image; raises `ImqError` when it is missing, corrupt, or of another image."""
        config = self.read_config(manifest.config)
        if len(config.diff_ids) != len(manifest.layers):
            raise Malformed(
                f"the config {manifest.config.digest} has {len(config.diff_ids)} layers,"
                f" and its manifest has {len(manifest.layers)}",
                code="layers",
            )
        return config

    def read_config(self, descriptor: Descriptor) -> Config:
        """Return a verified config; raises `ImqError` when it is missing, corrupt or invalid."""
        config: Config = self._read_cached(descriptor, Config, lambda: Config.parse(self.read_document(descriptor)))
        return config

    def _read_manifest(self, descriptor: Descriptor) -> Manifest | Index:
        def read() -> Manifest | Index:
            content = self.read_document(descriptor)
            self.mentions[descriptor.digest] = find_mentions(content)
            return parse_manifest(content, descriptor.media_type)

        document: Manifest | Index = self._read_cached(descriptor, (Manifest, Index), read)
        return document

    def _read_cached(self, descriptor: Descriptor, types: Any, read: Callable[[], Any]) -> Any:
        """Return the result of `read`, cached by descriptor."""
        if self._document_cache is None:
            return read()
        key = (descriptor.digest, descriptor.media_type, descriptor.size)
        document = self._document_cache.get(key)
        if not isinstance(document, types):
            document = read()
            if self._cached_bytes + descriptor.size <= _DOCUMENT_CACHE_SIZE:
                self._cached_bytes += descriptor.size
                self._document_cache[key] = document
        return document

    def walk(
        self, root: Descriptor, unreadable: list[UnreadableDocument] | None = None
    ) -> Iterator[tuple[Descriptor, Manifest | Index]]:
        """Yield the readable manifests and indexes that a descriptor holds.

        Unreadable documents are appended to `unreadable`. A manifest that an index does not hold may be missing.
        """

        def note(descriptor: Descriptor, error: ImqError) -> None:
            if unreadable is None:
                return
            if isinstance(error, IndexDepthError):
                unreadable.append(UnreadableDocument(descriptor, error, descriptor))
            elif not is_opaque(descriptor, error, self._layout.open_blob):
                unreadable.append(_describe_unreadable(root, descriptor, error))

        tree = read_manifest_tree(
            root, self._read_manifest, descends=lambda child: is_held(root, child.digest), on_error=note
        )
        for node in tree.top_down():
            yield node.descriptor, node.document

    def is_readable(self, document: Descriptor, *, is_config: bool) -> bool:
        """Whether a config, or a manifest or index, can be read."""
        try:
            if is_config:
                self.read_config(document)
            else:
                self._read_manifest(document)
        except ImqError:
            return False
        return True

    def read_document(self, descriptor: Descriptor) -> bytes:
        """Return the content of a document, verified against its digest and size."""
        limit = self._layout.largest_document
        check_document_size(descriptor.size, limit, f"the document {descriptor.digest}")
        with store_errors(f"read the blob {descriptor.digest}"):
            try:
                with self._layout.open_blob(descriptor.digest) as source:
                    content = read_bounded(source, limit)
            except FileNotFoundError:
                raise StoreError(f"the blob {descriptor.digest} is not in the store", code="blob-missing") from None
        if not descriptor.digest.matches(content):
            raise DigestMismatch(
                f"the blob {descriptor.digest} is damaged",
                hints=("pull the image again to repair it; imq verify all lists everything that is damaged",),
            )
        if len(content) != descriptor.size:
            raise DigestMismatch(
                f"the blob {descriptor.digest} has {len(content)} bytes, and its descriptor says {descriptor.size}",
                hints=("the blob is intact; the size in index.json or in the document above it is wrong",),
            )
        return content


def _describe_unreadable(root: Descriptor, document: Descriptor, problem: ImqError) -> UnreadableDocument:
    """Return the record of an unreadable manifest or index."""
    is_root = document.digest == root.digest
    is_image = media_types.REFERENCE_DIGEST not in document.annotations
    is_absent = problem.code == "blob-missing" and not is_root and HELD_MANIFESTS not in root.annotations
    return UnreadableDocument(document, problem, document if is_image and not is_absent else None, is_absent=is_absent)
