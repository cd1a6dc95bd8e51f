"""Layers of unknown digest: compressed with gzip, or stored as they are when their content is compressed already."""

from __future__ import annotations

import gzip
import os
import random
from typing import TYPE_CHECKING

import pytest
from imq.engine.oci import media_types
from imq.engine.oci.digest import Digest
from imq.engine.store.blob_pipeline import CHUNK_SIZE
from imq.engine.store.store import Store
from imq.grammar.errors import Interrupted, Malformed, StoreError
from support.images import layer as make_layer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from imq.engine.store.ingest import ImportedLayer

NOISE = random.Random(1).randbytes(3 * CHUNK_SIZE)
TEXT = b"a line of text\n" * 200_000
CONTENTS = {
    "noise": ({"noise": NOISE}, media_types.OCI_LAYER),
    "noise of many files": ({f"{n}": NOISE[n * 9000 :][:9000] for n in range(300)}, media_types.OCI_LAYER),
    "noise and a little text": ({"noise": NOISE, "text": TEXT[:100_000]}, media_types.OCI_LAYER),
    "noise, then text": ({"a": NOISE, "b": TEXT}, media_types.OCI_LAYER_GZIP),
    "text, then noise": ({"a": TEXT, "b": NOISE}, media_types.OCI_LAYER_GZIP),
    "text": ({"text": TEXT}, media_types.OCI_LAYER_GZIP),
    "little noise": ({"noise": NOISE[: CHUNK_SIZE // 2]}, media_types.OCI_LAYER_GZIP),
    "nothing": ({}, media_types.OCI_LAYER_GZIP),
}


def tar(files: dict[str, bytes]) -> bytes:
    """Return a plain archive of these files."""
    return make_layer(files).blob


def slices(archive: bytes, size: int) -> Iterator[bytes]:
    return (archive[start : start + size] for start in range(0, len(archive), size))


def store_layer(root: Path, archive: bytes, size: int = 100_000, *, in_thread: bool = False) -> ImportedLayer:
    """Store an archive in pieces of this size as a layer, and return it. No temporary file remains."""
    store = Store(os.fspath(root))
    try:
        with store.start_ingest() as ingest:
            layer = ingest.import_plain_layer(slices(archive, size), in_thread=in_thread)
            ingest.sync()
    finally:
        store.close()
    assert list((root / "ingest").glob("*.*")) == []
    return layer


@pytest.mark.parametrize("name", CONTENTS)
def test_a_layer_is_compressed_when_that_makes_it_smaller(tmp_path: Path, name: str) -> None:
    files, media_type = CONTENTS[name]
    archive = tar(files)
    layer = store_layer(tmp_path / "store", archive)
    assert layer.descriptor.media_type == media_type
    assert layer.measure.diff_id == Digest.of(archive)
    assert layer.measure.tar_size == len(archive)
    assert layer.measure.size == sum(map(len, files.values()))
    blob = (tmp_path / "store" / "blobs" / "sha256" / layer.descriptor.digest.encoded).read_bytes()
    assert Digest.of(blob) == layer.descriptor.digest
    assert len(blob) == layer.descriptor.size
    assert (gzip.decompress(blob) if media_type == media_types.OCI_LAYER_GZIP else blob) == archive


@pytest.mark.parametrize("name", CONTENTS)
def test_the_pieces_do_not_change_the_layer(tmp_path: Path, name: str) -> None:
    archive = tar(CONTENTS[name][0])
    first = store_layer(tmp_path / "first", archive)
    for number, size in enumerate((4099, CHUNK_SIZE, 10 * CHUNK_SIZE)):
        assert store_layer(tmp_path / f"{number}", archive, size, in_thread=bool(number)) == first


@pytest.mark.parametrize("name", ["noise", "noise, then text"])
@pytest.mark.parametrize("in_thread", [False, True])
def test_an_error_leaves_no_file(tmp_path: Path, name: str, in_thread: bool) -> None:
    archive = tar(CONTENTS[name][0])

    def fail() -> Iterator[bytes]:
        yield from slices(archive[:-CHUNK_SIZE], 50_000)
        raise Interrupted("stopped")

    store = Store(os.fspath(tmp_path))
    try:
        with pytest.raises(Interrupted), store.start_ingest() as ingest:
            ingest.import_plain_layer(fail(), in_thread=in_thread)
        with pytest.raises(Malformed), store.start_ingest() as ingest:
            ingest.import_plain_layer(iter((archive[:-CHUNK_SIZE],)), in_thread=in_thread)
        with pytest.raises(Malformed, match="archive"), store.start_ingest() as ingest:
            ingest.import_plain_layer(iter((NOISE,)), in_thread=in_thread)
    finally:
        store.close()
    assert list((tmp_path / "ingest").glob("*.*")) == []
    assert [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()] == []


def test_the_quota_counts_only_what_is_stored(tmp_path: Path) -> None:
    archive = tar({"a": NOISE, "b": TEXT})
    size = store_layer(tmp_path / "free", archive).descriptor.size
    for quota, fits in ((size, True), (size - 1, False)):
        store = Store(os.fspath(tmp_path / f"{quota}"))
        store.quota = quota
        try:
            with store.start_ingest() as ingest:
                if fits:
                    ingest.import_plain_layer(iter((archive,)))
                    continue
                with pytest.raises(StoreError) as caught:
                    ingest.import_plain_layer(iter((archive,)))
                assert caught.value.code == "quota"
        finally:
            store.close()


def test_other_archives_are_stored_as_they_are(tmp_path: Path) -> None:
    blob = gzip.compress(tar({"text": TEXT}), mtime=0)
    store = Store(os.fspath(tmp_path))
    try:
        with store.start_ingest() as ingest:
            layer = ingest.import_layer(slices(blob, 1000), "gzip")
    finally:
        store.close()
    assert layer.descriptor.digest == Digest.of(blob)
    assert os.path.getsize(tmp_path / "blobs" / "sha256" / layer.descriptor.digest.encoded) == len(blob)
