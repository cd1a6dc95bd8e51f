"""Parses the head of an HTTP/1.1 response: the status line and the headers.

Only unambiguous heads are accepted. For any other one, the caller repeats its request with requests.
"""

from __future__ import annotations

import re

from .response import Headers, parse_length

BODILESS_STATUSES = frozenset({204, 304})
"""Statuses of responses without a body."""
_STATUS = re.compile(r"HTTP/1\.([01]) ([2-5][0-9][0-9])(?: [^\r\n]*)?\Z")
_FIELDS = re.compile(r"(?:\r\n[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n\0]*)*\Z")
_REQUEST_TEXT = re.compile(r"[!-~]+\Z")


class UnsupportedResponseError(Exception):
    """The response uses HTTP features that imq's own connections do not support."""


class ResponseHead:
    """The status line and headers of a response. `length` is None without a valid Content-Length."""

    __slots__ = ("chunked", "closes_connection", "headers", "length", "status")

    def __init__(self, text: bytes) -> None:
        first, fields, rest = text.decode("latin-1").partition("\r\n")
        fields += rest
        match = _STATUS.match(first)
        if match is None or not _FIELDS.match(fields):
            raise UnsupportedResponseError
        self.status = int(match[2])
        headers = self.headers = Headers()
        for line in fields.split("\r\n")[1:]:
            name, _, value = line.partition(":")
            name, value = name.lower(), value.strip(" \t")
            if name in headers:
                if name in ("content-length", "transfer-encoding"):
                    raise UnsupportedResponseError
                value = f"{headers[name]}, {value}"
            headers[name] = value
        coding = headers.get("transfer-encoding")
        self.chunked = coding is not None
        if coding is not None and (coding.lower() != "chunked" or "content-length" in headers):
            raise UnsupportedResponseError
        content_length = headers.get("content-length")
        self.length = parse_length(content_length) if content_length is not None else None
        if content_length is not None and self.length is None:
            raise UnsupportedResponseError
        connection = (headers.get("connection") or "").lower()
        self.closes_connection = "close" in connection or (match[1] == "0" and "keep-alive" not in connection)


def are_sendable(*texts: str) -> bool:
    """Whether strings are valid in a request line: printable ASCII without spaces."""
    return all(_REQUEST_TEXT.match(text) for text in texts)


def is_header_value(value: str) -> bool:
    """Whether a string may be the value of a request header."""
    return value.isascii() and value.isprintable()
