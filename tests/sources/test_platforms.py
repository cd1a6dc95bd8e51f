"""The table `platforms` of layouts and of containerd: entries of indexes, whether or not their images are there."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from imq.grammar.errors import StatementError
from store.support.stores import StoreSession
from support.images import AMD64, ARM64, INDEX_TYPE, MANIFEST_TYPE, Image, Layout, digest_of, layer, to_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.engines import Containerd

BASE = layer({"base": b"b" * 500}, "gzip")
AMD = Image([BASE, layer({"amd": b"a"})], "2024-01-01T00:00:00Z", AMD64)
ARM = Image([BASE], "2024-02-01T00:00:00Z", ARM64)
ABSENT = Image([layer({"absent": b"x"})], "2024-03-01T00:00:00Z", {"os": "linux", "architecture": "s390x"})
SINGLE = Image([BASE], "2024-04-01T00:00:00Z", ARM64)


def entry(image: Image, **values: Any) -> dict[str, Any]:
    described = {"mediaType": MANIFEST_TYPE, "digest": image.digest, "size": len(image.manifest)}
    return {**described, "platform": dict(image.platform), **values}


ATTESTATION = {
    **entry(ABSENT),
    "digest": digest_of(b"attestation"),
    "platform": {"os": "unknown", "architecture": "unknown"},
    "annotations": {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": AMD.digest},
}
INDEX = to_json(
    {
        "schemaVersion": 2,
        "mediaType": INDEX_TYPE,
        "manifests": [entry(AMD), entry(ARM), entry(ABSENT), ATTESTATION],
    }
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A layout of an index, of which two images are there, and of an image without an index."""
    layout = Layout(tmp_path / "layout")
    layout.add(AMD, "docker.io/library/amd:1")
    layout.add(ARM, "docker.io/library/arm:1")
    layout.add(SINGLE, "docker.io/library/single:1")
    layout.close()
    path = tmp_path / "layout"
    (path / "blobs" / "sha256" / digest_of(INDEX).removeprefix("sha256:")).write_bytes(INDEX)
    listing = json.loads((path / "index.json").read_text())
    own = {"mediaType": INDEX_TYPE, "digest": digest_of(INDEX), "size": len(INDEX)}
    names = {"org.opencontainers.image.ref.name": "docker.io/library/multi:1"}
    listing["manifests"] = [
        {**own, "annotations": names},
        *(one for one in listing["manifests"] if one["digest"] == SINGLE.digest),
    ]
    (path / "index.json").write_text(json.dumps(listing))
    return path


@pytest.fixture
def session(tmp_path: Path) -> Iterator[StoreSession]:
    with StoreSession(tmp_path / "store") as opened:
        yield opened


def check(session: StoreSession, place: str) -> None:
    rows = session.rows(f'platforms of multi:1 in "{place}" select * as json')
    assert [(row["position"], row["platform"], row["digest"]) for row in rows] == [
        (0, "linux/amd64", AMD.digest),
        (1, "linux/arm64", ARM.digest),
        (2, "linux/s390x", ABSENT.digest),
        (3, None, ATTESTATION["digest"]),
    ]
    assert [row["id"] for row in rows] == [AMD.id, ARM.id, None, None]
    assert [row["layer_count"] for row in rows] == [2, 1, None, None]
    assert [bool(row["attestation"]) for row in rows] == [False, False, False, True]
    assert [row["created"] is not None for row in rows] == [True, True, False, False]
    assert {(row["name"], row["repository"], row["source"]) for row in rows} == {("multi:1", "multi", place)}
    (single,) = session.rows(f'platforms of single:1 in "{place}" select * as json')
    assert (single["digest"], single["architecture"], single["position"]) == (SINGLE.digest, "arm64", 0)
    assert len(session.rows(f'platforms in "{place}"')) == 5
    (found,) = session.rows(f'platforms in "{place}" where architecture = s390x select * as json')
    assert found["digest"] == ABSENT.digest


@pytest.mark.parametrize("form", ["oci", "oci-archive"])
def test_layouts(folder: Path, session: StoreSession, form: str) -> None:
    place = f"oci:{folder}"
    if form == "oci-archive":
        subprocess.run(["tar", "-C", folder, "-cf", folder.parent / "images.tar", "."], check=True)
        place = f"oci-archive:{folder.parent / 'images.tar'}"
    check(session, place)


def test_the_store(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "own")
    with StoreSession(tmp_path / "own") as session:
        check(session, "store")
        (found,) = session.rows(f"platforms of {SINGLE.id[7:19]} in store select * as json")
        assert (found["name"], found["digest"]) == ("single:1", SINGLE.digest)
        (result,) = session.session.run("platforms of gone:1 in store")
        assert [error.code for error in result.errors] == ["no-such-image"]
        assert "2 requests for each name" in session.read_message("explain platforms of single:1")  # of a registry


def test_a_damaged_manifest_of_the_store_is_a_problem_of_its_row(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "own")
    (tmp_path / "own" / "blobs" / "sha256" / ARM.digest.removeprefix("sha256:")).write_bytes(b"damaged")
    with StoreSession(tmp_path / "own") as session:
        (result,) = session.session.run("platforms of multi:1 in store select platform, id, problem")
        rows = list(result.rows)
        assert [row[:2] for row in rows][:2] == [("linux/amd64", AMD.id), ("linux/arm64", None)]
        assert [row[2] is not None for row in rows] == [False, True, False, False]
        assert result.exit_code == 3
    (tmp_path / "own" / "blobs" / "sha256" / digest_of(INDEX).removeprefix("sha256:")).write_bytes(b"damaged")
    with StoreSession(tmp_path / "own") as session:
        (result,) = session.session.run("platforms in store order by name select name, problem is known")
        assert list(result.rows) == [("multi:1", True), ("single:1", False)]
        assert result.exit_code == 3


def test_an_archive_of_docker_has_none(session: StoreSession, tmp_path: Path) -> None:
    from support.images import docker_archive

    docker_archive(tmp_path / "docker.tar", [(AMD, ["amd:1"])])
    with pytest.raises(StatementError, match="it has no indexes"):
        session.rows(f'platforms in "docker-archive:{tmp_path / "docker.tar"}"')


def test_an_unknown_name_is_a_problem(folder: Path, session: StoreSession) -> None:
    (result,) = session.session.run(f'platforms of gone:1 in "oci:{folder}"')
    assert list(result.rows) == []
    assert [error.code for error in result.errors] == ["no-such-image"]


def test_names_without_a_source_are_those_of_registries(session: StoreSession) -> None:
    assert "registry" in session.read_message("explain platforms of registry.local:5000/a:1")


def test_containerd(containerd: Containerd, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    layout.add_index([AMD, ARM], "docker.io/library/multi:1")
    layout.add(SINGLE, "docker.io/library/single:1")
    layout.close()
    archive = tmp_path / "images.tar"
    subprocess.run(["tar", "-C", tmp_path / "layout", "-cf", archive, "."], check=True)
    containerd.clear()
    containerd.run("-n", "many", "images", "import", "--all-platforms", "--no-unpack", str(archive))
    containerd.run("-n", "many", "content", "rm", ARM.digest)
    try:
        with StoreSession(tmp_path / "store", environment={"CONTAINERD_ADDRESS": containerd.socket}) as session:
            rows = session.rows("platforms of multi:1 in containerd:many select * as json")
            assert [(row["platform"], row["digest"], row["id"]) for row in rows] == [
                ("linux/amd64", AMD.digest, AMD.id),
                ("linux/arm64", ARM.digest, None),
            ]
            (single,) = session.rows("platforms in containerd:many where name = single:1 select * as json")
            assert (single["digest"], single["id"], single["layer_count"]) == (SINGLE.digest, SINGLE.id, 1)
    finally:
        containerd.clear()
