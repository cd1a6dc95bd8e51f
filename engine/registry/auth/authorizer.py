"""Authenticates requests: answers 401 challenges, fetches access tokens, and owns the token scopes."""

from __future__ import annotations

import math
import threading
import time
from functools import partial
from http import HTTPStatus

from imq.engine.oci.json_schema import match_fields
from imq.engine.registry import errors
from imq.engine.registry.http.urls import get_authority, resolve_url
from imq.engine.registry.settings import is_loopback
from imq.engine.units.redaction import Secrets
from imq.grammar.errors import RegistryError
from imq.grammar.record import TYPE_CHECKING

from .token_cache import Token, TokenCache

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from imq.engine.registry.http.transport import Response
    from imq.engine.registry.settings import Settings

    from .challenge import Challenge
    from .credentials import Credentials

    Send = Callable[[str, str, Mapping[str, str], Any], Response]
    """Sends (method, URL, headers, body) to a token server. Redirects to another host drop the credentials."""

_MAX_TOKEN_RESPONSE_BYTES = 1 << 20
_TOKEN_FIELDS = ("token", "access_token", "refresh_token", "expires_in")
_MIN_TOKEN_LIFETIME = 60
"""Minimum lifetime of a token in seconds, also if the server specifies none. This is docker's rule."""
_EXPIRY_MARGIN = 10
"""Seconds before its expiry at which a token is replaced."""


class Authorizer:
    """The credentials and tokens of one client. Safe to use from several threads."""

    def __init__(self, settings: Settings, send: Send, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._send = send
        self._clock = clock
        self._lock = threading.Lock()
        self._credentials_lock = threading.Lock()
        self._challenges: dict[str, Challenge] = {}
        self._tokens = TokenCache(clock)
        self._credentials: dict[tuple[str, str], Credentials | None] = {}
        self._identity_tokens: dict[str, str] = {}
        self.secrets = Secrets()
        """All secrets that were sent to a server."""

    def set_credentials(self, registry: str, credentials: Credentials) -> None:
        """Use these credentials for the registry, and request an identity token in exchange for them."""
        self._credentials[registry, ""] = credentials
        self._register_secrets(credentials)
        self._identity_tokens[registry] = ""

    def get_identity_token(self, registry: str) -> str:
        """Return the identity token that the registry issued after `set_credentials`; "" without one."""
        return self._identity_tokens.get(registry, "")

    def get_authorization(self, registry: str, repository: str, scopes: tuple[str, ...], *, plain: bool) -> str | None:
        """Return the Authorization header for a request, or None if the registry has not required one."""
        with self._lock:
            challenge = self._challenges.get(registry)
        return None if challenge is None else self._authorize(challenge, registry, repository, scopes, plain=plain)

    def get_cached_authorization(
        self, registry: str, repository: str, scopes: tuple[str, ...], *, plain: bool
    ) -> tuple[bool, str | None]:
        """Return whether `get_authorization` needs no request, and its result in that case."""
        with self._lock:
            challenge = self._challenges.get(registry)
            if challenge is None:
                return True, None
            if challenge.scheme == "basic":
                cached = (registry, repository) in self._credentials
                return cached, self._make_basic_authorization(registry, repository, plain=plain) if cached else None
        token = self._tokens.find((registry, scopes))
        return token is not None, token.header if token is not None else None

    def answer_challenge(
        self, header: str, refused: str | None, registry: str, repository: str, scopes: tuple[str, ...], *, plain: bool
    ) -> str | None:
        """Return the Authorization header that answers a challenge, or None if no other one is available.

        `refused` is the header of the refused request. `plain`: the request was sent without TLS.
        """
        from .challenge import Challenge, parse_challenges

        challenges = parse_challenges(header)
        challenge = next((c for c in challenges if c.scheme == "bearer" and c.get("realm")), None)
        challenge = challenge or next((c for c in challenges if c.scheme == "basic"), None)
        if challenge is None:
            return None
        with self._lock:
            self._challenges[registry] = Challenge(
                challenge.scheme, tuple(p for p in challenge.parameters if p[0] != "scope")
            )
        self._tokens.remove((registry, scopes), refused)
        header_value = self._authorize(challenge, registry, repository, scopes, plain=plain)
        return None if header_value == refused else header_value

    def _authorize(
        self, challenge: Challenge, registry: str, repository: str, scopes: tuple[str, ...], *, plain: bool
    ) -> str | None:
        if challenge.scheme == "basic":
            return self._make_basic_authorization(registry, repository, plain=plain)
        fetch = partial(self._fetch_token, challenge, registry, repository, scopes)
        return self._tokens.get((registry, scopes), fetch).header

    def _make_basic_authorization(self, registry: str, repository: str, *, plain: bool) -> str | None:
        if plain and not self._settings.allows_insecure(registry):
            return None
        credentials = self._get_credentials(registry, repository)
        return credentials.basic if credentials is not None and credentials.user else None

    def _get_credentials(self, registry: str, repository: str) -> Credentials | None:
        key = registry, repository
        if key not in self._credentials:
            with self._credentials_lock:  # a helper may prompt the user, which must happen once
                if key not in self._credentials:
                    from .credentials import find_credentials

                    credentials = find_credentials(self._settings, registry, repository)
                    if credentials is not None:
                        self._register_secrets(credentials)
                    self._credentials[key] = credentials
        return self._credentials[key]

    def _register_secrets(self, credentials: Credentials) -> None:
        pair = f"{credentials.user}:{credentials.password}" if credentials.password else ""
        self.secrets.add(credentials.password, pair, credentials.identity_token, credentials.registry_token)

    def _fetch_token(self, challenge: Challenge, registry: str, repository: str, scopes: tuple[str, ...]) -> Token:
        """Fetch a token from the challenge's realm, for the scope in the challenge and the required scopes."""
        from urllib.parse import urlencode

        credentials = self._get_credentials(registry, repository)
        if credentials is not None and credentials.registry_token:
            return Token(f"Bearer {credentials.registry_token}", math.inf)
        realm, offered_scope = self._check_realm(challenge.get("realm"), registry), challenge.get("scope")
        requested_scopes = list(scopes)
        if offered_scope:
            requested_scopes[:1] = [_widen_scope(offered_scope, scopes[0]) if scopes else offered_scope]
        query = [("service", challenge.get("service"))] if challenge.get("service") else []
        requested_at = self._clock()
        if credentials is not None and credentials.identity_token:
            form = [*query, ("client_id", "imq"), ("grant_type", "refresh_token")]
            form += [("refresh_token", credentials.identity_token), ("scope", " ".join(requested_scopes))]
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            response = self._send("POST", realm, headers, urlencode(form).encode())
        else:
            query += [("scope", scope) for scope in requested_scopes]
            if credentials is not None:
                query.append(("account", credentials.user))
            if registry in self._identity_tokens:
                query += [("offline_token", "true"), ("client_id", "imq")]
            address = f"{realm}{'&' if '?' in realm else '?'}{urlencode(query)}" if query else realm
            response = self._send(
                "GET", address, {"Authorization": credentials.basic} if credentials is not None else {}, None
            )
        return self._read_token(response, registry, repository, requested_at)

    def _check_realm(self, realm: str, registry: str) -> str:
        """Return the URL of the token server. Raises `RegistryError` for an invalid or insecure one."""
        address = resolve_url("", realm)
        scheme, host = address.partition("://")[0], get_authority(address)
        if scheme not in ("http", "https") or not host:
            raise RegistryError(
                f"{registry} specifies an invalid token server URL",
                code="not-a-registry",
                host=registry,
                hints=("the operator of the registry must correct its realm",),
            )
        is_local = is_loopback(host) and is_loopback(registry)  # a remote registry must not redirect to this machine
        if scheme == "http" and not (is_local or self._settings.is_insecure(host)):
            raise RegistryError(
                f"{registry} requests a token over plain HTTP from {host}, which would expose it",
                code="insecure-realm",
                host=registry,
                hints=(f"if you accept the risk, list {host} as an insecure registry",),
            )
        return address

    def _read_token(self, response: Response, registry: str, repository: str, requested_at: float) -> Token:
        import json

        if response.status != HTTPStatus.OK:
            raise errors.response_error(response, registry, repository or "the registry")
        try:
            document = json.loads(response.read(_MAX_TOKEN_RESPONSE_BYTES))
        except (ValueError, RecursionError):
            document = None
        document = match_fields(document if isinstance(document, dict) else {}, _TOKEN_FIELDS, "the token response")
        token = document.get("token") or document.get("access_token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise RegistryError(
                f"the token server of {registry} returned no token",
                code="not-a-registry",
                host=registry,
                hints=("try again; if the error persists, contact the operator of the registry",),
            )
        self.secrets.add(token)
        identity = document.get("refresh_token")
        if registry in self._identity_tokens and isinstance(identity, str) and identity.isprintable():
            self._identity_tokens[registry] = identity
            self.secrets.add(identity)
        lifetime = document.get("expires_in")
        seconds = lifetime if isinstance(lifetime, int | float) and not isinstance(lifetime, bool) else 0
        return Token(f"Bearer {token}", requested_at + max(seconds, _MIN_TOKEN_LIFETIME) - _EXPIRY_MARGIN)


def _widen_scope(offered: str, required: str) -> str:
    """Return the offered scope with the required actions added: a HEAD challenge may offer less than a PUT needs."""
    resource, _, actions = offered.rpartition(":")
    if " " in offered or resource != required.rpartition(":")[0]:
        return offered
    more = [action for action in required.rpartition(":")[2].split(",") if action not in actions.split(",")]
    return f"{resource}:{','.join([actions, *more])}"


CATALOG_SCOPE = ("registry:catalog:*",)
"""The scope to list all repositories."""


def make_pull_scope(repository: str) -> tuple[str, ...]:
    """Return the scope to read a repository."""
    return (f"repository:{repository}:pull",)


def make_delete_scope(repository: str) -> tuple[str, ...]:
    """Return the scope to delete from a repository, and to read it before."""
    return (f"repository:{repository}:delete,pull",)


def make_push_scope(repository: str, source: str | None = None) -> tuple[str, ...]:
    """Return the scope to write to a repository, and to read the one that blobs are mounted from."""
    own = f"repository:{repository}:pull,push"
    return (own, f"repository:{source}:pull") if source and source != repository else (own,)
