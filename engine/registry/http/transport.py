"""One HTTP request and its response, over a connection of imq's own (`direct`) or by requests.

It adds no credentials, follows no redirects and retries nothing: `client` does that. GET and HEAD without a proxy are
sent directly, everything else by requests. Exceptions of both become `RegistryError`.
"""

from __future__ import annotations

import threading
import time

from imq.engine.registry.errors import content_length_error, deadline_error, stalled_error, transport_error
from imq.engine.registry.settings import is_loopback
from imq.engine.units.redaction import NO_SECRETS
from imq.grammar.errors import RegistryError
from imq.grammar.record import TYPE_CHECKING

from .direct import TRANSFER_ERRORS, DirectTransport
from .proxies import find_system_bundle, get_ca_bundle, resolve_proxies
from .response import HasHeaders, parse_length
from .response_head import UnsupportedResponseError
from .stall import StallDetector, StalledError
from .urls import get_authority

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping
    from typing import Any

    from imq.engine.registry.settings import Settings

    from .direct import DirectBody
    from .rate_limit import RateLimit
    from .requests_transport import RequestsBody, RequestsTransport

_DRAIN_TIMEOUT = 2.0
"""Seconds for the rest of a body that is discarded."""


class Response(HasHeaders):
    """The status and headers of a response, and its body to be read once. Close it, or read it to the end.

    `description` names the body in errors.
    """

    __slots__ = (
        *("_body", "_content", "_host", "_settings", "_stall_detector"),
        *("bodiless", "description", "headers", "rate_limit", "secrets", "status", "url"),
    )

    def __init__(
        self,
        status: int,
        headers: Mapping[str, str],
        body: DirectBody | RequestsBody,
        url: str,
        settings: Settings,
        *,
        bodiless: bool,
    ) -> None:
        self._body = body
        self._host = get_authority(url)
        self._settings = settings
        self._stall_detector = StallDetector(settings)
        self._content: bytes | None = None
        self.rate_limit: RateLimit | None = None
        self.secrets = NO_SECRETS
        self.bodiless = bodiless
        self.status = status
        self.headers = headers
        self.url = url
        self.description = "a response"

    def readinto(self, view: memoryview) -> int:
        """Fill `view` with the available bytes of the body, never decoded; return 0 at the end.

        It blocks only while no byte is available. A stalled body raises a temporary `RegistryError`.
        """
        started = time.monotonic()
        try:
            count = self._body.readinto(view)
        except StalledError as slow:
            raise self._stalled(slow.speed) from None
        except Exception as error:
            self.close()
            if not isinstance(error, self._body.errors):
                raise
            if self._body.is_late:
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
        self._body.deadline = time.monotonic() + self._settings.answer_timeout
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
        self._body.deadline = time.monotonic() + _DRAIN_TIMEOUT
        try:
            self._read_until(limit)
        except RegistryError:
            self._content = b""

    def abort(self) -> None:
        """Wake a thread that waits in `readinto`, which then returns 0 or raises. Callable from any thread."""
        self._body.abort()

    def close(self) -> None:
        """Return the connection to the pool if the body was read, or close it. May be called again."""
        self._body.close()


class Transport:
    """Connections to any number of hosts, kept open between requests. Safe to use from several threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._ca_bundle = get_ca_bundle(settings.environment) or settings.authority or find_system_bundle()
        self._direct = DirectTransport(settings, self._ca_bundle)
        self._requests: RequestsTransport | None = None
        self._lock = threading.Lock()
        self._unsupported_hosts: set[str] = set()
        """Hosts whose responses only requests supports."""

    def send(
        self, method: str, url: str, headers: Mapping[str, str], body: Any = None, *, verify: bool = True
    ) -> Response:
        """Send one request and return when the headers of the response have arrived."""
        host = get_authority(url)
        all_headers = {"Host": host, "User-Agent": self._settings.user_agent, "Accept-Encoding": "identity", **headers}
        response: Response | None = None
        if body is None and method in ("GET", "HEAD") and host not in self._unsupported_hosts and self.is_direct(url):
            response = self._send_directly(method, url, host, all_headers, verify=verify)
        if response is None:
            response = self._send_by_requests(method, url, host, all_headers, body, verify=verify)
        if not response.bodiless and not _has_valid_length(response):
            response.close()
            raise content_length_error(host, response.header("Content-Length"))
        return response

    def is_direct(self, url: str) -> bool:
        """Whether the host of `url` is reached without a proxy."""
        return is_loopback(get_authority(url)) or not resolve_proxies(url, self._settings.environment)

    def connect(self, url: str, *, verify: bool = True) -> socket.socket:
        """Return a new connection to the host of `url`, which is reached without a proxy."""
        try:
            return self._direct.connect(url, verify=verify)
        except TRANSFER_ERRORS as error:
            raise transport_error(error, get_authority(url), "does not respond") from None

    def close(self) -> None:
        """Close every connection."""
        self._direct.close()
        if self._requests is not None:
            self._requests.close()

    def _send_directly(
        self, method: str, url: str, host: str, headers: Mapping[str, str], *, verify: bool
    ) -> Response | None:
        """Send a request over a connection of imq's own. None if requests must send it."""
        try:
            sent = self._direct.send(method, url, headers, verify=verify)
        except UnsupportedResponseError:
            self._unsupported_hosts.add(host)
            return None
        except TRANSFER_ERRORS as error:
            raise transport_error(error, host, "does not respond") from None
        if sent is None:
            return None
        head, body = sent
        return Response(head.status, head.headers, body, url, self._settings, bodiless=method == "HEAD")

    def _send_by_requests(
        self, method: str, url: str, host: str, headers: Mapping[str, str], body: Any, *, verify: bool
    ) -> Response:
        from .requests_transport import RequestsTransport, library_errors

        with self._lock:
            if self._requests is None:
                self._requests = RequestsTransport(self._settings, self._ca_bundle)
        proxies = {} if is_loopback(host) else resolve_proxies(url, self._settings.environment)
        try:
            status, response_headers, response_body = self._requests.send(
                method, url, headers, body, proxies, verify=verify
            )
        except Exception as error:
            if not isinstance(error, library_errors()):
                raise
            raise transport_error(error, host, "does not respond") from None
        return Response(status, response_headers, response_body, url, self._settings, bodiless=method == "HEAD")


def _has_valid_length(response: Response) -> bool:
    """Whether a response has a valid Content-Length, or none where none is needed."""
    values = {length.strip() for length in response.header("Content-Length").split(",")}
    return bool(
        values == {""}
        or response.header("Transfer-Encoding")
        or (len(values) == 1 and parse_length(*values) is not None)
    )
