"""One HTTP request, one answer: the only module that knows `requests`.

It adds no credentials, follows no redirect and repeats nothing; that is `exchange`. It reads no `.netrc` and keeps no
cookies. Every exception of the libraries below becomes a `RegistryError` here.
"""

from __future__ import annotations

import contextlib
import threading
import time

from imq.engine.registry.exceptions import failure, too_long, too_slow, wrong_length
from imq.engine.registry.settings import is_loopback
from imq.grammar.errors import RegistryError
from imq.grammar.record import TYPE_CHECKING

from .certificates import certificates_for, context_for
from .proxies import ca_bundle, host_bundle, proxies_for
from .redaction import NO_SECRETS
from .request_body import BLOCK, Stretch
from .response import chunk_size, number
from .stall import Pace, TooSlowError
from .urls import authority, target_of

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Iterator, Mapping
    from typing import Any

    import requests
    from imq.engine.registry.settings import Settings
    from requests.adapters import HTTPAdapter

    from .deadline import Arrival
    from .rate_limit import Allowance


_PIECE = 64 << 10
_DRAIN_TIMEOUT = 2.0
"""Seconds in which a body that nobody needs has to come."""
_ADDRESS = ":address"
"""The key under which the headers of a request carry its address to the connection; it is no header of HTTP."""


class Answer:
    """The status and headers of an answer, and its body to be read once. Close it, or read it to its end.

    `what` names the body in the error that says that it only drips.
    """

    __slots__ = (
        *("_arrival", "_body", "_content", "_host", "_longest", "_pace", "_response", "_settings"),
        *("allowance", "bodiless", "headers", "secrets", "status", "url", "what"),
    )

    def __init__(self, response: requests.Response, host: str, settings: Settings, *, bodiless: bool) -> None:
        self._response = response
        # urllib3's own readinto reads into bytes of its own and copies them; http.client's below it reads in place.
        # Should a later urllib3 hide that, its own does the same, more slowly.
        body: Any = getattr(response.raw, "_fp", None) or response.raw
        self._arrival: Arrival | None = getattr(body, "arrival", None)
        if getattr(body, "length", None) is not None and hasattr(getattr(body, "fp", None), "readinto1"):
            body.fp = _AsItComes(body.fp)
        elif getattr(body, "chunked", False) and hasattr(body, "fp"):
            body.fp = _Chunks(body.fp)
        self._body = body
        self._host = host
        self._settings = settings
        self._pace = Pace(settings)
        self._content: bytes | None = None
        self.allowance: Allowance | None = None
        self.secrets = NO_SECRETS
        self.bodiless = bodiless
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self.url = response.request.url or ""
        self.what = "an answer"

    def header(self, name: str) -> str:
        """Return a header, or an empty string."""
        return self.headers.get(name) or ""

    @property
    def length(self) -> int | None:
        """What Content-Length says, in bytes; None when it says nothing usable."""
        return number(self.header("Content-Length"))

    def readinto(self, view: memoryview) -> int:
        """Fill `view` with what has come of the body, as it came over the wire, never decoded; return 0 at its end.

        It waits only while nothing has come. A body that only drips is an error, for another connection to be tried.
        """
        begun = time.monotonic()
        try:
            count: int = self._body.readinto(view)
            if self._body.isclosed():  # read to its end: the connection may serve the next request
                self._response.raw.release_conn()
        except TooSlowError as slow:
            raise self._dripping(slow.speed) from None
        except Exception as problem:
            self.close()
            if not isinstance(problem, _foreign()):
                raise
            if self._arrival is not None and self._arrival.is_late:
                raise too_long(self._host, f"sends {self.what}", self._settings.answer_timeout) from None
            raise failure(problem, self._host, "broke off while answering") from None
        speed = self._pace.note(count, time.monotonic() - begun) if count else None
        if speed is not None:
            raise self._dripping(speed)
        return count

    def _dripping(self, speed: float) -> RegistryError:
        self.close()
        return too_slow(self._host, f"sends {self.what}", speed, self._settings.least_speed)

    def read(self, limit: int) -> bytes:
        """Return the whole body, or `limit + 1` bytes of one that is longer, and close the answer.

        All of it has to come within `answer_timeout`. Read again, it returns the same bytes, however high the limit.
        """
        if self._content is not None:
            return self._content
        if self._arrival is not None:
            self._arrival.until = time.monotonic() + self._settings.answer_timeout
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
        """Read a body that nobody needs to its end, so that the connection can serve the next request.

        A connection whose body is long or slow is closed: another one takes less time.
        """
        if self._arrival is not None:
            self._arrival.until = time.monotonic() + _DRAIN_TIMEOUT
        try:
            self._read_until(limit)
        except RegistryError:
            self._content = b""

    def abort(self) -> None:
        """Wake a thread that waits in `readinto`: it gets an end or an error. May be called from any thread."""
        with contextlib.suppress(Exception):  # it may be over already, which is what was wanted
            self._response.raw.shutdown()

    def close(self) -> None:
        """Give the connection back when nothing of the body is left, else close it. May be called again."""
        with contextlib.suppress(Exception):  # closing what is broken may fail; it is not used again
            if self._response.raw.length_remaining == 0:  # as of an answer to HEAD, which nobody reads
                self._response.raw.drain_conn()
            self._response.close()


class _AsItComes:
    """The stream below a body of known length: read from as far as it has come, where http.client would wait for all.

    Else a server that drips would be waited for until a large piece is full, and a broken connection would take with it
    what had come.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def readinto(self, view: memoryview) -> int:
        """Fill `view` with what is there."""
        count: int = self._stream.readinto1(view)
        return count

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Chunks:
    """The stream below a body in chunks, whose sizes must be hexadecimal digits: http.client takes any of Python's."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._ended = False

    def readline(self, limit: int) -> bytes:
        """Return the line of a chunk's size, or after the last chunk a trailer."""
        from http.client import HTTPException

        line: bytes = self._stream.readline(limit)
        if line and not self._ended:
            size = chunk_size(line.rstrip(b"\r\n"))
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
        self._equipped: set[str] = set()
        self._contexts: dict[tuple[str, bool], ssl.SSLContext] = {}
        self._ca_bundle = ca_bundle(settings.environment) or settings.authority or host_bundle()

    def send(
        self, method: str, url: str, headers: Mapping[str, str], body: Any = None, *, verify: bool = True
    ) -> Answer:
        """Send one request and return as soon as the headers of its answer are there."""
        from requests import Request

        session = self._opened()
        host = authority(url)
        if url.startswith("https://"):
            self._equip(session, host, verify=verify)
        sent = {"Host": host, "User-Agent": self._settings.user_agent, "Accept-Encoding": "identity", **headers}
        try:
            request = Request(method, f"{url.partition('://')[0]}://{host}/", headers=sent, data=body).prepare()
            request.url = request.headers[_ADDRESS] = url  # as it is: preparing an address rewrites it
            response = session.send(
                request,
                stream=True,
                allow_redirects=False,
                timeout=(self._settings.connect_timeout, self._settings.read_timeout),
                verify=self._ca_bundle if verify and self._ca_bundle else verify,
                proxies={} if is_loopback(host) else proxies_for(url, self._settings.environment),
            )
        except Exception as problem:
            if not isinstance(problem, _foreign()):
                raise
            raise failure(problem, host, "does not answer") from None
        answer = Answer(response, host, self._settings, bodiless=method == "HEAD")
        if not answer.bodiless and not _has_length(answer):
            answer.close()
            raise wrong_length(host, answer.header("Content-Length"))
        return answer

    def reaches(self, url: str) -> bool:
        """Whether the host of `url` is reached without a proxy."""
        return is_loopback(authority(url)) or not proxies_for(url, self._settings.environment)

    def dial(self, url: str, *, verify: bool = True) -> socket.socket:
        """Return a new connection to the host of `url`, made and checked as `send` makes its own, for `wire`.

        Authorities are read from their files once for each host: it takes longer than a request.
        """
        from requests import Request
        from urllib3.connection import HTTPSConnection

        session = self._opened()
        host = authority(url)
        if url.startswith("https://"):
            self._equip(session, host, verify=verify)
        try:
            adapter: Any = session.get_adapter(f"{url}/")
            request = Request("GET", f"{url}/").prepare()
            trusted = self._ca_bundle if verify and self._ca_bundle else verify
            pool = adapter.get_connection_with_tls_context(request, trusted)
            adapter.cert_verify(pool, url, trusted, None)
            made: Any = pool._new_conn()  # noqa: SLF001 - a connection of the pool's own kind that is nobody else's
            made.timeout = self._settings.connect_timeout
            known = self._contexts.get((url, verify))
            if isinstance(made, HTTPSConnection) and known is not None:
                made.ssl_context, made.ca_certs, made.ca_cert_dir = known, None, None
            made.connect()
            connected = made.sock
            if isinstance(made, HTTPSConnection):
                self._contexts.setdefault((url, verify), connected.context)
        except Exception as problem:
            if not isinstance(problem, _foreign()):
                raise
            raise failure(problem, host, "does not answer") from None
        made.sock = None  # it is the caller's now
        found: socket.socket = connected
        return found

    def close(self) -> None:
        """Close every connection."""
        with self._lock:
            session, self._session = self._session, None
            self._equipped.clear()
            self._contexts.clear()
        if session is not None:
            session.close()

    def _equip(self, session: requests.Session, host: str, *, verify: bool) -> None:
        """Have the certificates that are kept for a host used for it, and for no other."""
        with self._lock:
            if host in self._equipped:
                return
            kept = certificates_for(self._settings, host)
            if kept is not None:
                session.mount(f"https://{host}/", _adapter(self._settings, context_for(kept, host, verify=verify)))
            self._equipped.add(host)

    def _opened(self) -> requests.Session:
        with self._lock:
            if self._session is None:
                self._session = _session(self._settings)
            return self._session


def _session(settings: Settings) -> requests.Session:
    from http.cookiejar import DefaultCookiePolicy

    from requests import Session

    class Unfollowing(Session):
        """Leaves redirects alone. `allow_redirects=False` would still read their bodies, however long, and prepare."""

        def get_redirect_target(self, resp: object) -> None:  # noqa: ARG002
            return None

    session = Unfollowing()
    session.trust_env = False  # would read .netrc; proxies and certificates are found by `proxies`
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
    adapter = _adapter(settings, None)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


def _adapter(settings: Settings, context: ssl.SSLContext | None) -> HTTPAdapter:
    """Return what makes and keeps connections, with a TLS context of its own if one is given."""
    from requests.adapters import HTTPAdapter
    from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
    from urllib3.connection import HTTPConnection, HTTPSConnection

    from .deadline import Response

    class TimedResponse(Response):
        def __init__(self, connected: socket.socket, **options: Any) -> None:
            super().__init__(connected, settings, **options)

    class PlainConnection(HTTPConnection):
        """Has the kernel send files."""

        response_class = TimedResponse

        def request(self, method: str, url: str, body: Any = None, headers: Any = None, **options: Any) -> None:
            super().request(method, *_as_given(url, body, headers), **options)

        def send(self, data: Any) -> None:
            if isinstance(data, Stretch) and self.sock is not None:
                data.send(self.sock)
                return
            for block in _blocks(self, data, settings):
                super().send(block)

    class Connection(HTTPSConnection):
        """Does not warn at every request that TLS is not verified: the user has named the host as insecure."""

        response_class = TimedResponse

        def request(self, method: str, url: str, body: Any = None, headers: Any = None, **options: Any) -> None:
            super().request(method, *_as_given(url, body, headers), **options)

        def connect(self) -> None:
            super().connect()
            self.is_verified = True  # read only to decide on that warning

        def send(self, data: Any) -> None:
            for block in _blocks(self, data, settings):
                begun = time.monotonic()
                for piece in _pieces(block):  # TLS counts the time anew for each record
                    if (left := settings.read_timeout + begun - time.monotonic()) <= 0:
                        raise TimeoutError("timed out")
                    if self.sock is not None:
                        self.sock.settimeout(left)
                    super().send(piece)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = PlainConnection

    class Pool(HTTPSConnectionPool):
        ConnectionCls = Connection

    class Adapter(HTTPAdapter):
        """Uses these connections, and the context."""

        def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
            if context is not None:
                kwargs["ssl_context"] = context
            super().init_poolmanager(*args, **kwargs)
            self.poolmanager.pool_classes_by_scheme = {"http": PlainPool, "https": Pool}

        def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
            if context is not None:
                kwargs["ssl_context"] = context
            return super().proxy_manager_for(*args, **kwargs)

    return Adapter(pool_connections=16, pool_maxsize=max(settings.jobs, 1) + 1, max_retries=0)


def _as_given(url: str, body: Any, headers: Any) -> tuple[str, Any, dict[str, str]]:
    """Return the target of a request, its body and its headers, with the address that `send` was given.

    `url` is what the libraries have made of that: an address where a proxy is asked, else a path.
    """
    rest = dict(headers)
    address = rest.pop(_ADDRESS)
    return target_of(address) if url.startswith("/") else address, body, rest


def _blocks(connection: Any, data: Any, settings: Settings) -> Iterator[Any]:
    """Yield what a connection is to send in blocks, each of which the other side has the time of one wait to take.

    A socket counts that time for all that it is given at once, and for a new one it is that of connecting.
    """
    if connection.sock is not None:
        connection.sock.settimeout(settings.read_timeout)
    if isinstance(data, Stretch):
        yield from data
    elif isinstance(data, bytes | bytearray | memoryview) and len(data) > BLOCK:
        view = memoryview(data)
        for start in range(0, len(view), BLOCK):
            yield view[start : start + BLOCK]
    else:
        yield data


def _has_length(answer: Answer) -> bool:
    """Whether the Content-Length of an answer is a number of bytes, where there is one and it counts."""
    said = {length.strip() for length in answer.header("Content-Length").split(",")}
    return bool(said == {""} or answer.header("Transfer-Encoding") or (len(said) == 1 and number(*said) is not None))


def _pieces(block: Any) -> Iterator[Any]:
    """Yield a block in pieces of few records of TLS."""
    if isinstance(block, bytes | bytearray | memoryview) and len(block) > _PIECE:
        view = memoryview(block)
        for start in range(0, len(view), _PIECE):
            yield view[start : start + _PIECE]
    else:
        yield block


def _foreign() -> tuple[type[Exception], ...]:
    """Return what the libraries below raise: requests' and urllib3's own, http.client's and the system's."""
    from http.client import HTTPException

    from requests import RequestException
    from urllib3.exceptions import HTTPError

    return RequestException, HTTPError, HTTPException, OSError
