"""What can be read of an answer, however it came: one that is still being read, or one that is here whole."""

from __future__ import annotations

import re

from imq.grammar.record import TYPE_CHECKING

from .redaction import NO_SECRETS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Protocol

    from .rate_limit import Allowance
    from .redaction import Secrets
else:
    Protocol = object  # typing is slow to import, and a Protocol says nothing at run time

CHUNK = rb"([0-9A-Fa-f]{1,12})[ \t]*(?:;[^\r\n]*)?\Z"
"""The line before a chunk: its size, and extensions that nobody here knows (RFC 9112, 7.1)."""
_LONGEST_NUMBER = 19
"""Digits of a Content-Length that can be meant."""


class Reply(Protocol):
    """An answer of a registry; `bodiless` says that it answers a HEAD, whose Content-Length is not its own."""

    status: int
    headers: Mapping[str, str]
    url: str
    bodiless: bool
    allowance: Allowance | None
    secrets: Secrets
    """What of its words is not to be shown."""

    def header(self, name: str) -> str:
        """Return a header, or an empty string."""

    @property
    def length(self) -> int | None:
        """What Content-Length says, in bytes; None when it says nothing usable."""

    def read(self, limit: int) -> bytes:
        """Return the whole body, or `limit + 1` bytes of one that is longer."""

    def close(self) -> None:
        """Need no more of it."""


class Headers(dict[str, str]):
    """Headers by their names in lower case, to be looked up by names in any case."""

    __slots__ = ()

    def get(self, name: str, default: str | None = None) -> str | None:  # type: ignore[override]
        """Return a header."""
        return super().get(name.lower(), default)


class Whole:
    """An answer that has been read to its end."""

    __slots__ = ("_content", "allowance", "bodiless", "headers", "secrets", "status", "url")

    def __init__(self, status: int, headers: Headers, content: bytes, url: str, *, bodiless: bool) -> None:
        self.status = status
        self.headers: Mapping[str, str] = headers
        self.url = url
        self.bodiless = bodiless
        self.allowance: Allowance | None = None
        self.secrets = NO_SECRETS
        self._content = content

    def header(self, name: str) -> str:
        """Return a header, or an empty string."""
        return self.headers.get(name) or ""

    @property
    def length(self) -> int | None:
        """What Content-Length says, in bytes; None when it says nothing usable."""
        return number(self.header("Content-Length"))

    def read(self, limit: int) -> bytes:  # noqa: ARG002 - it was bounded when it was read
        """Return the body."""
        return self._content

    def close(self) -> None:
        """Do nothing: the connection serves others already."""


def chunk_size(line: bytes) -> int | None:
    """Return the size that the line before a chunk says (RFC 9112, 7.1); None when it says none."""
    said = re.match(CHUNK, line)
    return int(said[1], 16) if said is not None else None


def number(text: str) -> int | None:
    """Return the number of bytes that a header says; None when it is none that can be meant."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER else None
