"""A proxy that opens tunnels with CONNECT, as proxies of organisations do for HTTPS."""

from __future__ import annotations

import base64
import contextlib
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Self

_MAX_HEADER = 65536


class ConnectProxy:
    """A proxy on the loopback. It opens tunnels to `targets` only, each a host and port by the name in requests.

    `login` is the user and password that it requires ("" for none), `status` what it refuses every tunnel with (0 for
    no refusal), and with `is_silent` it never answers.
    """

    def __init__(
        self, targets: dict[str, tuple[str, int]], login: str = "", status: int = 0, *, is_silent: bool = False
    ) -> None:
        self.requests: list[tuple[str, dict[str, str]]] = []
        """The request lines so far, each with its headers in lower case."""
        self.tunnels = 0
        self._targets = targets
        self._login = login
        self._status = status
        self._is_silent = is_silent
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._sockets.append(client)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            header = b""
            while b"\r\n\r\n" not in header and len(header) < _MAX_HEADER:
                received = client.recv(4096)
                if not received:
                    return
                header += received
            lines = header.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
            self.requests.append((lines[0], headers))
            if self._is_silent:
                return
            status = self._judge(lines[0], headers)
            if status != 200:
                client.sendall(f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
                client.close()
                return
            server = socket.create_connection(self._targets[lines[0].split(" ")[1]])
            self._sockets.append(server)
            self.tunnels += 1
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            threading.Thread(target=_copy, args=(server, client), daemon=True).start()
            _copy(client, server)

    def _judge(self, line: str, headers: dict[str, str]) -> int:
        method, target, _ = line.split(" ")
        if method != "CONNECT":
            return 405
        expected = "Basic " + base64.b64encode(self._login.encode()).decode()
        if self._login and headers.get("proxy-authorization") != expected:
            return 407
        return self._status or (200 if target in self._targets else 403)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while received := source.recv(65536):
            target.sendall(received)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
