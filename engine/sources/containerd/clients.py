"""The client of containerd that the actions of one statement share."""

from __future__ import annotations

from imq.engine.containerd_client.client import ContainerdClient
from imq.grammar.record import TYPE_CHECKING

from .names import find_address

if TYPE_CHECKING:
    from imq.engine.sources.action import ExecutionContext


class ContainerdClients:
    """The client, which is opened when an action first needs it."""

    def __init__(self, context: ExecutionContext) -> None:
        self._context = context
        self._client: ContainerdClient | None = None

    def get(self) -> ContainerdClient:
        """Return the client."""
        if self._client is None:
            self._client = ContainerdClient(find_address(self._context.environment))
        return self._client

    def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            self._client.close()
