"""Requests without a body over connections of imq's own: plain HTTP, or TLS by `ssl`, without a proxy.

It exists for small questions: importing requests, urllib3 and http.client takes 80 ms of processor time, and a request
by them 0.4 ms (CPython 3.11, requests 2.34). The body is received in the caller's buffer, without a copy.

Deadlines are those of `deadline`: for the head, the chunks, the trailers and the body. A head that is ambiguous raises
`UnsupportedResponseError`, and the caller repeats the request with requests.
"""

from __future__ import annotations

import re
import select
import threading
import time
import weakref
from contextlib import suppress

from imq.grammar.record import TYPE_CHECKING

from .certificates import make_host_context
from .response import parse_chunk_size
from .response_head import BODILESS_STATUSES, ResponseHead, UnsupportedResponseError, are_sendable, is_header_value
from .stall import StallDetector, StalledError
from .urls import get_authority, get_target, split_authority

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Mapping

    from imq.engine.registry.settings import Settings

_RECEIVE_SIZE = 64 << 10
_MAX_HEAD_BYTES = 256 << 10
"""The maximum size of the headers, and of the trailers, in bytes."""
_MAX_LINE_BYTES = 64 << 10
"""The maximum size of the line before a chunk, in bytes."""
_MIN_TIMEOUT = 0.001
_INTERIM = re.compile(rb"HTTP/1\.1 1[0-9]{2}[ \r]")
"""The beginning of an interim response, such as 103 Early Hints; another one follows."""


class InvalidResponseError(Exception):
    """The bytes that arrived are no HTTP response."""


class ConnectFailedError(Exception):
    """No connection was made; the cause is the system's error."""


class StaleConnectionError(Exception):
    """The server closed an idle connection, and did not answer the request that was sent on it."""


TRANSFER_ERRORS = (OSError, InvalidResponseError, ConnectFailedError)
"""The exceptions of a failed connection, request or transfer."""


class DirectTransport:
    """Open connections to any number of hosts. Safe to use from several threads."""

    def __init__(self, settings: Settings, ca_bundle: str) -> None:
        self._settings = settings
        self._ca_bundle = ca_bundle
        self._lock = threading.Lock()
        self._idle: dict[tuple[str, bool], list[_Connection]] = {}
        self._contexts: dict[tuple[str, bool], ssl.SSLContext] = {}
        self._max_idle = max(settings.jobs, 1) + 1
        self._is_closed = False
        weakref.finalize(self, _close_idle, self._idle)  # for a client that is dropped without being closed

    def send(
        self, method: str, url: str, headers: Mapping[str, str], *, verify: bool
    ) -> tuple[ResponseHead, DirectBody] | None:
        """Send one request, and return the head of the response and its body; None for one that needs quoting.

        An idle connection that the server has closed is replaced. Raises `TRANSFER_ERRORS` and
        `UnsupportedResponseError`.
        """
        target = get_target(url)
        if not (are_sendable(target, *headers) and all(map(is_header_value, headers.values()))):
            return None
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        request = "".join(f"{line}\r\n" for line in lines).encode("ascii") + b"\r\n"
        key = f"{url.partition('://')[0]}://{get_authority(url)}", verify
        while True:
            connection = self._take_idle(key)
            if connection is None:
                connection = _Connection(self.connect(key[0], verify=verify), self._settings)
            try:
                return connection.exchange(method, request, self, key)
            except StaleConnectionError:
                connection.close()
            except BaseException:
                connection.close()
                raise

    def connect(self, url: str, *, verify: bool) -> socket.socket:
        """Return a new connection to the host of `url`; with `https` its certificate is checked if `verify` is set."""
        import socket

        scheme, authority = url.partition("://")[0], get_authority(url)
        host, port = split_authority(scheme, authority)
        context = self._get_context(authority, verify=verify) if scheme == "https" else None
        name = host.encode()
        try:
            # Bytes: a string would be encoded as IDNA, which takes 3 ms to import.
            sock = socket.create_connection((name, port), self._settings.connect_timeout)  # type: ignore[arg-type]
        except (socket.gaierror, TimeoutError):
            raise
        except (UnicodeError, OverflowError):  # an empty or very long label, or a port above 65535
            raise socket.gaierror(socket.EAI_NONAME, "not a valid name of a host") from None
        except OSError as error:
            raise ConnectFailedError from error
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock if context is None else context.wrap_socket(sock, server_hostname=name.rstrip(b"."))
        except BaseException:
            sock.close()
            raise

    def release(self, key: tuple[str, bool], connection: _Connection) -> None:
        """Keep a connection for the next request, or close it when enough are kept."""
        with self._lock:
            idle = self._idle.setdefault(key, [])
            if not self._is_closed and len(idle) < self._max_idle:
                idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Close the idle connections; those in use are closed when their response is."""
        with self._lock:
            self._is_closed = True
            self._contexts.clear()
            _close_idle(self._idle)

    def _take_idle(self, key: tuple[str, bool]) -> _Connection | None:
        """Return an idle connection to an origin that is still open."""
        while True:
            with self._lock:
                idle = self._idle.get(key)
                connection = idle.pop() if idle else None
            if connection is None or connection.is_quiet():
                return connection
            connection.close()

    def _get_context(self, authority: str, *, verify: bool) -> ssl.SSLContext:
        """Return the TLS context of a host, made once: to load the authorities takes longer than a request."""
        with self._lock:
            context = self._contexts.get((authority, verify))
            if context is None:
                context = make_host_context(self._settings, authority, self._ca_bundle if verify else None)
                self._contexts[authority, verify] = context
            return context


class _Connection:
    """One open connection, which serves one request at a time."""

    def __init__(self, sock: socket.socket, settings: Settings) -> None:
        self.socket = sock
        self.settings = settings
        self._is_used = False

    def exchange(
        self, method: str, request: bytes, transport: DirectTransport, key: tuple[str, bool]
    ) -> tuple[ResponseHead, DirectBody]:
        """Send a request and return the response when its head has arrived."""
        sock, settings = self.socket, self.settings
        is_reused, self._is_used = self._is_used, True
        deadline = time.monotonic() + settings.read_timeout
        received, interim_bytes = b"", 0
        try:
            sock.settimeout(settings.read_timeout)
            sock.sendall(request)
            while (end := _find_head_end(received)) < 0 or _INTERIM.match(received):
                if end >= 0:
                    interim_bytes += end + 4
                    received = received[end + 4 :]
                    continue
                if len(received) + interim_bytes > _MAX_HEAD_BYTES:
                    raise InvalidResponseError("the headers are too long")
                limit_wait(sock, settings.read_timeout, deadline)
                piece = sock.recv(_RECEIVE_SIZE)
                if not piece:
                    raise ConnectionError("closed without a response")
                received += piece
        except OSError as error:
            if is_reused and not received and not isinstance(error, TimeoutError):
                raise StaleConnectionError from None
            raise
        head = ResponseHead(received[:end])
        body = DirectBody(self, transport, key, head, received[end + 4 :], bodiless=method == "HEAD")
        return head, body

    def is_quiet(self) -> bool:
        """Whether an idle connection is open, and nothing has arrived on it unasked."""
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        """Close the connection."""
        with suppress(OSError):  # closing a broken connection may fail
            self.socket.close()


class DirectBody:
    """The body of one response. At its end, the connection serves other requests."""

    errors = TRANSFER_ERRORS

    def __init__(
        self,
        connection: _Connection,
        transport: DirectTransport,
        key: tuple[str, bool],
        head: ResponseHead,
        received: bytes,
        *,
        bodiless: bool,
    ) -> None:
        self._connection: _Connection | None = connection
        self._socket = connection.socket
        self._settings = connection.settings
        self._transport = transport
        self._key = key
        self._received = received
        self._closes_connection = head.closes_connection
        self._chunked = head.chunked
        self._left: int | None = head.length
        """Bytes that remain of the body, or of the current chunk; None: until the connection ends."""
        if bodiless or head.status in BODILESS_STATUSES:
            self._chunked, self._left = False, 0
        elif self._chunked:
            self._left = 0
        self._has_chunk_before = False
        self._stall_detector = StallDetector(self._settings)
        self.deadline: float | None = None
        """The monotonic time at which the body must have arrived."""
        self._socket.settimeout(self._settings.read_timeout)
        if self._left == 0 and not self._chunked:
            self._finish()

    @property
    def is_late(self) -> bool:
        """Whether the deadline has passed."""
        return self.deadline is not None and time.monotonic() >= self.deadline

    def readinto(self, view: memoryview) -> int:
        """Fill `view` with the available bytes of the body; return 0 at its end.

        Raises `StalledError` and `TRANSFER_ERRORS`.
        """
        if self._connection is None:
            return 0
        if self._chunked and self._left == 0 and not self._begin_chunk():
            return 0
        if self._left is not None and self._left < len(view):
            view = view[: self._left]
        if self._received:
            count = min(len(view), len(self._received))
            view[:count] = self._received[:count]
            self._received = self._received[count:]
        else:
            count = self._receive_into(view)
            if not count:
                if self._chunked:
                    raise ConnectionError("closed during a chunk")
                self.close()
        if self._left is not None and count:
            self._left -= count
            if self._left == 0 and not self._chunked:
                self._finish()
        return count

    def abort(self) -> None:
        """Wake a thread that waits in `readinto`. Callable from any thread."""
        import socket

        if self._connection is not None:
            with suppress(OSError):  # the connection may be closed already
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)  # that of `ssl` is not safe during a read

    def close(self) -> None:
        """Close the connection, unless the body was read to its end."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _finish(self) -> None:
        """Return the connection: the body has ended."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._closes_connection or self._received:
            connection.close()
        else:
            self._transport.release(self._key, connection)

    def _begin_chunk(self) -> bool:
        """Read the line before a chunk. Return False after the last chunk and the trailers."""
        if self._has_chunk_before and self._read_line():
            raise InvalidResponseError("a chunk has more bytes than its size")
        self._has_chunk_before = True
        size = parse_chunk_size(self._read_line())
        if size is None:
            raise InvalidResponseError("a chunk has no valid size")
        if not size:
            trailer_bytes = 0
            while line := self._read_line():
                trailer_bytes += len(line)
                if trailer_bytes > _MAX_HEAD_BYTES:
                    raise InvalidResponseError("the trailers are too long")
            self._finish()
        self._left = size
        return size > 0

    def _read_line(self) -> bytes:
        """Return the next line of a body in chunks, without its end."""
        while (end := self._received.find(b"\n")) < 0:
            if len(self._received) > _MAX_LINE_BYTES:
                raise InvalidResponseError("the line of a chunk is too long")
            buffer = bytearray(_RECEIVE_SIZE)
            count = self._receive_into(memoryview(buffer))
            if not count:
                raise ConnectionError("closed between chunks")
            self._received += buffer[:count]
        line, self._received = self._received[:end], self._received[end + 1 :]
        return line.rstrip(b"\r")

    def _receive_into(self, view: memoryview) -> int:
        if self.deadline is not None:
            limit_wait(self._socket, self._settings.read_timeout, self.deadline)
        if not self._chunked:  # the caller measures the speed of the body itself
            return self._socket.recv_into(view)
        started = time.monotonic()
        count = self._socket.recv_into(view)
        speed = self._stall_detector.record(count, time.monotonic() - started) if count else None
        if speed is not None:
            raise StalledError(speed)
        return count


def _close_idle(idle: dict[tuple[str, bool], list[_Connection]]) -> None:
    """Close connections that serve no request."""
    for connections in idle.values():
        while connections:
            connections.pop().close()


def limit_wait(sock: socket.socket, read_timeout: float, deadline: float) -> None:
    """Let the next call of a socket wait for `read_timeout` seconds at most, and not past the deadline."""
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise TimeoutError("timed out")
    sock.settimeout(max(min(read_timeout, remaining), _MIN_TIMEOUT))


def _find_head_end(received: bytes) -> int:
    """Return the position of the empty line after the headers, or -1 when it has not arrived yet."""
    end = received.find(b"\r\n\r\n")
    if end >= 0:
        return end
    if received.find(b"\n") >= 0:
        if not received.startswith(b"HTTP/"):
            raise InvalidResponseError("no status line")
        if b"\n\n" in received:
            raise UnsupportedResponseError
    return -1
