"""One connection to a gRPC server: calls over HTTP/2, one after the other.

`h2` has HTTP/2 and the compression of its headers; this module has the part of the gRPC protocol that calls with one
request message need. `grpcio` is a download of 7 MB and takes 100 ms to import. `h2` adds 29 ms to the 110 ms of CPU
time of a question to containerd, and 150 kB to the frozen executable; it reads blobs at 0.4 GB/s (CPython 3.11).
"""

from __future__ import annotations

import struct
from collections import deque

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError as Http2Error
from h2.settings import SettingCodes, Settings
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable, Iterator, Sequence

    from h2.events import Event

_MAX_WINDOW = (1 << 31) - 1
_DEFAULT_WINDOW = (1 << 16) - 1
_MAX_HEADERS = 1 << 20
_MAX_MESSAGE = 256 << 20
"""The maximum size of a received message in bytes. containerd's own limit is 16 MB."""
_READ_SIZE = 256 << 10
_PREFIX_SIZE = 5
"""The bytes before a message: whether it is compressed, and its length."""

OK = 0


class ConnectionEnded(Exception):
    """The server closed the connection."""


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
        self._http = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8", logger=None))
        self._http.local_settings = Settings(
            client=True,
            initial_values={
                SettingCodes.ENABLE_PUSH: 0,
                SettingCodes.INITIAL_WINDOW_SIZE: _MAX_WINDOW,
                SettingCodes.MAX_HEADER_LIST_SIZE: _MAX_HEADERS,
            },
        )
        self._events: deque[Event] = deque()
        self._has_received = False
        self._http.initiate_connection()
        self._http.increment_flow_control_window(_MAX_WINDOW - _DEFAULT_WINDOW)
        self._send()

    def call(self, method: str, message: bytes, metadata: Sequence[tuple[str, str]] = ()) -> Iterator[bytes]:
        """Yield the response messages of a call. Read all of them before the next call.

        Raises `CallError`, `ConnectionEnded`, `ProtocolError` and `OSError`.
        """
        headers = [
            *((":method", "POST"), (":scheme", "http"), (":path", method), (":authority", "localhost")),
            *(("content-type", "application/grpc"), ("te", "trailers"), ("user-agent", "imq"), *metadata),
        ]
        body = b"\0" + struct.pack(">I", len(message)) + message
        try:
            stream = self._http.get_next_available_stream_id()
            self._http.send_headers(stream, headers)
            if len(body) > self._http.local_flow_control_window(stream):
                raise ProtocolError("the request is too large")
            size = self._http.max_outbound_frame_size
            pieces = [body[at : at + size] for at in range(0, len(body), size)]
            for piece in pieces:
                self._http.send_data(stream, piece, end_stream=piece is pieces[-1])
        except Http2Error as error:
            raise ConnectionEnded from error  # the server said before that it goes away
        self._send()
        yield from self._read_messages(stream)

    def _read_messages(self, stream: int) -> Iterator[bytes]:
        pending = bytearray()
        has_status = False
        for event in self._read_events(stream):
            if isinstance(event, ResponseReceived | TrailersReceived):
                has_status = _check_headers(event.headers or ()) or has_status
            elif isinstance(event, DataReceived):
                pending += event.data or b""
                yield from _split_messages(pending)
        if not has_status:
            raise ProtocolError("a response has no status")
        if pending:
            raise ProtocolError("a message is truncated")

    def _read_events(self, stream: int) -> Iterator[ResponseReceived | TrailersReceived | DataReceived]:
        """Yield the events of a stream until it ends."""
        while True:
            while not self._events:
                self._receive()
            event = self._events.popleft()
            if isinstance(event, ConnectionTerminated):
                if event.error_code or (event.last_stream_id or 0) < stream:
                    raise ConnectionEnded
                continue
            if getattr(event, "stream_id", None) != stream:
                continue
            if isinstance(event, StreamEnded):
                return
            if isinstance(event, StreamReset):
                raise ProtocolError("the server reset the call")
            if isinstance(event, ResponseReceived | TrailersReceived | DataReceived):
                yield event
                if isinstance(event, DataReceived) and event.flow_controlled_length:
                    self._http.acknowledge_received_data(event.flow_controlled_length, stream)
                    self._send()

    def _receive(self) -> None:
        """Receive what the server sends next, and send what it must get in return."""
        received = self._socket.recv(_READ_SIZE)
        if not received:
            raise ConnectionEnded
        if not self._has_received and b"HTTP/1" in received[:9]:
            raise ProtocolError("the server does not speak HTTP/2")
        self._has_received = True
        try:
            self._events += self._http.receive_data(received)
        except Http2Error as error:
            code = getattr(error, "error_code", None)
            name = code.name.lower().replace("_", " ") if isinstance(code, ErrorCodes) else "protocol error"
            raise ProtocolError(f"the server does not follow HTTP/2 ({name}): {str(error).lower()}"[:300]) from None
        self._send()

    def _send(self) -> None:
        if data := self._http.data_to_send():
            self._socket.sendall(data)


def _check_headers(headers: Iterable[tuple[str | bytes, str | bytes]]) -> bool:
    """Return whether headers or trailers have the status of the call. Raises the error that they report."""
    by_name = {str(name): str(value) for name, value in headers}  # decoded: the connection has an encoding
    if by_name.get(":status", "200") != "200":
        raise ProtocolError(f"the server is no gRPC server: HTTP status {by_name[':status'][:10]}")
    status = by_name.get("grpc-status")
    if status is None:
        return False
    if not status.isdecimal():
        raise ProtocolError(f"the status of a response is {status[:20]!r}")
    if int(status) != OK:
        from urllib.parse import unquote

        raise CallError(int(status), unquote(by_name.get("grpc-message", "")))
    return True


def _split_messages(pending: bytearray) -> Iterator[bytes]:
    """Yield the whole messages at the start of the received bytes, and remove them there."""
    while len(pending) >= _PREFIX_SIZE:
        compressed, size = struct.unpack_from(">BI", pending)
        if compressed or size > _MAX_MESSAGE:
            raise ProtocolError("a message is compressed or too large")
        if len(pending) < _PREFIX_SIZE + size:
            return
        yield bytes(pending[_PREFIX_SIZE : _PREFIX_SIZE + size])
        del pending[: _PREFIX_SIZE + size]
