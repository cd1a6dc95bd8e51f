"""Malicious archives: they control neither memory use, nor run time, nor the location of files."""

from __future__ import annotations

import gzip
import io
import stat
import tarfile
from typing import TYPE_CHECKING

import pytest
from imq.engine.layers.tar_walker import TarLimits
from imq.engine.oci.digest import Digest
from imq.engine.store import archive_files, archive_listing, index_documents
from imq.engine.store.index_documents import DocumentReader
from store.support.stores import StoreSession, blobs_in
from support.images import INDEX_TYPE, MANIFEST_TYPE, Image, Layout, descriptor, layer, to_json
from support.waiting import deadline

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.servers import Registry

IMAGE = Image([layer({"a": b"a"})])


def header(size: int, kind: bytes) -> bytes:
    """Return a header of a tar archive."""
    member = tarfile.TarInfo("x")
    member.size, member.type = size, kind
    return member.tobuf(tarfile.GNU_FORMAT)


def refused(store: StoreSession, path: Path) -> str:
    with deadline():
        return store.failure_code(f'load "{path}"')


@pytest.mark.parametrize("kind", ["x", "g", "L", "K"])
def test_oversized_headers_are_rejected(store: StoreSession, tmp_path: Path, kind: str) -> None:
    """Each would be read into memory completely."""
    path = tmp_path / "load.tar.gz"
    with gzip.open(path, "wb", 1) as packed:
        packed.write(header(1 << 40, kind.encode()) + bytes(1 << 20))
    assert refused(store, path) == "bomb"


def test_endless_extension_headers_are_rejected(store: StoreSession, tmp_path: Path) -> None:
    path = tmp_path / "load.tar"
    path.write_bytes((header(11, b"x") + b"11 path=ab\n".ljust(512, b"\0")) * 5000)
    assert refused(store, path) == "archive"


def test_an_archive_with_too_many_files_is_rejected(
    store: StoreSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_files, "_LIMITS", TarLimits(max_entries=1000, max_name=4096))
    path = tmp_path / "load.tar"
    path.write_bytes(header(0, b"0") * 1001)
    assert refused(store, path) == "bomb"


@pytest.mark.parametrize("name", ["index.json", "manifest.json"])
def test_an_oversized_list_of_images_is_rejected(
    store: StoreSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(archive_listing, "_MAX_LISTING_SIZE", 1 << 20)
    path = tmp_path / "load.tar.gz"
    with tarfile.open(path, "w:gz", compresslevel=1) as packed:
        member = tarfile.TarInfo(name)
        member.size = 3 << 20
        packed.addfile(member, io.BytesIO(b"[" + b"[]," * (1 << 20)))
    assert refused(store, path) == "document-size"


def test_deeply_shared_indexes_are_read_once(
    opened: Callable[..., StoreSession], root: Path, registry: Registry, tmp_path: Path
) -> None:
    """A hundred times a hundred times a hundred, and so on: each index is read once."""
    source = Layout(tmp_path / "source")
    for content in IMAGE.blobs.values():
        source.blob(content)
    child = descriptor(MANIFEST_TYPE, IMAGE.manifest)
    for _ in range(3):
        content = to_json({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [child] * 300})
        source.blob(content)
        child = descriptor(INDEX_TYPE, content)
    name = f"{registry.host}/fan/out:1"
    source.entry(child, name)
    store = opened(root, platform=None)
    with deadline():
        store.do(f'load "{tmp_path / "source"}"')
    assert len(blobs_in(root)) == 3 + len(IMAGE.blobs)
    with deadline():
        store.do(f"push {name}")
    with deadline():
        store.do(f'save {name} to "{tmp_path / "saved.tar"}"')
    with deadline():
        store.do(f"copy {name} to {name}-copy")
    with deadline():
        store.do(f"verify {name}")
    store.do(f"rm {name}")
    store.do(f'load "{tmp_path / "saved.tar"}"')
    assert len(blobs_in(root)) == 3 + len(IMAGE.blobs)


@pytest.mark.parametrize("end", [700, 2000, 40_000])
def test_a_truncated_archive_is_rejected(store: StoreSession, tmp_path: Path, end: int) -> None:
    whole = tmp_path / "whole"
    Layout(whole).add(Image([layer({"a": bytes(50_000)})]), "a:1")
    with tarfile.open(tmp_path / "load.tar", "w") as packed:
        packed.add(whole, ".")
    path = tmp_path / "load.tar"
    path.write_bytes(path.read_bytes()[:end])
    assert refused(store, path) == "archive"
    assert store.names() == []


def test_the_document_cache_is_limited_in_bytes(
    store: StoreSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_documents, "_DOCUMENT_CACHE_SIZE", 5_000)
    source = Layout(tmp_path / "source")
    for number in range(20):
        source.add(Image([layer({"a": b"%d" % number})], labels={"n": str(number)}), f"a:{number}")
    Layout(tmp_path / "first").add(Image([layer({"a": b"first"})]), "first:1")
    store.do(f'load "{tmp_path / "first"}"')  # creates the store
    most = 0
    read = DocumentReader._read_cached

    def watched(reader: DocumentReader, *given: object) -> object:
        nonlocal most
        found = read(reader, *given)  # type: ignore[arg-type]
        most = max(most, reader._cached_bytes)
        return found

    monkeypatch.setattr(DocumentReader, "_read_cached", watched)
    store.do(f'load "{tmp_path / "source"}"')
    assert len(store.names()) == 21
    assert 0 < most <= 5_000


def test_the_folder_of_another_digest_algorithm_is_group_writable(
    store: StoreSession, root: Path, tmp_path: Path
) -> None:
    import hashlib
    import json
    import shutil

    root.mkdir()
    root.chmod(0o2775)
    source = tmp_path / "source"
    Layout(source).add(IMAGE, "a:1")
    manifest = json.loads(IMAGE.manifest)
    digest = f"sha512:{hashlib.sha512(IMAGE.layers[0].blob).hexdigest()}"
    manifest["layers"][0]["digest"] = digest
    (source / "blobs" / "sha512").mkdir()
    shutil.copy(source / "blobs" / "sha256" / IMAGE.layers[0].digest[7:], source / "blobs" / "sha512" / digest[7:])
    content = to_json(manifest)
    named = Layout(source)
    named.blob(content)
    named.entry(descriptor(MANIFEST_TYPE, content), "b:1")
    store.do(f'load "{source}"')
    assert stat.S_IMODE((root / "blobs" / "sha512").stat().st_mode) & stat.S_IWGRP
    assert store.session.store.read_document(Digest(digest))
    store.do("rm b:1")
    assert not list((root / "blobs" / "sha512").iterdir())
