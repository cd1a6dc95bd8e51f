"""How a registry lets one in: the challenges of a 401 answer, access tokens, and the header each request carries."""

from __future__ import annotations

import math
import re
import threading
import time
from http import HTTPStatus

from imq.engine.registry import errors
from imq.engine.registry.http.redaction import Secrets
from imq.engine.registry.http.urls import authority, resolve
from imq.engine.registry.settings import is_loopback
from imq.grammar.errors import RegistryError
from imq.grammar.record import TYPE_CHECKING, Record

from .credentials import Credentials, find_credentials

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from imq.engine.registry.http.transport import Answer
    from imq.engine.registry.settings import Settings

    Send = Callable[[str, str, Mapping[str, str], Any], Answer]
    """Sends (method, address, headers, body) to a token server, following redirects without the credentials."""

_LARGEST_TOKEN_ANSWER = 1 << 20
_SHORTEST_LIFE = 60
"""Seconds that a token lives when its server does not say, or says less: docker's rule, from old servers."""
_MARGIN = 10
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PARAMETER = re.compile(r"\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"|([^\s,\"]*))\s*(?:,|\Z)")
_TOKEN68 = re.compile(r"\s*[A-Za-z0-9._~+/-]+=*\s*(?:,|\Z)")


class Challenge(Record):
    """One way in that a 401 answer offers. `scheme` is lower case."""

    scheme: str
    parameters: tuple[tuple[str, str], ...] = ()

    def get(self, name: str) -> str:
        """Return a parameter, or an empty string."""
        return dict(self.parameters).get(name, "")


def read_challenges(header: str) -> tuple[Challenge, ...]:
    """Parse a WWW-Authenticate header (RFC 9110, 11.6.1): several challenges, quoted commas, token68."""
    found: list[Challenge] = []
    place = 0
    while place < len(header):
        if header[place] in " \t,":
            place += 1
            continue
        scheme = _TOKEN.match(header, place)
        if scheme is None:
            break
        place = scheme.end()
        if header[place : place + 1] == " " and (lone := _TOKEN68.match(header, place)):
            place = lone.end()
        parameters: list[tuple[str, str]] = []
        while parameter := _PARAMETER.match(header, place):
            name, quoted, bare = parameter.groups()
            value = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else bare
            parameters.append((name.lower(), value))
            place = parameter.end()
        found.append(Challenge(scheme[0].lower(), tuple(parameters)))
    return tuple(found)


class _Token:
    """An access token and when, by the monotonic clock, it should no longer be used."""

    __slots__ = ("header", "until")

    def __init__(self, header: str, until: float) -> None:
        self.header = header
        self.until = until


class Authorizer:
    """Remembers for each registry how it lets in, and the tokens it gave, each for the scopes it was asked for."""

    def __init__(self, settings: Settings, send: Send, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._send = send
        self._clock = clock
        self._lock = threading.Lock()
        self._finding = threading.Lock()
        self._turns: dict[tuple[str, tuple[str, ...]], threading.Lock] = {}
        self._ways: dict[str, Challenge] = {}
        self._tokens: dict[tuple[str, tuple[str, ...]], _Token] = {}
        self._credentials: dict[tuple[str, str], Credentials | None] = {}
        self._identities: dict[str, str] = {}
        self.secrets = Secrets()
        """All that was shown to anybody."""

    def know(self, registry: str, credentials: Credentials) -> None:
        """Use these credentials for the registry, and ask its token server for an identity token in their place."""
        self._credentials[registry, ""] = credentials
        self._keep_secret(credentials)
        self._identities[registry] = ""

    def identity(self, registry: str) -> str:
        """Return the identity token that was given for the credentials that `know` was told of; "" when none was."""
        return self._identities.get(registry, "")

    def header(self, registry: str, repository: str, scopes: tuple[str, ...], *, plain: bool) -> str | None:
        """Return the Authorization header for a request, None when the registry is not known to want one."""
        with self._lock:
            way = self._ways.get(registry)
        return None if way is None else self._enter(way, registry, repository, scopes, plain=plain)

    def ready(self, registry: str, repository: str, scopes: tuple[str, ...], *, plain: bool) -> tuple[bool, str | None]:
        """Return whether `header` would return at once, without asking anybody, and what it would return then."""
        with self._lock:
            way = self._ways.get(registry)
            if way is None:
                return True, None
            if way.scheme == "basic":
                known = (registry, repository) in self._credentials
                return known, self._basic(registry, repository, plain=plain) if known else None
            token = self._tokens.get((registry, scopes))
        fresh = token is not None and token.until > self._clock()
        return fresh, token.header if fresh and token is not None else None

    def answer(
        self, header: str, refused: str | None, registry: str, repository: str, scopes: tuple[str, ...], *, plain: bool
    ) -> str | None:
        """Answer the challenge in `header`; None when there is nothing (more) to answer with.

        `refused` is what the refused request carried. `plain` says that the request travelled without TLS.
        """
        challenges = read_challenges(header)
        way = next((c for c in challenges if c.scheme == "bearer" and c.get("realm")), None)
        way = way or next((c for c in challenges if c.scheme == "basic"), None)
        if way is None:
            return None
        with self._lock:
            self._ways[registry] = Challenge(way.scheme, tuple(p for p in way.parameters if p[0] != "scope"))
            known = self._tokens.get((registry, scopes))
            if known is not None and known.header == refused:
                del self._tokens[registry, scopes]
        found = self._enter(way, registry, repository, scopes, plain=plain)
        return None if found == refused else found

    def _enter(
        self, way: Challenge, registry: str, repository: str, scopes: tuple[str, ...], *, plain: bool
    ) -> str | None:
        if way.scheme == "basic":
            return self._basic(registry, repository, plain=plain)
        key = registry, scopes
        with self._lock:
            turn = self._turns.setdefault(key, threading.Lock())
        with turn:  # one fetches, and the others that need the same token wait for it
            token = self._tokens.get(key)
            if token is None or token.until <= self._clock():
                token = self._fetch(way, registry, repository, scopes)
                with self._lock:
                    self._tokens[key] = token
        return token.header

    def _basic(self, registry: str, repository: str, *, plain: bool) -> str | None:
        if plain and not self._settings.trusts(registry):
            return None
        credentials = self._who(registry, repository)
        return credentials.basic if credentials is not None and credentials.user else None

    def _who(self, registry: str, repository: str) -> Credentials | None:
        key = registry, repository
        if key not in self._credentials:
            with self._finding:  # a helper may ask the user, and shall do so once
                if key not in self._credentials:
                    found = find_credentials(self._settings, registry, repository)
                    if found is not None:
                        self._keep_secret(found)
                    self._credentials[key] = found
        return self._credentials[key]

    def _keep_secret(self, credentials: Credentials) -> None:
        pair = f"{credentials.user}:{credentials.password}" if credentials.password else ""
        self.secrets.add(credentials.password, pair, credentials.identity_token, credentials.registry_token)

    def _fetch(self, way: Challenge, registry: str, repository: str, scopes: tuple[str, ...]) -> _Token:
        """Get a token from the challenge's realm, for the scope it names (it knows best) and what we need besides."""
        from urllib.parse import urlencode

        who = self._who(registry, repository)
        if who is not None and who.registry_token:
            return _Token(f"Bearer {who.registry_token}", math.inf)
        realm, offered = self._checked_realm(way.get("realm"), registry), way.get("scope")
        wanted = list(scopes)
        if offered:
            wanted[:1] = [_widened(offered, scopes[0]) if scopes else offered]
        query = [("service", way.get("service"))] if way.get("service") else []
        asked_at = self._clock()
        if who is not None and who.identity_token:
            form = [*query, ("client_id", "imq"), ("grant_type", "refresh_token")]
            form += [("refresh_token", who.identity_token), ("scope", " ".join(wanted))]
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            answer = self._send("POST", realm, headers, urlencode(form).encode())
        else:
            query += [("scope", scope) for scope in wanted]
            if who is not None:
                query.append(("account", who.user))
            if registry in self._identities:
                query += [("offline_token", "true"), ("client_id", "imq")]
            address = f"{realm}{'&' if '?' in realm else '?'}{urlencode(query)}" if query else realm
            answer = self._send("GET", address, {"Authorization": who.basic} if who is not None else {}, None)
        return self._read(answer, registry, repository, asked_at)

    def _checked_realm(self, realm: str, registry: str) -> str:
        """Return the address of the token server; raises `RegistryError` for one that may not be asked."""
        address = resolve("", realm)
        scheme, host = address.partition("://")[0], authority(address)
        if scheme not in ("http", "https") or not host:
            raise RegistryError(
                f"{registry} names a token server that is no http address",
                code="not-a-registry",
                host=registry,
                hints=("whoever runs the registry has to set its realm right",),
            )
        near = is_loopback(host) and is_loopback(registry)  # one elsewhere may not have us ask services of this machine
        if scheme == "http" and not (near or self._settings.names_insecure(host)):
            raise RegistryError(
                f"{registry} asks to fetch a token over plain http from {host}, where anyone could read it",
                code="insecure-realm",
                host=registry,
                hints=(f"if you accept the risk, list {host} as an insecure registry",),
            )
        return address

    def _read(self, answer: Answer, registry: str, repository: str, asked_at: float) -> _Token:
        import json

        if answer.status != HTTPStatus.OK:
            raise errors.refusal(answer, registry, repository or "the registry")
        try:
            document = json.loads(answer.read(_LARGEST_TOKEN_ANSWER))
        except (ValueError, RecursionError):
            document = None
        document = document if isinstance(document, dict) else {}
        token = document.get("token") or document.get("access_token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise RegistryError(
                f"the token server of {registry} answers without a token",
                code="not-a-registry",
                host=registry,
                hints=("try again; if it stays so, tell whoever runs the registry",),
            )
        self.secrets.add(token)
        identity = document.get("refresh_token")
        if registry in self._identities and isinstance(identity, str) and identity.isprintable():
            self._identities[registry] = identity
            self.secrets.add(identity)
        life = document.get("expires_in")
        seconds = life if isinstance(life, int | float) and not isinstance(life, bool) else 0
        return _Token(f"Bearer {token}", asked_at + max(seconds, _SHORTEST_LIFE) - _MARGIN)


def _widened(offered: str, mine: str) -> str:
    """Return the offered scope with the actions that `mine` adds: a HEAD may be challenged with less than a PUT."""
    resource, _, actions = offered.rpartition(":")
    if " " in offered or resource != mine.rpartition(":")[0]:
        return offered
    more = [action for action in mine.rpartition(":")[2].split(",") if action not in actions.split(",")]
    return f"{resource}:{','.join([actions, *more])}"
