"""A proxy before a real registry that does to chosen requests what networks, storage and other proxies do to them.

What no fault is meant for passes unchanged. Every request is kept as it came, with the headers it carried.
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

from registry.support.loopback_server import Serving

if TYPE_CHECKING:
    from collections.abc import Callable

HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}
"""Headers that are for one connection; Content-Length is made anew."""


@dataclass
class Reply:
    """The registry's answer, as it is to be passed on. `length` is told instead of the body's own when it is set."""

    status: int
    headers: dict[str, str]
    body: bytes
    length: int | None = None
    reset_at: int | None = None
    """Bytes of the body after which the connection is reset."""
    piece: int | None = None
    """Bytes of one write; between two, the reply waits for `pause` seconds."""
    pause: float = 0.0
    speed: int | None = None
    """Bytes a second, of the whole body."""


@dataclass
class Fault:
    """What is done to requests whose `METHOD path` matches `on`: to `times` of them, or to all (None), but not to the
    first `after`.

    `answer` answers instead of the registry, `change` changes the registry's reply, `refuse_at` resets the connection
    after so many bytes of the request's body.
    """

    on: str = "GET .*/blobs/"
    times: int | None = None
    after: int = 0
    answer: Callable[[str], Reply] | None = None
    change: Callable[[Reply], None] | None = None
    refuse_at: int | None = None
    latency: float = 0.0


@dataclass
class Passed:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)


class Proxy(Serving):
    """The proxy; a context manager. `requests` are in the order in which they came.

    Requests with a body of more than `largest` bytes are refused with 413.
    """

    def __init__(self, upstream: str, *faults: Fault) -> None:
        self.upstream = upstream
        self.faults = list(faults)
        self.requests: list[Passed] = []
        self.largest: int | None = None
        self.most = 0
        """The most requests that were under way at the same time."""
        self._running = 0
        self._lock = threading.Lock()
        self._done: dict[int, int] = {}
        super().__init__(_Handler, proxy=self)

    def count(self, on: str) -> int:
        """Return how many requests match."""
        return sum(re.match(on, f"{request.method} {request.path}") is not None for request in self.requests)

    def under_way(self, change: int) -> None:
        """Note that a request has come, or has been answered."""
        with self._lock:
            self._running += change
            self.most = max(self.most, self._running)

    def met(self, request: Passed) -> list[Fault]:
        """Note a request, and return the faults that it meets."""
        with self._lock:
            self.requests.append(request)
            found = []
            for number, fault in enumerate(self.faults):
                if re.match(fault.on, f"{request.method} {request.path}"):
                    done = self._done[number] = self._done.get(number, 0) + 1
                    if done > fault.after and (fault.times is None or done <= fault.after + fault.times):
                        found.append(fault)
            return found


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    proxy: Proxy

    def log_message(self, *_: Any) -> None:
        pass

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # the client goes away
            super().handle()

    def _serve(self) -> None:
        self.proxy.under_way(1)
        try:
            self._pass()
        finally:
            self.proxy.under_way(-1)

    def _pass(self) -> None:
        faults = self.proxy.met(Passed(self.command, self.path, dict(self.headers)))
        length = int(self.headers.get("Content-Length") or 0)
        for fault in faults:
            time.sleep(fault.latency)
            if fault.refuse_at is not None:
                self.rfile.read(min(fault.refuse_at, length))
                self._reset()
                return
        body = self.rfile.read(length) if length else b""
        own = next((fault.answer for fault in faults if fault.answer), None)
        if self.proxy.largest is not None and length > self.proxy.largest:
            own = status(413)
        reply = own(self.path) if own else self._forward(body)
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
            headers = {name: value for name, value in answer.getheaders() if name.lower() not in HOP}
            head = answer.getheader("Content-Length")
            told = int(head) if self.command == "HEAD" and head else None
            return Reply(answer.status, headers, content, told)
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
        """Break the connection so that the other side is told: what lies in its buffers is lost, or is not."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.wfile.flush()
        self.connection.close()
        self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815 - http.server looks them up


# What can be done to a reply


def reset(at: int) -> Callable[[Reply], None]:
    """Reset the connection after so many bytes of the body."""

    def change(reply: Reply) -> None:
        reply.reset_at = at

    return change


def cut(by: int, *, told: bool) -> Callable[[Reply], None]:
    """Leave out the end of the body; `told`: with a Content-Length that fits, else with that of the whole."""

    def change(reply: Reply) -> None:
        if reply.status < 300:
            reply.length = None if told else len(reply.body)
            reply.body = reply.body[: max(0, len(reply.body) - by)]
            reply.headers.pop("Content-Range", None)

    return change


def lengthened(by: int) -> Callable[[Reply], None]:
    """Add bytes to the body."""

    def change(reply: Reply) -> None:
        reply.body += bytes(by)

    return change


def spoilt(reply: Reply) -> None:
    """Turn over one bit in the middle of the body."""
    middle = len(reply.body) // 2
    reply.body = reply.body[:middle] + bytes([reply.body[middle] ^ 1]) + reply.body[middle + 1 :]


def packed(reply: Reply) -> None:
    """Pack the body as a proxy does that was not asked to."""
    reply.body = gzip.compress(reply.body)
    reply.headers["Content-Encoding"] = "gzip"


def dripping(piece: int, pause: float) -> Callable[[Reply], None]:
    """Send the body slowly."""

    def change(reply: Reply) -> None:
        reply.piece, reply.pause = piece, pause

    return change


def paced(speed: int, piece: int = 64 << 10) -> Callable[[Reply], None]:
    """Send the body at so many bytes a second, as registries do that give each connection its share."""

    def change(reply: Reply) -> None:
        reply.piece, reply.speed = piece, speed

    return change


def status(code: int, body: bytes = b"", **headers: str) -> Callable[[str], Reply]:
    """Answer so, whatever is asked; `_` in the names of headers stands for `-`."""
    said = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: Reply(code, dict(said), body)


def redirect(host: str, code: int = 307) -> Callable[[str], Reply]:
    """Send requests on to another host."""
    return lambda path: Reply(code, {"Location": f"http://{host}{path}"}, b"")
