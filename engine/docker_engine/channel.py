"""A connection of a client to an engine, from its opening to its end."""

from __future__ import annotations

import socket

from imq.grammar.record import TYPE_CHECKING

from .http_connection import HttpConnection, is_idle

if TYPE_CHECKING:
    from imq.grammar.errors import EngineError


class Channel:
    """An open connection to an engine."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.http = HttpConnection(connection)
        self.was_idle = False
        """Whether the connection has served a request before the present one."""

    def is_alive(self) -> bool:
        """Whether the unused connection accepts a request."""
        return is_idle(self.socket)

    def explain_end(self) -> EngineError | None:
        """Return the error that ended the connection; None when the cause is unknown."""
        return None

    def close(self) -> None:
        """Close the connection; a blocked read in another thread returns."""
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.socket.close()
