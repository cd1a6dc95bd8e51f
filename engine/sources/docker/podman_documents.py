"""Documents of podman's own API, in the form of the Docker Engine API."""

from __future__ import annotations

from imq.engine.oci.timestamp import parse_time
from imq.grammar.record import TYPE_CHECKING

from .json_documents import read_object, read_objects, read_text, read_texts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

_NANOSECONDS = 1_000_000_000
BUILD_STATE = "storage"
"""The state of the working container of a build tool: podman knows of it by its storage alone."""


def merge_containers(containers: Sequence[Mapping[str, Any]], own: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a listing of containers with what podman's own listing adds: pods, and containers of build tools."""
    by_id = {item.get("Id"): item for item in own}
    merged = []
    for container in containers:
        pod = read_text(read_object(by_id.pop(container.get("Id"), None)).get("PodName"))
        merged.append({**container, "PodName": pod})
    merged += [_convert(item) for item in by_id.values() if item.get("State") == BUILD_STATE]
    return merged


def _convert(item: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "Id": item.get("Id"),
        "Names": [f"/{name}" for name in read_texts(item.get("Names"))],
        "Image": item.get("Image"),
        "ImageID": item.get("ImageID"),
        "Created": _to_seconds(item.get("Created")),
        "Labels": item.get("Labels"),
        "State": BUILD_STATE,
    }


def convert_history(image: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the steps in an inspected image, last step first, with `EmptyLayer` and without sizes."""
    return [
        {
            "Created": _to_seconds(step.get("created")),
            "CreatedBy": step.get("created_by"),
            "Comment": step.get("comment"),
            "EmptyLayer": step.get("empty_layer") is True,
        }
        for step in reversed(read_objects(image.get("History")))
    ]


def _to_seconds(time: object) -> int:
    nanoseconds = parse_time(time)
    return nanoseconds // _NANOSECONDS if nanoseconds is not None else 0


def read_command(document: Mapping[str, Any]) -> list[str]:
    """Return the words of an inspected container.

    `Args` is without the first word, but podman repeats that word when it is the only one.
    """
    path, arguments = read_text(document.get("Path")), read_texts(document.get("Args"))
    words = [path, *arguments] if path is not None else arguments
    config = read_object(document.get("Config"))
    entrypoint, command = config.get("Entrypoint"), read_texts(config.get("Cmd"))
    own = [entrypoint] if isinstance(entrypoint, str) and entrypoint else read_texts(entrypoint)
    return [*own, *command] if words[:1] == words[1:] == [*own, *command] else words
