"""The request that makes a container like another one, from the document of `docker inspect`."""

from __future__ import annotations

from imq.engine.oci.config_overrides import read_overrides
from imq.grammar.record import TYPE_CHECKING, Record

from .json_documents import read_map, read_object, read_objects, read_text, read_texts

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_SHORT = 12
_COMPOSE_IMAGE = "com.docker.compose.image"
"""The label in which Compose keeps the ID of the image, to see that a container is out of date."""
_NO_NETWORKS = ("none", "host")
_DEFAULT_SIGNAL = ("SIGTERM", "15")
_ENDPOINT = ("IPAMConfig", "Links", "DriverOpts")


class CreateRequest(Record):
    """The body of the request, and the further `networks` to join: their names and settings."""

    document: Mapping[str, Any]
    networks: tuple[tuple[str, Mapping[str, Any]], ...] = ()

    def __hash__(self) -> int:
        """Hash by identity: the document is a mapping."""
        return id(self)


def make_request(container: Mapping[str, Any], old_config: Mapping[str, Any], image: str, new_id: str) -> CreateRequest:
    """Return the request for a container like `container`, from the image with a name or an ID.

    `old_config` is the object `Config` of the image that the container has, empty if the image is gone. `new_id` is the
    ID of the new image. Volumes without a name stay those of the container.
    """
    id_ = read_text(container.get("Id")) or ""
    host = dict(read_object(container.get("HostConfig")))
    mode = read_text(host.get("NetworkMode")) or "default"
    config = read_overrides(read_object(container.get("Config")), old_config)
    if not old_config.get("StopSignal") and str(config.get("StopSignal")) in _DEFAULT_SIGNAL:
        del config["StopSignal"]  # podman writes the default
    has_own_names = mode not in _NO_NETWORKS[1:] and not mode.startswith("container:")
    if not has_own_names or config.get("Hostname") == id_[:_SHORT]:
        config.pop("Hostname", None)
    if not has_own_names:
        config.pop("Domainname", None)
    if _COMPOSE_IMAGE in read_object(config.get("Labels")):
        config["Labels"] = {**config["Labels"], _COMPOSE_IMAGE: new_id}
    host.pop("ContainerIDFile", None)
    host["Links"] = [_to_link(text) for text in read_texts(host.get("Links"))] or None
    if limits := read_objects(host.get("Ulimits")):  # podman returns the names of system calls
        host["Ulimits"] = [{**one, "Name": str(one.get("Name")).removeprefix("RLIMIT_").lower()} for one in limits]
    _keep_volumes(host, read_objects(container.get("Mounts")))
    endpoints = _read_endpoints(container, id_, mode)
    document = {**config, "Image": image, "HostConfig": host}
    first = "bridge" if mode == "default" else mode
    if endpoints.get(first):
        document["NetworkingConfig"] = {"EndpointsConfig": {first: endpoints[first]}}
    return CreateRequest(document, tuple((name, one) for name, one in endpoints.items() if name != first))


def _to_link(text: str) -> str:
    """Return a link as it is given: /OTHER:/CONTAINER/ALIAS is OTHER:ALIAS."""
    other, _, alias = text.partition(":")
    return f"{other.removeprefix('/')}:{alias.rpartition('/')[2]}"


def _keep_volumes(host: dict[str, Any], mounts: list[dict[str, Any]]) -> None:
    """Add the volumes of a container that the options do not name."""
    volumes = {str(one.get("Destination")): one for one in mounts if one.get("Type") == "volume" and one.get("Name")}
    binds = read_texts(host.get("Binds"))
    named = {bind.split(":")[1] for bind in binds if ":" in bind}
    given: list[dict[str, Any]] = []
    for mount in read_objects(host.get("Mounts")):
        target = str(mount.get("Target"))
        named.add(target)
        is_unnamed = mount.get("Type") == "volume" and not mount.get("Source") and target in volumes
        given.append({**mount, "Source": volumes[target]["Name"]} if is_unnamed else mount)
    for target, one in volumes.items():
        if target not in named:
            binds.append(f"{one['Name']}:{target}{':ro' if one.get('RW') is False else ''}")
    host["Binds"] = binds or None
    if given:
        host["Mounts"] = given


def _read_endpoints(container: Mapping[str, Any], id_: str, mode: str) -> dict[str, dict[str, Any]]:
    """Return the settings that were given for each network of a container; empty ones for the engine's own."""
    if mode in _NO_NETWORKS or mode.startswith("container:"):
        return {}
    endpoints: dict[str, dict[str, Any]] = {}
    for name, value in read_object(read_object(container.get("NetworkSettings")).get("Networks")).items():
        endpoint = read_object(value)
        settings = {key: endpoint[key] for key in _ENDPOINT if endpoint.get(key)}
        if aliases := [one for one in read_texts(endpoint.get("Aliases")) if one != id_[:_SHORT]]:
            settings["Aliases"] = aliases
        endpoints[name] = settings
    return endpoints


def read_labels(container: Mapping[str, Any]) -> dict[str, str]:
    """Return the labels of a container."""
    return read_map(read_object(container.get("Config")).get("Labels"))
