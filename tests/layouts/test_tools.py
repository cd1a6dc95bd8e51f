"""Places that other tools write: each has the rows that the store has for the same images."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from typing import TYPE_CHECKING, Any

import pytest
from store.support.stores import StoreSession, run
from support.engines import mounts_under
from support.images import Image, Layout, docker_archive, layer
from support.servers import require_programs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.engines import Dockerd

DIFFERS = {"source", "problem", "in_use", "containers", "pulled_at"}
SIZES = {"size", "shared_size", "unique_size"}


def rows_of(session: StoreSession, table: str, where: str = "") -> list[dict[str, Any]]:
    rows = session.rows(f"{table} {where} select * as json".replace("  ", " "))
    return sorted(
        rows, key=lambda row: json.dumps([row.get("id"), row.get("name"), row.get("image"), row.get("index")])
    )


def check_like_the_store(folder: Path, place: str, *, loads: str = "", differs: frozenset[str] = frozenset()) -> None:
    """Check that the rows of a place are those of a store into which it was loaded."""
    with StoreSession(folder / "compared") as session:
        session.do(f'load "{loads or place}"')
        for table in ("images", "layers", "history"):
            expected, rows = rows_of(session, table), rows_of(session, table, f'in "{place}"')
            assert len(rows) == len(expected) > 0
            for row, wanted in zip(rows, expected, strict=True):
                assert row["problem"] is None
                for name in wanted.keys() - DIFFERS - differs:
                    if name not in SIZES or row[name] is not None:
                        assert row[name] == wanted[name], name


@pytest.fixture
def podman(tmp_path: Path, made: dict[str, Image]) -> Iterator[list[str]]:
    """A podman with two images of the library, one of them under two names."""
    require_programs("podman")
    runroot = tempfile.mkdtemp(prefix="imq")  # its path may have 50 characters
    names = {"redis:7": ["docker.io/library/redis:7"], "team/app:1": ["quay.io/team/app:1", "quay.io/team/app:v1"]}
    docker_archive(tmp_path / "docker.tar", [(made[name], tags) for name, tags in names.items()])
    command = [
        *("podman", "--root", str(tmp_path / "storage"), "--runroot", runroot),
        *(
            "--tmpdir",
            str(tmp_path / "tmp"),
            "--storage-driver=vfs",
            "--cgroup-manager=cgroupfs",
            "--events-backend=file",
        ),
    ]
    run(*command, "load", "-q", "-i", tmp_path / "docker.tar")
    yield command
    for mount in (*mounts_under(str(tmp_path)), *mounts_under(runroot)):
        subprocess.run(["umount", "-l", mount], check=False)
    shutil.rmtree(runroot)


def test_podman(tmp_path: Path, podman: list[str], made: dict[str, Image]) -> None:
    run(*podman, "create", "-q", "--network=none", "--name=one", "docker.io/library/redis:7", "redis-server")
    place = f"containers-storage:{tmp_path / 'storage'}"
    with StoreSession(tmp_path / "store") as session:
        rows = {row["name"]: row for row in session.rows(f'images in "{place}" select * as json')}
        assert set(rows) == {"redis:7", "quay.io/team/app:1", "quay.io/team/app:v1"}
        assert {name: (row["in_use"], row["containers"]) for name, row in rows.items()} == {
            "redis:7": (True, 1),
            "quay.io/team/app:1": (False, 0),
            "quay.io/team/app:v1": (False, 0),
        }
        assert rows["redis:7"]["id"] == made["redis:7"].id
        assert rows["redis:7"]["size"] == made["redis:7"].size
        unused = session.rows(f'images in "{place}" where not in use select name')
        assert sorted(row["name"] for row in unused) == ["quay.io/team/app:1", "quay.io/team/app:v1"]
    known = json.loads(run(*podman, "images", "--format", "json"))
    digests = {name: one["Digest"] for one in known for name in one["Names"]}
    assert rows["redis:7"]["digest"] == digests["docker.io/library/redis:7"]
    check_like_the_store(tmp_path, place, differs=frozenset({"digest", "manifest_digest", "media_type"}))


@pytest.mark.parametrize("form", ["docker-archive", "oci-archive", "oci-dir", "docker-dir"])
def test_podman_save(tmp_path: Path, podman: list[str], form: str, made: dict[str, Image]) -> None:
    run(*podman, "save", "-q", "--format", form, "-o", tmp_path / "saved", "docker.io/library/redis:7")
    prefix = {"oci-dir": "oci", "docker-dir": "dir"}.get(form, form)
    place = f"{prefix}:{tmp_path / 'saved'}"
    with StoreSession(tmp_path / "store") as session:
        (row,) = session.rows(f'images in "{place}" select * as json')
        # podman makes another config for OCI of an image that it has from docker
        assert form.startswith("oci") or row["id"] == made["redis:7"].id
        assert row["name"] == (None if form == "docker-dir" else "redis:7")
    differs = {"manifest_digest", "media_type"} if form == "docker-archive" else set[str]()
    check_like_the_store(tmp_path, place, differs=frozenset(differs))


def test_buildah(tmp_path: Path) -> None:
    require_programs("buildah")
    command = [
        "buildah",
        "--root",
        str(tmp_path / "storage"),
        "--runroot",
        str(tmp_path / "run"),
        "--storage-driver=vfs",
    ]
    container = run(*command, "from", "scratch").strip()
    (tmp_path / "file").write_text("content")
    run(*command, "copy", container, tmp_path / "file", "/srv/file")
    run(*command, "config", "--cmd", "srv", "--label", "made=buildah", "--port", "80/tcp", container)
    run(*command, "commit", "-q", container, "registry.local:5000/team/built:1")
    place = f"containers-storage:[{tmp_path / 'storage'}]"
    with StoreSession(tmp_path / "store") as session:
        (row,) = session.rows(f'images in "{place}" select * as json')
        assert row["name"] == "registry.local:5000/team/built:1"
        assert json.loads(row["label"])["made"] == "buildah"
        assert (json.loads(row["cmd"]), json.loads(row["ports"]), row["size"]) == (["srv"], ["80/tcp"], 7)
        assert row["in_use"] is True or row["containers"] == 0, "the working container is one of scratch"
    check_like_the_store(tmp_path, place, differs=frozenset({"digest"}))
    run(*command, "push", "-q", "registry.local:5000/team/built:1", f"oci:{tmp_path / 'pushed'}:v1")
    shutil.rmtree(tmp_path / "compared")
    check_like_the_store(tmp_path, f"oci:{tmp_path / 'pushed'}")


def test_umoci(tmp_path: Path) -> None:
    require_programs("umoci")
    run("umoci", "init", "--layout", tmp_path / "layout")
    run("umoci", "new", "--image", f"{tmp_path / 'layout'}:base")
    (tmp_path / "file").write_text("content")
    run("umoci", "insert", "--image", f"{tmp_path / 'layout'}:base", "--tag", "second", tmp_path / "file", "/file")
    run("umoci", "config", "--image", f"{tmp_path / 'layout'}:second", "--config.cmd", "sh")
    with StoreSession(tmp_path / "store") as session:
        rows = session.rows(f'images in "oci:{tmp_path / "layout"}" select * as json')
        assert {(row["name"], row["tag"], row["layer_count"]) for row in rows} == {
            ("base", "base", 0),
            ("second", "second", 1),
        }
    check_like_the_store(tmp_path, f"oci:{tmp_path / 'layout'}")


def test_skopeo_copies_an_index_whole(tmp_path: Path, made: dict[str, Image]) -> None:
    require_programs("skopeo")
    Layout(tmp_path / "several").add_index([made["edge/agent:1"], made["plain:1"]], "several:1")
    source = f"oci:{tmp_path / 'several'}:several:1"
    for target in ("oci", "dir"):
        place = f"{target}:{tmp_path / target}"
        run("skopeo", "copy", "-q", "--all", source, f"{place}:several:1" if target == "oci" else place)
        with StoreSession(tmp_path / "store") as session:
            rows = session.rows(f'images in "{place}" select * as json')
            assert {row["platform"] for row in rows} == {"linux/arm64", "linux/amd64"}
        check_like_the_store(tmp_path, place)
        shutil.rmtree(tmp_path / "compared")


def test_docker_save(tmp_path: Path, dockerd: Dockerd, made: dict[str, Image]) -> None:
    mine = Image([layer({"layouts": b"only here"}), *made["redis:7"].layers])
    docker_archive(
        tmp_path / "docker.tar", [(mine, ["layouts/one:1", "layouts/one:2"]), (made["plain:1"], ["layouts/two:1"])]
    )
    dockerd.run("load", "-q", "-i", str(tmp_path / "docker.tar"))
    try:
        dockerd.run("save", "-o", str(tmp_path / "saved.tar"), "layouts/one", "layouts/two:1")
    finally:
        dockerd.run("rmi", "-f", "layouts/one:1", "layouts/one:2", "layouts/two:1")
    differs = frozenset({"manifest_digest", "media_type"})
    for place in (f"docker-archive:{tmp_path / 'saved.tar'}", str(tmp_path / "saved.tar")):
        with StoreSession(tmp_path / "store") as session:
            rows = session.rows(f'images in "{place}" select * as json')
            assert {row["name"]: row["id"] for row in rows} == {
                "layouts/one:1": mine.id,
                "layouts/one:2": mine.id,
                "layouts/two:1": made["plain:1"].id,
            }
        check_like_the_store(tmp_path, place, differs=differs)
        shutil.rmtree(tmp_path / "compared")


@pytest.mark.parametrize("packer", ["gzip", "zstd", "xz", "bzip2"])
def test_compressed_archives(tmp_path: Path, made: dict[str, Image], packer: str) -> None:
    docker_archive(tmp_path / "images.tar", [(made["redis:7"], ["redis:7"]), (made["plain:1"], ["plain:1"])])
    run(packer, "-q", "-k", tmp_path / "images.tar")
    (packed,) = (path for path in tmp_path.glob("images.tar.*"))
    check_like_the_store(tmp_path, f"docker-archive:{packed}", differs=frozenset({"manifest_digest", "media_type"}))
