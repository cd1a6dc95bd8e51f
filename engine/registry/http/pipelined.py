"""A kept connection over which one small question goes out at a time and its answer comes in whole, never waiting.

It stands below requests, urllib3 and http.client, which take ten times as long for a small answer as it takes here.
It knows HTTP/1.1 as servers speak it plainly: a status line, headers, and a body that is measured by Content-Length,
by chunks, or by the end of the connection. Whatever else comes raises `StrangeError`, and is asked for again by the way
that knows more.
"""

from __future__ import annotations

import re

from imq.grammar.record import TYPE_CHECKING

from .response import CHUNK, Headers, Whole, number

if TYPE_CHECKING:
    import socket

_AT_ONCE = 256 << 10
_LARGEST_HEAD = 64 << 10
_LONGEST_CHUNK_LINE = 1 << 10
_MOST_RECEIVED = 8
"""Times the bytes that are wanted of a body may come, with the lines between its chunks."""
_STATUS = re.compile(r"HTTP/1\.([01]) ([2-5][0-9][0-9])(?: [^\r\n]*)?\Z")
_FIELDS = re.compile(r"(?:\r\n[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n\0]*)*\Z")
_CHUNK = re.compile(CHUNK)
_BODILESS = frozenset({204, 304})
_SAFE = re.compile(r"[!-~]+\Z")


class StrangeError(Exception):
    """What came is no answer as this module knows them."""


class BrokenError(Exception):
    """The connection ended before the answer did. `cause` is what the system said of it, if it did."""

    def __init__(self, cause: OSError | None = None) -> None:
        super().__init__()
        self.cause = cause


class Wire:
    """One connection, made and checked by others. After any exception, and when `over`, it is only to be closed."""

    __slots__ = (
        *("_buffer", "_head", "_later", "_limit", "_method", "_out"),
        *("answers", "over", "received", "socket", "url"),
    )

    def __init__(self, made: socket.socket, url: str) -> None:
        made.setblocking(False)
        self.socket = made
        self.url = url
        self.over = False
        """Whether the connection serves no more questions."""
        self.answers = 0
        self.received = 0
        """Bytes that have come of the answer to the last question."""
        self._later = _later(made)
        self._buffer = b""
        self._out = b""
        self._method = ""
        self._limit = 0
        self._head: _Head | None = None

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self.socket.fileno()

    @property
    def sending(self) -> bool:
        """Whether a part of the question is still to go out: wait until the connection takes more, then `push`."""
        return bool(self._out)

    @property
    def has_head(self) -> bool:
        """Whether the headers of an answer have come."""
        return self._head is not None

    @property
    def begun(self) -> bool:
        """Whether a part of an answer has come."""
        return bool(self._buffer) or self._head is not None

    def ask(self, method: str, request: bytes, limit: int) -> None:
        """Send a question; of its answer's body at most `limit + 1` bytes are read."""
        self._method, self._limit, self._out, self.received = method, limit, request, 0
        self.push()

    def push(self) -> None:
        """Send what is left of the question."""
        try:
            count = self.socket.send(self._out)
        except self._later:
            return
        except OSError as problem:
            raise BrokenError(problem) from None
        self._out = self._out[count:] if count < len(self._out) else b""

    def take(self, target: str) -> Whole | None:
        """Read what has come; return the answer when it is here whole, None when more is to come."""
        ended = False
        while True:
            try:
                piece = self.socket.recv(_AT_ONCE)
            except self._later:
                return None
            except OSError as problem:
                raise BrokenError(problem) from None
            self.received += len(piece)
            if self.received > _MOST_RECEIVED * self._limit + _LARGEST_HEAD + _AT_ONCE:  # what comes is no content
                raise StrangeError
            if piece:
                self._buffer = self._buffer + piece if self._buffer else piece
            else:
                ended = True
            found = self._found(target, ended=ended)
            if found is not None:
                self.answers += 1
                return found
            if ended:
                raise BrokenError

    def close(self) -> None:
        """Close the connection."""
        self.over = True
        self.socket.close()

    def _found(self, target: str, *, ended: bool) -> Whole | None:
        head = self._head
        if head is None:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(self._buffer) > _LARGEST_HEAD:
                    raise StrangeError
                return None
            head = self._head = _Head(self._buffer[:end])
            self._buffer = self._buffer[end + 4 :]
        body = self._body(head, ended=ended)
        if body is None:
            return None
        self._head = None
        self.over = self.over or head.closes or ended or bool(self._buffer)
        return Whole(head.status, head.headers, body, self.url + target, bodiless=self._method == "HEAD")

    def _body(self, head: _Head, *, ended: bool) -> bytes | None:
        """Take the body from the buffer when all of it is there."""
        if self._method == "HEAD" or head.status in _BODILESS:
            return b""
        if head.chunked:
            return self._joined(head)
        length = head.length
        if length is None:
            if ended or len(self._buffer) > self._limit:
                return self._cut()
            return None
        if length > self._limit and len(self._buffer) > self._limit:
            return self._cut()
        if len(self._buffer) < length:
            return None
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        return body

    def _cut(self) -> bytes:
        """Return what has come of a body that ends with the connection, or is longer than wanted."""
        body, self._buffer = self._buffer[: self._limit + 1], b""
        self.over = True
        return body

    def _joined(self, head: _Head) -> bytes | None:
        """Take chunks (RFC 9112, 7.1) from the buffer into `head`; return them joined after the last."""
        place, buffer = 0, self._buffer
        while True:
            end = buffer.find(b"\r\n", place)
            if end < 0:
                if len(buffer) - place > _LONGEST_CHUNK_LINE:
                    raise StrangeError
                break
            if head.trailing:
                if end == place:
                    self._buffer = buffer[end + 2 :]
                    return b"".join(head.chunks)
                place = end + 2
                continue
            said = _CHUNK.match(buffer, place, end)
            if said is None:
                raise StrangeError
            size = int(said[1], 16)
            if not size:
                head.trailing = True
                place = end + 2
                continue
            if head.size + size > self._limit:
                if head.size + len(buffer) - end - 2 <= self._limit:
                    break
                self._buffer = b"".join((*head.chunks, buffer[end + 2 :]))
                return self._cut()
            if len(buffer) < end + 2 + size + 2:
                break
            if buffer[end + 2 + size : end + 4 + size] != b"\r\n":
                raise StrangeError
            head.chunks.append(buffer[end + 2 : end + 2 + size])
            head.size += size
            place = end + 4 + size
        self._buffer = buffer[place:]
        return None


class _Head:
    """The status line and the headers of an answer, and what has come of a body in chunks."""

    __slots__ = ("chunked", "chunks", "closes", "headers", "length", "size", "status", "trailing")

    def __init__(self, text: bytes) -> None:
        first, fields, rest = text.decode("latin-1").partition("\r\n")
        fields += rest
        said = _STATUS.match(first)
        if said is None or not _FIELDS.match(fields):
            raise StrangeError
        self.status = int(said[2])
        headers = self.headers = Headers()
        for line in fields.split("\r\n")[1:]:
            name, _, value = line.partition(":")
            name, value = name.lower(), value.strip(" \t")
            if name in headers:
                if name in ("content-length", "transfer-encoding"):
                    raise StrangeError
                value = f"{headers[name]}, {value}"
            headers[name] = value
        coding = headers.get("transfer-encoding")
        self.chunked = coding is not None
        if coding is not None and (coding.lower() != "chunked" or "content-length" in headers):
            raise StrangeError
        stated = headers.get("content-length")
        self.length = number(stated) if stated is not None else None
        if stated is not None and self.length is None:
            raise StrangeError
        kept = (headers.get("connection") or "").lower()
        self.closes = "close" in kept or (said[1] == "0" and "keep-alive" not in kept)
        self.chunks: list[bytes] = []
        self.size = 0
        self.trailing = False


def can_carry(*texts: str) -> bool:
    """Whether these can stand in a request as they are: printable ASCII without spaces."""
    return all(_SAFE.match(text) for text in texts)


def is_plain(value: str) -> bool:
    """Whether this can be the value of a header of a request."""
    return value.isascii() and value.isprintable()


def _later(made: socket.socket) -> tuple[type[OSError], ...]:
    """Return what says that the connection would have to be waited for."""
    if type(made).__name__ == "socket":
        return (BlockingIOError, InterruptedError)
    from ssl import SSLWantReadError, SSLWantWriteError

    return (BlockingIOError, InterruptedError, SSLWantReadError, SSLWantWriteError)
