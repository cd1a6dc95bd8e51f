"""The engines of this user and machine as places, and the requests that show whether they respond."""

from __future__ import annotations

from imq.engine.docker_engine.client import EngineClient
from imq.engine.query.source import Place
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from imq.engine.docker_engine.endpoint import Endpoint

_TIMEOUT = 3.0
"""Seconds of silence after which an engine counts as unreachable in the table `sources`."""
_LOCAL_TIMEOUT = 1.0
"""The same for a socket of this machine, when imq looks for a default source: every command waits for it."""


def make_place(endpoint: Endpoint, environment: Mapping[str, str]) -> Place:
    """Return the row of `sources` for an engine. Its request counts the images."""

    def request() -> int:
        with EngineClient(endpoint, timeout=_TIMEOUT, environment=environment) as client:
            return len(client.get_json("images/json", {}) or ())

    return _describe(endpoint).replace(request=request)


def make_default(endpoint: Endpoint, environment: Mapping[str, str]) -> Place:
    """Return an engine as a default source. Its request is a ping."""
    timeout = _TIMEOUT if endpoint.socket_path is None else _LOCAL_TIMEOUT

    def request() -> None:
        with EngineClient(endpoint, timeout=timeout, environment=environment) as client:
            client.ping()

    return _describe(endpoint).replace(request=request)


def _describe(endpoint: Endpoint) -> Place:
    kind = "a Podman engine" if endpoint.kind == "podman" else "a Docker engine"
    return Place(endpoint.name, kind, endpoint.address, problem=endpoint.problem)
