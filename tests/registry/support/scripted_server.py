"""A server with scripted responses, for behaviour that a real registry does not show on demand.

Requests must arrive in the order of the script. Any other request gets status 599 and fails the test.
"""

from __future__ import annotations

import contextlib
import ssl
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from registry.support.loopback_server import LoopbackServer


@dataclass
class Step:
    """One expected request and its response. A `path` without `?` matches any query."""

    method: str
    path: str
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    length: int | None = None
    """The Content-Length, if it differs from that of the body. -1 sends none and closes the connection at the end."""
    endless: bool = False
    cut: bool = False
    """Break the connection after the body, or at once if there is no body."""
    hold: threading.Event | None = None
    """Wait for this after the body."""


@dataclass
class ReceivedRequest:
    """A request as it was received."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class ScriptedServer(LoopbackServer):
    """The server; a context manager. At its end every step must have been used, unless `any_order`."""

    def __init__(self, *steps: Step, any_order: bool = False, tls: tuple[str, str] | None = None) -> None:
        self.steps = list(steps)
        self.requests: list[ReceivedRequest] = []
        self.unexpected: list[str] = []
        self._any_order = any_order
        self._lock = threading.Lock()
        super().__init__(_Handler, script=self)
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.url = f"http://{self.host}"

    def __exit__(self, kind: object, *rest: object) -> None:
        super().__exit__(kind, *rest)
        assert not self.unexpected, self.unexpected
        if kind is None and not self._any_order:
            assert not self.steps, f"not requested: {self.steps}"

    def add(self, *steps: Step) -> None:
        """Append steps, for steps that contain the server's own address."""
        self.steps += steps

    def take_step(self, method: str, path: str) -> Step | None:
        with self._lock:
            for number, step in enumerate(self.steps):
                fits = (step.method == method and path == step.path) or path.partition("?")[0] == step.path
                if fits and step.method == method:
                    return self.steps.pop(number)
                if not self._any_order:
                    break
            self.unexpected.append(f"{method} {path}, expected {self.steps[:1]}")
            return None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    script: ScriptedServer

    def log_message(self, *_: Any) -> None:
        pass

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # a client without TLS, or one that disconnects
            super().handle()

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else b""
        self.script.requests.append(ReceivedRequest(self.command, self.path, dict(self.headers), body))
        step = self.script.take_step(self.command, self.path)
        if step is None:
            step = Step("", "", 599)
        if step.cut and not step.body:
            self.close_connection = True
            return
        self.send_response(step.status)
        for name, value in step.headers.items():
            self.send_header(name, value)
        if step.length != -1 and not step.endless:
            self.send_header("Content-Length", str(len(step.body) if step.length is None else step.length))
        else:
            self.send_header("Connection", "close")
        self.end_headers()
        try:
            if self.command != "HEAD":
                self.wfile.write(step.body)
            while step.endless:
                self.wfile.write(b"\0" * 65536)
            self.wfile.flush()
            if step.hold is not None:
                step.hold.wait(20)
        except OSError:
            self.close_connection = True
        if step.cut or step.length is not None:
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815 - names that http.server looks up
