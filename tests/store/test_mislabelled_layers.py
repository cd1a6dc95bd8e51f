"""Layers with a wrong media type: their compression is detected from their bytes wherever they are read."""

from __future__ import annotations

import bz2
import dataclasses
import hashlib
import itertools
import lzma
import pathlib
import subprocess
import uuid
from typing import TYPE_CHECKING

import pytest
from imq.engine.layers.compression import detect_compression
from imq.engine.layers.layer_meter import LayerMeter
from imq.engine.layers.layer_reader import LayerLimits
from imq.engine.layers.layer_stack import iter_unpacked
from layers.stacks import archive, member, stacked
from store.support.serve_image import serve
from store.support.stores import check_store, imq
from support.images import LAYER_TYPES, Image, Layer, Layout, docker_archive, layer, pack

if TYPE_CHECKING:
    from collections.abc import Callable

    from store.support.stores import StoreSession
    from support.servers import Registry

DOCKER = {
    "": "application/vnd.docker.image.rootfs.diff.tar",
    "gzip": "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "zstd": "application/vnd.docker.image.rootfs.diff.tar.zstd",
}
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": lambda content: content,
    "gzip": lambda content: pack(content, "gzip"),
    "zstd": lambda content: pack(content, "zstd"),
    "zstd, a skippable frame first": lambda content: (
        b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"note" + pack(content, "zstd")
    ),
    "xz": lzma.compress,
    "bzip2": bz2.compress,
}
LABELS = [*LAYER_TYPES.values(), *DOCKER.values()]
PLAIN = layer({"file": b"content" * 500, "etc/os-release": b"ID=debian\n"})
CASES = [
    pytest.param(label, packed, id=f"{label.rpartition('.')[2]}-{packed or 'plain'}")
    for label, packed in itertools.product(LABELS, PACKERS)
]


def image_of(label: str, packed: str, made: Layer = PLAIN) -> Image:
    return Image([dataclasses.replace(made, blob=PACKERS[packed](made.blob), media_type=label)])


def check_contents(store: StoreSession, name: str, folder: pathlib.Path) -> None:
    """Check the results of every reader of layers for the image."""
    (row,) = store.rows(f"images where name = {name} select size")
    assert row["size"] == PLAIN.size
    (verified,) = store.do(f"verify {name}")
    assert verified["note"] == "every blob is intact"
    store.do(f'export {name} to "{folder}/made"')
    assert (folder / "made" / "file").read_bytes() == b"content" * 500
    store.do(f'export {name} to "{folder}/made.tar"')
    store.do("reindex")
    (row,) = store.rows(f"images where name = {name} select size")
    assert row["size"] == PLAIN.size


@pytest.mark.parametrize(("label", "packed"), CASES)
def test_load_detects_the_compression(
    store: StoreSession, root: pathlib.Path, tmp_path: pathlib.Path, label: str, packed: str
) -> None:
    made = Layout(tmp_path / "layout").add(image_of(label, packed), "odd:1")
    store.do(f'load "{tmp_path}/layout"')
    check_contents(store, "odd:1", tmp_path)
    (row,) = store.rows("images select digest, manifest_digest")
    assert row["manifest_digest"] == made.digest, "the image is kept as it came"
    store.do(f'save odd:1 to "{tmp_path}/saved.tar"')
    check_store(root)


@pytest.mark.parametrize("packed", PACKERS)
def test_lazy_verification_detects_the_compression_later(
    store: StoreSession, tmp_path: pathlib.Path, packed: str
) -> None:
    store.read_message("set verify = lazy")
    Layout(tmp_path / "layout").add(image_of(LAYER_TYPES["gzip"], packed), "odd:1")
    store.do(f'load "{tmp_path}/layout"')
    check_contents(store, "odd:1", tmp_path)


@pytest.mark.parametrize("lazily", [False, True])
@pytest.mark.parametrize("packed", PACKERS)
def test_pull_and_push_accept_mislabelled_layers(
    store: StoreSession, registry: Registry, tmp_path: pathlib.Path, packed: str, lazily: bool
) -> None:
    if lazily:
        store.read_message("set verify = lazy")
    made = image_of(DOCKER["gzip"] if packed != "gzip" else DOCKER[""], packed)
    name = serve(registry, f"odd/{uuid.uuid4().hex[:8]}:1", made)
    store.do(f"pull {name}")
    check_contents(store, name, tmp_path)
    (pushed,) = store.do(f"push {name} to {name}-again")
    assert made.digest in pushed["note"]


@pytest.mark.parametrize("packed", PACKERS)
def test_layers_in_docker_archives_may_have_any_compression(
    store: StoreSession, root: pathlib.Path, tmp_path: pathlib.Path, packed: str
) -> None:
    docker_archive(tmp_path / "docker.tar", [(image_of(LAYER_TYPES[""], packed), ["odd:1"])])
    store.do(f'load "{tmp_path}/docker.tar"')
    check_contents(store, "odd:1", tmp_path)
    check_store(root)


@pytest.mark.parametrize("packed", ["", "gzip", "zstd", "xz", "bzip2"])
def test_other_tools_read_saved_mislabelled_layers(store: StoreSession, tmp_path: pathlib.Path, packed: str) -> None:
    Layout(tmp_path / "layout").add(image_of(LAYER_TYPES["gzip"], packed), "odd:1")
    store.do(f'load "{tmp_path}/layout"')
    store.do(f'save odd:1 to "{tmp_path}/saved.tar"')
    copied = ["skopeo", "copy", f"docker-archive:{tmp_path}/saved.tar:odd:1", f"dir:{tmp_path}/dir"]
    subprocess.run(copied, check=True, capture_output=True)


@pytest.mark.parametrize("packed", [packed for packed in PACKERS if packed])
def test_a_wrong_diff_id_is_still_rejected(store: StoreSession, tmp_path: pathlib.Path, packed: str) -> None:
    other = layer({"file": b"other"})
    forged = dataclasses.replace(PLAIN, blob=PACKERS[packed](other.blob), media_type=LAYER_TYPES[""])
    Layout(tmp_path / "layout").add(Image([forged]), "odd:1")
    done = imq(store.root, "load", str(tmp_path / "layout"), code=None)
    assert done.returncode == 3
    assert "error[diff-id-mismatch]" in done.stderr


@pytest.mark.parametrize("packed", ["", "gzip"])
@pytest.mark.parametrize("kind", ["layout", "docker"])
def test_a_diff_id_of_another_algorithm_is_not_supported(
    store: StoreSession, tmp_path: pathlib.Path, packed: str, kind: str
) -> None:
    made = layer({"file": b"content"}, packed)
    plain = layer({"file": b"content"}).blob
    image = Image([dataclasses.replace(made, diff_id=f"sha512:{hashlib.sha512(plain).hexdigest()}")])
    if kind == "layout":
        Layout(tmp_path / "source").add(image, "odd:1")
    else:
        docker_archive(tmp_path / "source", [(image, ["odd:1"])])
    done = imq(store.root, "load", str(tmp_path / "source"), code=None)
    assert done.returncode == 3
    assert "error[digest-algorithm]" in done.stderr
    assert "diff IDs of sha512 are not supported" in " ".join(done.stderr.split())
    assert "forged" not in done.stderr


BZH = archive([member("BZh91AY&SY.txt", b"no bzip2")])
"""An archive that begins like a bzip2 stream."""


@pytest.mark.parametrize("chunk", [1, 3, 100, 512, 1 << 20])
@pytest.mark.parametrize("packed", PACKERS)
@pytest.mark.parametrize("content", [PLAIN.blob, BZH, b"", bytes(1024)], ids=["usual", "BZh", "nothing", "empty"])
def test_compression_is_detected_from_chunks_of_any_size(content: bytes, packed: str, chunk: int) -> None:
    blob = PACKERS[packed](content)
    with LayerMeter(None) as meter, LayerMeter("") as plain:
        for start in range(0, len(blob), chunk):
            meter.feed(blob[start : start + chunk])
        plain.feed(content)
        assert meter.finish() == plain.finish()


@pytest.mark.parametrize("packed", PACKERS)
@pytest.mark.parametrize("content", [PLAIN.blob, BZH, bytes(1024)], ids=["usual", "BZh", "empty"])
def test_stacks_detect_the_compression_too(content: bytes, packed: str) -> None:
    one = stacked(content, "", PACKERS[packed](content)).replace(compression=None)
    pieces = list(iter_unpacked([one], LayerLimits()))
    assert b"".join(bytes(piece) for piece in pieces if piece is not None) == content


def test_a_tar_that_begins_like_bzip2_is_detected_as_tar() -> None:
    assert detect_compression(BZH[:512]) == ""
    assert detect_compression(bz2.compress(bytes(100_000) + BZH)[:512]) == "bzip2"
