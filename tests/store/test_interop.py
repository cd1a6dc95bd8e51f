"""Other tools read stores and archives of imq, and imq loads theirs."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import lzma
import os
import random
import tarfile
from typing import TYPE_CHECKING

import pytest
from store.support.stores import StoreSession, blobs_in, check_store, run
from support.images import Image, Layout, docker_archive, layer, write_library

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


NOISE = random.Random(1).randbytes(2_000_000)
"""Bytes that no compression makes smaller."""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder to import, with all kinds of files."""
    tree = tmp_path / "tree"
    (tree / "bin").mkdir(parents=True)
    (tree / "bin" / "tool").write_bytes(b"#!/bin/sh\nexit 0\n")
    (tree / "bin" / "tool").chmod(0o4755)
    (tree / "bin" / "link").symlink_to("tool")
    os.link(tree / "bin" / "tool", tree / "bin" / "second")
    (tree / "empty").mkdir(mode=0o700)
    (tree / ("long" * 40)).write_bytes(b"a long name")
    (tree / "ünï").write_bytes(b"not ascii")
    return tree


@pytest.fixture
def stored(store: StoreSession, tree: Path) -> StoreSession:
    """A store with images that were stored in every way except by pull."""
    store.do(f'import "{tree}" as team/base:1 change "LABEL env=prod", "CMD sh", "ENV A=1"')
    (tree.with_name("media")).mkdir()
    (tree.with_name("media") / "noise").write_bytes(NOISE)
    store.do(f'import "{tree.with_name("media")}" as team/media:1 change "LABEL kind=media"')
    source = write_library(tree.with_name("source"))
    docker_archive(tree.with_name("docker.tar"), [(source["redis:7"], ["redis:7"])])
    store.do(f'load "{tree.with_name("docker.tar")}"')
    store.do(f'load "{tree.with_name("source")}"')
    store.do("tag team/base:1 as registry.local:5000/team/base:1")
    return store


@pytest.mark.parametrize(
    "name", ["team/base:1", "team/media:1", "redis:7", "team/app:1", "registry.local:5000/team/app:1"]
)
def test_skopeo_reads_the_store(stored: StoreSession, root: Path, tmp_path: Path, name: str) -> None:
    shown = json.loads(run("skopeo", "inspect", f"oci:{root}:{name}"))
    (row,) = stored.rows(f"images where name = {name} select * as json")
    assert shown["Digest"] == row["manifest_digest"]
    assert shown["Labels"] == json.loads(row["label"])
    assert len(shown["Layers"]) == row["layer_count"]
    run("skopeo", "copy", "--preserve-digests", f"oci:{root}:{name}", f"dir:{tmp_path}/copy")
    config = hashlib.sha256(run("skopeo", "inspect", "--config", "--raw", f"oci:{root}:{name}").encode()).hexdigest()
    assert f"sha256:{config}" == row["id"]


def test_umoci_lists_and_unpacks(stored: StoreSession, root: Path, tree: Path, tmp_path: Path) -> None:
    listed = set(run("umoci", "ls", "--layout", root).split())
    assert listed == {name for name in stored.names() if name}
    run("umoci", "unpack", "--rootless", "--image", f"{root}:team/base:1", tmp_path / "bundle")
    unpacked = tmp_path / "bundle" / "rootfs"
    for path in ("bin/tool", "long" * 40, "ünï"):
        assert (unpacked / path).read_bytes() == (tree / path).read_bytes()
    assert os.readlink(unpacked / "bin" / "link") == "tool"
    assert (unpacked / "bin" / "tool").stat().st_ino == (unpacked / "bin" / "second").stat().st_ino
    assert (unpacked / "bin" / "tool").stat().st_mode & 0o7777 == 0o4755
    assert (unpacked / "empty").is_dir()
    run("umoci", "unpack", "--rootless", "--image", f"{root}:team/media:1", tmp_path / "media-bundle")
    assert (tmp_path / "media-bundle" / "rootfs" / "noise").read_bytes() == NOISE


def test_umoci_collects_the_same_blobs_as_prune(stored: StoreSession, root: Path) -> None:
    before = blobs_in(root)
    run("umoci", "gc", "--layout", root)
    assert blobs_in(root) == before
    assert stored.do("prune")


def test_other_tools_read_saved_archives(stored: StoreSession, root: Path, tmp_path: Path) -> None:
    saved = tmp_path / "saved.tar"
    (outcome,) = stored.do(f'save team/base:1 to "{saved}"')
    assert outcome["size"] == saved.stat().st_size
    (row,) = stored.rows("images where name = team/base:1 select id, manifest_digest")
    by_docker = json.loads(run("skopeo", "inspect", f"docker-archive:{saved}"))
    assert by_docker["Labels"] == {"env": "prod"}
    by_oci = json.loads(run("skopeo", "inspect", f"oci-archive:{saved}"))
    assert by_oci["Digest"] == row["manifest_digest"]
    config = run("skopeo", "inspect", "--config", "--raw", f"docker-archive:{saved}:team/base:1").encode()
    assert f"sha256:{hashlib.sha256(config).hexdigest()}" == row["id"]
    with tarfile.open(saved) as archive:
        names = archive.getnames()
    assert len(names) == len(set(names))
    assert blobs_in(root)


def test_saving_twice_gives_the_same_bytes(stored: StoreSession, tmp_path: Path) -> None:
    for number in (1, 2):
        stored.do(f'save images where label.env = prod to "{tmp_path}/saved{number}.tar"')
    assert (tmp_path / "saved1.tar").read_bytes() == (tmp_path / "saved2.tar").read_bytes()


def test_load_save_load_keeps_everything(
    store: StoreSession, made: dict[str, Image], tmp_path: Path, opened: Callable[..., StoreSession]
) -> None:
    layout = Layout(tmp_path / "multi")
    layout.add_index([made["edge/agent:1"], made["plain:1"]], "multi:1")
    store.do(f'load "{tmp_path / "multi"}"')
    store.do(f'save all images to "{tmp_path / "all.tar"}"')
    again = opened(tmp_path / "again")
    outcomes = again.do(f'load "{tmp_path / "all.tar"}"')
    assert {outcome["image"] for outcome in outcomes} == {image.id for image in made.values()}
    told = "images select name, id, manifest_digest, size, created, label.env, digest order by name, id"
    assert again.rows(told) == store.rows(told)
    assert blobs_in(tmp_path / "again") == blobs_in(store.root)
    again.do(f'save all images to "{tmp_path / "more.tar"}"')
    again.close()
    check_store(tmp_path / "again")


@pytest.mark.parametrize("packed", ["", "gzip"])
def test_an_archive_of_docker_with_its_old_links_loads(store: StoreSession, tmp_path: Path, packed: str) -> None:
    base, other = layer({"base": b"b" * 1000}, packed), layer({"other": b"o" * 500}, packed)
    first = Image([base, other], labels={"env": "prod"})
    second = Image([other, base])  # other folders, so the layers come back as links
    docker_archive(tmp_path / "docker.tar", [(first, ["app:1", "app:latest"]), (second, [])])
    with tarfile.open(tmp_path / "docker.tar") as archive:
        assert sum(member.issym() for member in archive) == 2
    outcomes = store.do(f'load "{tmp_path / "docker.tar"}"')
    assert [(row["target"], row["image"]) for row in outcomes] == [
        ("app:1, app:latest", first.id),
        ("<none>", second.id),
    ]
    rows = store.rows("images select name, size")
    assert {(row["name"], row["size"]) for row in rows} == {("app:1", 1500), ("app:latest", 1500), (None, 1500)}


@pytest.mark.parametrize("kind", ["docker-archive", "oci-archive"])
def test_what_skopeo_saves_loads(store: StoreSession, tmp_path: Path, kind: str) -> None:
    made = write_library(tmp_path / "source")
    saved = tmp_path / "saved.tar"
    run("skopeo", "copy", f"oci:{tmp_path}/source:redis:7", f"{kind}:{saved}:redis:7")
    (outcome,) = store.do(f'load "{saved}"')
    assert outcome["image"] == made["redis:7"].id
    assert outcome["target"] == "redis:7"
    (row,) = store.rows("images select name, size")
    assert list(row.values()) == ["redis:7", made["redis:7"].size]


@pytest.mark.parametrize("packed", ["gz", "bz2", "xz"])
def test_an_archive_may_be_compressed(store: StoreSession, tmp_path: Path, packed: str) -> None:
    made = Image([layer({"a": b"a" * 1000})])
    docker_archive(tmp_path / "plain.tar", [(made, ["app:1"])])
    plain = (tmp_path / "plain.tar").read_bytes()
    pack = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}[packed]
    (tmp_path / "packed").write_bytes(pack(plain))
    (outcome,) = store.do(f'load "{tmp_path / "packed"}"')
    assert outcome["image"] == made.id
    (tmp_path / "cut").write_bytes(pack(plain)[:-200])
    assert store.failure_code(f'load "{tmp_path / "cut"}"') == "archive"


def test_an_import_of_an_archive_keeps_its_bytes(store: StoreSession, tmp_path: Path, root: Path) -> None:
    made = layer({"a": b"a" * 1000}, "gzip")
    (tmp_path / "tree.tar.gz").write_bytes(made.blob)
    store.do(f'import "{tmp_path / "tree.tar.gz"}" as tree:1 platform linux/arm64')
    (row,) = store.rows("layers of tree:1 select digest, diff_id, size")
    assert list(row.values()) == [made.digest, made.diff_id, 1000]
    (about,) = store.rows("inspect tree:1")
    assert (about["Architecture"], about["Size"]) == ("arm64", 1000)
    assert made.digest in blobs_in(root)


def test_save_leaves_nothing_when_it_fails(stored: StoreSession, root: Path, tmp_path: Path) -> None:
    (row,) = stored.rows("layers of team/base:1 select digest")
    path = root / "blobs" / "sha256" / str(row["digest"])[7:]
    kept = path.read_bytes()
    path.write_bytes(kept[:-1])
    (tmp_path / "out").mkdir()
    assert stored.failure_code(f'save team/base:1 to "{tmp_path}/out/saved.tar"') == "digest-mismatch"
    path.unlink()
    assert stored.failure_code(f'save team/base:1 to "{tmp_path}/out/saved.tar"') == "blob-missing"
    assert stored.failure_code(f'save redis:7 to "{tmp_path}/nosuch/saved.tar"') == "store"
    assert list((tmp_path / "out").iterdir()) == []
    path.write_bytes(kept)
    for mark in (root / "ingest").glob("*.damaged"):  # what was found damaged is whole again
        mark.unlink()
