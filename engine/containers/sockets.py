"""Unix sockets at names in open folders, and the passing of descriptors over them.

The module `socket` is avoided: what it adds to `_socket` takes 3 ms to import.
"""

from __future__ import annotations

import _socket
import os
import sys
from contextlib import suppress

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_DESCRIPTOR_SIZE = 4
_MAX_DESCRIPTORS = 16


def receive_descriptors(socket: int, size: int = 1) -> tuple[bytes, list[int]]:
    """Return the next message of a socket, at most `size` bytes, and the descriptors that were sent with it."""
    end = _socket.socket(fileno=socket)
    try:
        space = _socket.CMSG_SPACE(_MAX_DESCRIPTORS * _DESCRIPTOR_SIZE)
        content, ancillary, _, _ = end.recvmsg(size, space, _socket.MSG_CMSG_CLOEXEC)
    finally:
        end.detach()
    data = b"".join(piece for _, kind, piece in ancillary if kind == _socket.SCM_RIGHTS)
    starts = range(0, len(data), _DESCRIPTOR_SIZE)
    return content, [int.from_bytes(data[at : at + _DESCRIPTOR_SIZE], sys.byteorder) for at in starts]


def send_descriptors(socket: int, content: bytes, descriptors: Sequence[int]) -> None:
    """Send a message with descriptors over a socket. Raises `OSError` when nobody receives it."""
    end = _socket.socket(fileno=socket)
    try:
        data = b"".join(one.to_bytes(_DESCRIPTOR_SIZE, sys.byteorder) for one in descriptors)
        end.sendmsg([content], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, data)])
    finally:
        end.detach()


def open_listener(directory: int, name: str) -> int:
    """Return a socket that listens at a name in an open folder; what has the name is replaced."""
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)
    listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        listener.bind(f"/proc/self/fd/{directory}/{name}")  # paths of sockets have at most 107 bytes
        listener.listen(8)
    except OSError:
        listener.close()
        raise
    return listener.detach()


def connect(directory: int, name: str) -> int:
    """Return a socket that is connected to the listener at a name in an open folder. Raises `OSError`."""
    client = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        client.connect(f"/proc/self/fd/{directory}/{name}")
    except OSError:
        client.close()
        raise
    return client.detach()


def accept(listener: int, timeout: float | None = None) -> int:
    """Return a socket that is connected to the next client. Raises `TimeoutError` after `timeout` seconds."""
    server = _socket.socket(fileno=listener)
    try:
        server.settimeout(timeout)
        descriptor: int = server._accept()[0]  # type: ignore[attr-defined] # noqa: SLF001 - accept() is of `socket`
    finally:
        server.detach()
    os.set_blocking(descriptor, True)
    return descriptor


def make_pair() -> tuple[int, int]:
    """Return two connected sockets that keep messages apart."""
    one, other = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    return one.detach(), other.detach()


def make_control() -> tuple[int, int]:
    """Return two connected sockets for lines in both directions."""
    one, other = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
    return one.detach(), other.detach()
