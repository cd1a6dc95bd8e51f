"""One HTTP request and its response: the only module that uses `requests`.

It adds no credentials, follows no redirects and retries nothing: `client` does that. It reads no `.netrc` and stores no
cookies. Exceptions of the libraries become `RegistryError`.

Connections, timeouts and sendfile are set up in an adapter of requests (`_make_adapter`).
"""

from __future__ import annotations

import contextlib
import threading
import time

from imq.engine.registry.errors import content_length_error, deadline_error, stalled_error, transport_error
from imq.engine.registry.settings import is_loopback
from imq.engine.units.redaction import NO_SECRETS
from imq.grammar.errors import RegistryError
from imq.grammar.record import TYPE_CHECKING

from .certificates import make_tls_context, resolve_certificates
from .proxies import find_system_bundle, get_ca_bundle, resolve_proxies
from .request_body import BLOCK_SIZE, SendfileRange
from .response import HasHeaders, parse_chunk_size, parse_length
from .stall import StallDetector, StalledError
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
    from .rate_limit import RateLimit


_TLS_WRITE_SIZE = 64 << 10
_DRAIN_TIMEOUT = 2.0
"""Seconds for the rest of a body that is discarded."""
_URL_HEADER = ":address"
"""A pseudo-header that carries the URL unchanged to the connection, which removes it."""


class Response(HasHeaders):
    """The status and headers of a response, and its body to be read once. Close it, or read it to the end.

    `description` names the body in errors.
    """

    __slots__ = (
        *("_body", "_content", "_host", "_reader", "_response", "_settings", "_stall_detector"),
        *("bodiless", "description", "headers", "rate_limit", "secrets", "status", "url"),
    )

    def __init__(self, raw_response: requests.Response, host: str, settings: Settings, *, bodiless: bool) -> None:
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
        self._host = host
        self._settings = settings
        self._stall_detector = StallDetector(settings)
        self._content: bytes | None = None
        self.rate_limit: RateLimit | None = None
        self.secrets = NO_SECRETS
        self.bodiless = bodiless
        self.status = raw_response.status_code
        self.headers: Mapping[str, str] = raw_response.headers
        self.url = raw_response.request.url or ""
        self.description = "a response"

    def readinto(self, view: memoryview) -> int:
        """Fill `view` with the available bytes of the body, never decoded; return 0 at the end.

        It blocks only while no byte is available. A stalled body raises a temporary `RegistryError`.
        """
        started = time.monotonic()
        try:
            count: int = self._body.readinto(view)
            if self._body.isclosed():  # read to the end: the connection may be reused
                self._response.raw.release_conn()
        except StalledError as slow:
            raise self._stalled(slow.speed) from None
        except Exception as error:
            self.close()
            if not isinstance(error, _library_errors()):
                raise
            if self._reader is not None and self._reader.is_late:
                raise deadline_error(self._host, f"sends {self.description}", self._settings.answer_timeout) from None
            raise transport_error(error, self._host, "closed the connection during the response") from None
        speed = self._stall_detector.record(count, time.monotonic() - started) if count else None
        if speed is not None:
            raise self._stalled(speed)
        return count

    def _stalled(self, speed: float) -> RegistryError:
        self.close()
        return stalled_error(self._host, f"sends {self.description}", speed, self._settings.least_speed)

    def read(self, limit: int) -> bytes:
        """Return the whole body, or `limit + 1` bytes of a longer one, and close the response.

        The body must arrive within `answer_timeout`. Later calls return the same bytes whatever their limit.
        """
        if self._content is not None:
            return self._content
        if self._reader is not None:
            self._reader.deadline = time.monotonic() + self._settings.answer_timeout
        return self._read_until(limit)

    def _read_until(self, limit: int) -> bytes:
        buffer = bytearray(min(limit + 1, max(4096, (self.length or 0) + 1)))
        done = 0
        try:
            while count := self.readinto(memoryview(buffer)[done:]):
                done += count
                if done > limit:
                    break
                if done == len(buffer):
                    buffer.extend(bytes(min(limit + 1, 4 * done) - done))
        finally:
            self.close()
        self._content = bytes(buffer[:done])
        return self._content

    def drain(self, limit: int) -> None:
        """Discard the body, so that the connection can be reused.

        A connection with a long or slow body is closed: a new one takes less time.
        """
        if self._reader is not None:
            self._reader.deadline = time.monotonic() + _DRAIN_TIMEOUT
        try:
            self._read_until(limit)
        except RegistryError:
            self._content = b""

    def abort(self) -> None:
        """Wake a thread that waits in `readinto`, which then returns 0 or raises. Callable from any thread."""
        with contextlib.suppress(Exception):  # the response may be closed already
            self._response.raw.shutdown()

    def close(self) -> None:
        """Return the connection to the pool if the body was read, or close it. May be called again."""
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


class Transport:
    """Connections to any number of hosts, kept open between requests. Safe to use from several threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._session: requests.Session | None = None
        self._lock = threading.Lock()
        self._certificate_hosts: set[str] = set()
        self._contexts: dict[tuple[str, bool], ssl.SSLContext] = {}
        self._ca_bundle = get_ca_bundle(settings.environment) or settings.authority or find_system_bundle()

    def send(
        self, method: str, url: str, headers: Mapping[str, str], body: Any = None, *, verify: bool = True
    ) -> Response:
        """Send one request and return when the headers of the response have arrived."""
        from requests import Request

        session = self._open_session()
        host = get_authority(url)
        if url.startswith("https://"):
            self._mount_host_certificates(session, host, verify=verify)
        all_headers = {"Host": host, "User-Agent": self._settings.user_agent, "Accept-Encoding": "identity", **headers}
        try:
            request = Request(method, f"{url.partition('://')[0]}://{host}/", headers=all_headers, data=body).prepare()
            request.url = request.headers[_URL_HEADER] = url  # unchanged: requests normalises URLs
            raw_response = session.send(
                request,
                stream=True,
                allow_redirects=False,
                timeout=(self._settings.connect_timeout, self._settings.read_timeout),
                verify=self._ca_bundle if verify and self._ca_bundle else verify,
                proxies={} if is_loopback(host) else resolve_proxies(url, self._settings.environment),
            )
        except Exception as error:
            if not isinstance(error, _library_errors()):
                raise
            raise transport_error(error, host, "does not respond") from None
        response = Response(raw_response, host, self._settings, bodiless=method == "HEAD")
        if not response.bodiless and not _has_valid_length(response):
            response.close()
            raise content_length_error(host, response.header("Content-Length"))
        return response

    def is_direct(self, url: str) -> bool:
        """Whether the host of `url` is reached without a proxy."""
        return is_loopback(get_authority(url)) or not resolve_proxies(url, self._settings.environment)

    def connect(self, url: str, *, verify: bool = True) -> socket.socket:
        """Return a new connection to the host of `url`, set up and checked like those of `send`.

        The TLS context is cached for each host: to load the authorities takes longer than a request.
        """
        from requests import Request
        from urllib3.connection import HTTPSConnection

        session = self._open_session()
        host = get_authority(url)
        if url.startswith("https://"):
            self._mount_host_certificates(session, host, verify=verify)
        try:
            adapter: Any = session.get_adapter(f"{url}/")
            request = Request("GET", f"{url}/").prepare()
            trusted = self._ca_bundle if verify and self._ca_bundle else verify
            pool = adapter.get_connection_with_tls_context(request, trusted)
            adapter.cert_verify(pool, url, trusted, None)
            connection: Any = pool._new_conn()  # noqa: SLF001 - a connection of the pool's class, outside the pool
            connection.timeout = self._settings.connect_timeout
            cached = self._contexts.get((url, verify))
            if isinstance(connection, HTTPSConnection) and cached is not None:
                connection.ssl_context, connection.ca_certs, connection.ca_cert_dir = cached, None, None
            connection.connect()
            sock = connection.sock
            if isinstance(connection, HTTPSConnection):
                self._contexts.setdefault((url, verify), sock.context)
        except Exception as error:
            if not isinstance(error, _library_errors()):
                raise
            raise transport_error(error, host, "does not respond") from None
        connection.sock = None  # the caller owns it now
        result: socket.socket = sock
        return result

    def close(self) -> None:
        """Close every connection."""
        with self._lock:
            session, self._session = self._session, None
            self._certificate_hosts.clear()
            self._contexts.clear()
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
                self._session = _make_session(self._settings)
            return self._session


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


def _has_valid_length(response: Response) -> bool:
    """Whether a response has a valid Content-Length, or none where none is needed."""
    values = {length.strip() for length in response.header("Content-Length").split(",")}
    return bool(
        values == {""}
        or response.header("Transfer-Encoding")
        or (len(values) == 1 and parse_length(*values) is not None)
    )


def _split_tls_writes(block: Any) -> Iterator[Any]:
    """Yield a block in pieces of a few TLS records."""
    if isinstance(block, bytes | bytearray | memoryview) and len(block) > _TLS_WRITE_SIZE:
        view = memoryview(block)
        for start in range(0, len(view), _TLS_WRITE_SIZE):
            yield view[start : start + _TLS_WRITE_SIZE]
    else:
        yield block


def _library_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions of the libraries: requests, urllib3, http.client and the system."""
    from http.client import HTTPException

    from requests import RequestException
    from urllib3.exceptions import HTTPError

    return RequestException, HTTPError, HTTPException, OSError
