"""Engines with images and containers of many kinds, and sessions over them. Tests change nothing in them."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from registry.support.query import QueryResult, execute, open_session

from .debian_root import find_debian_root
from .engine_content import build_images, load_images, make_containers, make_images, push_and_move
from .engines import Dockerd, PodmanService
from .servers import Registry, require_programs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from imq.engine.session.session import Session

    from .engines import Engine
    from .images import Image


class PreparedEngine:
    """An engine, the images that it has, and the host in the names that came from a registry."""

    def __init__(self, engine: Engine, host: str) -> None:
        self.engine = engine
        self.host = host
        self.kind = "podman" if engine.kind == "podman" else "docker"
        self.images: dict[str, Image] = {name: image for name, (image, _) in make_images().items()}
        self.has_containerd_images = isinstance(engine, Dockerd) and engine.uses_containerd_images
        self.ids = {name: image.id for name, image in self.images.items()}
        """The IDs that the engine has for `images`."""
        if self.has_containerd_images:
            self.ids = self._find_ids()
        self._session: Session | None = None
        self.environment = {"CONTAINER_HOST" if self.kind == "podman" else "DOCKER_HOST": engine.address}

    def ask(self, text: str) -> QueryResult:
        """Run a statement in which `in E` is this engine."""
        if self._session is None:
            self._session = open_session(f"{self.engine.folder}/no-store", environment=self.environment)
        return execute(self._session, text.replace("in E", f"in {self.kind}"))

    def close(self) -> None:
        """Close the session."""
        if self._session is not None:
            self._session.close()

    def inspect(self, kind: str, *names: str) -> list[dict[str, Any]]:
        """Return what the engine's own client says of images or containers."""
        documents: list[dict[str, Any]] = json.loads(self.engine.run(kind, "inspect", *names))
        return documents

    def _find_ids(self) -> dict[str, str]:
        """Return the IDs of the images by their layers and times of creation: those in the engine are of manifests."""
        found = {}
        for document in self.inspect("image", *self.lines("image", "ls", "-q", "--no-trunc")):
            for name, image in self.images.items():
                layers = [layer.diff_id for layer in image.layers]
                labels = dict(image.labels or {})
                config = document["Config"]
                if document["RootFS"]["Layers"] == layers and (config.get("Labels") or {}) == labels:
                    found[name] = document["Id"]
        assert found.keys() == self.images.keys()
        return found

    def lines(self, *words: str) -> list[str]:
        """Return the lines that the engine's own client prints."""
        return self.engine.run(*words).splitlines()

    def request(self, path: str) -> Any:
        """Return what the engine's API returns for a path."""
        words = ["curl", "-sf", "--unix-socket", self.engine.socket, f"http://engine/v1.41/{path}"]
        return json.loads(subprocess.run(words, capture_output=True, check=True).stdout)

    def local(self, name: str) -> str:
        """Return a name without a registry as the engine has it."""
        return f"localhost/{name}" if self.kind == "podman" else name


def _prepare(engine: Engine, folder: Path) -> str:
    registry = Registry(folder)
    with registry:
        load_images(engine, make_images())
        push_and_move(engine, registry.host)
    make_containers(engine)
    return registry.host


@pytest.fixture(scope="session")
def prepared_docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PreparedEngine]:
    """A dockerd with images, containers and a build cache."""
    require_programs("dockerd", "docker", "docker-registry")
    with Dockerd(tmp_path_factory.mktemp("prepared")) as engine:
        prepared = PreparedEngine(engine, _prepare(engine, tmp_path_factory.mktemp("registry")))
        build_images(engine)
        yield prepared
        prepared.close()
        _stop_containers(engine)


@pytest.fixture(scope="session")
def prepared_containerd_docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PreparedEngine]:
    """A dockerd with the image store of containerd, and with images, containers and a build cache."""
    require_programs("docker", "docker-registry")
    root = find_debian_root()
    with Dockerd(tmp_path_factory.mktemp("prepared"), root=root, uses_containerd_images=True) as engine:
        prepared = PreparedEngine(engine, _prepare(engine, tmp_path_factory.mktemp("registry")))
        build_images(engine)
        yield prepared
        prepared.close()
        _stop_containers(engine)


@pytest.fixture(scope="session")
def prepared_podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PreparedEngine]:
    """A podman with images, containers, a pod and a working container of buildah."""
    require_programs("podman", "buildah", "docker-registry")
    with PodmanService(tmp_path_factory.mktemp("prepared")) as engine:
        yield from _prepare_podman(engine, tmp_path_factory)


@pytest.fixture(scope="session")
def prepared_debian_podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PreparedEngine]:
    """The same of Debian 13's podman."""
    require_programs("docker-registry")
    with PodmanService(tmp_path_factory.mktemp("prepared"), root=find_debian_root()) as engine:
        yield from _prepare_podman(engine, tmp_path_factory)


def _prepare_podman(engine: PodmanService, folders: pytest.TempPathFactory) -> Iterator[PreparedEngine]:
    prepared = PreparedEngine(engine, _prepare(engine, folders.mktemp("registry")))
    storage = ["--root", f"{engine.folder}/root", "--runroot", f"{engine.folder}/run"]
    words = ["buildah", *storage, "from", "--pull-never", "--name", "working", "localhost/epoch:1"]
    environment = {**os.environ, "BUILDAH_ISOLATION": "chroot"}
    subprocess.run(engine.inside(*words), capture_output=True, check=True, env=environment)
    yield prepared
    prepared.close()
    _stop_containers(engine)


@pytest.fixture(scope="session")
def prepared(request: pytest.FixtureRequest) -> PreparedEngine:
    """Each prepared engine."""
    engine: PreparedEngine = request.getfixturevalue(f"prepared_{request.param}")
    return engine


def _stop_containers(engine: Engine) -> None:
    subprocess.run([*engine.client, "kill", "runs"], capture_output=True, check=False)
