"""Requests to one engine: JSON documents, and streams of bytes.

It uses neither `docker` nor `requests`, which take about 100 ms to import, nor `http.client` (28 ms; CPython 3.11):
`docker images` takes about 60 ms as a whole.
"""

from __future__ import annotations

import threading

from imq.grammar.errors import EngineError, NotFound
from imq.grammar.record import TYPE_CHECKING, Record

from .errors import api_version_error, clean_text, protocol_error, response_error, timeout_error, tls_error
from .http_connection import ConnectionEnded, ProtocolError, RequestBodyFailed
from .transport import open_channel

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any, Protocol, Self

    from .channel import Channel
    from .endpoint import Endpoint

    Query = Mapping[str, str | Sequence[str]]
    """The parameters of a request. One with several values is repeated; one without values is left out."""

    class Readable(Protocol):
        """A binary file."""

        def read(self, size: int, /) -> bytes:
            """Return at most `size` bytes; no bytes at the end."""


MAX_API = (1, 52)
MIN_API = (1, 24)
"""The range of versions of the Engine API that imq supports."""
_PING_TIMEOUT = 20.0
"""Maximum seconds of silence before the response to a ping, which needs no work of the engine."""
_MAX_ERROR_BYTES = 64 << 10
_MAX_MESSAGE_BYTES = 1 << 20
"""Maximum length of a line of a progress stream."""
_READ_SIZE = 256 << 10
_SEND_SIZE = 1 << 20
_TLS_REJECTIONS = ("SSLError", "SSLCertVerificationError")
"""Exceptions of `ssl`, by name because of its import time. Its other ones are ends of the connection."""
_CONNECTION_ERRORS = (OSError, ProtocolError, ConnectionEnded)


class EngineVersion(Record):
    """The versions and the platform of an engine. `kind` is `docker` or `podman`.

    `api` is the negotiated version of the Engine API. Example: `1.41`. `libpod_api` is the version of podman's own API;
    empty for docker. The fields after `os` are empty unless the details were requested. `has_containerd_images` is
    whether images are stored by containerd; then their sizes include compressed content.
    """

    api: str
    engine_version: str
    kind: str
    os: str
    libpod_api: str = ""
    architecture: str = ""
    storage_driver: str = ""
    has_containerd_images: bool = False


class EngineClient:
    """A client of one engine. Methods may be called from several threads; each request has a connection of its own.

    `timeout` is the maximum silence of the engine in seconds; after such a silence all requests fail at once. `jobs` is
    the maximum number of connections of concurrent JSON requests; streams are not counted. `max_document` is the
    maximum size of a JSON document in bytes. `environment` is that of ssh processes; the default is the one of this
    process.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        timeout: float = 60.0,
        jobs: int = 8,
        max_document: int = 256 << 20,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.endpoint = endpoint
        self._timeout = timeout
        self._max_document = max_document
        self._environment = environment
        self._host = endpoint.address.removeprefix("tcp://") if endpoint.address.startswith("tcp://") else "docker"
        if endpoint.address.startswith("ssh://"):
            from .ssh import MAX_CONNECTIONS

            jobs = min(jobs, MAX_CONNECTIONS)
        self._jobs = max(1, jobs)
        self._slots = threading.BoundedSemaphore(self._jobs)
        self._lock = threading.Lock()
        self._ping_lock = threading.Lock()
        self._idle: list[Channel] = []
        self._busy: set[Channel] = set()
        self._version: EngineVersion | None = None
        self._silence: EngineError | None = None
        self._is_closed = False

    def ping(self, *, details: bool = False) -> EngineVersion:
        """Return the version of the engine, and negotiate the version of the API. Only the first call sends a request.

        `details` adds the fields that a second request returns.
        """
        with self._ping_lock:
            version = self._version
            if version is None:
                version = self._version = self._negotiate()
        if details and not version.architecture:
            info = self.get_json("info")
            if not isinstance(info, dict):
                raise protocol_error(self.endpoint, "its description of itself is not a JSON object")
            version = self._version = version.replace(
                architecture=str(info.get("Architecture") or "unknown"),
                storage_driver=str(info.get("Driver") or ""),
                has_containerd_images="io.containerd.snapshotter" in str(info.get("DriverStatus")),
            )
        return version

    def get_json(self, path: str, query: Query | None = None, *, timeout: float | None = None) -> Any:
        """Return the JSON document at a path; None for an empty response.

        A path is without the version. Examples: `images/json`, `libpod/images/json`. `timeout` replaces that of the
        client, for a request that takes an engine long. Raises `NotFound`, `Conflict` and `EngineError`.
        """
        return self._exchange_json("GET", path, query, None, timeout)

    def get_object(self, path: str, query: Query | None = None) -> dict[str, Any]:
        """Return the JSON object at a path. Raises `EngineError` for another document."""
        document = self.get_json(path, query)
        if not isinstance(document, dict):
            raise protocol_error(self.endpoint, f"its response for {path} is not a JSON object")
        return document

    def get_objects(self, path: str, query: Query | None = None) -> list[dict[str, Any]]:
        """Return the JSON objects in the array at a path; none for null. Raises `EngineError` for another document."""
        document = self.get_json(path, query)
        if document is None:
            return []
        if not isinstance(document, list) or not all(isinstance(item, dict) for item in document):
            raise protocol_error(self.endpoint, f"its response for {path} is not an array of JSON objects")
        return document

    def post_json(
        self,
        path: str,
        query: Query | None = None,
        document: object = None,
        *,
        timeout: float | None = None,
    ) -> Any:
        """Post a JSON document, and return the one in the response."""
        return self._exchange_json("POST", path, query, document, timeout)

    def delete_json(self, path: str, query: Query | None = None, *, timeout: float | None = None) -> Any:
        """Delete the resource at a path, and return the JSON document in the response."""
        return self._exchange_json("DELETE", path, query, None, timeout)

    def open_stream(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        *,
        body: bytes | Readable | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> EngineStream:
        """Send a request and return the body of the response as a stream, which the caller closes.

        An exception that `body` raises while it is read ends the request, and is raised again.
        """
        return self._send_request(method, self._make_target(path, query), body, headers, timeout)

    def supports(self, version: tuple[int, int]) -> bool:
        """Whether the negotiated version of the API is this one or newer."""
        major, _, minor = self.ping().api.partition(".")
        return (int(major), int(minor)) >= version

    def forget_silence(self) -> None:
        """Send requests again to an engine that did not respond in time. Until then all requests fail at once."""
        self._silence = None

    def close(self) -> None:
        """Close all connections; requests in other threads fail."""
        with self._lock:
            self._is_closed = True
            channels = [*self._idle, *self._busy]
            self._idle.clear()
            self._busy.clear()
        for channel in channels:
            channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _negotiate(self) -> EngineVersion:
        try:
            return self._ping_engine()
        except EngineError as error:
            if not self.endpoint.address.startswith("ssh://") or self.endpoint.kind == "podman":
                raise
            from .ssh import RemoteCommandMissing

            if not isinstance(error, RemoteCommandMissing):
                raise
            self.endpoint = self.endpoint.replace(kind="podman")
            try:
                return self._ping_engine()
            except RemoteCommandMissing:
                raise error from None

    def _ping_engine(self) -> EngineVersion:
        try:
            response = self._send_request("GET", "/_ping", timeout=min(self._timeout, _PING_TIMEOUT))
        except NotFound:
            raise protocol_error(self.endpoint, "it does not know the request of a ping, so it is no engine") from None
        with response:
            response.read_document()
            return _read_version(self.endpoint, response.headers)

    def _exchange_json(
        self, method: str, path: str, query: Query | None, document: object, timeout: float | None
    ) -> Any:
        import json

        body, headers = None, {}
        if document is not None:
            body, headers = json.dumps(document).encode(), {"Content-Type": "application/json"}
        target = self._make_target(path, query)
        with self._slots, self._send_request(method, target, body, headers, timeout) as response:
            content = response.read_document()
        if not content.strip():
            return None
        try:
            return json.loads(content)
        except (ValueError, RecursionError):
            raise protocol_error(self.endpoint, f"its response for {path} is not JSON") from None

    def _make_target(self, path: str, query: Query | None) -> str:
        version = self.ping()
        api = version.libpod_api if path.startswith("libpod/") and version.libpod_api else version.api
        target = f"/v{api}/{_quote(path, '/:@')}"
        if query:
            target += "?" + "&".join(filter(None, (_encode_parameter(key, value) for key, value in query.items())))
        return target

    def _send_request(
        self,
        method: str,
        target: str,
        body: bytes | Readable | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> EngineStream:
        """Send a request, and return its response when its status is no error."""
        fields = {"Host": self._host, "User-Agent": "imq", **(headers or {})}
        if body is None and method == "POST":
            body = b""
        if isinstance(body, bytes):
            fields["Content-Length"] = str(len(body))
        timeout = timeout or self._timeout
        if (silence := self._silence) is not None:
            raise EngineError(silence.message, code=silence.code, hints=silence.hints, endpoint=self.endpoint.name)
        channel = self._take_channel(timeout)
        try:
            status = _exchange_heads(channel, method, target, fields, body)
        except _CONNECTION_ERRORS as error:
            failure = self._fail(channel, error, timeout)
            if method != "GET" or not channel.was_idle or isinstance(error, TimeoutError | ProtocolError):
                raise failure from None
            # the engine closed the idle connection in this moment, before it read the request
            return self._send_request(method, target, body, headers, timeout)
        except RequestBodyFailed as error:
            self._drop_channel(channel)
            raise error.cause from None
        except BaseException:  # a half-used connection is never used again
            self._drop_channel(channel)
            raise
        stream = EngineStream(self, channel, self._max_document, timeout)
        if 200 <= status < 300 or status == 304:
            return stream
        with stream:
            raise response_error(self.endpoint, status, stream.read_document(_MAX_ERROR_BYTES))

    def _take_channel(self, timeout: float) -> Channel:
        with self._lock:
            if self._is_closed:
                raise EngineError("the client is closed", endpoint=self.endpoint.name)
            while self._idle:
                channel = self._idle.pop()
                if channel.is_alive():
                    self._busy.add(channel)
                    channel.was_idle = True
                    channel.socket.settimeout(timeout)
                    return channel
                channel.close()
        try:
            channel = open_channel(self.endpoint, timeout, self._environment)
        except EngineError as error:
            if error.code == "engine-timeout":
                self._silence = error
            raise
        with self._lock:
            self._busy.add(channel)
        return channel

    def _release_channel(self, channel: Channel) -> None:
        """Keep a connection whose response was read to its end, and close others."""
        with self._lock:
            self._busy.discard(channel)
            if channel.http.is_reusable and not self._is_closed and len(self._idle) < self._jobs:
                self._idle.append(channel)
                return
        channel.close()

    def _drop_channel(self, channel: Channel) -> None:
        with self._lock:
            self._busy.discard(channel)
        channel.close()

    def _fail(self, channel: Channel, error: Exception, timeout: float) -> EngineError:
        """Close a connection, and return the exception for its failure."""
        if self._is_closed:
            self._drop_channel(channel)
            return EngineError("the client is closed", endpoint=self.endpoint.name)
        explained = None if isinstance(error, TimeoutError | ProtocolError) else channel.explain_end()
        self._drop_channel(channel)
        if explained is not None:
            return explained
        if isinstance(error, TimeoutError):
            self._silence = timeout_error(self.endpoint, timeout, "did not respond")
            return self._silence
        if isinstance(error, ProtocolError):
            return protocol_error(self.endpoint, str(error))
        if type(error).__name__ in _TLS_REJECTIONS and isinstance(error, OSError):
            return tls_error(self.endpoint, error)
        return protocol_error(self.endpoint, "the connection ended before its response was complete")


class EngineStream:
    """The body of a response, as a binary stream that is read once. A context manager that closes it.

    Every read raises `EngineError` when the connection ends before the body is complete.
    """

    def __init__(self, client: EngineClient, channel: Channel, max_document: int, timeout: float) -> None:
        self._client = client
        self._channel: Channel | None = channel
        self._socket = channel.socket
        self._max_document = max_document
        self._timeout = timeout
        self.status = channel.http.status
        self.headers = channel.http.headers
        """Headers by lower-case name."""

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint of the engine."""
        return self._client.endpoint

    def send(self, data: bytes) -> None:
        """Send bytes to the program of a container that is attached. Raises `OSError` when the connection has ended."""
        self._socket.sendall(data)

    def end_input(self) -> None:
        """End the input of the program. TLS does not end one direction alone: the input stays open there."""
        import socket

        if type(self._socket) is socket.socket:
            self._socket.shutdown(socket.SHUT_WR)

    def read(self, size: int = -1) -> bytes:
        """Return at most `size` bytes; the rest of the body without a size. No bytes at the end."""
        if size < 0:
            return b"".join(iter(lambda: self._read_part(_READ_SIZE), b""))
        return self._read_part(size)

    def read_document(self, limit: int | None = None) -> bytes:
        """Return the rest of the body. Raises `EngineError` when it is longer than a document may be.

        With a `limit` the first bytes of a longer body are returned.
        """
        parts, total = [], 0
        while data := self._read_part(_READ_SIZE):
            total += len(data)
            parts.append(data)
            if limit is not None and total >= limit:
                break
            if total > self._max_document:
                raise protocol_error(self._client.endpoint, f"its response is longer than {self._max_document:,} bytes")
        return b"".join(parts)

    def read_messages(self) -> Iterator[dict[str, Any]]:
        """Yield the JSON objects of a progress stream, one a line.

        Raises `EngineError` for a message that reports an error, in the words of the engine.
        """
        import json

        buffer = b""
        while True:
            data = self._read_part(_READ_SIZE)
            *lines, buffer = (buffer + data).split(b"\n")
            if not data:
                lines.append(buffer)
                buffer = b""
            for line in filter(None, map(bytes.strip, lines)):
                try:
                    message = json.loads(line)
                except (ValueError, RecursionError):
                    message = None
                if not isinstance(message, dict):
                    raise protocol_error(self._client.endpoint, "its progress is not JSON")
                if error := _read_error(message):
                    raise EngineError(clean_text(error), endpoint=self._client.endpoint.name)
                yield message
            if len(buffer) > _MAX_MESSAGE_BYTES:
                raise protocol_error(self._client.endpoint, "a line of its progress is too long")
            if not data:
                return

    def close(self) -> None:
        """Release the connection."""
        channel, self._channel = self._channel, None
        if channel is not None:
            self._client._release_channel(channel)  # noqa: SLF001 - a stream is a part of its client

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read_part(self, size: int) -> bytes:
        channel = self._channel
        if channel is None:
            return b""
        try:
            return channel.http.read(size)
        except _CONNECTION_ERRORS as error:
            self._channel = None
            raise self._client._fail(channel, error, self._timeout) from None  # noqa: SLF001


def _exchange_heads(
    channel: Channel,
    method: str,
    target: str,
    headers: Mapping[str, str],
    body: bytes | Readable | Iterable[bytes] | None,
) -> int:
    """Send a request, read the head of its response, and return the status."""
    if body is None or isinstance(body, bytes):
        channel.http.send(method, target, headers, body or b"")
    else:
        channel.http.send_chunks(method, target, headers, _split_body(body))
    return channel.http.read_head()


def _split_body(body: Readable | Iterable[bytes]) -> Iterator[bytes]:
    """Yield the parts of a request's body."""
    if hasattr(body, "read"):
        while data := body.read(_SEND_SIZE):
            yield data
    else:
        yield from body


def _read_version(endpoint: Endpoint, headers: Mapping[str, str]) -> EngineVersion:
    """Read the headers of a ping and negotiate: the newest version of the API that both support."""
    text = headers.get("api-version", "")
    major, _, minor = text.partition(".")
    if not (text.isascii() and major.isdecimal() and minor.isdecimal() and len(text) < 12):
        raise protocol_error(endpoint, "its response to a ping has no API version")
    offered = (int(major), int(minor))
    if offered < MIN_API:
        minimum = ".".join(map(str, MIN_API))
        raise api_version_error(endpoint, f"its newest version is {text}, and imq requires {minimum} or newer")
    server, _, system = clean_text(headers.get("server", "")).partition(" ")
    libpod = clean_text(headers.get("libpod-api-version", ""))
    return EngineVersion(
        ".".join(map(str, min(offered, MAX_API))),
        server.partition("/")[2],
        "podman" if libpod or server.startswith("Libpod") else "docker",
        clean_text(headers.get("ostype", "")) or system.strip("()") or "linux",
        libpod,
    )


def _read_error(message: Mapping[str, Any]) -> str:
    """Return the error that a message of a progress stream reports; API 1.48 deprecates `error`."""
    detail = message.get("errorDetail")
    return str(message.get("error") or (detail.get("message") if isinstance(detail, dict) else None) or "")


_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~")


def _encode_parameter(name: str, value: str | Sequence[str]) -> str:
    """Encode a parameter of a URL; one with several values is repeated."""
    values = (value,) if isinstance(value, str) else value
    return "&".join(f"{_quote(name)}={_quote(one)}" for one in values)


def _quote(text: str, safe: str = "") -> str:
    """Percent-encode a string for a URL."""
    if _PLAIN.issuperset(text):
        return text
    return "".join(
        c if c in _PLAIN or c in safe else "".join(f"%{byte:02X}" for byte in c.encode("utf-8", "surrogateescape"))
        for c in text
    )
