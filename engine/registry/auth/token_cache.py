"""The cache of access tokens: by registry and scopes, until shortly before they expire."""

from __future__ import annotations

import threading

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    TokenKey = tuple[str, tuple[str, ...]]
    """A registry and the scopes of a token."""


class Token:
    """An access token as an Authorization header, and the time of its expiry by the cache's clock."""

    __slots__ = ("expires_at", "header")

    def __init__(self, header: str, expires_at: float) -> None:
        self.header = header
        self.expires_at = expires_at


class TokenCache:
    """Access tokens. Safe to use from several threads: one fetches a token, and the others wait for it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._fetch_locks: dict[TokenKey, threading.Lock] = {}
        self._tokens: dict[TokenKey, Token] = {}

    def find(self, key: TokenKey) -> Token | None:
        """Return the token unless it has expired."""
        with self._lock:
            token = self._tokens.get(key)
        return token if token is not None and token.expires_at > self._clock() else None

    def remove(self, key: TokenKey, header: str | None) -> None:
        """Remove the token with this header, which a registry refused."""
        with self._lock:
            token = self._tokens.get(key)
            if token is not None and token.header == header:
                del self._tokens[key]

    def get(self, key: TokenKey, fetch: Callable[[], Token]) -> Token:
        """Return the token; `fetch` requests a new one when it is missing or has expired."""
        with self._lock:
            fetch_lock = self._fetch_locks.setdefault(key, threading.Lock())
        with fetch_lock:
            token = self.find(key)
            if token is None:
                token = fetch()
                with self._lock:
                    self._tokens[key] = token
        return token
