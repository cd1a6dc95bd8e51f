"""The table `blobs`: the same layout in each kind of place, blobs that no image needs, and damaged documents."""

from __future__ import annotations

import json
import pathlib
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from imq.grammar.errors import StatementError
from store.support.stores import StoreSession
from support.images import Image, Layout, digest_of, docker_archive, layer
from support.servers import PROGRAM, Registry, require_programs
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.engines import Containerd

BASE = layer({"base": b"b" * 5000}, "gzip")
ONE = Image([BASE], labels={"part": "one"})
TWO = Image([BASE, layer({"two": b"2" * 9000})], labels={"part": "two"})
LOOSE = b"a blob of an image that is gone"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A layout of two images with three names, and a blob that none of them needs."""
    layout = Layout(tmp_path / "layout")
    layout.add(ONE, "docker.io/library/app:1")
    layout.add(ONE, "docker.io/library/app:latest")
    layout.add(TWO, "docker.io/team/b:2")
    layout.close()
    blob_path(tmp_path / "layout", digest_of(LOOSE)).write_bytes(LOOSE)
    return tmp_path / "layout"


@pytest.fixture
def session(tmp_path: Path) -> Iterator[StoreSession]:
    with StoreSession(tmp_path / "store") as opened:
        yield opened


def blob_path(folder: Path, digest: str) -> Path:
    return folder / "blobs" / "sha256" / digest.removeprefix("sha256:")


def read(session: StoreSession, place: str, condition: str = "") -> dict[str, tuple[int, str | None, list[str]]]:
    """Return size, media type and images of each blob, by its digest."""
    rows = session.rows(f'blobs in "{place}" {condition} select * as json')
    assert all(row["source"] == place for row in rows)
    assert len({row["digest"] for row in rows}) == len(rows)
    return {row["digest"]: (row["size"], row["media_type"], images(row)) for row in rows}


def images(row: dict[str, Any]) -> list[str]:
    listed = row["referenced_by"]
    return sorted(json.loads(listed) if isinstance(listed, str) else listed)


def expect(folder: Path, *, loose: bool = True) -> dict[str, tuple[int, str | None, list[str]]]:
    """Return what the table must have: each file of the layout, with the images by their documents."""
    expected: dict[str, tuple[int, str | None, list[str]]] = {}
    for entry in json.loads((folder / "index.json").read_text())["manifests"]:
        name = entry["annotations"]["org.opencontainers.image.ref.name"]
        manifest = json.loads(blob_path(folder, entry["digest"]).read_text())
        for blob in (entry, manifest["config"], *manifest["layers"]):
            size, kind, names = expected.get(blob["digest"], (blob["size"], blob["mediaType"], []))
            expected[blob["digest"]] = (
                size,
                kind,
                sorted({*names, name.removeprefix("docker.io/").removeprefix("library/")}),
            )
    if loose:
        expected[digest_of(LOOSE)] = len(LOOSE), None, []
    assert len(expected) == 2 + 2 + 2 + loose
    return expected


class TestLayouts:
    @pytest.mark.parametrize("form", ["oci", "path", "oci-archive", "gzip"])
    def test_every_form_has_the_same_blobs(
        self, folder: Path, session: StoreSession, tmp_path: Path, form: str
    ) -> None:
        archive = tmp_path / "images.tar"
        options = ["-z"] if form == "gzip" else []
        subprocess.run(["tar", "-C", folder, *options, "-cf", archive, "."], check=True)
        places = {"oci": f"oci:{folder}", "path": str(folder), "oci-archive": f"oci-archive:{archive}"}
        assert read(session, places.get(form, str(archive))) == expect(folder)

    def test_blobs_that_no_image_needs(self, folder: Path, session: StoreSession) -> None:
        assert list(read(session, f"oci:{folder}", "where no referenced_by")) == [digest_of(LOOSE)]
        shared = read(session, f"oci:{folder}", "where referenced_by has team/b:2 and referenced_by has app:1")
        assert list(shared) == [BASE.digest]

    def test_an_unreadable_manifest(self, folder: Path, session: StoreSession) -> None:
        """Its blobs are not known, so no blob can be said to be needed by nothing."""
        blob_path(folder, TWO.digest).write_bytes(b"damaged")
        (result,) = session.session.run(f'blobs in "oci:{folder}" where no referenced_by')
        assert result.rows == [] or list(result.rows) == []
        assert len(result.errors) == 1
        assert read_quietly(session, folder)[digest_of(LOOSE)] == ["team/b:2"]

    def test_a_layer_that_is_missing_is_no_row(self, folder: Path, session: StoreSession) -> None:
        blob_path(folder, BASE.digest).unlink()
        assert set(expect(folder)) - set(read(session, f"oci:{folder}")) == {BASE.digest}

    def test_an_archive_of_docker(self, session: StoreSession, tmp_path: Path) -> None:
        path = tmp_path / "docker.tar"
        docker_archive(path, [(ONE, ["app:1", "app:latest"]), (TWO, ["team/b:2"])])
        found = read(session, f"docker-archive:{path}")
        assert found[ONE.id][2] == ["app:1", "app:latest"]
        assert found[TWO.layers[1].digest][2] == ["team/b:2"]
        assert read(session, f"docker-archive:{path}", "where no referenced_by") == {}

    def test_a_folder_of_skopeo(self, folder: Path, session: StoreSession, tmp_path: Path) -> None:
        require_programs("skopeo")
        target = tmp_path / "copied"
        subprocess.run(["skopeo", "copy", "-q", f"oci:{folder}:docker.io/team/b:2", f"dir:{target}"], check=True)
        manifest = (target / "manifest.json").read_bytes()
        found = read(session, f"dir:{target}")
        assert found[digest_of(manifest)][0] == len(manifest)
        listed = json.loads(manifest)
        assert set(found) == {digest_of(manifest), *(one["digest"] for one in (listed["config"], *listed["layers"]))}
        assert all(referenced == [digest_of(manifest)] for _, _, referenced in found.values())

    def test_a_storage_has_none(self, session: StoreSession, tmp_path: Path) -> None:
        (tmp_path / "storage" / "vfs-images").mkdir(parents=True)
        with pytest.raises(StatementError, match="a storage keeps layers unpacked"):
            session.rows(f'blobs in "{tmp_path / "storage"}"')


def read_quietly(session: StoreSession, folder: Path) -> dict[str, list[str]]:
    (result,) = session.session.run(f'blobs in "oci:{folder}" select digest, referenced_by')
    return {digest: json.loads(listed) for digest, listed in result.rows}


class TestStore:
    def test_the_same_blobs_as_its_layout(self, folder: Path, tmp_path: Path) -> None:
        shutil.copytree(folder, tmp_path / "own")
        with StoreSession(tmp_path / "own") as session:
            assert read(session, "store") == expect(folder)
            assert list(read(session, "store", "where no referenced_by")) == [digest_of(LOOSE)]

    def test_an_unreadable_manifest(self, folder: Path, tmp_path: Path) -> None:
        shutil.copytree(folder, tmp_path / "own")
        blob_path(tmp_path / "own", TWO.digest).write_bytes(b"damaged")
        with StoreSession(tmp_path / "own") as session:
            assert read(session, "store", "where no referenced_by") == {}
            assert read(session, "store")[digest_of(LOOSE)][2] == ["team/b:2"]

    def test_no_store(self, session: StoreSession) -> None:
        assert session.rows("blobs") == []

    def test_no_source_without_blobs(self, session: StoreSession) -> None:
        with pytest.raises(StatementError, match="docker has no table blobs"):
            session.rows("blobs in docker")


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    require_programs(PROGRAM)
    with Registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


class TestRegistries:
    """The blobs that the tags of repositories need: registries list no others."""

    def test_the_same_blobs_as_the_layout(self, registry: Registry, folder: Path, session: StoreSession) -> None:
        (copied,) = session.session.run(f'copy all images in "oci:{folder}" to "{registry.host}/same"')
        assert copied.exit_code == 0
        place = f"{registry.host}/same/*"
        found = session.rows(f'blobs in "{place}" select * as json')
        assert all(row["source"] == registry.host for row in found)
        expected = {
            digest: (size, kind, [f"{registry.host}/same/{name}" for name in names])
            for digest, (size, kind, names) in expect(folder, loose=False).items()
        }
        assert {row["digest"]: (row["size"], row["media_type"], images(row)) for row in found} == expected
        assert session.rows(f'blobs in "{place}" where no referenced_by') == []
        both = session.rows(f'blobs in "{registry.host}/same/app", "{registry.host}/same/team/b" select * as json')
        assert {row["digest"] for row in both} == set(expected)

    def test_an_index_needs_its_entries(self, registry: Registry, folder: Path, session: StoreSession) -> None:
        host = registry.host
        (copied,) = session.session.run(f'copy app:1 from "oci:{folder}" to {host}/many:one')
        assert copied.exit_code == 0
        (made,) = session.session.run(f"index {host}/many:one as {host}/index:one")
        assert made.exit_code == 0
        rows = session.rows(f'blobs in "{host}/index" select * as json')
        assert {row["digest"] for row in rows} > {ONE.digest, ONE.id, BASE.digest}
        assert {name for row in rows for name in images(row)} == {f"{host}/index:one"}
        kinds = [row["media_type"] for row in rows]
        assert sum("index" in kind for kind in kinds) == 1

    def test_a_tag_that_cannot_be_read_is_a_problem(
        self, registry: Registry, folder: Path, session: StoreSession
    ) -> None:
        (copied,) = session.session.run(f'copy app:1 from "oci:{folder}" to {registry.host}/broken:1')
        assert copied.exit_code == 0
        data = next(path for path in pathlib.Path(registry.folder).rglob(f"{ONE.digest.removeprefix('sha256:')}/data"))
        data.write_bytes(b"damaged")
        (result,) = session.session.run(f'blobs in "{registry.host}/broken"')
        assert list(result.rows) == []
        assert result.exit_code == 3


def _ingest(containerd: Containerd) -> bool:
    """Store a blob, and protect it from the collection that may run at the same time; return whether it is there."""
    containerd.run("-n", "blobs", "content", "ingest", "--expected-size", str(len(LOOSE)), "loose", stdin=LOOSE)
    containerd.run_quietly("-n", "blobs", "content", "label", digest_of(LOOSE), "containerd.io/gc.root=test")
    return digest_of(LOOSE) in containerd.run("-n", "blobs", "content", "ls", "-q").split()


def test_a_namespace_of_containerd(containerd: Containerd, folder: Path, tmp_path: Path) -> None:
    archive = tmp_path / "images.tar"
    subprocess.run(["tar", "-C", folder, "-cf", archive, "."], check=True)
    containerd.clear()
    containerd.run("-n", "blobs", "images", "import", "--all-platforms", str(archive))
    wait_until(lambda: _ingest(containerd))
    try:
        with StoreSession(tmp_path / "store", environment={"CONTAINERD_ADDRESS": containerd.socket}) as session:
            found = read(session, "containerd:blobs")
            assert {key: found[key] for key in expect(folder, loose=False)} == expect(folder, loose=False)
            loose = read(session, "containerd:blobs", "where no referenced_by")
            assert digest_of(LOOSE) in loose
            assert not set(loose) & set(expect(folder, loose=False))
    finally:
        containerd.clear()
