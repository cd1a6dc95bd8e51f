"""Images go between any two places: `save` from engines, and `copy` from, to and between them."""

from __future__ import annotations

import itertools
import tarfile
from typing import TYPE_CHECKING

import imq
import pytest
from support.engine_images import NAMES, ONE, TWO, clear
from support.engines import ScriptedEngine, http_answer
from support.servers import Registry, require_programs

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    from support.engine_images import Place
    from support.engines import Engine

IDS = {name: image.id for name, image in NAMES.items()}


@pytest.fixture
def both(dockerd: Engine, podman_service: Engine, archive: bytes, tmp_path: pathlib.Path) -> Iterator[imq.Connection]:
    """A connection to a dockerd with images, and to an empty podman and an empty store."""
    clear(dockerd)
    clear(podman_service)
    (tmp_path / "images.tar").write_bytes(archive)
    environment = {"DOCKER_HOST": dockerd.address, "CONTAINER_HOST": podman_service.address, "HOME": str(tmp_path)}
    with imq.connect(root=tmp_path / "store", environment=environment) as connection:
        yield connection
    clear(dockerd)
    clear(podman_service)


PLACES = ("store", "docker", "podman", "layout")


@pytest.mark.parametrize(("origin", "destination"), list(itertools.permutations(PLACES, 2)))
def test_images_are_copied_between_any_two_places(
    both: imq.Connection, tmp_path: pathlib.Path, origin: str, destination: str
) -> None:
    text = {"layout": f"oci:{tmp_path}/layout"}
    _fill(both, origin, tmp_path)
    statement = f"copy all images in '{text.get(origin, origin)}' to '{text.get(destination, destination)}'"
    assert all(row.error is None for row in both(statement))
    assert _read(both, text.get(destination, destination)) == IDS
    if destination != "layout" and origin != "layout":
        assert {row.action for row in both(statement)} == {"stay"}


def _fill(connection: imq.Connection, place: str, folder: pathlib.Path) -> None:
    archive = f"'{folder}/images.tar'"
    rows = (
        connection(f"copy all images in {archive} to 'oci:{folder}/layout'")
        if place == "layout"
        else connection(f"load {archive}" if place == "store" else f"load {archive} to {place}")
    )
    assert all(row.error is None for row in rows)


def _read(connection: imq.Connection, place: str) -> dict[str, str]:
    return {image.name: image.id for image in connection(f"images in '{place}'")}


def test_names_of_docker_hub_stay_as_they_are(both: imq.Connection, tmp_path: pathlib.Path) -> None:
    both(f"load '{tmp_path}/images.tar' to docker")
    both("tag localhost/app:1 as team/app:1 from docker")
    both("copy team/app:1 from docker to podman")
    assert _read(both, "podman") == {"team/app:1": ONE.id}


def test_only_what_is_lacking_is_copied(both: imq.Connection, tmp_path: pathlib.Path) -> None:
    _fill(both, "docker", tmp_path)
    both("copy localhost/app:1 from docker to store")
    both("copy localhost/app:1 from docker to podman")
    for place in ("store", "podman"):
        rows = both(f"copy all images in docker to {place}")
        assert {(row.target, row.action) for row in rows} == {
            ("localhost/app:latest", "tag" if place == "store" else "copy"),
            ("localhost/team/b:2", "copy"),
        }
        assert _read(both, place) == IDS


def test_names_that_move_are_in_the_plan(both: imq.Connection, tmp_path: pathlib.Path) -> None:
    _fill(both, "docker", tmp_path)
    both("copy localhost/app:1 from docker to store")
    both("tag localhost/team/b:2 as localhost/app:1 from docker")
    (row,) = both("copy localhost/app:1 from docker to store", dry_run=True)
    assert row.note == "from docker to store; moves localhost/app:1"
    both("copy localhost/app:1 from docker to store")
    assert _read(both, "store") == {"localhost/app:1": TWO.id} | _unnamed(both)


def _unnamed(connection: imq.Connection) -> dict[str | None, str]:
    return {image.name: image.id for image in connection("images in store where dangling")}


def test_a_file_stays_when_a_name_moves_meanwhile(docker_place: Place) -> None:
    def move(_planned: imq.Result) -> bool:
        docker_place.engine.run("tag", "localhost/team/b:2", "localhost/app:1")
        return True

    path = docker_place.folder / "b.tar"
    path.write_bytes(b"old")
    with docker_place.connect(confirm=move) as connection:
        rows = connection(f"save localhost/app:1, localhost/team/b:2 from docker to '{path}'")
    assert [row.error for row in rows] == ["changed"]
    assert path.read_bytes() == b"old"


def test_images_go_to_a_registry_by_way_of_this_machine(docker_place: Place, tmp_path: pathlib.Path) -> None:
    require_programs("docker-registry")
    with Registry(tmp_path / "registry") as registry:
        rows = docker_place.connection(f"copy all images in docker to {registry.host}/team")
        assert {row.target: row.error for row in rows} == {
            f"{registry.host}/team/app:1": None,
            f"{registry.host}/team/app:latest": None,
            f"{registry.host}/team/team/b:2": None,
        }
        name = f"{registry.host}/team/team/b:2"
        docker_place.connection(f"copy {name} to docker")
        assert docker_place.names()[name] == docker_place.two
        assert docker_place.connection("images in store count").scalar() == 0


def test_an_archive_is_saved(place: Place) -> None:
    path = place.folder / "saved.tar"
    (row,) = place.connection(f"save images in {place.name} where label.part = one to '{path}'")
    assert (row.size, row.error) == (path.stat().st_size, None)
    assert _read(place.connection, str(path)) == {"localhost/app:1": ONE.id, "localhost/app:latest": ONE.id}
    place.connection(
        f"save images in {place.name} where tag is known to '{place.folder}/{{{{.Tag}}}}.tar' skip existing"
    )
    assert {one.name for one in place.folder.glob("*.tar")} == {"saved.tar", "1.tar", "2.tar", "latest.tar"}
    with tarfile.open(place.folder / "2.tar") as archive:
        assert "manifest.json" in archive.getnames()


@pytest.mark.parametrize("damage", ["short", "other"])
def test_a_damaged_archive_of_an_engine_is_not_kept(tmp_path: pathlib.Path, archive: bytes, damage: str) -> None:
    listing = b'[{"Id": "%s", "RepoTags": ["app:1"], "Created": 1, "Size": 1}]'
    id_ = ONE.id if damage == "short" else f"sha256:{'0' * 64}"
    document = b'{"Id": "%s", "RepoTags": ["app:1"]}' % id_.encode()
    content = archive[:3000] if damage == "short" else archive
    answers = {
        "/images/json": http_answer(listing % id_.encode()),
        "/images/get": http_answer(content),
        "/json": http_answer(document),
    }
    with ScriptedEngine(tmp_path / "engine.sock", answers) as engine:
        environment = {"DOCKER_HOST": engine.address, "HOME": str(tmp_path)}
        with imq.connect(root=tmp_path / "store", environment=environment) as connection:
            (saved,) = connection(f"save app:1 from docker to '{tmp_path}/out.tar'")
            (copied,) = connection("copy app:1 from docker to store")
            assert connection("images in store count").scalar() == 0
    assert (saved.error, copied.error) == ("archive", "archive")
    assert not (tmp_path / "out.tar").exists()


def test_an_engine_that_refuses_an_archive_is_reported(docker_place: Place, tmp_path: pathlib.Path) -> None:
    docker_place.connection("copy localhost/team/b:2 from docker to store")
    refusal = http_answer(b'{"message": "no space left on device"}', status="500 Internal Server Error")
    with ScriptedEngine(tmp_path / "full.sock", {"/images/load": refusal, "/json": http_answer(b"[]")}) as full:
        (row,) = docker_place.connection(f"copy localhost/team/b:2 from store to {full.address}")
        (other,) = docker_place.connection(f"copy localhost/team/b:2 from docker to {full.address}")
    for one in (row, other):
        assert one.error == "engine"
        assert "no space left on device" in one.message


def test_options_without_meaning_are_refused(docker_place: Place) -> None:
    with pytest.raises(imq.StatementError, match="force does not apply"):
        docker_place.connection("copy localhost/app:1 from docker to store force")
    with pytest.raises(imq.NotFound, match="No such image: nope"):
        docker_place.connection("copy nope from docker to store")
