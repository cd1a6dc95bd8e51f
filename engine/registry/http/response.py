"""The interface of a response, and a response whose body is in memory."""

from __future__ import annotations

import re

from imq.engine.units.redaction import NO_SECRETS
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Protocol

    from imq.engine.units.redaction import Secrets

    from .rate_limit import RateLimit
else:
    Protocol = object  # typing is slow to import, and a Protocol has no effect at run time

CHUNK_LINE = rb"([0-9A-Fa-f]{1,12})[ \t]*(?:;[^\r\n]*)?\Z"
"""The line before a chunk: the size, and ignored extensions (RFC 9112, 7.1)."""
_MAX_DIGITS = 19
"""The maximum number of digits of a valid Content-Length."""


class ResponseLike(Protocol):
    """A response of a registry. A `bodiless` one answers HEAD: its Content-Length is not that of its body."""

    status: int
    headers: Mapping[str, str]
    url: str
    bodiless: bool
    rate_limit: RateLimit | None
    secrets: Secrets
    """Secrets to redact from messages that quote the response."""

    def header(self, name: str) -> str:
        """Return a header, or an empty string."""

    @property
    def length(self) -> int | None:
        """The Content-Length in bytes; None when it is missing or invalid."""

    def read(self, limit: int) -> bytes:
        """Return the whole body, or `limit + 1` bytes of a longer one."""

    def close(self) -> None:
        """Release the connection."""


class Headers(dict[str, str]):
    """Headers by lower-case name; `get` accepts any case."""

    __slots__ = ()

    def get(self, name: str, default: str | None = None) -> str | None:  # type: ignore[override]
        """Return a header."""
        return super().get(name.lower(), default)


class HasHeaders:
    """Reads the headers of a response."""

    __slots__ = ()
    headers: Mapping[str, str]

    def header(self, name: str) -> str:
        """Return a header, or an empty string."""
        return self.headers.get(name) or ""

    @property
    def length(self) -> int | None:
        """The Content-Length in bytes; None when it is missing or invalid."""
        return parse_length(self.header("Content-Length"))


class BufferedResponse(HasHeaders):
    """A response whose body has been read."""

    __slots__ = ("_content", "bodiless", "headers", "rate_limit", "secrets", "status", "url")

    def __init__(self, status: int, headers: Headers, content: bytes, url: str, *, bodiless: bool) -> None:
        self.status = status
        self.headers: Mapping[str, str] = headers
        self.url = url
        self.bodiless = bodiless
        self.rate_limit: RateLimit | None = None
        self.secrets = NO_SECRETS
        self._content = content

    def read(self, limit: int) -> bytes:  # noqa: ARG002 - the limit was applied when the body was read
        """Return the body."""
        return self._content

    def close(self) -> None:
        """Do nothing: the connection already serves other requests."""


def parse_chunk_size(line: bytes) -> int | None:
    """Return the size in the line before a chunk (RFC 9112, 7.1); None when the line is invalid."""
    match = re.match(CHUNK_LINE, line)
    return int(match[1], 16) if match is not None else None


def parse_length(text: str) -> int | None:
    """Return the number of bytes that a header states; None when it is invalid."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS else None
