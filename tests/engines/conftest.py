"""Engines with a few images, and connections whose default names reach them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.engine_images import ONE, TWO, Place, clear, connect
from support.engines import Dockerd
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


OTHER_STORE = (
    "test_container_files", "test_containers", "test_copy", "test_create", "test_image_ids", "test_names",
    "test_pull_push", "test_recreate", "test_removal", "test_run",
)  # fmt: skip
"""The modules that are tested with both of docker's image stores."""
OTHER_PODMAN = ("test_create", "test_recreate")
"""The modules that are tested with two versions of podman."""
ALL_PREPARED = ("test_in_use", "test_tables")
"""The modules that are tested with all prepared engines."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests of a place, and those of prepared engines, for each engine that can differ."""
    module = metafunc.module.__name__.rpartition(".")[2]
    dockers = ["dockerd", "debian_dockerd"] if module in OTHER_STORE else ["dockerd"]
    podmans = ["podman_service", "debian_podman"] if module in OTHER_PODMAN else ["podman_service"]
    others = ["containerd_docker", "debian_podman"] if module in ALL_PREPARED else []
    engines = {"place": [*dockers, *podmans], "docker_place": dockers, "prepared": ["docker", "podman", *others]}
    for name, values in engines.items():
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, values, indirect=True, scope="session" if name == "prepared" else None)


@pytest.fixture
def place(request: pytest.FixtureRequest, archive: bytes, tmp_path: pathlib.Path) -> Iterator[Place]:
    """Each engine with the images of `archive`, which are all that it has."""
    yield from fill(request, archive, tmp_path)


@pytest.fixture
def docker_place(request: pytest.FixtureRequest, archive: bytes, tmp_path: pathlib.Path) -> Iterator[Place]:
    """A dockerd with the images of `archive`, with each of docker's image stores."""
    yield from fill(request, archive, tmp_path)


def fill(request: pytest.FixtureRequest, archive: bytes, folder: pathlib.Path) -> Iterator[Place]:
    """Yield the engine of the fixture that a parameter names, with the images of `archive` alone."""
    engine: Engine = request.getfixturevalue(request.param)
    name = "podman" if engine.kind == "podman" else "docker"
    clear(engine)
    if isinstance(engine, Dockerd) and engine.uses_containerd_images:
        engine.keep_content(archive)
    engine.run("load", stdin=archive)
    with connect(folder, name, engine) as connection:
        place = Place(name, engine, connection, folder)
        names = place.names()
        yield place._replace(ids=(names["localhost/app:1"], names["localhost/team/b:2"]))
    clear(engine)
