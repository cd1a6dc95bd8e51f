"""The images that tests put into engines, and connections that reach these engines by their default names."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any, NamedTuple

import imq

from .engines import Dockerd
from .images import Image, layer

if TYPE_CHECKING:
    import pathlib

    from .engines import Engine

ONE = Image([layer({"one": b"1" * 1000})], labels={"part": "one"})
TWO = Image(
    [layer({"one": b"1" * 1000}), layer({"two": b"2" * 5000})], labels={"part": "two"}, created="2024-02-01T00:00:00Z"
)
NAMES = {"localhost/app:1": ONE, "localhost/app:latest": ONE, "localhost/team/b:2": TWO}
"""With a registry, so that podman and docker call them the same."""


class Place(NamedTuple):
    """An engine under its name in statements, and a connection that reaches it."""

    name: str
    engine: Engine
    connection: imq.Connection
    folder: pathlib.Path
    ids: tuple[str, str] = (ONE.id, TWO.id)

    @property
    def one(self) -> str:
        """The ID that the engine has for `ONE`."""
        return self.ids[0]

    @property
    def two(self) -> str:
        """The ID that the engine has for `TWO`."""
        return self.ids[1]

    @property
    def has_containerd_images(self) -> bool:
        """Whether containerd stores the images of a docker engine."""
        return isinstance(self.engine, Dockerd) and self.engine.uses_containerd_images

    def connect(self, **options: Any) -> imq.Connection:
        """Return another connection."""
        return connect(self.folder, self.name, self.engine, **options)

    def names(self) -> dict[str, str]:
        """Return the names of all images, as the engine's own client tells them, with their IDs."""
        lines = self.engine.run("images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}").splitlines()
        return dict(line.split() for line in lines)


def connect(folder: pathlib.Path, name: str, engine: Engine, **options: Any) -> imq.Connection:
    """Return a connection for which `name` is this engine."""
    (folder / "home").mkdir(exist_ok=True)
    variable = {"docker": "DOCKER_HOST", "podman": "CONTAINER_HOST"}[name]
    environment = {variable: engine.address, "HOME": str(folder / "home")}
    return imq.connect(root=folder / "store", environment=environment, **options)


def clear(engine: Engine) -> None:
    """Remove all containers and images of an engine."""
    for containers in (engine.run("ps", "-aq").split(),):
        if containers:
            engine.run("rm", "-f", *containers)
    if images := engine.run("images", "-aq").split():
        engine.run("rmi", "-f", *dict.fromkeys(images))


def write_login(folder: pathlib.Path, host: str, user: str, password: str) -> None:
    """Write docker's file of credentials into the home of a test."""
    path = folder / "home" / ".docker" / "config.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    auth = base64.b64encode(f"{user}:{password}".encode()).decode()
    path.write_text(json.dumps({"auths": {host: {"auth": auth}}}))
