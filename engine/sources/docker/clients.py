"""The clients of engines that the actions of one statement share."""

from __future__ import annotations

from imq.engine.docker_engine.client import EngineClient
from imq.engine.docker_engine.endpoint import find_endpoint
from imq.grammar.errors import UnknownName
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from imq.engine.sources.action import ExecutionContext, PlanContext

    from .reader import EngineReader


class EngineClients:
    """Clients by the name of their engine. Each is opened when an action first needs it."""

    def __init__(self, context: ExecutionContext) -> None:
        self._context = context
        self._clients: dict[str, EngineClient] = {}

    def get(self, source: str) -> EngineClient:
        """Return the client of an engine."""
        client = self._clients.get(source)
        if client is None:
            client = self._clients[source] = open_client(source, self._context.environment)
        return client

    def close(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            client.close()


def open_client(source: str, environment: Mapping[str, str]) -> EngineClient:
    """Return a new client of an engine. Raises `UnknownName`."""
    endpoint = find_endpoint(source, environment, environment.get("HOME", ""))
    if endpoint is None:
        raise UnknownName(f'no engine is called "{source}"')
    return EngineClient(endpoint, environment=environment)


def is_podman(source: str, context: PlanContext) -> bool:
    """Whether an engine is podman. Raises `EngineError` when it does not answer."""
    reader: EngineReader = getattr(context.sources["docker"], "reader")()  # noqa: B009
    return reader.is_podman(source)
