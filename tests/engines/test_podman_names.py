"""Podman's short names: `app:1` of Docker Hub and `localhost/app:1` are two images, and each statement is about one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.engine_images import ONE, TWO, Place, clear, connect

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    from support.engines import Engine

HUB, LOCAL = "docker.io/library/app:1", "localhost/app:1"


@pytest.fixture
def podman(podman_service: Engine, archive: bytes, tmp_path: pathlib.Path) -> Iterator[Place]:
    """A podman in which `app:1` is the second image and `localhost/app:1` the first one."""
    clear(podman_service)
    podman_service.run("load", stdin=archive)
    podman_service.run("tag", "localhost/team/b:2", HUB)
    podman_service.run("untag", LOCAL, "localhost/app:latest")
    with connect(tmp_path, "podman", podman_service) as connection:
        yield Place("podman", podman_service, connection, tmp_path)
    clear(podman_service)


@pytest.mark.parametrize(
    "statement",
    ["rm app:1 from podman", "untag app:1 from podman", 'rm images in podman where name = "app:1"'],
)
def test_a_removed_name_is_that_of_the_plan(podman: Place, statement: str) -> None:
    (row,) = podman.connection(statement)
    assert (row.action, row.target, row.image, row.error) == ("untag", "app:1", TWO.id, None)
    assert podman.names() == {LOCAL: ONE.id, "localhost/team/b:2": TWO.id}


def test_a_removed_image_is_that_of_the_plan(podman: Place) -> None:
    podman.engine.run("untag", HUB, "localhost/team/b:2")
    (row,) = podman.connection("rm images in podman where label.part = two")
    assert (row.action, row.error) == ("remove", None)
    assert podman.names() == {LOCAL: ONE.id}


def test_a_name_moves_from_the_image_of_the_plan(podman: Place) -> None:
    (row,) = podman.connection("tag localhost/app:1 as app:1 from podman")
    assert row.note == f"in podman, moves from {TWO.id[7:19]}"
    assert podman.names() == {LOCAL: ONE.id, HUB: ONE.id, "localhost/team/b:2": TWO.id}


def test_the_image_of_a_name_is_read(podman: Place) -> None:
    for name, image in (("app:1", TWO), (LOCAL, ONE), (ONE.id, ONE), (TWO.id, TWO)):
        rows = podman.connection(f'layers of "{name}" in podman')
        assert {row.image for row in rows} == {image.id}, name


def test_an_image_is_saved_by_its_name_or_by_its_id(podman: Place, tmp_path: pathlib.Path) -> None:
    for number, (name, image) in enumerate((("app:1", TWO), (LOCAL, ONE), (ONE.id, ONE))):
        layout = tmp_path / f"layout{number}"
        podman.connection(f'save "{name}" from podman to "oci:{layout}"')
        assert {row.id for row in podman.connection(f'images in "oci:{layout}"')} == {image.id}, name


def test_a_copy_leaves_podmans_own_name(podman: Place, dockerd: Engine, archive: bytes, tmp_path: pathlib.Path) -> None:
    clear(dockerd)
    dockerd.run("load", stdin=archive)
    dockerd.run("tag", "localhost/team/b:2", "new:1")
    dockerd.run("tag", "localhost/app:1", "localhost/new:1")
    podman.engine.run("untag", HUB, HUB)
    podman.engine.run("rmi", "localhost/team/b:2")
    podman.engine.run("tag", LOCAL, "localhost/other:1")
    dockerd.run("tag", "localhost/team/b:2", "other:1")
    docker = connect(tmp_path, "docker", dockerd)
    try:
        docker(f'copy other:1, new:1, localhost/new:1 from docker to "{podman.engine.address}"')
    finally:
        docker.close()
        clear(dockerd)
    assert podman.names() == {
        LOCAL: ONE.id,
        "localhost/other:1": ONE.id,
        "docker.io/library/other:1": TWO.id,
        "docker.io/library/new:1": TWO.id,
        "localhost/new:1": ONE.id,
    }


def test_force_leaves_the_containers_of_an_image(podman: Place) -> None:
    podman.engine.run("create", "--name", "web", "--network", "none", LOCAL, "/x")
    for statement in (f"rm {LOCAL} from podman force", "rm images in podman where label.part = one force"):
        for dry_run in (True, False):
            (row,) = podman.connection(statement, dry_run=dry_run)
            assert row.error == "conflict", statement
    assert podman.names()[LOCAL] == ONE.id
    assert podman.engine.run("ps", "-a", "--format", "{{.Names}}") == "web"
