"""Opens connections to endpoints: unix sockets, TCP, TLS, and ssh."""

from __future__ import annotations

import os
import socket

from imq.grammar.record import TYPE_CHECKING

from .address import split_address
from .channel import Channel
from .errors import certificate_error, connect_error, timeout_error, tls_error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .endpoint import Endpoint

_MAX_SOCKET_PATH = 107
"""Maximum length of the path of a unix socket in bytes (Linux: 108 with the final zero)."""


def open_channel(endpoint: Endpoint, timeout: float, environment: Mapping[str, str] | None = None) -> Channel:
    """Connect to an endpoint. Each operation of the connection may take `timeout` seconds.

    `environment` is that of an ssh process; the default is the one of this process. Raises `EngineError`.
    """
    if endpoint.problem is not None:
        raise endpoint.problem
    if endpoint.address.startswith("ssh://"):
        from .ssh import open_ssh_channel  # subprocess is slow to import

        return open_ssh_channel(endpoint, timeout, environment)
    path = endpoint.socket_path
    try:
        return Channel(_open_tcp_socket(endpoint, timeout) if path is None else _open_unix_socket(path, timeout))
    except TimeoutError:
        raise timeout_error(endpoint, timeout, "did not accept a connection") from None
    except OSError as error:
        raise connect_error(endpoint, error) from None


def _open_unix_socket(path: str, timeout: float) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    folder = None
    try:
        connection.settimeout(timeout)
        if len(os.fsencode(path)) > _MAX_SOCKET_PATH and hasattr(os, "O_PATH"):
            folder = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY)
            path = f"/proc/self/fd/{folder}/{os.path.basename(path)}"
        connection.connect(path)
    except BaseException:
        connection.close()
        raise
    finally:
        if folder is not None:
            os.close(folder)
    return connection


def _open_tcp_socket(endpoint: Endpoint, timeout: float) -> socket.socket:
    address = split_address(endpoint.address)
    connection = socket.create_connection((address.host, address.port), timeout)
    try:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection if endpoint.tls is None else _start_tls(connection, endpoint, address.host)
    except BaseException:
        connection.close()
        raise


def _start_tls(connection: socket.socket, endpoint: Endpoint, host: str) -> socket.socket:
    import ssl

    assert endpoint.tls is not None
    try:
        context = endpoint.tls.make_context()
    except (OSError, ValueError) as error:
        raise certificate_error(endpoint, error) from None
    try:
        return context.wrap_socket(connection, server_hostname=host)
    except ssl.SSLError as error:
        raise tls_error(endpoint, error) from None
