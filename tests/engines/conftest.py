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


NEWER_PODMAN = ("test_removal", "test_create")
"""The modules that are tested with two versions of podman."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests of a place for each engine."""
    if "place" in metafunc.fixturenames:
        engines = ["dockerd", "debian_dockerd", "podman_service"]
        is_newer = metafunc.module.__name__.rpartition(".")[2] in NEWER_PODMAN
        metafunc.parametrize("place", [*engines, "debian_podman"] if is_newer else engines, indirect=True)


@pytest.fixture
def place(request: pytest.FixtureRequest, archive: bytes, tmp_path: pathlib.Path) -> Iterator[Place]:
    """Each engine with the images of `archive`, which are all that it has."""
    yield from fill(request, archive, tmp_path)


@pytest.fixture(params=["dockerd", "debian_dockerd"])
def docker_place(request: pytest.FixtureRequest, archive: bytes, tmp_path: pathlib.Path) -> Iterator[Place]:
    """A dockerd with the images of `archive`, with each of docker's image stores."""
    yield from fill(request, archive, tmp_path)


def fill(request: pytest.FixtureRequest, archive: bytes, folder: pathlib.Path) -> Iterator[Place]:
    """Yield the engine of the fixture that a parameter names, with the images of `archive` alone."""
    engine: Engine = request.getfixturevalue(request.param)
    name = "podman" if engine.kind == "podman" else "docker"
    clear(engine)
    engine.run("load", stdin=archive)
    with connect(folder, name, engine) as connection:
        place = Place(name, engine, connection, folder)
        names = place.names()
        yield place._replace(ids=(names["localhost/app:1"], names["localhost/team/b:2"]))
    clear(engine)
