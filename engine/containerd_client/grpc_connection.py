"""One connection to a gRPC server: calls over HTTP/2, one after the other.

This is the part of RFC 9113 and of the gRPC protocol that calls with one request message need. `grpcio` is a download
of 7 MB and takes 100 ms to import; a question to containerd takes less time as a whole.
"""

from __future__ import annotations

import struct

from imq.grammar.record import TYPE_CHECKING

from .hpack import HeaderDecoder, encode_headers

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Sequence

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PUSH_PROMISE, _PING, _GOAWAY, _WINDOW_UPDATE, _CONTINUATION = (
    0, 1, 3, 4, 5, 6, 7, 8, 9,
)  # fmt: skip
_ACK = _END_STREAM = 0x1
_END_HEADERS, _PADDED, _PRIORITY = 0x4, 0x8, 0x20
_ENABLE_PUSH, _INITIAL_WINDOW_SIZE = 2, 4
_MAX_WINDOW = (1 << 31) - 1
_DEFAULT_WINDOW = (1 << 16) - 1
_MAX_FRAME = 1 << 14
"""The maximum size of a frame in bytes, which neither side changes."""
_MAX_HEADERS = 1 << 20
_REPLENISH = 1 << 30
"""Received bytes after which a window is opened again."""
_MAX_MESSAGE = 256 << 20
"""The maximum size of a received message in bytes. containerd's own limit is 16 MB."""
_READ_SIZE = 256 << 10
OK = 0


class ConnectionEnded(Exception):
    """The server closed the connection. `was_idle`: before it sent anything for the call."""

    was_idle = False


class ProtocolError(Exception):
    """The server does not speak gRPC, or not correctly."""


class CallError(Exception):
    """The server returned an error: `status` is the gRPC status code."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class GrpcConnection:
    """A connection over an open socket, whose timeout applies to each silence of the server."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._buffer = bytearray()
        self._decoder = HeaderDecoder()
        self._stream = -1
        self._received = 0  # bytes of data since the window of the connection was opened
        settings = struct.pack(">HIHI", _ENABLE_PUSH, 0, _INITIAL_WINDOW_SIZE, _MAX_WINDOW)
        self._socket.sendall(
            _PREFACE
            + _frame(_SETTINGS, 0, 0, settings)
            + _frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", _MAX_WINDOW - _DEFAULT_WINDOW))
        )

    def call(self, method: str, message: bytes, metadata: Sequence[tuple[str, str]] = ()) -> Iterator[bytes]:
        """Yield the response messages of a call. Read all of them before the next call.

        Raises `CallError`, `ConnectionEnded`, `ProtocolError`, `hpack.HeaderError` and `OSError`.
        """
        self._stream += 2
        headers = [
            *((":method", "POST"), (":scheme", "http"), (":path", method), (":authority", "localhost")),
            *(("content-type", "application/grpc"), ("te", "trailers"), ("user-agent", "imq"), *metadata),
        ]
        body = b"\0" + struct.pack(">I", len(message)) + message
        if len(body) > _DEFAULT_WINDOW:
            raise ProtocolError("the request is too large")
        pieces = [body[at : at + _MAX_FRAME] for at in range(0, len(body), _MAX_FRAME)]
        frames = [_frame(_HEADERS, _END_HEADERS, self._stream, encode_headers(headers))]
        frames += [_frame(_DATA, 0, self._stream, piece) for piece in pieces[:-1]]
        frames.append(_frame(_DATA, _END_STREAM, self._stream, pieces[-1]))
        self._socket.sendall(b"".join(frames))
        yield from self._read_messages()

    def _read_messages(self) -> Iterator[bytes]:
        pending = bytearray()
        window = 0
        while True:
            kind, flags, payload = self._read_stream_frame()
            if kind == _HEADERS:
                self._check_headers(payload, is_last=bool(flags & _END_STREAM))
                if flags & _END_STREAM:
                    break
                continue
            pending += payload
            window += len(payload)
            if window > _REPLENISH:
                self._open_window(self._stream, window)
                window = 0
            while len(pending) >= 5:
                compressed, size = struct.unpack_from(">BI", pending)
                if compressed or size > _MAX_MESSAGE:
                    raise ProtocolError("a message is compressed or too large")
                if len(pending) < 5 + size:
                    break
                yield bytes(pending[5 : 5 + size])
                del pending[: 5 + size]
            if flags & _END_STREAM:
                raise ProtocolError("a response has no status")
        if pending:
            raise ProtocolError("a message is truncated")

    def _check_headers(self, block: bytes, *, is_last: bool) -> None:
        """Raise the error that headers or trailers report."""
        headers = dict(self._decoder.decode(block))
        if headers.get(":status", "200") != "200":
            raise ProtocolError(f"the server is no gRPC server: HTTP status {headers[':status'][:10]}")
        status = headers.get("grpc-status")
        if status is None:
            if is_last:
                raise ProtocolError("a response has no status")
            return
        if not status.isdecimal():
            raise ProtocolError(f"the status of a response is {status[:20]!r}")
        if int(status) != OK:
            from urllib.parse import unquote

            raise CallError(int(status), unquote(headers.get("grpc-message", "")))

    def _read_stream_frame(self) -> tuple[int, int, bytes]:
        """Return the next DATA or whole HEADERS of the call: kind, flags and payload. Others are handled here."""
        while True:
            kind, flags, stream, payload = self._read_frame()
            if kind == _DATA:
                self._received += len(payload)
                if self._received > _REPLENISH:
                    self._open_window(0, self._received)
                    self._received = 0
            if kind in (_DATA, _HEADERS):
                content = _strip_padding(kind, flags, payload)
                if kind == _HEADERS:
                    content = self._read_continuations(flags, content)
                if stream == self._stream:
                    return kind, flags, content
                if kind == _HEADERS:
                    self._decoder.decode(content)  # the table of headers is shared by all streams
            elif kind == _RST_STREAM and stream == self._stream:
                raise ProtocolError("the server reset the call")
            elif kind == _SETTINGS and not flags & _ACK:
                self._socket.sendall(_frame(_SETTINGS, _ACK, 0, b""))
            elif kind == _PING and not flags & _ACK:
                self._socket.sendall(_frame(_PING, _ACK, 0, payload))
            elif kind == _GOAWAY:
                if len(payload) < 8:
                    raise ProtocolError("a frame is truncated")
                last, _ = struct.unpack_from(">II", payload)
                if last < self._stream:
                    raise ConnectionEnded
            elif kind == _PUSH_PROMISE:
                raise ProtocolError("the server pushed a response")

    def _read_continuations(self, flags: int, block: bytes) -> bytes:
        while not flags & _END_HEADERS:
            kind, flags, _, payload = self._read_frame()
            block += payload
            if kind != _CONTINUATION or len(block) > _MAX_HEADERS:
                raise ProtocolError("the headers of a response do not end")
        return block

    def _read_frame(self) -> tuple[int, int, int, bytes]:
        head = self._read(9)
        size, kind, flags, stream = int.from_bytes(head[:3], "big"), head[3], head[4], int.from_bytes(head[5:], "big")
        if size > _MAX_FRAME:
            raise ProtocolError("the server does not speak HTTP/2")
        return kind, flags, stream & _MAX_WINDOW, self._read(size)

    def _read(self, size: int) -> bytes:
        buffer = self._buffer
        while len(buffer) < size:
            received = self._socket.recv(_READ_SIZE)
            if not received:
                raise ConnectionEnded
            buffer += received
        content = bytes(buffer[:size])
        del buffer[:size]
        return content

    def _open_window(self, stream: int, size: int) -> None:
        self._socket.sendall(_frame(_WINDOW_UPDATE, 0, stream, struct.pack(">I", size)))


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _strip_padding(kind: int, flags: int, payload: bytes) -> bytes:
    start, end = 0, len(payload)
    if flags & _PADDED:
        if not payload:
            raise ProtocolError("a frame is truncated")
        start, end = 1, end - payload[0]
    if kind == _HEADERS and flags & _PRIORITY:
        start += 5
    if start > end:
        raise ProtocolError("a frame is truncated")
    return payload[start:end]
