"""Places that are damaged, hostile, or change while they are read: a row or the answer says so, the rest goes on."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from random import Random
from typing import TYPE_CHECKING

import pytest
from imq.engine.sources.layouts import reader, storage_files
from store.support.stores import StoreSession, imq, run
from support.images import Image, Layout, docker_archive, layer

if TYPE_CHECKING:
    from pathlib import Path


def problems_in(session: StoreSession, place: str) -> dict[str | None, str]:
    """Return the problems of rows by the names of their images."""
    return {
        row["name"]: row["problem"] for row in session.rows(f'images in "{place}" select * as json') if row["problem"]
    }


def test_a_missing_layer_is_the_problem_of_its_image(
    session: StoreSession, tmp_path: Path, made: dict[str, Image]
) -> None:
    layout = tmp_path / "layout"
    digest = made["redis:7"].layers[1].digest
    os.remove(layout / "blobs" / "sha256" / digest.removeprefix("sha256:"))
    assert problems_in(session, f"oci:{layout}") == {"redis:7": f"the layer {digest} is missing"}
    (row,) = session.rows(f'images in "oci:{layout}" where tag = 7 select * as json')
    assert row["id"] == made["redis:7"].id
    assert row["size"] is None
    assert session.error_codes(f'images in "oci:{layout}"') == {"blob"}
    done = imq(tmp_path / "store", f'images in "oci:{layout}"', code=3)
    assert len(done.stdout.splitlines()) == 12
    assert "redis:7" in done.stderr


@pytest.mark.parametrize("part", ["manifest", "config"])
@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_a_damaged_document_leaves_a_row_with_the_name(
    session: StoreSession, tmp_path: Path, made: dict[str, Image], part: str, damage: str
) -> None:
    image = made["redis:7"]
    digest = image.digest if part == "manifest" else image.id
    path = tmp_path / "layout" / "blobs" / "sha256" / digest.removeprefix("sha256:")
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] + b" ")
    place = f"oci:{tmp_path / 'layout'}"
    assert list(problems_in(session, place)) == ["redis:7"]
    (row,) = session.rows(f'images in "{place}" where name = "redis:7" select * as json')
    assert row["id"] is None
    assert row["manifest_digest"] == image.digest
    assert len(session.rows(f'images in "{place}"')) == 11
    assert session.failure_code(f'copy images in "{place}" where name = "redis:7" to store') == "unreadable"


@pytest.mark.parametrize("form", ["docker", "oci"])
@pytest.mark.parametrize("compressed", [False, True])
def test_a_truncated_archive_has_the_images_before_its_end(
    session: StoreSession, tmp_path: Path, form: str, *, compressed: bool
) -> None:
    images = [Image([layer({"file": Random(number).randbytes(200_000)})]) for number in range(3)]
    path = tmp_path / "images.tar"
    if form == "docker":
        docker_archive(path, [(image, [f"app:{number}"]) for number, image in enumerate(images)])
        run("tar", "-C", tmp_path, "-xf", path)
    else:
        layout = Layout(tmp_path / "parts")
        for number, image in enumerate(images):
            layout.add(image, f"app:{number}")
        for name in os.listdir(tmp_path / "parts"):
            shutil.move(tmp_path / "parts" / name, tmp_path / name)
        (tmp_path / "parts").rmdir()
    names = sorted(os.listdir(tmp_path))
    listings = [name for name in ("oci-layout", "index.json", "manifest.json") if name in names]
    layers = [name for name in names if name not in (*listings, "images.tar", "parts")]
    run("tar", "-C", tmp_path, "-cf", path, *listings, *layers)
    content = path.read_bytes()
    path.write_bytes(gzip.compress(content, 1)[: len(content) * 2 // 3] if compressed else content[: len(content) // 2])
    place = f"{form}-archive:{path}"
    rows = session.rows(f'images in "{place}" select * as json')
    assert [row["name"] for row in sorted(rows, key=lambda row: row["name"])] == ["app:0", "app:1", "app:2"]
    assert 0 < sum(row["problem"] is not None for row in rows) <= 3
    assert "archive" in session.error_codes(f'images in "{place}"')


def test_an_archive_that_is_cut_before_its_listing_is_an_error(session: StoreSession, tmp_path: Path) -> None:
    docker_archive(tmp_path / "docker.tar", [(Image([layer({"file": b"x" * 100_000})]), ["app:1"])])
    content = (tmp_path / "docker.tar").read_bytes()
    (tmp_path / "docker.tar").write_bytes(content[:50_000])
    assert session.failure_code(f'images in "{tmp_path / "docker.tar"}"') == "archive"
    (tmp_path / "text.tar").write_text("this is no archive")
    assert session.failure_code(f'images in "{tmp_path / "text.tar"}"') == "archive"
    assert session.failure_code(f'images in "{tmp_path / "nope.tar"}"') == "not-found"


@pytest.mark.usefixtures("made")
def test_one_place_of_several_fails_alone(session: StoreSession, tmp_path: Path) -> None:
    statement = f'images in "oci:{tmp_path / "layout"}", "oci:{tmp_path / "nope"}"'
    assert len(session.rows(statement)) == 11
    assert session.error_codes(statement) == {"not-found"}


def test_links_out_of_a_place_are_not_followed(session: StoreSession, tmp_path: Path, made: dict[str, Image]) -> None:
    layout = tmp_path / "layout"
    config = layout / "blobs" / "sha256" / made["redis:7"].id.removeprefix("sha256:")
    shutil.move(config, tmp_path / "outside")
    config.symlink_to(tmp_path / "outside")
    assert list(problems_in(session, f"oci:{layout}")) == ["redis:7"]
    os.remove(layout / "index.json")
    (layout / "index.json").symlink_to("/etc/passwd")
    assert session.failure_code(f'images in "oci:{layout}"') == "archive"


def test_a_fifo_does_not_block(session: StoreSession, tmp_path: Path, made: dict[str, Image]) -> None:
    config = tmp_path / "layout" / "blobs" / "sha256" / made["redis:7"].id.removeprefix("sha256:")
    config.unlink()
    os.mkfifo(config)
    assert list(problems_in(session, f"oci:{tmp_path / 'layout'}")) == ["redis:7"]


def test_what_a_compressed_archive_unpacks_to_is_bounded(
    session: StoreSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "_MIN_UNPACKED", 1 << 20)
    monkeypatch.setattr(reader, "_MAX_RATIO", 10)
    docker_archive(tmp_path / "docker.tar", [(Image([layer({"zeros": bytes(4 << 20)})]), ["app:1"])])
    run("gzip", tmp_path / "docker.tar")
    assert session.failure_code(f'images in "{tmp_path / "docker.tar.gz"}"') == "bomb"
    session.do(f'load "{tmp_path / "docker.tar.gz"}"')


def test_an_index_without_its_images_and_an_empty_layout(session: StoreSession, tmp_path: Path) -> None:
    absent = Image([layer({"file": b"absent"})])
    Layout(tmp_path / "layout").add_index([], "several:1", absent=[absent])
    assert list(problems_in(session, f"oci:{tmp_path / 'layout'}")) == ["several:1"]
    Layout(tmp_path / "empty")
    assert session.rows(f'images in "oci:{tmp_path / "empty"}"') == []


# containers-storage


@pytest.fixture
def storage(tmp_path: Path, made: dict[str, Image]) -> Path:  # noqa: ARG001 - the layout is written
    """A storage with two images."""
    for name in ("redis:7", "plain:1"):
        target = f"containers-storage:[vfs@{tmp_path / 'storage'}+{tmp_path / 'run'}]{name}"
        run("skopeo", "copy", "-q", f"oci:{tmp_path / 'layout'}:{name}", target)
    return tmp_path / "storage"


def test_a_damaged_image_of_a_storage_has_a_problem(
    session: StoreSession, storage: Path, made: dict[str, Image]
) -> None:
    folder = storage / "vfs-images" / made["redis:7"].id.removeprefix("sha256:")
    for name in os.listdir(folder):
        if name.startswith("=c2hhMjU2"):
            (folder / name).write_bytes(b"{}")
    assert list(problems_in(session, f"containers-storage:{storage}")) == ["redis:7"]
    shutil.rmtree(folder)
    assert list(problems_in(session, f"containers-storage:{storage}")) == ["redis:7"]
    session.do(f'copy plain:1 from "containers-storage:{storage}" to store')
    assert session.names() == ["plain:1"]


def test_a_storage_that_lost_a_layer(session: StoreSession, storage: Path, made: dict[str, Image]) -> None:
    path = storage / "vfs-layers" / "layers.json"
    layers = json.loads(path.read_text())
    lost = made["plain:1"].layers[0].diff_id
    path.write_text(json.dumps([one for one in layers if one["diff-digest"] != lost]))
    assert "plain:1" in problems_in(session, f"containers-storage:{storage}")


def test_a_storage_that_changes_while_it_is_read_is_read_again(
    session: StoreSession, storage: Path, made: dict[str, Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image is removed after the lists were read, as `podman rmi` removes it: first the list, then its files."""
    path = storage / "vfs-images" / "images.json"
    changes = [made["redis:7"].id.removeprefix("sha256:")]
    read_document = storage_files.StorageFiles.read_document

    def read_and_change(files: storage_files.StorageFiles, image: storage_files.StoredImage, key: str) -> bytes:
        if changes:
            gone = changes.pop()
            kept = [one for one in json.loads(path.read_text()) if one["id"] != gone]
            (path.parent / "new").write_text(json.dumps(kept))
            os.replace(path.parent / "new", path)
            shutil.rmtree(path.parent / gone)
        return read_document(files, image, key)

    monkeypatch.setattr(storage_files.StorageFiles, "read_document", read_and_change)
    rows = session.rows(f'images in "containers-storage:{storage}" select * as json')
    assert [(row["name"], row["problem"]) for row in rows] == [("plain:1", None)]


@pytest.mark.usefixtures("made")
def test_files_of_layers_are_not_read_through_links(session: StoreSession, storage: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"\x7fPYE" * 25000)
    folder = storage / "vfs" / "dir"
    for name in os.listdir(folder):
        path = folder / name / "usr" / "bin" / "python3"
        if path.exists():
            path.unlink()
            path.symlink_to(tmp_path / "secret")
    assert session.failure_code(f'copy plain:1 from "containers-storage:{storage}" to store') == "blob"


@pytest.mark.usefixtures("made")
def test_folders_of_layers_are_not_read_through_links(session: StoreSession, storage: Path, tmp_path: Path) -> None:
    shutil.move(storage / "vfs", tmp_path / "elsewhere")
    (storage / "vfs").symlink_to(tmp_path / "elsewhere")
    assert session.failure_code(f'copy plain:1 from "containers-storage:{storage}" to store') == "blob"


def test_a_storage_without_images(session: StoreSession, tmp_path: Path) -> None:
    (tmp_path / "storage" / "overlay-images").mkdir(parents=True)
    assert session.rows(f'images in "containers-storage:{tmp_path / "storage"}"') == []
    (tmp_path / "storage" / "overlay-images" / "images.json").write_text('[{"id": "../../../etc"}, 1, {}]')
    rows = session.rows(f'images in "containers-storage:{tmp_path / "storage"}" select * as json')
    assert all(row["problem"] for row in rows)
    assert session.failure_code(f'images in "containers-storage:{tmp_path}"') == "layout"
