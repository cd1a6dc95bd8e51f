"""The base of the tests' servers: a loopback port, a thread, and shutdown."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class LoopbackServer:
    """A server; a context manager. `host` is its address and port."""

    def __init__(self, handler: type[BaseHTTPRequestHandler], **attributes: Any) -> None:
        """Listen. `attributes` are set on the handler class."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (handler,), attributes))
        self._server.daemon_threads = True
        self._server.socket.settimeout(1)  # `accept` waits for good if a client has gone since the socket was ready
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
