"""Opens connections to endpoints: unix sockets, TCP, TLS."""

from __future__ import annotations

import socket

from imq.grammar.record import TYPE_CHECKING

from .errors import connect_error, timeout_error

if TYPE_CHECKING:
    from .endpoint import Endpoint


def open_connection(endpoint: Endpoint, timeout: float) -> socket.socket:
    """Connect to an endpoint. Each later operation of the connection may take `timeout` seconds.

    Raises `EngineError` when that fails.
    """
    if endpoint.problem is not None:
        raise endpoint.problem
    path = endpoint.socket_path
    try:
        if path is not None:
            return _open_unix_socket(path, timeout)
        host, _, port = endpoint.address.removeprefix("tcp://").rstrip("/").rpartition(":")
        connection = socket.create_connection((host.strip("[]"), int(port)), timeout)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except TimeoutError:
        raise timeout_error(endpoint, timeout, "did not accept a connection") from None
    except OSError as error:
        raise connect_error(endpoint, error) from None
    return connection


def _open_unix_socket(path: str, timeout: float) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout)
        connection.connect(path)
    except BaseException:
        connection.close()
        raise
    return connection
