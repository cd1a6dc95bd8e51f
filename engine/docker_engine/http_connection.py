"""HTTP/1.1 over one open connection to an engine: sends requests, and reads responses of any length.

It replaces `http.client`, whose import takes 28 ms (CPython 3.11). Engines use a small part of HTTP: a body that ends
by Content-Length, by chunks, or with the connection.
"""

from __future__ import annotations

import select

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable, Iterator, Mapping

_RECEIVE_SIZE = 256 << 10
_MAX_HEAD_BYTES = 256 << 10
_MAX_LINE_BYTES = 4 << 10
_MAX_EARLY_BYTES = 16 << 20
"""Maximum bytes of a response that arrive before the request is complete."""
_MAX_DIGITS = 18
"""The maximum number of digits of a valid Content-Length."""
_BODILESS = (204, 304)
_FIRST_FINAL_STATUS = 200
_FIRST_ERROR_STATUS = 400


class ProtocolError(Exception):
    """The response is not valid HTTP. The message states the violation."""


class ConnectionEnded(Exception):
    """The connection ended before the response did."""


class RequestBodyFailed(Exception):
    """The iterator of a request's body raised the exception `cause`."""

    def __init__(self, cause: Exception) -> None:
        super().__init__()
        self.cause = cause


class HttpConnection:
    """One connection, for one request at a time. Close its socket after any exception, and unless it `is_reusable`.

    Raises `OSError` as the socket does, `TimeoutError` included.
    """

    __slots__ = (
        *("_buffer", "_chunked", "_has_line_end", "_keeps_alive", "_left", "_method", "_position", "_socket"),
        *("headers", "is_complete", "status"),
    )

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._buffer = b""
        self._position = 0
        """Where the unread part of the buffer starts."""
        self._method = ""
        self._chunked = False
        self._left: int | None = 0
        """Bytes left of the body or of the current chunk; None: the body ends with the connection."""
        self._has_line_end = False
        """Whether the line end after a chunk is still to be read."""
        self.status = 0
        self.headers: Mapping[str, str] = {}
        """Headers of the response by lower-case name."""
        self.is_complete = True
        """Whether the body of the response has been read to its end."""
        self._keeps_alive = True
        """Whether the engine accepts another request after this one."""

    @property
    def is_reusable(self) -> bool:
        """Whether the response was read to its end and the connection accepts another request."""
        return self.is_complete and self._keeps_alive and self._position == len(self._buffer)

    def send(self, method: str, target: str, headers: Mapping[str, str], body: bytes = b"") -> None:
        """Send a request. An error that the engine returns before the body ends stops the sending."""
        self._send_parts((self._start(method, target, headers), body))

    def send_chunks(self, method: str, target: str, headers: Mapping[str, str], chunks: Iterable[bytes]) -> None:
        """Send a request whose body has an unknown length.

        An engine may respond before the body ends: its progress is kept for `read`, and an error stops the sending.
        Raises `RequestBodyFailed` when `chunks` raises an exception.
        """
        head = self._start(method, target, {**headers, "Transfer-Encoding": "chunked"})
        self._send_parts(_encode_chunks(head, chunks))

    def read_head(self) -> int:
        """Read the status line and the headers, and return the status. Informational responses are skipped."""
        keeps_alive = self._keeps_alive
        while True:
            end = self._buffer.find(b"\r\n\r\n", self._position)
            if end < 0:
                self._check_head_start()
                self._receive()
                continue
            head = self._buffer[self._position : end]
            self._position = end + 4
            self._parse_head(head.decode("latin-1"))
            if self.status >= _FIRST_FINAL_STATUS:
                self._keeps_alive = self._keeps_alive and keeps_alive
                return self.status

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes of the body, and at least one before its end."""
        if self.is_complete or size <= 0:
            return b""
        if self._left == 0 and not self._read_chunk_size():
            return b""
        if self._position == len(self._buffer):
            self._buffer, self._position = self._socket.recv(_RECEIVE_SIZE), 0
            if not self._buffer:
                if self._left is not None:
                    raise ConnectionEnded
                self.is_complete = True
                return b""
        stop = self._position + (size if self._left is None else min(size, self._left))
        data = self._buffer[self._position : stop]
        self._position += len(data)
        if self._left is not None:
            self._left -= len(data)
            if not self._left:
                self._has_line_end = self._chunked
                self.is_complete = not self._chunked
        return data

    def _start(self, method: str, target: str, headers: Mapping[str, str]) -> bytes:
        self._method, self.is_complete, self._keeps_alive = method, False, True
        self._buffer, self._position = b"", 0
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def _send_parts(self, parts: Iterable[bytes]) -> None:
        """Send bytes, and receive what arrives meanwhile: neither side waits for the other to read."""
        timeout = self._socket.gettimeout()
        self._socket.settimeout(0)
        poll = select.poll()
        poll.register(self._socket, select.POLLIN | select.POLLOUT)
        try:
            for part in parts:
                view = memoryview(part)
                while view:
                    ready = poll.poll(None if timeout is None else timeout * 1000)
                    if not ready:
                        raise TimeoutError
                    if ready[0][1] & ~select.POLLOUT and not self._receive_early():
                        self._keeps_alive = False
                        return
                    view = view[self._send_some(view) :]
        except (BrokenPipeError, ConnectionResetError):  # the reason may be in the response
            self._keeps_alive = False
        finally:
            self._socket.settimeout(timeout)

    def _send_some(self, view: memoryview) -> int:
        """Send what the socket accepts at once, and return the number of bytes."""
        try:
            return self._socket.send(view)
        except _would_block_errors(self._socket):
            return 0

    def _receive_early(self) -> bool:
        """Receive bytes before the request is complete; return whether the engine accepts the rest of it."""
        try:
            received = self._socket.recv(_RECEIVE_SIZE)
        except _would_block_errors(self._socket):
            return True
        self._buffer += received
        if len(self._buffer) > _MAX_EARLY_BYTES:
            raise ProtocolError("its response to an incomplete request is too long")
        return bool(received) and not self._has_error_status()

    def _has_error_status(self) -> bool:
        digits = self._buffer[9:12]
        return digits.isdigit() and int(digits) >= _FIRST_ERROR_STATUS

    def _parse_head(self, text: str) -> None:
        first, *fields = text.split("\r\n")
        version, _, rest = first.partition(" ")
        digits, end = rest[:3], rest[3:4]
        if version not in ("HTTP/1.1", "HTTP/1.0") or not (digits.isascii() and digits.isdecimal()) or end.strip():
            raise ProtocolError("its response is not HTTP")
        headers: dict[str, str] = {}
        for field in fields:
            name, colon, value = field.partition(":")
            name, value = name.lower(), value.strip()
            if not colon or not name or name != name.strip():
                raise ProtocolError("its response has an invalid header")
            if headers.get(name, value) != value and name in ("content-length", "transfer-encoding"):
                raise ProtocolError(f"its response has several headers {name}")
            headers[name] = value
        self.status, self.headers = int(digits), headers
        connection = headers.get("connection", "").lower()
        self._keeps_alive = "close" not in connection and (version == "HTTP/1.1" or "keep-alive" in connection)
        self._parse_body_length(headers)

    def _parse_body_length(self, headers: Mapping[str, str]) -> None:
        coding, length = headers.get("transfer-encoding", "").lower(), headers.get("content-length")
        self._chunked, self._has_line_end, self._left = False, False, None
        if self._method == "HEAD" or self.status in _BODILESS or self.status < _FIRST_FINAL_STATUS:
            self._left = 0
        elif coding == "chunked":
            self._chunked, self._left = True, 0
        elif coding and coding != "identity":
            raise ProtocolError(f"its response has the unsupported encoding {coding[:40]!r}")
        elif length is not None:
            if not (length.isascii() and length.isdecimal() and len(length) <= _MAX_DIGITS):
                raise ProtocolError("its response has an invalid Content-Length")
            self._left = int(length)
        else:
            self._keeps_alive = False
        self.is_complete = self._left == 0 and not self._chunked

    def _check_head_start(self) -> None:
        start = self._buffer[self._position : self._position + 7]
        if len(self._buffer) - self._position > _MAX_HEAD_BYTES:
            raise ProtocolError("the headers of its response are too long")
        if not b"HTTP/1.".startswith(start):
            raise ProtocolError("its response is not HTTP")

    def _read_chunk_size(self) -> bool:
        """Read the line before a chunk; return whether a chunk follows, else the body is complete."""
        if self._has_line_end and self._read_line():
            raise ProtocolError("its response has an invalid chunk")
        self._has_line_end = False
        digits = self._read_line().partition(b";")[0].strip()
        if not digits or len(digits) >= _MAX_DIGITS or digits.strip(b"0123456789abcdefABCDEF"):
            raise ProtocolError("its response has an invalid chunk")
        self._left = int(digits, 16)
        if not self._left:
            while self._read_line():  # trailers
                pass
            self.is_complete = True
        return not self.is_complete

    def _read_line(self) -> bytes:
        while (end := self._buffer.find(b"\n", self._position)) < 0:
            if len(self._buffer) - self._position > _MAX_LINE_BYTES:
                raise ProtocolError("its response has an invalid chunk")
            self._receive()
        line = self._buffer[self._position : end]
        self._position = end + 1
        return line.removesuffix(b"\r")

    def _receive(self) -> None:
        """Append received bytes to the unread part of the buffer."""
        received = self._socket.recv(_RECEIVE_SIZE)
        if not received:
            raise ConnectionEnded
        self._buffer, self._position = self._buffer[self._position :] + received, 0


def _encode_chunks(head: bytes, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the parts of a chunked request. Marks exceptions of `chunks`: they are no failures of the connection."""
    yield head
    iterator = iter(chunks)
    while True:
        try:
            chunk = next(iterator)
        except StopIteration:
            break
        except Exception as error:  # noqa: BLE001 - the client raises it again
            raise RequestBodyFailed(error) from None
        if chunk:
            yield b"%x\r\n%b\r\n" % (len(chunk), chunk)
    yield b"0\r\n\r\n"


def _would_block_errors(connection: socket.socket) -> tuple[type[OSError], ...]:
    """Return the exceptions by which a non-blocking socket reports that it would block."""
    if type(connection).__name__ == "socket":
        return (BlockingIOError, InterruptedError)
    from ssl import SSLWantReadError, SSLWantWriteError

    return (BlockingIOError, InterruptedError, SSLWantReadError, SSLWantWriteError)


def is_idle(connection: socket.socket) -> bool:
    """Whether an unused connection is open and silent, as it is before a request."""
    timeout = connection.gettimeout()
    connection.settimeout(0)
    try:
        connection.recv(1)
    except _would_block_errors(connection):
        return True
    except OSError:
        return False
    finally:
        connection.settimeout(timeout)
    return False
