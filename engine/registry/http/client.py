"""One question to a registry until it is answered: scheme, credentials, redirects and repetition.

Credentials go to the origin (scheme, host, port) that they are for, never along a redirect to another one.
"""

from __future__ import annotations

import threading
import time
from http import HTTPStatus

from imq.engine.registry import errors
from imq.engine.registry.auth.authorizer import Authorizer
from imq.engine.registry.settings import is_loopback, server_of
from imq.grammar.errors import Interrupted, RegistryError
from imq.grammar.record import TYPE_CHECKING, Record

from .rate_limit import read_allowance, retry_after
from .retry import Patience
from .transport import Transport
from .urls import authority, origin_of, resolve

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping
    from typing import Any

    from imq.engine.registry.settings import Settings

    from .rate_limit import Allowance
    from .response import Reply
    from .transport import Answer

UNLESS = "If-None-Match"
"""The header by which a question is for what has changed."""
_MOST_REDIRECTS = 10
_KEEP_METHOD = frozenset({HTTPStatus.TEMPORARY_REDIRECT, HTTPStatus.PERMANENT_REDIRECT})
REDIRECTS = _KEEP_METHOD | {HTTPStatus.MOVED_PERMANENTLY, HTTPStatus.FOUND, HTTPStatus.SEE_OTHER}
_SPOKEN_PLAIN = (b"http request to an https server", b"plain http request was sent to https port")
_LARGEST_PEEK = 8 << 10
_KINDS = (("/blobs/", "blob"), ("/referrers/", "referrers"))


class Ask(Record):
    """What is asked of a registry. `target` is a path, or an address that the registry itself has named.

    `body` makes the body anew for each attempt; one that is `secret` goes to no other origin. `once` says that
    repeating it could do harm or is left to the caller.
    """

    method: str
    registry: str
    repository: str
    target: str
    scopes: tuple[str, ...] = ()
    headers: Mapping[str, str] = {}
    body: Callable[[], Any] | None = None
    once: bool = False
    secret: bool = False

    @property
    def what(self) -> str:
        """What the question is about, for errors."""
        return self.repository or "the registry"


class Known(Record):
    """What a question needs to go out at once: `url` is the scheme and the host, `header` the Authorization header."""

    url: str
    header: str | None


class Exchange:
    """Asks registries. Safe to use from several threads."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._transport = Transport(settings)
        self._authorizer = Authorizer(settings, self._ask_token_server)
        self._schemes: dict[str, str] = {}
        self._allowances: dict[str, Allowance] = {}
        self._counted: dict[str, int] = {}
        self._counting = threading.Lock()

    @property
    def requests(self) -> dict[str, int]:
        """How many requests have gone out, by what they were for: `kind_of` names the kinds."""
        with self._counting:
            return dict(self._counted)

    def count(self, method: str, target: str) -> None:
        """Count a request that goes out."""
        kind = kind_of(method, target)
        with self._counting:
            self._counted[kind] = self._counted.get(kind, 0) + 1

    @property
    def authorizer(self) -> Authorizer:
        """How registries let one in."""
        return self._authorizer

    def close(self) -> None:
        """Close every connection."""
        self._transport.close()

    def ask(self, ask: Ask, stop: threading.Event | None = None, patience: Patience | None = None) -> Answer:
        """Return the answer, of whatever status. Broken connections, 429 and 5xx are tried again, within `patience`."""
        patience = patience or Patience(self.settings)
        while True:
            if stop is not None and stop.is_set():
                raise Interrupted("the transfer was called off")
            wait: float | None
            try:
                answer = self.attempt(ask)
            except RegistryError as problem:
                wait = None if ask.once else patience.wait_after(problem)
                if wait is None:
                    raise
            else:
                if not errors.is_temporary(answer.status) or ask.once:
                    return answer
                wait = patience.wait(retry_after(answer.headers))
                if wait is None:
                    return answer
                answer.close()
            self.pause(wait, stop)

    def read(self, ask: Ask, limit: int, what: str) -> Answer:
        """Ask, and read the body of an answer of status 200: whole, or `limit + 1` bytes of one that is longer.

        A body that breaks off, or ends before its length, is asked for again. `what` names it in errors.
        """
        patience = Patience(self.settings)
        while True:
            answer = self.ask(ask, patience=patience)
            if answer.status != HTTPStatus.OK:
                return answer
            try:
                check_length(answer, ask, limit, what)
            except RegistryError as problem:
                wait = patience.wait_after(problem)
                if wait is None:
                    raise
            else:
                return answer
            self.pause(wait, None)

    def allowance(self, registry: str) -> Allowance | None:
        """Return how often the registry, when last asked, said that it may be asked; None when it never did."""
        return self._allowances.get(server_of(registry))

    def straight(self, registry: str) -> bool | None:
        """Whether a registry is reached without a proxy; None when it has not been met."""
        server = server_of(registry)
        scheme = self._schemes.get(server)
        return None if scheme is None else self._transport.reaches(f"{scheme}://{server}")

    def known(self, ask: Ask) -> Known | None:
        """Return how this question could go out at once; None when somebody would have to be asked something before."""
        server = server_of(ask.registry)
        scheme = self._schemes.get(server)
        if scheme is None or "://" in ask.target:
            return None
        url = f"{scheme}://{server}"
        ready, header = self._authorizer.ready(ask.registry, ask.repository, ask.scopes, plain=scheme == "http")
        return Known(url, header) if ready else None

    def dial(self, url: str) -> socket.socket:
        """Return a new connection to the host of `url`, made as those are that `attempt` uses: TLS is checked."""
        return self._transport.dial(url, verify=self._verified(url))

    def pause(self, seconds: float, stop: threading.Event | None) -> None:
        """Wait before trying again; `stop` ends the wait."""
        if stop is None:
            time.sleep(seconds)
        elif stop.wait(seconds):
            raise Interrupted("the transfer was called off")

    def attempt(self, ask: Ask) -> Answer:
        """Ask once, as `_attempt` does; what it raises shows no secret, whatever the servers have said."""
        try:
            return self._attempt(ask)
        except RegistryError as problem:
            redact = self._authorizer.secrets.redact
            problem.message, problem.hints = redact(problem.message), tuple(map(redact, problem.hints))
            problem.host = problem.host and redact(problem.host)
            raise

    def _attempt(self, ask: Ask) -> Answer:
        """Ask once, with the credentials known, and once more with those that a 401 answer makes known.

        A third time when a cached token was refused first: it may just have been too old.
        """
        server = server_of(ask.registry)
        plain = self._schemes.get(server) == "http"
        header = self._authorizer.header(ask.registry, ask.repository, ask.scopes, plain=plain)
        attempts = 2 if header else 1
        while True:
            answer = self._reached(ask, server, header)
            challenge = answer.header("WWW-Authenticate") if answer.status == HTTPStatus.UNAUTHORIZED else ""
            if not challenge or not attempts or not self._same_origin(answer.url, server):
                return answer
            attempts -= 1
            answer.drain(_LARGEST_PEEK)
            plain = answer.url.startswith("http:")
            found = self._authorizer.answer(challenge, header, ask.registry, ask.repository, ask.scopes, plain=plain)
            if found is None:
                return answer
            header = found

    def _reached(self, ask: Ask, server: str, header: str | None) -> Answer:
        """Send the question by the scheme that the server speaks, finding out which when that is not known."""
        known = self._schemes.get(server)
        if known is not None or "://" in ask.target:
            return self._followed(ask, known or "https", server, header)
        if is_loopback(server):
            first, second = "http", "https"  # nearly always plain here, so asking for TLS first would cost each start
        elif self.settings.names_insecure(server):
            first, second = "https", "http"
        else:
            self._schemes[server] = "https"
            return self._followed(ask, "https", server, header)
        problem: RegistryError | None = None
        answer: Answer | None = None
        try:
            answer = self._followed(ask, first, server, header)
        except RegistryError as failed:
            problem = failed
        if answer is not None and not (first == "http" and self._wants_tls(answer, ask, server, header)):
            self._schemes[server] = first
            return answer
        if problem is not None and problem.code == "unreachable" and not problem.temporary and first == "http":
            raise problem  # nobody listens there
        if answer is not None:
            answer.close()
        try:
            answer = self._followed(ask, second, server, header)
        except RegistryError as failed:
            raise (problem or failed) from None
        self._schemes[server] = second
        return answer

    def _wants_tls(self, answer: Answer, ask: Ask, server: str, header: str | None) -> bool:
        """Whether this is how servers that speak TLS answer a plain request; reads such an answer.

        The answer to a HEAD has no text to know it by: then GET tells.
        """
        if answer.status != HTTPStatus.BAD_REQUEST or answer.header("Docker-Distribution-Api-Version"):
            return False
        if answer.bodiless:
            whole = self._followed(ask.replace(method="GET"), "http", server, header)
            try:
                return self._wants_tls(whole, ask, server, header)
            finally:
                whole.close()
        return any(text in answer.read(_LARGEST_PEEK).lower() for text in _SPOKEN_PLAIN)

    def _followed(self, ask: Ask, scheme: str, server: str, header: str | None) -> Answer:
        """Send the question and follow redirects; the credentials stay behind at another origin."""
        url = ask.target if "://" in ask.target else f"{scheme}://{server}{ask.target}"
        origin = f"{scheme}://{server}"
        for _ in range(_MOST_REDIRECTS):
            self._check_address(url, ask, server)
            headers = dict(ask.headers)
            if header and origin_of(url) == origin_of(origin):
                headers["Authorization"] = header
            body = ask.body() if ask.body is not None else None
            self.count(ask.method, url)
            answer = self._transport.send(ask.method, url, headers, body, verify=self._verified(url))
            self.note_allowance(answer, authority(url))
            location = answer.header("Location")
            if answer.status not in REDIRECTS or not location:
                return answer
            if ask.method not in ("GET", "HEAD") and answer.status not in _KEEP_METHOD:
                return answer
            answer.close()
            url = resolve(url, location)
            if ask.secret and ask.body is not None and origin_of(url) != origin_of(origin):
                raise _carried_off(ask.registry)
        raise RegistryError(
            f"{ask.registry} sends requests for {ask.what} from address to address without end",
            code="redirects",
            host=ask.registry,
            hints=("whoever runs the registry, or the proxy before it, has to mend this",),
        )

    def _ask_token_server(self, method: str, url: str, headers: Mapping[str, str], body: Any) -> Answer:
        """Ask a token server: the same care with redirects, but no challenge is answered."""
        host = authority(url)
        header = headers.get("Authorization")
        rest = {name: value for name, value in headers.items() if name != "Authorization"}
        ask = Ask(method, host, "", url, (), rest, (lambda: body) if body is not None else None, secret=True)
        return self._followed(ask, url.partition("://")[0], host, header)

    def note_allowance(self, answer: Reply, host: str) -> None:
        """Keep what the host says of how often it may be asked, and let the answer know what it has said last.

        The answer is told too which secrets it must not show.
        """
        answer.secrets = self._authorizer.secrets
        said = read_allowance(answer.headers)
        if said is not None:
            self._allowances[host] = said.replace(source=answer.secrets.redact(said.source))
        answer.allowance = self._allowances.get(host)

    def _verified(self, url: str) -> bool:
        return not self.settings.trusts(authority(url))

    def _check_address(self, url: str, ask: Ask, server: str) -> None:
        """Refuse to follow a registry to anything but https, or http where that is allowed.

        A registry elsewhere may not send us to services of this machine.
        """
        host = authority(url)
        if url.startswith("https://") and host:
            return
        near = is_loopback(host) and is_loopback(server)
        if url.startswith("http://") and host and (near or self.settings.names_insecure(host)):
            return
        scheme, shown = errors.clean(url.partition("://")[0]) if "://" in url else "no scheme", errors.clean(host)
        raise RegistryError(
            f"{ask.registry} sends requests for {ask.what} on to {shown or 'nowhere'} over {scheme}",
            code="insecure-redirect",
            host=ask.registry,
            hints=(f"if you accept the risk, list {shown} as an insecure registry",) if shown else (),
        )

    def _same_origin(self, url: str, server: str) -> bool:
        return origin_of(url) == origin_of(f"{self._schemes.get(server) or url.partition('://')[0]}://{server}")


def check_length(answer: Reply, ask: Ask, limit: int, what: str) -> None:
    """Read an answer, and raise a `RegistryError` that is temporary when it ends before its length."""
    content = answer.read(limit)
    if answer.length is not None and not answer.bodiless and len(content) < min(answer.length, limit):
        raise RegistryError(
            f"{ask.registry} sent {len(content)} of {answer.length} bytes of {what}",
            code="truncated",
            host=ask.registry,
            temporary=True,
            hints=("try again; if it stays so, the registry or a proxy before it is broken",),
        )


def _carried_off(host: str) -> RegistryError:
    return RegistryError(
        f"{host} sends a request with credentials on to another host",
        code="insecure-redirect",
        host=host,
        hints=("the credentials were not sent there; the address of the token server has to be corrected",),
    )


def kind_of(method: str, target: str) -> str:
    """Return what a request is for: `head`, `manifest`, `blob`, `tags`, `referrers`, `catalog`, else `other`.

    Tokens, redirected requests and the search are among the others.
    """
    if "/manifests/" in target:
        return "head" if method == "HEAD" else "manifest"
    path = target.partition("?")[0]
    if path.endswith("/tags/list"):
        return "tags"
    if path.endswith("/v2/_catalog"):
        return "catalog"
    return next((kind for part, kind in _KINDS if part in path), "other")
