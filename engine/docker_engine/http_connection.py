"""HTTP/1.1 over one open connection to an engine: sends requests, and reads responses of any length.

It replaces `http.client`, whose import takes 28 ms (CPython 3.11). Engines use a small part of HTTP: a body that ends
by Content-Length, by chunks, or with the connection.
"""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Protocol

    class Socket(Protocol):
        """The methods of a socket that a connection uses."""

        def recv(self, size: int, /) -> bytes:
            """Receive at most `size` bytes; no bytes at the end."""

        def sendall(self, data: bytes, /) -> None:
            """Send all bytes."""


_RECEIVE_SIZE = 256 << 10
_MAX_HEAD_BYTES = 256 << 10
_MAX_LINE_BYTES = 4 << 10
_MAX_DIGITS = 18
"""The maximum number of digits of a valid Content-Length."""
_BODILESS = (204, 304)


class ProtocolError(Exception):
    """The response is not valid HTTP. The message states the violation."""


class ConnectionEnded(Exception):
    """The connection ended before the response did. `started` is whether a part of the response arrived."""

    def __init__(self, *, started: bool) -> None:
        super().__init__()
        self.started = started


class HttpConnection:
    """One connection, for one request at a time. Close its socket after any exception, and when `is_reusable` is false.

    Raises `OSError` as the socket does, `TimeoutError` among them.
    """

    __slots__ = (
        "_buffer",
        "_chunked",
        "_left",
        "_method",
        "_socket",
        "headers",
        "is_complete",
        "is_reusable",
        "status",
    )

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self._buffer = b""
        self._method = ""
        self._chunked = False
        self._left: int | None = 0
        """Bytes left of the body or the current chunk; None: the body ends with the connection."""
        self.status = 0
        self.headers: Mapping[str, str] = {}
        """Headers of the response by lower-case name."""
        self.is_complete = True
        """Whether the body of the response has been read to its end."""
        self.is_reusable = True
        """Whether the connection accepts another request once `is_complete`."""

    def send(self, method: str, target: str, headers: Mapping[str, str], body: bytes = b"") -> None:
        """Send a whole request."""
        self._socket.sendall(self._start(method, target, headers) + body)

    def send_chunks(self, method: str, target: str, headers: Mapping[str, str], chunks: Iterable[bytes]) -> None:
        """Send a request whose body is of unknown length."""
        head = self._start(method, target, {**headers, "Transfer-Encoding": "chunked"})
        self._socket.sendall(head)
        for chunk in chunks:
            if chunk:
                self._socket.sendall(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        self._socket.sendall(b"0\r\n\r\n")

    def _start(self, method: str, target: str, headers: Mapping[str, str]) -> bytes:
        self._method, self.is_complete = method, False
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def read_head(self) -> int:
        """Read the status line and the headers, and return the status. Informational responses are skipped."""
        while True:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                self._check_head_start()
                self._receive(started=bool(self._buffer))
                continue
            head, self._buffer = self._buffer[:end], self._buffer[end + 4 :]
            self._parse_head(head.decode("latin-1"))
            if self.status >= 200:
                return self.status

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes of the body, and at least one before its end."""
        if self.is_complete or size <= 0:
            return b""
        if self._left == 0 and self._chunked:
            self._read_chunk_size()
        if self._left == 0:
            return b""
        if not self._buffer:
            if self._left is None:
                self._buffer = self._socket.recv(min(size, _RECEIVE_SIZE))
                if not self._buffer:
                    self.is_complete = True
                    return b""
            else:
                self._receive(started=True)
        length = min(size, len(self._buffer)) if self._left is None else min(size, len(self._buffer), self._left)
        data, self._buffer = self._buffer[:length], self._buffer[length:]
        if self._left is not None:
            self._left -= length
            if self._left == 0:
                self._finish_part()
        return data

    def read_all(self, limit: int) -> bytes | None:
        """Return the rest of the body; None when it is longer than `limit` bytes."""
        parts, total = [], 0
        while data := self.read(_RECEIVE_SIZE):
            total += len(data)
            if total > limit:
                return None
            parts.append(data)
        return b"".join(parts)

    def _parse_head(self, text: str) -> None:
        first, *fields = text.split("\r\n")
        version, _, rest = first.partition(" ")
        digits = rest[:3]
        if version not in ("HTTP/1.1", "HTTP/1.0") or len(digits) < 3 or not digits.isdecimal() or rest[3:4].strip():
            raise ProtocolError("its answer is not HTTP")
        headers: dict[str, str] = {}
        for field in fields:
            name, colon, value = field.partition(":")
            if not colon or not name or name != name.strip():
                raise ProtocolError("its answer has an invalid header")
            name, value = name.lower(), value.strip()
            if name in headers and name in ("content-length", "transfer-encoding") and headers[name] != value:
                raise ProtocolError(f"its answer has two different headers {name}")
            headers[name] = value
        self.status, self.headers = int(digits), headers
        kept = headers.get("connection", "").lower()
        self.is_reusable = "close" not in kept and (version == "HTTP/1.1" or "keep-alive" in kept)
        coding, length = headers.get("transfer-encoding", "").lower(), headers.get("content-length")
        self._chunked, self._left = False, None
        if self._method == "HEAD" or self.status in _BODILESS:
            self._left = 0
        elif coding == "chunked":
            self._chunked, self._left = True, 0
        elif coding and coding != "identity":
            raise ProtocolError(f"its answer has the unsupported encoding {coding[:40]!r}")
        elif length is not None:
            if not (length.isascii() and length.isdecimal() and len(length) <= _MAX_DIGITS):
                raise ProtocolError("its answer has an invalid Content-Length")
            self._left = int(length)
        else:
            self.is_reusable = False
        self.is_complete = self._left == 0 and not self._chunked

    def _check_head_start(self) -> None:
        if len(self._buffer) > _MAX_HEAD_BYTES:
            raise ProtocolError("the headers of its answer are too long")
        if self._buffer and not b"HTTP/1.".startswith(self._buffer[:7]):
            raise ProtocolError("its answer is not HTTP")

    def _read_chunk_size(self) -> None:
        size_text = self._read_line().partition(b";")[0].strip()
        if not size_text or len(size_text) > 15 or size_text.strip(b"0123456789abcdefABCDEF"):
            raise ProtocolError("its answer has an invalid chunk")
        self._left = int(size_text, 16)
        if self._left == 0:
            while self._read_line():  # trailers
                pass
            self.is_complete = True

    def _finish_part(self) -> None:
        """Read what follows the last byte of a body or of a chunk."""
        if not self._chunked:
            self.is_complete = True
        elif self._read_line():
            raise ProtocolError("its answer has an invalid chunk")

    def _read_line(self) -> bytes:
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > _MAX_LINE_BYTES:
                raise ProtocolError("its answer has an invalid chunk")
            self._receive(started=True)
        line, self._buffer = self._buffer[:end], self._buffer[end + 1 :]
        return line.removesuffix(b"\r")

    def _receive(self, *, started: bool) -> None:
        received = self._socket.recv(_RECEIVE_SIZE)
        if not received:
            raise ConnectionEnded(started=started)
        self._buffer += received
