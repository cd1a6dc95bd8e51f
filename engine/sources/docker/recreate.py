"""Makes containers of engines again from the image that their name has now: `recreate`.

The new container is made first, takes its name, and is watched. The old one is removed only when the new
one works; otherwise it gets its name back and is started again.
"""

from __future__ import annotations

from contextlib import suppress

from imq.engine.docker_engine.errors import clean_text, protocol_error
from imq.engine.oci.digest import Digest
from imq.engine.oci.reference import Reference
from imq.engine.sources.action import Failed, Outcome, changed_error
from imq.engine.sources.container_replacement import (
    NEW,
    OLD,
    REMOVES_ITSELF,
    Observed,
    Undo,
    await_health,
    container_changed,
    describe_change,
    image_gone,
    not_replaceable,
    read_replacement,
)
from imq.grammar.errors import Conflict, ImqError, InvalidReference, NotFound
from imq.grammar.record import TYPE_CHECKING, Record

from .clients import EngineClients, open_client
from .container_document import make_request, read_labels
from .container_listing import ACTIVE, STOPPED
from .container_verbs import plan_each
from .image_documents import to_full_name
from .json_documents import read_image_id, read_integer, read_object, read_objects, read_text, read_texts
from .tag import find_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from imq.engine.docker_engine.client import EngineClient
    from imq.engine.sources.action import Action, ExecutionContext, PlanContext
    from imq.grammar import ast

_CREATING = 600.0
"""The seconds that an engine has to make or start a container: it may have to unpack the image."""
_STOPPING = 60.0
"""The seconds that an engine has to stop a container, besides the time that the container has."""
_DEFAULT_STOP_TIMEOUT = 10
_SWARM = "com.docker.swarm.task.id"


class RecreateContainer(Record):
    """Replace a container by one from the image `new`, which `image` names. `timeout` is in seconds.

    `status` and `old`, the ID of its image, are those of the plan.
    """

    source: str
    id: str
    name: str
    status: str
    image: str
    old: Digest | None
    new: Digest
    timeout: int

    def describe(self) -> Outcome:
        """Return the name, the new image, and the old one."""
        change = describe_change(self.old, self.new)
        return Outcome("recreate", self.name, self.new, note=f"from {self.image} in {self.source}, {change}")

    def execute(self, context: ExecutionContext) -> Iterator[Outcome]:
        """Replace the container.

        Raises `Conflict` (`changed`) when it is not as it was planned, and `NotHealthy` when the old one is back.
        """
        client = context.get_shared(EngineClients).get(self.source)
        container = self._read_unchanged(client)
        request = make_request(
            container, _read_config(client, self.old, self.name), self._image_name(client), str(self.new)
        )
        name, runs = self.name, self.status in ACTIVE
        with Undo() as undo:
            new = self._create(client, request.document, context)
            undo.add(f"remove {name}{NEW}", lambda: _remove(client, new))
            for network, endpoint in request.networks:
                document = {"Container": new, "EndpointConfig": endpoint}
                client.post_json(f"networks/{network}/connect", None, document)
            if runs:
                undo.add(f"start {name}", lambda: self._start(client, self.id))
                self._stop(client, read_object(container.get("Config")))
            self._rename(client, self.id, f"{name}{OLD}")
            undo.add(f"rename {name}{OLD} to {name}", lambda: self._rename(client, self.id, name))
            self._rename(client, new, name)
            undo.add(f"remove the new {name}", lambda: _remove(client, new))
            if runs:
                self._start(client, new)
                await_health(lambda: self._observe(client, new), name, self.timeout)
        client.delete_json(f"containers/{self.id}")
        yield self.describe()

    def _image_name(self, client: EngineClient) -> str:
        """Return the name of the image for the request: podman looks short names up in several places."""
        is_short = self.image != self.new and client.ping().kind == "podman"
        return to_full_name(self.image) if is_short else self.image

    def _read_unchanged(self, client: EngineClient) -> dict[str, Any]:
        container = client.get_object(f"containers/{self.id}/json")
        status, image = _read_status(client, container), _read_image(container)
        if (status in ACTIVE) != (self.status in ACTIVE) or image != self.old:
            raise container_changed(self.name)
        if find_id(client, self.image) != self.new:
            raise changed_error(self.image)
        return container

    def _create(self, client: EngineClient, document: Mapping[str, Any], context: ExecutionContext) -> str:
        try:
            answer = client.post_json("containers/create", {"name": f"{self.name}{NEW}"}, document, timeout=_CREATING)
        except Conflict as error:
            error.hints = (
                *error.hints,
                f"an interrupted recreate leaves it; to remove it: rm container {self.name}{NEW} in {self.source}",
            )
            raise
        id_ = read_text(read_object(answer).get("Id"))
        if id_ is None:
            raise protocol_error(client.endpoint, "its response for create has no ID of a container")
        for warning in read_object(answer).get("Warnings") or ():
            context.progress.warn(clean_text(str(warning)))
        return id_

    def _stop(self, client: EngineClient, config: Mapping[str, Any]) -> None:
        grace = read_integer(config.get("StopTimeout")) or _DEFAULT_STOP_TIMEOUT
        client.post_json(f"containers/{self.id}/stop", timeout=grace + _STOPPING)

    @staticmethod
    def _rename(client: EngineClient, id_: str, name: str) -> None:
        client.post_json(f"containers/{id_}/rename", {"name": name})

    @staticmethod
    def _start(client: EngineClient, id_: str) -> None:
        client.post_json(f"containers/{id_}/start", timeout=_CREATING)

    def _observe(self, client: EngineClient, id_: str) -> Observed:
        container = client.get_object(f"containers/{id_}/json")
        state = read_object(container.get("State"))
        health = read_object(state.get("Health"))
        status = read_text(health.get("Status"))
        return Observed(
            _read_status(client, container),
            "" if status in (None, "none") else str(status),
            read_integer(state.get("ExitCode")),
            read_integer(container.get("RestartCount")) or 0,
            _read_last_output(health),
        )


def _remove(client: EngineClient, id_: str) -> None:
    """Remove a new container with its processes, and the volumes without a name that were made for it.

    Those that it has of the old container were named in its request, so they stay.
    """
    with suppress(NotFound):
        client.delete_json(f"containers/{id_}", {"force": "1", "v": "1"})


def _read_status(client: EngineClient, container: Mapping[str, Any]) -> str:
    status = read_text(read_object(container.get("State")).get("Status"))
    if status is None:
        raise protocol_error(client.endpoint, "a container has no status")
    return status


def _read_image(container: Mapping[str, Any]) -> Digest | None:
    id_ = read_image_id(container.get("Image"))
    return Digest(id_) if id_ is not None else None


def _read_config(client: EngineClient, image: Digest | None, container: str) -> Mapping[str, Any]:
    """Return the config of the image of a container. Raises `Conflict` when the image is gone.

    An engine with the images of containerd may drop an image when its name moves, although a container uses it.
    """
    if image is not None:
        with suppress(NotFound):
            return read_object(client.get_object(f"images/{image}/json").get("Config"))
    raise image_gone(container)


def _read_last_output(health: Mapping[str, Any]) -> str:
    """Return the output of the last health check, for a message."""
    checks = read_objects(health.get("Log"))
    return clean_text(str(checks[-1].get("Output") or "")) if checks else ""


def plan_recreate(act: ast.ActionStatement, context: PlanContext) -> list[Action]:
    """Return the replacement of each container that is named or that a query selects.

    A container that cannot be made again is a failure, and nothing is done to it.
    """
    image, timeout = read_replacement(act, context)
    clients: dict[str, EngineClient] = {}

    def plan(source: str, id_: str, name: str) -> Action:
        client = clients.get(source)
        if client is None:
            client = clients[source] = open_client(source, context.environment)
        try:
            return _plan_one(client, source, id_, name, image, timeout)
        except ImqError as error:
            return Failed(act.verb, name, error)

    try:
        return plan_each(act, context, plan)
    finally:
        for client in clients.values():
            client.close()


def _plan_one(client: EngineClient, source: str, id_: str, name: str, image: str, timeout: int) -> RecreateContainer:
    container = client.get_object(f"containers/{id_}/json")
    status = _read_status(client, container)
    _require_replaceable(client, container, name, status, source)
    image = _to_shown_name(image or read_text(read_object(container.get("Config")).get("Image")) or "")
    new = find_id(client, image) if image else None
    if new is None:
        raise NotFound(
            f"the container {name} was made from {image or 'no image'}, which {source} does not have",
            code="no-such-image",
            hints=(
                *([f"to fetch it: pull {image} to {source}"] if image else []),
                f"to use another one: recreate {name} in {source} with image = NAME",
            ),
        )
    old = _read_image(container)
    _read_config(client, old, name)
    return RecreateContainer(source, id_, name, status, image, old, new, timeout)


def _to_shown_name(text: str) -> str:
    """Return the name of an image as it is shown, with a tag: podman and `run` write names with their registry."""
    try:
        return str(Reference.parse(text).with_default_tag())
    except InvalidReference:
        return text  # an ID


def _require_replaceable(
    client: EngineClient, container: Mapping[str, Any], name: str, status: str, source: str
) -> None:
    """Raise `Conflict` for a container that could not be put back, or that others depend on."""
    reason, hint = "", ""
    if read_object(container.get("HostConfig")).get("AutoRemove") is True:
        reason, hint = REMOVES_ITSELF
    elif _SWARM in read_labels(container):
        reason, hint = "it belongs to a service of a swarm, which makes its containers", "use docker service update"
    elif status != "running" and status not in (*STOPPED, "stopped"):
        reason, hint = f"it is {status}", f"{'unpause' if status == 'paused' else 'stop'} {name} in {source}"
    elif dependents := _list_dependents(client, container):
        reason = f"{', '.join(dependents)} {'uses' if len(dependents) == 1 else 'use'} its network"
        hint = "remove these containers first, and make them again"
    if reason:
        raise not_replaceable(name, reason, hint)


def _list_dependents(client: EngineClient, container: Mapping[str, Any]) -> list[str]:
    """Return the names of the containers whose network is that of this one. The listing of podman has no networks."""
    mode = f"container:{container.get('Id')}"
    is_podman = client.ping().kind == "podman"
    dependents: list[str] = []
    for other in client.get_objects("containers/json", {"all": "1"}):
        facts: Mapping[str, Any] = other
        if is_podman:
            try:
                facts = client.get_object(f"containers/{other.get('Id')}/json")
            except NotFound:
                continue  # it was removed meanwhile
        if read_object(facts.get("HostConfig")).get("NetworkMode") == mode:
            names = read_texts(other.get("Names"))
            dependents.append((names[0] if names else str(other.get("Id"))).removeprefix("/"))
    return dependents
