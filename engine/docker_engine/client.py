"""Requests to one engine: JSON documents, and streams of bytes.

The package `docker` takes about 100 ms to import, `requests` as long, and `http.client` 28 ms (CPython 3.11). A whole
`docker images` takes about 60 ms, so this client uses none of them.
"""

from __future__ import annotations

import threading

from imq.grammar.errors import EngineError
from imq.grammar.record import TYPE_CHECKING, Record

from .errors import api_version_error, clean_text, protocol_error, response_error, timeout_error
from .http_connection import ConnectionEnded, HttpConnection, ProtocolError
from .transport import open_connection

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any, Self

    from .endpoint import Endpoint

MAX_API = (1, 47)
MIN_API = (1, 24)
"""The range of versions of the Engine API that imq supports."""
_MAX_ERROR_BYTES = 64 << 10
_MAX_MESSAGE_BYTES = 1 << 20
"""Maximum length of a line of a progress stream."""
_READ_SIZE = 256 << 10
_CONNECTION_ERRORS = (OSError, ProtocolError, ConnectionEnded)


class EngineVersion(Record):
    """The versions and the platform of an engine.

    `kind` is `docker` or `podman`. `api` is the negotiated version of the Engine API. Example: `1.41`.
    `architecture` and `storage_driver` are empty unless the details were requested.
    """

    api: str
    engine_version: str
    kind: str
    os: str
    architecture: str = ""
    storage_driver: str = ""
    libpod_api: str = ""
    """The version of podman's own API; empty for other engines."""


class EngineClient:
    """A client of one engine. Methods may be called from several threads; each request has its own connection.

    `timeout` is the maximum silence of the engine in seconds. `jobs` is how many idle connections are kept.
    `max_document` is the maximum size of a JSON document in bytes.
    """

    def __init__(
        self, endpoint: Endpoint, *, timeout: float = 60.0, jobs: int = 8, max_document: int = 256 << 20
    ) -> None:
        self.endpoint = endpoint
        self._timeout = timeout
        self._jobs = jobs
        self._max_document = max_document
        self._lock = threading.Lock()
        self._idle: list[_Channel] = []
        self._busy: set[_Channel] = set()
        self._version: EngineVersion | None = None
        self._is_closed = False

    def ping(self, *, details: bool = False) -> EngineVersion:
        """Return the version of the engine, and negotiate the version of the API. The engine is asked once.

        `details` also fetches the architecture and the storage driver, with a second request.
        """
        version = self._version
        if version is None:
            with self._request("GET", "/_ping") as response:
                response.read_document()
                version = self._version = _read_version(self.endpoint, response.headers)
        if details and not version.architecture:
            info = self.get_json("info")
            version = self._version = version.replace(
                architecture=str(info.get("Architecture") or ""), storage_driver=str(info.get("Driver") or "")
            )
        return version

    def get_json(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        """Return the JSON document at a path such as `images/json`; None for an empty answer."""
        return self._exchange_json("GET", path, query)

    def post_json(self, path: str, query: Mapping[str, str] | None = None, document: object = None) -> Any:
        """Post a JSON document, and return the one in the answer."""
        return self._exchange_json("POST", path, query, document)

    def delete_json(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        """Delete what is at a path, and return the JSON document in the answer."""
        return self._exchange_json("DELETE", path, query)

    def open_stream(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> EngineStream:
        """Send a request and return the body of the answer as a stream, which the caller closes."""
        return self._request(method, self._target(path, query), body, headers)

    def close(self) -> None:
        """Close all connections; requests in other threads fail."""
        with self._lock:
            self._is_closed = True
            channels = [*self._idle, *self._busy]
            self._idle.clear()
        for channel in channels:
            channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _exchange_json(self, method: str, path: str, query: Mapping[str, str] | None, document: object = None) -> Any:
        import json

        body, headers = None, {}
        if document is not None:
            body, headers = json.dumps(document).encode(), {"Content-Type": "application/json"}
        with self._request(method, self._target(path, query), body, headers) as response:
            content = response.read_document()
        if not content.strip():
            return None
        try:
            return json.loads(content)
        except (ValueError, RecursionError):
            raise protocol_error(self.endpoint, f"its answer for {path} is not JSON") from None

    def _target(self, path: str, query: Mapping[str, str] | None) -> str:
        version = self.ping()
        api = version.libpod_api if path.startswith("libpod/") and version.libpod_api else version.api
        target = f"/v{api}/{_quote(path, '/:@')}"
        if query:
            target += "?" + "&".join(f"{_quote(key)}={_quote(value)}" for key, value in query.items())
        return target

    def _request(
        self,
        method: str,
        target: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> EngineStream:
        """Send a request, and return its response when its status is no error."""
        fields = {"Host": "docker", "User-Agent": "imq", **(headers or {})}
        if isinstance(body, bytes) or (body is None and method == "POST"):
            body = body or b""
            fields["Content-Length"] = str(len(body))
        channel = self._take_channel()
        try:
            if body is None or isinstance(body, bytes):
                channel.http.send(method, target, fields, body or b"")
            else:
                channel.http.send_chunks(method, target, fields, body)
            status = channel.http.read_head()
            stream = EngineStream(self, channel, self._max_document)
            if status < 200 or status >= 300:
                content = channel.http.read_all(_MAX_ERROR_BYTES) or b""
                stream.close()
                raise response_error(self.endpoint, status, content)
        except _CONNECTION_ERRORS as error:
            self._drop_channel(channel)
            raise self._translate(error) from None
        except BaseException:  # a half-used connection is never used again
            self._drop_channel(channel)
            raise
        return stream

    def _translate(self, error: Exception) -> EngineError:
        """Return the exception of imq for a failure of a connection."""
        if isinstance(error, TimeoutError):
            return timeout_error(self.endpoint, self._timeout, "did not answer")
        if isinstance(error, ProtocolError):
            return protocol_error(self.endpoint, str(error))
        return protocol_error(self.endpoint, "the connection ended before its answer was complete")

    def _take_channel(self) -> _Channel:
        with self._lock:
            if self._is_closed:
                raise EngineError("the client is closed", endpoint=self.endpoint.name)
            while self._idle:
                channel = self._idle.pop()
                if not channel.has_ended():
                    self._busy.add(channel)
                    return channel
                channel.close()
        channel = _Channel(open_connection(self.endpoint, self._timeout))
        with self._lock:
            self._busy.add(channel)
        return channel

    def _release_channel(self, channel: _Channel) -> None:
        with self._lock:
            self._busy.discard(channel)
            http = channel.http
            if http.is_complete and http.is_reusable and not self._is_closed and len(self._idle) < self._jobs:
                self._idle.append(channel)
                return
        channel.close()

    def _drop_channel(self, channel: _Channel) -> None:
        with self._lock:
            self._busy.discard(channel)
        channel.close()


class _Channel:
    """A connection and its socket."""

    __slots__ = ("http", "socket")

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.http = HttpConnection(connection)

    def has_ended(self) -> bool:
        """Whether the engine closed the idle connection."""
        import select

        return bool(select.select([self.socket], [], [], 0)[0])

    def close(self) -> None:
        """Close the socket; a blocked read in another thread returns."""
        import socket

        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.socket.close()


class EngineStream:
    """The body of an answer, as a binary stream that is read once. A context manager that closes it.

    Every read raises `EngineError` when the connection ends before the body is complete.
    """

    def __init__(self, client: EngineClient, channel: _Channel, max_document: int) -> None:
        self._client = client
        self._channel: _Channel | None = channel
        self._max_document = max_document
        self.status = channel.http.status
        self.headers = channel.http.headers
        """Headers by lower-case name."""

    def read(self, size: int = -1) -> bytes:
        """Return at most `size` bytes; the rest of the body without a size. No bytes at the end."""
        if size < 0:
            return b"".join(iter(lambda: self._read_some(_READ_SIZE), b""))
        return self._read_some(size)

    def read_document(self) -> bytes:
        """Return the rest of the body. Raises `EngineError` when it is longer than a document may be."""
        parts, total = [], 0
        while data := self._read_some(_READ_SIZE):
            total += len(data)
            if total > self._max_document:
                self.close()
                endpoint = self._client.endpoint
                raise protocol_error(endpoint, f"its answer is longer than {self._max_document:,} bytes")
            parts.append(data)
        return b"".join(parts)

    def read_messages(self) -> Iterator[dict[str, Any]]:
        """Yield the JSON objects of a progress stream, one a line.

        Raises `EngineError` for a message that reports an error, in the words of the engine.
        """
        import json

        buffer = b""
        while True:
            data = self._read_some(_READ_SIZE)
            *lines, buffer = (buffer + data).split(b"\n")
            if not data and buffer:
                lines, buffer = [buffer], b""
            for line in lines:
                if not line.strip():
                    continue
                try:
                    message = json.loads(line)
                except (ValueError, RecursionError):
                    message = None
                if not isinstance(message, dict):
                    raise protocol_error(self._client.endpoint, "its progress is not JSON")
                if message.get("error"):
                    raise EngineError(clean_text(str(message["error"])), endpoint=self._client.endpoint.name)
                yield message
            if len(buffer) > _MAX_MESSAGE_BYTES:
                raise protocol_error(self._client.endpoint, "a line of its progress is too long")
            if not data:
                return

    def close(self) -> None:
        """Release the connection."""
        channel, self._channel = self._channel, None
        if channel is not None:
            self._client._release_channel(channel)  # noqa: SLF001 - one module, one protocol

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read_some(self, size: int) -> bytes:
        if self._channel is None:
            return b""
        try:
            return self._channel.http.read(size)
        except _CONNECTION_ERRORS as error:
            channel, self._channel = self._channel, None
            self._client._drop_channel(channel)  # noqa: SLF001
            raise self._client._translate(error) from None  # noqa: SLF001


def _read_version(endpoint: Endpoint, headers: Mapping[str, str]) -> EngineVersion:
    """Read the headers of a ping and negotiate: the newest version of the API that both support."""
    text = headers.get("api-version", "")
    major, _, minor = text.partition(".")
    if not (major.isdecimal() and minor.isdecimal() and len(text) < 12):
        raise protocol_error(endpoint, "its answer to a ping has no API version")
    offered = (int(major), int(minor))
    if offered < MIN_API:
        low = ".".join(map(str, MIN_API))
        raise api_version_error(endpoint, f"its newest version is {text}, and imq requires {low} or newer")
    server = clean_text(headers.get("server", "")).partition(" ")[0]
    libpod = clean_text(headers.get("libpod-api-version", ""))
    return EngineVersion(
        ".".join(map(str, min(offered, MAX_API))),
        server.partition("/")[2],
        "podman" if libpod or server.startswith("Libpod") else "docker",
        headers.get("ostype", "") or "linux",
        libpod_api=libpod,
    )


_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~")


def _quote(text: str, safe: str = "") -> str:
    """Percent-encode a string for a URL."""
    if _PLAIN.issuperset(text):
        return text
    return "".join(c if c in _PLAIN or c in safe else "".join(f"%{b:02X}" for b in c.encode()) for c in text)
