"""Engines with a few images, and connections whose default names reach them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.engine_images import ONE, TWO, Place, clear, connect
from support.images import docker_archive

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    from support.engines import Engine


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An archive of two images with three names."""
    path = tmp_path_factory.mktemp("archive") / "images.tar"
    docker_archive(path, [(ONE, ["localhost/app:1", "localhost/app:latest"]), (TWO, ["localhost/team/b:2"])])
    return path.read_bytes()


@pytest.fixture(params=["docker", "podman"])
def place(request: pytest.FixtureRequest, archive: bytes, tmp_path: pathlib.Path) -> Iterator[Place]:
    """Each engine with the images of `archive`, which are all that it has."""
    engine: Engine = request.getfixturevalue("dockerd" if request.param == "docker" else "podman_service")
    clear(engine)
    engine.run("load", stdin=archive)
    with connect(tmp_path, request.param, engine) as connection:
        yield Place(request.param, engine, connection, tmp_path)
    clear(engine)


@pytest.fixture
def docker_place(dockerd: Engine, archive: bytes, tmp_path: pathlib.Path) -> Iterator[Place]:
    """A dockerd with the images of `archive`."""
    clear(dockerd)
    dockerd.run("load", stdin=archive)
    with connect(tmp_path, "docker", dockerd) as connection:
        yield Place("docker", dockerd, connection, tmp_path)
    clear(dockerd)
