"""Sends requests to registries: scheme detection, credentials, redirects and retries.

Credentials go only to the origin (scheme, host, port) that they belong to. A redirect to another origin drops them.
"""

from __future__ import annotations

import threading
import time
from http import HTTPStatus

from imq.engine.registry import errors
from imq.engine.registry.auth.authorizer import Authorizer
from imq.engine.registry.settings import get_server, is_loopback
from imq.grammar.errors import Interrupted, RegistryError
from imq.grammar.record import TYPE_CHECKING, Record

from .rate_limit import parse_rate_limit, parse_retry_after
from .retry import RetryBudget
from .transport import Transport
from .urls import get_authority, get_origin, resolve_url

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping
    from typing import Any

    from imq.engine.registry.settings import Settings

    from .rate_limit import RateLimit
    from .response import ResponseLike
    from .transport import Response

IF_NONE_MATCH = "If-None-Match"
"""The header of a conditional request."""
_MAX_REDIRECTS = 10
_METHOD_PRESERVING = frozenset({HTTPStatus.TEMPORARY_REDIRECT, HTTPStatus.PERMANENT_REDIRECT})
REDIRECTS = _METHOD_PRESERVING | {HTTPStatus.MOVED_PERMANENTLY, HTTPStatus.FOUND, HTTPStatus.SEE_OTHER}
_PLAIN_HTTP_REJECTIONS = (b"http request to an https server", b"plain http request was sent to https port")
_MAX_PEEK_BYTES = 8 << 10
_PATH_KINDS = (("/blobs/", "blob"), ("/referrers/", "referrers"))


class Request(Record):
    """One request to a registry. `target` is a path, or a URL that the registry itself sent.

    `body` returns a new body for each attempt. A `confidential` body is not sent to another origin. With `no_retry` the
    request is sent once: repeating it could do harm, or the caller repeats it.
    """

    method: str
    registry: str
    repository: str
    target: str
    scopes: tuple[str, ...] = ()
    headers: Mapping[str, str] = {}
    body: Callable[[], Any] | None = None
    no_retry: bool = False
    confidential: bool = False

    @property
    def description(self) -> str:
        """The subject of the request, for error messages."""
        return self.repository or "the registry"


class ReadyRequest(Record):
    """The data that a request needs to be sent without further lookups.

    `origin` is the scheme and the host, `authorization` the Authorization header.
    """

    origin: str
    authorization: str | None


class RegistryHttp:
    """Sends requests to any number of registries. Safe to use from several threads."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._transport = Transport(settings)
        self._authorizer = Authorizer(settings, self._send_to_token_server)
        self._schemes: dict[str, str] = {}
        self._rate_limits: dict[str, RateLimit] = {}
        self._request_counts: dict[str, int] = {}
        self._counts_lock = threading.Lock()

    @property
    def request_counts(self) -> dict[str, int]:
        """The number of requests sent, by the kinds of `classify_request`."""
        with self._counts_lock:
            return dict(self._request_counts)

    def count_request(self, method: str, target: str) -> None:
        """Count a request that is about to be sent."""
        kind = classify_request(method, target)
        with self._counts_lock:
            self._request_counts[kind] = self._request_counts.get(kind, 0) + 1

    @property
    def authorizer(self) -> Authorizer:
        """The authorizer of this client."""
        return self._authorizer

    def close(self) -> None:
        """Close every connection."""
        self._transport.close()

    def send(
        self, request: Request, stop: threading.Event | None = None, retry_budget: RetryBudget | None = None
    ) -> Response:
        """Return the response, of any status.

        Broken connections, 429 and 5xx are retried within `retry_budget`. Raises `Interrupted` when `stop` is set.
        """
        retry_budget = retry_budget or RetryBudget(self.settings)
        while True:
            if stop is not None and stop.is_set():
                raise Interrupted("the transfer was cancelled")
            wait: float | None
            try:
                response = self.send_once(request)
            except RegistryError as error:
                wait = None if request.no_retry else retry_budget.next_delay_after(error)
                if wait is None:
                    raise
            else:
                if not errors.is_temporary(response.status) or request.no_retry:
                    return response
                if response.status == HTTPStatus.TOO_MANY_REQUESTS and not self.settings.waits_for_limits:
                    return response
                wait = retry_budget.next_delay(parse_retry_after(response.headers))
                if wait is None:
                    return response
                response.close()
            self.pause(wait, stop)

    def fetch(self, request: Request, limit: int, description: str) -> Response:
        """Send a request and read the body of a response with status 200, at most `limit + 1` bytes.

        A body that ends before its Content-Length is requested again. `description` names the body in errors.
        """
        retry_budget = RetryBudget(self.settings)
        while True:
            response = self.send(request, retry_budget=retry_budget)
            if response.status != HTTPStatus.OK:
                return response
            try:
                read_complete(response, request, limit, description)
            except RegistryError as error:
                wait = retry_budget.next_delay_after(error)
                if wait is None:
                    raise
            else:
                return response
            self.pause(wait, None)

    def get_rate_limit(self, registry: str) -> RateLimit | None:
        """Return the latest rate limit of the registry, or None if it sent none."""
        return self._rate_limits.get(get_server(registry))

    def is_direct(self, registry: str) -> bool | None:
        """Whether a registry is reached without a proxy, or None if its scheme is not known yet."""
        server = get_server(registry)
        scheme = self._schemes.get(server)
        return None if scheme is None else self._transport.is_direct(f"{scheme}://{server}")

    def prepare_request(self, request: Request) -> ReadyRequest | None:
        """Return the data to send a request directly, or None if the scheme or a token is not known yet."""
        server = get_server(request.registry)
        scheme = self._schemes.get(server)
        if scheme is None or "://" in request.target:
            return None
        url = f"{scheme}://{server}"
        ready, header = self._authorizer.get_cached_authorization(
            request.registry, request.repository, request.scopes, plain=scheme == "http"
        )
        return ReadyRequest(url, header) if ready else None

    def connect(self, url: str) -> socket.socket:
        """Return a new connection to the host of `url`, with the same TLS checks as `send_once`."""
        return self._transport.connect(url, verify=self._is_tls_verified(url))

    def pause(self, seconds: float, stop: threading.Event | None) -> None:
        """Wait before a retry; setting `stop` ends the wait and raises `Interrupted`."""
        if stop is None:
            time.sleep(seconds)
        elif stop.wait(seconds):
            raise Interrupted("the transfer was cancelled")

    def send_once(self, request: Request) -> Response:
        """Send a request once, authenticated. Secrets are redacted from the errors it raises."""
        try:
            return self._send_authenticated(request)
        except RegistryError as error:
            redact = self._authorizer.secrets.redact
            error.message, error.hints = redact(error.message), tuple(map(redact, error.hints))
            error.host = error.host and redact(error.host)
            raise

    def _send_authenticated(self, request: Request) -> Response:
        """Send a request with the known credentials, and again after a 401 challenge.

        A third attempt is made if a cached token was refused first: it may have expired.
        """
        server = get_server(request.registry)
        plain = self._schemes.get(server) == "http"
        header = self._authorizer.get_authorization(request.registry, request.repository, request.scopes, plain=plain)
        attempts = 2 if header else 1
        while True:
            response = self._detect_scheme_and_send(request, server, header)
            challenge = response.header("WWW-Authenticate") if response.status == HTTPStatus.UNAUTHORIZED else ""
            if not challenge or not attempts or not self._is_same_origin(response.url, server):
                return response
            attempts -= 1
            response.drain(_MAX_PEEK_BYTES)
            plain = response.url.startswith("http:")
            new_header = self._authorizer.answer_challenge(
                challenge, header, request.registry, request.repository, request.scopes, plain=plain
            )
            if new_header is None:
                return response
            header = new_header

    def _detect_scheme_and_send(self, request: Request, server: str, header: str | None) -> Response:
        """Send a request with the server's scheme; detect the scheme when it is unknown."""
        scheme = self._schemes.get(server)
        if scheme is not None or "://" in request.target:
            return self._follow_redirects(request, scheme or "https", server, header)
        if is_loopback(server):
            first, second = "http", "https"  # a loopback registry rarely has TLS, so TLS first would cost a round trip
        elif self.settings.is_insecure(server):
            first, second = "https", "http"
        else:
            self._schemes[server] = "https"
            return self._follow_redirects(request, "https", server, header)
        error: RegistryError | None = None
        response: Response | None = None
        try:
            response = self._follow_redirects(request, first, server, header)
        except RegistryError as failed:
            error = failed
        if response is not None and not (first == "http" and self._is_tls_required(response, request, server, header)):
            self._schemes[server] = first
            return response
        if error is not None and error.code == "unreachable" and not error.temporary and first == "http":
            raise error  # nothing listens on the port
        if response is not None:
            response.close()
        try:
            response = self._follow_redirects(request, second, server, header)
        except RegistryError as failed:
            raise (error or failed) from None
        self._schemes[server] = second
        return response

    def _is_tls_required(self, response: Response, request: Request, server: str, header: str | None) -> bool:
        """Whether a response is a TLS server's rejection of plain HTTP; reads the response.

        A response to HEAD has no body to recognise, so the request is repeated with GET.
        """
        if response.status != HTTPStatus.BAD_REQUEST or response.header("Docker-Distribution-Api-Version"):
            return False
        if response.bodiless:
            get_response = self._follow_redirects(request.replace(method="GET"), "http", server, header)
            try:
                return self._is_tls_required(get_response, request, server, header)
            finally:
                get_response.close()
        return any(text in response.read(_MAX_PEEK_BYTES).lower() for text in _PLAIN_HTTP_REJECTIONS)

    def _follow_redirects(self, request: Request, scheme: str, server: str, header: str | None) -> Response:
        """Send a request and follow redirects; credentials are dropped at another origin."""
        url = request.target if "://" in request.target else f"{scheme}://{server}{request.target}"
        origin = f"{scheme}://{server}"
        for _ in range(_MAX_REDIRECTS):
            self._check_redirect_target(url, request, server)
            headers = dict(request.headers)
            if header and get_origin(url) == get_origin(origin):
                headers["Authorization"] = header
            body = request.body() if request.body is not None else None
            self.count_request(request.method, url)
            response = self._transport.send(request.method, url, headers, body, verify=self._is_tls_verified(url))
            self.record_rate_limit(response, get_authority(url))
            location = response.header("Location")
            if response.status not in REDIRECTS or not location:
                return response
            if request.method not in ("GET", "HEAD") and response.status not in _METHOD_PRESERVING:
                return response
            response.close()
            url = resolve_url(url, location)
            if request.confidential and request.body is not None and get_origin(url) != get_origin(origin):
                raise _credentials_redirect_error(request.registry)
        raise RegistryError(
            f"{request.registry} redirected the request for {request.description} too many times",
            code="redirects",
            host=request.registry,
            hints=("the operator of the registry or of the proxy in front of it must fix this",),
        )

    def _send_to_token_server(self, method: str, url: str, headers: Mapping[str, str], body: Any) -> Response:
        """Send a request to a token server: redirects are checked, challenges are not answered."""
        host = get_authority(url)
        header = headers.get("Authorization")
        rest = {name: value for name, value in headers.items() if name != "Authorization"}
        request = Request(
            method, host, "", url, (), rest, (lambda: body) if body is not None else None, confidential=True
        )
        return self._follow_redirects(request, url.partition("://")[0], host, header)

    def record_rate_limit(self, response: ResponseLike, host: str) -> None:
        """Store the rate limit in a response, and attach it and the known secrets to the response."""
        response.secrets = self._authorizer.secrets
        rate_limit = parse_rate_limit(response.headers)
        if rate_limit is not None:
            self._rate_limits[host] = rate_limit.replace(source=response.secrets.redact(rate_limit.source))
        response.rate_limit = self._rate_limits.get(host)

    def _is_tls_verified(self, url: str) -> bool:
        return not self.settings.allows_insecure(get_authority(url))

    def _check_redirect_target(self, url: str, request: Request, server: str) -> None:
        """Reject a redirect target that is neither HTTPS nor an allowed HTTP host.

        A remote registry must not redirect to services of this machine.
        """
        host = get_authority(url)
        if url.startswith("https://") and host:
            return
        is_local = is_loopback(host) and is_loopback(server)
        if url.startswith("http://") and host and (is_local or self.settings.is_insecure(host)):
            return
        scheme, shown_host = (
            errors.clean_text(url.partition("://")[0]) if "://" in url else "no scheme",
            errors.clean_text(host),
        )
        raise RegistryError(
            f"{request.registry} redirected the request for {request.description}"
            f" to {shown_host or 'no host'} over {scheme}",
            code="insecure-redirect",
            host=request.registry,
            hints=(f"if you accept the risk, list {shown_host} as an insecure registry",) if shown_host else (),
        )

    def _is_same_origin(self, url: str, server: str) -> bool:
        return get_origin(url) == get_origin(f"{self._schemes.get(server) or url.partition('://')[0]}://{server}")


def read_complete(response: ResponseLike, request: Request, limit: int, description: str) -> None:
    """Read a response; a body shorter than its Content-Length raises a temporary `RegistryError`."""
    content = response.read(limit)
    if response.length is not None and not response.bodiless and len(content) < min(response.length, limit):
        raise RegistryError(
            f"{request.registry} sent {len(content)} of {response.length} bytes of {description}",
            code="truncated",
            host=request.registry,
            temporary=True,
            hints=("try again; if the error persists, the registry or a proxy in front of it is faulty",),
        )


def _credentials_redirect_error(host: str) -> RegistryError:
    return RegistryError(
        f"{host} redirected a request with credentials to another host",
        code="insecure-redirect",
        host=host,
        hints=("the credentials were not sent there; the URL of the token server must be corrected",),
    )


def classify_request(method: str, target: str) -> str:
    """Return the kind of a request: `head`, `manifest`, `blob`, `tags`, `referrers`, `catalog` or `other`.

    Token requests, redirected requests and searches are `other`.
    """
    if "/manifests/" in target:
        return "head" if method == "HEAD" else "manifest"
    path = target.partition("?")[0]
    if path.endswith("/tags/list"):
        return "tags"
    if path.endswith("/v2/_catalog"):
        return "catalog"
    return next((kind for part, kind in _PATH_KINDS if part in path), "other")
