"""Requests by the library `requests`: with a body, through a proxy, or answered by what `direct` does not support.

The only module that uses `requests`. It reads no `.netrc` and stores no cookies. Connections, timeouts and sendfile are
set up in an adapter of requests (`_make_adapter`).
"""

from __future__ import annotations

import contextlib
import threading
import time

from imq.grammar.record import TYPE_CHECKING

from .certificates import make_tls_context, resolve_certificates
from .fast_import import import_requests_if_allowed
from .request_body import BLOCK_SIZE, SendfileRange
from .response import parse_chunk_size
from .urls import get_authority, get_target

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Iterator, Mapping
    from typing import Any

    import requests
    from imq.engine.registry.settings import Settings
    from requests.adapters import HTTPAdapter

    from .deadline import DeadlineReader

_TLS_WRITE_SIZE = 64 << 10
_URL_HEADER = ":address"
"""A pseudo-header that carries the URL unchanged to the connection, which removes it."""


class RequestsBody:
    """The body of one response. Its connection returns to the pool of urllib3."""

    def __init__(self, raw_response: requests.Response) -> None:
        self._response = raw_response
        # urllib3's readinto copies from a buffer of its own; http.client's below it reads in place.
        # The fallback is urllib3's, which is slower.
        body: Any = getattr(raw_response.raw, "_fp", None) or raw_response.raw
        self._reader: DeadlineReader | None = getattr(body, "reader", None)
        if getattr(body, "length", None) is not None and hasattr(getattr(body, "fp", None), "readinto1"):
            body.fp = _UnbufferedBody(body.fp)
        elif getattr(body, "chunked", False) and hasattr(body, "fp"):
            body.fp = _ChunkedBody(body.fp)
        self._body = body
        self.errors = library_errors()
        """The exceptions of a failed transfer."""

    @property
    def deadline(self) -> float | None:
        """The monotonic time at which the body must have arrived."""
        return self._reader.deadline if self._reader is not None else None

    @deadline.setter
    def deadline(self, deadline: float | None) -> None:
        if self._reader is not None:
            self._reader.deadline = deadline

    @property
    def is_late(self) -> bool:
        """Whether the deadline has passed."""
        return self._reader is not None and self._reader.is_late

    def readinto(self, view: memoryview) -> int:
        """Fill `view` with the available bytes of the body; return 0 at its end.

        Raises `StalledError`, and what `errors` lists.
        """
        count: int = self._body.readinto(view)
        if self._body.isclosed():  # read to the end: the connection may be reused
            self._response.raw.release_conn()
        return count

    def abort(self) -> None:
        """Wake a thread that waits in `readinto`. Callable from any thread."""
        with contextlib.suppress(Exception):  # the response may be closed already
            self._response.raw.shutdown()

    def close(self) -> None:
        """Close the connection, unless the body was read to its end."""
        with contextlib.suppress(Exception):  # closing a broken connection may fail; it is not reused
            if self._response.raw.length_remaining == 0:  # a response to HEAD is never read
                self._response.raw.drain_conn()
            self._response.close()


class _UnbufferedBody:
    """A body of known length that returns available bytes; http.client would wait for a full buffer.

    Otherwise a slow server would block until a large buffer is full, and a broken connection would lose the received
    bytes.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def readinto(self, view: memoryview) -> int:
        """Fill `view` with the available bytes."""
        count: int = self._stream.readinto1(view)
        return count

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _ChunkedBody:
    """The stream below a body in chunks, whose sizes must be hexadecimal digits: http.client takes any of Python's."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._ended = False

    def readline(self, limit: int) -> bytes:
        """Return the line of a chunk's size, or after the last chunk a trailer."""
        from http.client import HTTPException

        line: bytes = self._stream.readline(limit)
        if line and not self._ended:
            size = parse_chunk_size(line.rstrip(b"\r\n"))
            if size is None:
                raise HTTPException("a chunk has no valid size")
            self._ended = size == 0
        return line

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class RequestsTransport:
    """Connections of requests to any number of hosts, kept open. Safe to use from several threads."""

    def __init__(self, settings: Settings, ca_bundle: str) -> None:
        self._settings = settings
        self._ca_bundle = ca_bundle
        self._session: requests.Session | None = None
        self._lock = threading.Lock()
        self._certificate_hosts: set[str] = set()

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Any,
        proxies: dict[str, str],
        *,
        verify: bool,
    ) -> tuple[int, Mapping[str, str], RequestsBody]:
        """Send one request; return the status, the headers and the body. Raises what `library_errors` lists."""
        session = self._open_session()
        from requests import Request

        host = get_authority(url)
        if url.startswith("https://"):
            self._mount_host_certificates(session, host, verify=verify)
        request = Request(method, f"{url.partition('://')[0]}://{host}/", headers=dict(headers), data=body).prepare()
        request.url = request.headers[_URL_HEADER] = url  # unchanged: requests normalises URLs
        raw_response = session.send(
            request,
            stream=True,
            allow_redirects=False,
            timeout=(self._settings.connect_timeout, self._settings.read_timeout),
            verify=self._ca_bundle if verify and self._ca_bundle else verify,
            proxies=proxies,
        )
        return raw_response.status_code, raw_response.headers, RequestsBody(raw_response)

    def close(self) -> None:
        """Close every connection."""
        with self._lock:
            session, self._session = self._session, None
            self._certificate_hosts.clear()
        if session is not None:
            session.close()

    def _mount_host_certificates(self, session: requests.Session, host: str, *, verify: bool) -> None:
        """Mount an adapter with the certificates of a host, for this host only."""
        with self._lock:
            if host in self._certificate_hosts:
                return
            certificates = resolve_certificates(self._settings, host)
            if certificates is not None:
                session.mount(
                    f"https://{host}/",
                    _make_adapter(self._settings, make_tls_context(certificates, host, verify=verify)),
                )
            self._certificate_hosts.add(host)

    def _open_session(self) -> requests.Session:
        with self._lock:
            if self._session is None:
                import_requests_if_allowed()
                self._session = _make_session(self._settings)
            return self._session


def library_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions of the libraries: requests, urllib3, http.client and the system."""
    from http.client import HTTPException

    from requests import RequestException
    from urllib3.exceptions import HTTPError

    return RequestException, HTTPError, HTTPException, OSError


def _make_session(settings: Settings) -> requests.Session:
    from http.cookiejar import DefaultCookiePolicy

    from requests import Session

    class NoRedirectSession(Session):
        """Ignores redirects; `allow_redirects=False` would still read their bodies, of any length."""

        def get_redirect_target(self, resp: object) -> None:  # noqa: ARG002
            return None

    session = NoRedirectSession()
    session.trust_env = False  # otherwise requests reads .netrc; `proxies` resolves proxies and certificates
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
    adapter = _make_adapter(settings, None)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


def _make_adapter(settings: Settings, context: ssl.SSLContext | None) -> HTTPAdapter:
    """Return an adapter that creates and pools connections, with its own TLS context if one is given."""
    from requests.adapters import HTTPAdapter
    from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
    from urllib3.connection import HTTPConnection, HTTPSConnection

    from .deadline import DeadlineResponse

    class TimedResponse(DeadlineResponse):
        def __init__(self, sock: socket.socket, **options: Any) -> None:
            super().__init__(sock, settings, **options)

    class PlainConnection(HTTPConnection):
        """Sends files with sendfile."""

        response_class = TimedResponse

        def request(self, method: str, url: str, body: Any = None, headers: Any = None, **options: Any) -> None:
            super().request(method, *_restore_url(url, body, headers), **options)

        def send(self, data: Any) -> None:
            if isinstance(data, SendfileRange) and self.sock is not None:
                data.send(self.sock)
                return
            for block in _split_blocks(self, data, settings):
                super().send(block)

    class Connection(HTTPSConnection):
        """Omits the warning about unverified TLS: the user listed the host as insecure."""

        response_class = TimedResponse

        def request(self, method: str, url: str, body: Any = None, headers: Any = None, **options: Any) -> None:
            super().request(method, *_restore_url(url, body, headers), **options)

        def connect(self) -> None:
            super().connect()
            self.is_verified = True  # only the warning reads it

        def send(self, data: Any) -> None:
            for block in _split_blocks(self, data, settings):
                started = time.monotonic()
                for piece in _split_tls_writes(block):  # the timeout applies to each TLS record
                    if (remaining := settings.read_timeout + started - time.monotonic()) <= 0:
                        raise TimeoutError("timed out")
                    if self.sock is not None:
                        self.sock.settimeout(remaining)
                    super().send(piece)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = PlainConnection

    class Pool(HTTPSConnectionPool):
        ConnectionCls = Connection

    class Adapter(HTTPAdapter):
        """Uses these connections and the TLS context, with a proxy too."""

        def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
            if context is not None:
                kwargs["ssl_context"] = context
            super().init_poolmanager(*args, **kwargs)
            self.poolmanager.pool_classes_by_scheme = {"http": PlainPool, "https": Pool}

        def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
            if context is not None:
                kwargs["ssl_context"] = context
            manager = super().proxy_manager_for(*args, **kwargs)
            manager.pool_classes_by_scheme = {"http": PlainPool, "https": Pool}
            return manager

    return Adapter(pool_connections=16, pool_maxsize=max(settings.jobs, 1) + 1, max_retries=0)


def _restore_url(url: str, body: Any, headers: Any) -> tuple[str, Any, dict[str, str]]:
    """Return the request target, the body and the headers, with the URL that `send` was given.

    `url` is the libraries' version of it: a full URL for a proxy, else a path.
    """
    remaining = dict(headers)
    original_url = remaining.pop(_URL_HEADER)
    return get_target(original_url) if url.startswith("/") else original_url, body, remaining


def _split_blocks(connection: Any, data: Any, settings: Settings) -> Iterator[Any]:
    """Yield the data of a connection in blocks; the receiver has one timeout to accept each.

    A socket applies its timeout to all data of one call, and on a new socket it is the connect timeout.
    """
    if connection.sock is not None:
        connection.sock.settimeout(settings.read_timeout)
    if isinstance(data, SendfileRange):
        yield from data
    elif isinstance(data, bytes | bytearray | memoryview) and len(data) > BLOCK_SIZE:
        view = memoryview(data)
        for start in range(0, len(view), BLOCK_SIZE):
            yield view[start : start + BLOCK_SIZE]
    else:
        yield data


def _split_tls_writes(block: Any) -> Iterator[Any]:
    """Yield a block in pieces of a few TLS records."""
    if isinstance(block, bytes | bytearray | memoryview) and len(block) > _TLS_WRITE_SIZE:
        view = memoryview(block)
        for start in range(0, len(view), _TLS_WRITE_SIZE):
            yield view[start : start + _TLS_WRITE_SIZE]
    else:
        yield block
