"""A proxy in front of a real registry that injects faults of networks, storage and other proxies.

Requests without a fault pass unchanged. Every request is recorded with its headers.
"""

from __future__ import annotations

import contextlib
import gzip
import http.client
import re
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any

from registry.support.loopback_server import LoopbackServer

if TYPE_CHECKING:
    from collections.abc import Callable

HOP_BY_HOP_HEADERS = {"connection", "keep-alive", "transfer-encoding", "content-length"}
"""Headers of one connection, and Content-Length, which is set again."""


@dataclass
class Reply:
    """The registry's response, as it is passed on. `length` replaces the Content-Length of the body if it is set."""

    status: int
    headers: dict[str, str]
    body: bytes
    length: int | None = None
    reset_at: int | None = None
    """Bytes of the body after which the connection is reset."""
    piece: int | None = None
    """Bytes of one write. After each write the reply waits for `pause` seconds."""
    pause: float = 0.0
    speed: int | None = None
    """Bytes a second of the whole body."""


@dataclass
class Fault:
    """A fault for requests whose `METHOD path` matches `on`: for `times` of them, or all (None), after the first
    `after`.

    `answer` replies instead of the registry, `change` changes the registry's reply, `refuse_at` resets the connection
    after this number of bytes of the request's body.
    """

    on: str = "GET .*/blobs/"
    times: int | None = None
    after: int = 0
    answer: Callable[[str], Reply] | None = None
    change: Callable[[Reply], None] | None = None
    refuse_at: int | None = None
    latency: float = 0.0


@dataclass
class ReceivedRequest:
    """A request as it was received."""

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)


class FaultProxy(LoopbackServer):
    """The proxy; a context manager. `requests` are in order of arrival.

    Requests with a body of more than `largest` bytes are refused with 413.
    """

    def __init__(self, upstream: str, *faults: Fault) -> None:
        self.upstream = upstream
        self.faults = list(faults)
        self.requests: list[ReceivedRequest] = []
        self.max_body_size: int | None = None
        self.max_active = 0
        """The maximum number of concurrent requests."""
        self._active = 0
        self._lock = threading.Lock()
        self._match_counts: dict[int, int] = {}
        super().__init__(_Handler, proxy=self)

    def count_requests(self, on: str) -> int:
        """Return the number of matching requests."""
        return sum(re.match(on, f"{request.method} {request.path}") is not None for request in self.requests)

    def track_active(self, change: int) -> None:
        """Record the start (1) or the end (-1) of a request."""
        with self._lock:
            self._active += change
            self.max_active = max(self.max_active, self._active)

    def match_faults(self, request: ReceivedRequest) -> list[Fault]:
        """Record a request, and return the faults that apply to it."""
        with self._lock:
            self.requests.append(request)
            matching = []
            for number, fault in enumerate(self.faults):
                if re.match(fault.on, f"{request.method} {request.path}"):
                    count = self._match_counts[number] = self._match_counts.get(number, 0) + 1
                    if count > fault.after and (fault.times is None or count <= fault.after + fault.times):
                        matching.append(fault)
            return matching


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    proxy: FaultProxy

    def log_message(self, *_: Any) -> None:
        pass

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # the client goes away
            super().handle()

    def _serve(self) -> None:
        self.proxy.track_active(1)
        try:
            self._relay()
        finally:
            self.proxy.track_active(-1)

    def _relay(self) -> None:
        faults = self.proxy.match_faults(ReceivedRequest(self.command, self.path, dict(self.headers)))
        length = int(self.headers.get("Content-Length") or 0)
        for fault in faults:
            time.sleep(fault.latency)
            if fault.refuse_at is not None:
                self.rfile.read(min(fault.refuse_at, length))
                self._reset()
                return
        body = self.rfile.read(length) if length else b""
        make_reply = next((fault.answer for fault in faults if fault.answer), None)
        if self.proxy.max_body_size is not None and length > self.proxy.max_body_size:
            make_reply = reply_with(413)
        reply = make_reply(self.path) if make_reply else self._forward(body)
        for fault in faults:
            if fault.change is not None:
                fault.change(reply)
        self._send(reply)

    def _forward(self, body: bytes) -> Reply:
        connection = http.client.HTTPConnection(self.proxy.upstream, timeout=20)
        try:
            connection.request(self.command, self.path, body or None, dict(self.headers))
            answer = connection.getresponse()
            content = answer.read()
            headers = {name: value for name, value in answer.getheaders() if name.lower() not in HOP_BY_HOP_HEADERS}
            head = answer.getheader("Content-Length")
            length = int(head) if self.command == "HEAD" and head else None
            return Reply(answer.status, headers, content, length)
        finally:
            connection.close()

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body) if reply.length is None else reply.length))
        self.end_headers()
        body = reply.body if reply.reset_at is None else reply.body[: reply.reset_at]
        piece = reply.piece or max(len(body), 1)
        begun = time.monotonic()
        for start in range(0, len(body), piece):
            self.wfile.write(body[start : start + piece])
            self.wfile.flush()
            time.sleep(reply.pause)
            if reply.speed is not None:
                time.sleep(max(0.0, begun + (start + piece) / reply.speed - time.monotonic()))
        if reply.reset_at is not None:
            self._reset()
        elif reply.length is not None and self.command != "HEAD":
            self.close_connection = True

    def _reset(self) -> None:
        """Reset the connection. Data in the client's buffers may be lost."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.wfile.flush()
        self.connection.close()
        self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815 - http.server looks them up


# Changes to replies


def reset(at: int) -> Callable[[Reply], None]:
    """Reset the connection after this number of bytes of the body."""

    def change(reply: Reply) -> None:
        reply.reset_at = at

    return change


def truncate(by: int, *, valid_length: bool) -> Callable[[Reply], None]:
    """Omit the end of the body. The Content-Length is that of the shortened body if `valid_length`."""

    def change(reply: Reply) -> None:
        if reply.status < 300:
            reply.length = None if valid_length else len(reply.body)
            reply.body = reply.body[: max(0, len(reply.body) - by)]
            reply.headers.pop("Content-Range", None)

    return change


def lengthen(by: int) -> Callable[[Reply], None]:
    """Add bytes to the body."""

    def change(reply: Reply) -> None:
        reply.body += bytes(by)

    return change


def flip_bit(reply: Reply) -> None:
    """Flip one bit in the middle of the body."""
    middle = len(reply.body) // 2
    reply.body = reply.body[:middle] + bytes([reply.body[middle] ^ 1]) + reply.body[middle + 1 :]


def compress(reply: Reply) -> None:
    """Compress the body, as a proxy may do without a request for it."""
    reply.body = gzip.compress(reply.body)
    reply.headers["Content-Encoding"] = "gzip"


def send_slowly(piece: int, pause: float) -> Callable[[Reply], None]:
    """Send the body slowly."""

    def change(reply: Reply) -> None:
        reply.piece, reply.pause = piece, pause

    return change


def limit_speed(speed: int, piece: int = 64 << 10) -> Callable[[Reply], None]:
    """Limit the speed of the body in bytes a second, as some registries do for each connection."""

    def change(reply: Reply) -> None:
        reply.piece, reply.speed = piece, speed

    return change


def reply_with(code: int, body: bytes = b"", **headers: str) -> Callable[[str], Reply]:
    """Reply to every request like this. `_` in the names of headers becomes `-`."""
    header_values = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: Reply(code, dict(header_values), body)


def redirect(host: str, code: int = 307) -> Callable[[str], Reply]:
    """Redirect requests to another host."""
    return lambda path: Reply(code, {"Location": f"http://{host}{path}"}, b"")
