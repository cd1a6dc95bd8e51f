"""Sample images for tests, and stores in memory."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import threading
from typing import TYPE_CHECKING, BinaryIO

from imq.engine.oci import media_types
from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Descriptor, encode_json
from imq.grammar.errors import DigestMismatch, Interrupted, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

USER, PASSWORD = "ann", "s3cret:with colon"
AMD64 = {"os": "linux", "architecture": "amd64"}
ARM64 = {"os": "linux", "architecture": "arm64"}


class MemoryStore:
    """A store in memory: an `ImageStore` and a `BlobSource`, which verifies what it stores."""

    def __init__(self) -> None:
        self.blobs: dict[Digest, bytes] = {}
        self.order: list[Digest] = []
        self.reserved: set[Digest] = set()
        self.diff_ids: dict[Digest, Digest | None] = {}
        self.begun = 0  # blobs that receive_blob has begun to read
        self.interrupted = 0
        self._lock = threading.Lock()

    def add(self, content: bytes) -> Digest:
        digest = Digest.of(content)
        with self._lock:
            self.blobs[digest] = content
            self.order.append(digest)
        return digest

    def describe(self, media_type: str, content: bytes) -> Descriptor:
        return Descriptor(media_type, self.add(content), len(content))

    def reserve(self, descriptors: Sequence[Descriptor]) -> frozenset[Digest]:
        self.reserved |= {d.digest for d in descriptors}
        return frozenset(d.digest for d in descriptors if d.digest in self.blobs)

    def store_document(self, descriptor: Descriptor, content: bytes) -> None:
        assert descriptor.digest in self.reserved
        assert self.add(content) == descriptor.digest

    def partial_size(self, descriptor: Descriptor) -> int:
        assert descriptor.digest in self.reserved
        return 0

    def receive_blob(
        self,
        descriptor: Descriptor,
        diff_id: Digest | None,
        readinto: Callable[[memoryview], int],
        is_cancelled: Callable[[], bool],
        partial_size: int | None = None,
    ) -> None:
        assert partial_size == 0
        assert descriptor.digest in self.reserved
        buffer = memoryview(bytearray(1 << 18))
        content = bytearray()
        with self._lock:
            self.begun += 1
        try:
            while (count := readinto(buffer)) and not is_cancelled():
                content += buffer[:count]
        except Interrupted:
            self.interrupted += 1
            raise
        if Digest.of(bytes(content)) != descriptor.digest:
            raise DigestMismatch(f"not {descriptor.digest}")
        self.diff_ids[descriptor.digest] = diff_id
        self.add(bytes(content))

    def read(self, digest: Digest) -> bytes:
        if digest not in self.blobs:
            raise NotFound(f"no blob {digest}")
        return self.blobs[digest]

    def read_document(self, digest: Digest) -> bytes:
        return self.read(digest)

    def open(self, digest: Digest) -> BinaryIO:
        return io.BytesIO(self.read(digest))


class ProgressRecorder:
    """Records the progress of a transfer."""

    def __init__(self) -> None:
        self.name = ""
        self.expected = -1
        self.words: dict[Digest, list[str]] = {}
        self.done: dict[Digest, int] = {}
        self.total = 0
        self.calls = 0
        self.ended = False
        self.warned: list[str] = []
        self._lock = threading.Lock()

    def begin(self, name: str, total: int) -> None:
        self.name, self.expected = name, total

    def set_layer_status(self, digest: Digest, word: str, size: int) -> None:
        assert size >= 0
        with self._lock:
            self.words.setdefault(digest, []).append(word)

    def advance(self, digest: Digest, done: int, total_done: int) -> None:
        with self._lock:
            self.done[digest] = done
            self.total = max(self.total, total_done)
            self.calls += 1

    def end(self) -> None:
        self.ended = True

    def report_items(self, label: str, done: int, total: int) -> None:
        pass

    def stop(self) -> None:
        pass

    def warn(self, text: str) -> None:
        self.warned.append(text)


def make_layer(size: int = 300_000, name: str = "file") -> tuple[bytes, bytes]:
    """Return a tar archive with one file of random bytes, uncompressed and compressed with gzip."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.size = size
        tar.addfile(entry, io.BytesIO(os.urandom(size)))
    plain = buffer.getvalue()
    return plain, gzip.compress(plain, 1)


def add_image(
    store: MemoryStore,
    platform: dict[str, str] | None = None,
    layers: int = 3,
    size: int = 300_000,
    *,
    docker: bool = False,
) -> Descriptor:
    """Add an image to `store` and return the descriptor of its manifest."""
    layer_contents = [make_layer(size, f"file{number}") for number in range(layers)]
    config = {
        **(AMD64 if platform is None else platform),
        "config": {"Labels": {"made": "for tests"}},
        "rootfs": {"type": "layers", "diff_ids": [Digest.of(plain) for plain, _ in layer_contents]},
    }
    layer_type, config_type, manifest_type = (
        (media_types.DOCKER_LAYER_GZIP, media_types.DOCKER_CONFIG, media_types.DOCKER_MANIFEST)
        if docker
        else (media_types.OCI_LAYER_GZIP, media_types.OCI_CONFIG, media_types.OCI_MANIFEST)
    )
    manifest = {
        "schemaVersion": 2,
        "mediaType": manifest_type,
        "config": store.describe(config_type, encode_json(config)).to_json(),
        "layers": [store.describe(layer_type, packed).to_json() for _, packed in layer_contents],
    }
    return store.describe(manifest_type, encode_json(manifest))


def add_index(store: MemoryStore, entries: Sequence[dict[str, object]]) -> Descriptor:
    """Add an index with these entries to `store`."""
    document = {"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": list(entries)}
    return store.describe(media_types.OCI_INDEX, encode_json(document))


def add_attestation(store: MemoryStore, subject: Descriptor) -> dict[str, object]:
    """Add an attestation in buildkit's format to `store` and return its entry for an index."""
    statement = store.describe("application/vnd.in-toto+json", b'{"of": "%s"}' % subject.digest.encode())
    config = {
        "os": "unknown", "architecture": "unknown", "rootfs": {"type": "layers", "diff_ids": [statement.digest]},
    }  # fmt: skip
    manifest = {
        "schemaVersion": 2,
        "mediaType": media_types.OCI_MANIFEST,
        "config": store.describe(media_types.OCI_CONFIG, encode_json(config)).to_json(),
        "layers": [statement.to_json()],
    }
    return {
        **store.describe(media_types.OCI_MANIFEST, encode_json(manifest)).to_json(),
        "platform": {"os": "unknown", "architecture": "unknown"},
        "annotations": {
            "vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": str(subject.digest),
        },
    }


def add_artifact(
    store: MemoryStore,
    config: str,
    layer: str,
    kind: str = "",
    subject: Descriptor | None = None,
    content: bytes = b"it",
) -> Descriptor:
    """Add an artifact with a config and a layer of these types to `store`, and return its descriptor."""
    manifest: dict[str, object] = {"schemaVersion": 2, "mediaType": media_types.OCI_MANIFEST}
    if kind:
        manifest["artifactType"] = kind
    manifest["config"] = store.describe(config, b"{}").to_json()
    manifest["layers"] = [store.describe(layer, content).to_json()]
    if subject is not None:
        manifest["subject"] = subject.to_json()
    return store.describe(media_types.OCI_MANIFEST, encode_json(manifest))
