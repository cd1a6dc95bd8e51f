"""The listing of all containers of an engine."""

from __future__ import annotations

from imq.engine.docker_engine.errors import protocol_error
from imq.grammar.record import TYPE_CHECKING

from .json_documents import read_container_image, read_image_id
from .podman_documents import merge_containers

if TYPE_CHECKING:
    from typing import Any

    from imq.engine.docker_engine.client import EngineClient

ACTIVE = ("running", "paused", "restarting")
"""The states of containers that have processes."""
STOPPED = ("created", "exited", "dead", "initialized")
"""The states of containers that `docker container prune` and `podman container prune` remove."""


def list_containers(client: EngineClient, *, sizes: bool = False) -> list[dict[str, Any]]:
    """Return the listing of an engine's containers, running or not. Raises `EngineError`.

    `Id` is a string, and `ImageID` a digest, or an empty string for a container without an image. The working
    containers of build tools, which podman lists in its own API alone, have the state `storage`.
    """
    query = {"all": "1", "size": "1"} if sizes else {"all": "1"}
    containers = client.get_objects("containers/json", query)
    if client.ping().kind == "podman":
        own = client.get_objects("libpod/containers/json", {"all": "true", "external": "true"})
        containers = merge_containers(containers, own)
    for container in containers:
        if not isinstance(container.get("Id"), str):
            raise protocol_error(client.endpoint, "a listed container has no ID")
        image = container.get("ImageID")
        if read_container_image(image) == "":
            container["ImageID"] = ""
        else:  # a container of unknown image could use any
            container["ImageID"] = require_image_id(client, image, "a listed container")
    return containers


def find_users(client: EngineClient, image: str) -> list[dict[str, Any]]:
    """Return the containers of an image, by its ID. Raises `EngineError`."""
    return [container for container in list_containers(client) if container["ImageID"] == image]


def name_container(container: dict[str, Any]) -> str:
    """Return the name of a listed container, else its short ID."""
    names = container.get("Names")
    first = names[0] if isinstance(names, list) and names and isinstance(names[0], str) else ""
    return first.removeprefix("/") or str(container["Id"])[:12]


def require_image_id(client: EngineClient, value: object, subject: str) -> str:
    """Return an image ID with its algorithm. Raises `EngineError` (`engine-protocol`)."""
    id_ = read_image_id(value)
    if id_ is None:
        raise protocol_error(client.endpoint, f"{subject} has no image ID: {str(value)[:80]!r}")
    return id_
