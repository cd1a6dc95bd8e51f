"""Slow and endless responses: each part of each kind of response has a deadline."""

from __future__ import annotations

import base64
import contextlib
import io
import itertools
import json
import socket
import threading
from typing import TYPE_CHECKING, Self

import pytest
from imq.engine.oci import media_types
from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Descriptor
from imq.engine.oci.reference import Reference
from imq.engine.registry.batch.client import BatchClient
from imq.grammar.errors import ImqError, RegistryError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from imq.engine.registry.client import Client

GIVEN_UP = {"timeout", "too-slow", "not-a-registry"}
LONGEST = 30
"""Seconds after which the server ends."""


class SlowServer:
    """A server that responds to every request with pieces of bytes and pauses between them; a context manager."""

    def __init__(self, pieces: Callable[[str], Iterable[bytes]], pause: float) -> None:
        self._pieces, self._pause = pieces, pause
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self._over = threading.Event()
        self.ended = False
        """Whether a response was sent to its end, or for as long as the server sends one."""
        self.lines: list[str] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._listening.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connected, _ = self._listening.accept()
                threading.Thread(target=self._answer, args=(connected,), daemon=True).start()

    def _answer(self, connected: socket.socket) -> None:
        with connected, contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                if not (come := connected.recv(65536)):
                    return
                head += come
            line = head.partition(b"\r\n")[0].decode()
            self.lines.append(line)
            left = LONGEST / self._pause if self._pause else 1 << 22
            for piece in self._pieces(line):
                connected.sendall(piece)
                left -= 1
                if left <= 0 or (self._pause and self._over.wait(self._pause)) or self._over.is_set():
                    break
            self.ended = not self._over.is_set()


OK = b"HTTP/1.1 200 OK\r\n"
LENGTH = OK + b"Content-Type: application/json\r\nContent-Length: 90000\r\n\r\n"
CHUNKED = OK + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"


def send_bytewise(start: bytes, endless: bytes = b"x") -> Callable[[str], Iterable[bytes]]:
    """Yield a first part at once, then single bytes without end."""
    return lambda _: itertools.chain([start] if start else [], (bytes([c]) for c in itertools.cycle(endless)))


DRIPS = {
    "status line": send_bytewise(b"", b"HTTP/1.1 200 OK "),
    "header": send_bytewise(OK + b"X-Long: "),
    "header lines": send_bytewise(OK, b"X-Line: a\r\n"),
    "interim answers": send_bytewise(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "body": send_bytewise(LENGTH),
    "body without length": send_bytewise(OK + b"\r\n"),
    "chunks": send_bytewise(CHUNKED, b"1\r\nx\r\n"),
    "a chunk": send_bytewise(CHUNKED + b"ffff\r\n"),
    "the line of a chunk": send_bytewise(CHUNKED + b"1;"),
    "trailers": send_bytewise(CHUNKED + b"0\r\n", b"X-Line: a\r\n"),
}
FLOODS = {
    "interim answers": lambda _: itertools.repeat(b"HTTP/1.1 100 Continue\r\nX-A: b\r\n\r\n" * 100),
    "header lines": lambda _: itertools.chain([OK], itertools.repeat(b"X-Line: a\r\n" * 100)),
    "trailers": lambda _: itertools.chain([CHUNKED + b"0\r\n"], itertools.repeat(b"X-Line: a\r\n" * 1000)),
    "lines of chunks": lambda _: itertools.chain(
        [CHUNKED], itertools.repeat((b"1;" + b"x" * 60000 + b"\r\n \r\n") * 9)
    ),
}


def connect_impatiently(connect: Callable[..., Client], **settings: object) -> Client:
    times = {"connect_timeout": 0.2, "read_timeout": 0.3, "answer_timeout": 3.0, "speed_window": 0.2, "retries": 1}
    return connect(**{**times, **settings})


def fetch_manifest(client: Client, reference: Reference) -> None:
    client.fetch_manifest(reference)


def fetch_head(client: Client, reference: Reference) -> None:
    client.fetch_head(reference)


def list_tags(client: Client, reference: Reference) -> None:
    list(client.list_tags(reference))


def list_repositories(client: Client, reference: Reference) -> None:
    list(client.list_repositories(reference.registry))


def list_referrers(client: Client, reference: Reference) -> None:
    list(client.list_referrers(reference, Digest.of(b"a")))


def fetch_config(client: Client, reference: Reference) -> None:
    client.fetch_blob(reference, Descriptor(media_types.OCI_CONFIG, Digest.of(b"a"), 90_000))


def upload(client: Client, reference: Reference) -> None:
    content = b"content"
    blob = Descriptor(media_types.OCI_LAYER, Digest.of(content), len(content))
    client.upload_blob(reference, blob, lambda: io.BytesIO(content), source="other/repository")


def fetch_manifests_in_batch(client: Client, reference: Reference) -> None:
    client.http._schemes[reference.registry] = "http"  # a known scheme, so that pipelined connections are used
    with BatchClient(client) as batch_client:
        ((_, answer),) = batch_client.fetch_manifests([(0, reference)])
    if isinstance(answer, ImqError):
        raise answer


@pytest.mark.parametrize("drip", DRIPS)
@pytest.mark.parametrize("send", [fetch_manifest, fetch_manifests_in_batch])
def test_a_stalled_response_is_given_up(
    connect: Callable[..., Client], send: Callable[[Client, Reference], None], drip: str
) -> None:
    with SlowServer(DRIPS[drip], 0.02) as server:
        with pytest.raises(RegistryError) as caught:
            send(connect_impatiently(connect), Reference(server.host, "a", "latest"))
        assert not server.ended
    assert caught.value.code in GIVEN_UP
    assert server.host in caught.value.message


@pytest.mark.parametrize(
    "drip", ["body", "body without length", "chunks", "a chunk", "the line of a chunk", "trailers"]
)
@pytest.mark.parametrize("send", [fetch_manifest, list_tags, fetch_manifests_in_batch])
def test_a_stalled_transfer_is_retried_once(
    connect: Callable[..., Client], send: Callable[[Client, Reference], None], drip: str
) -> None:
    """Trailers too: the minimum speed applies long before the deadline."""
    with SlowServer(DRIPS[drip], 0.02) as server:
        client = connect_impatiently(connect, retries=4, answer_timeout=20.0, first_wait=0.01)
        with pytest.raises(RegistryError) as caught:
            send(client, Reference(server.host, "a", "latest"))
        assert not server.ended
    assert caught.value.code == "too-slow"
    assert len([line for line in server.lines if line.startswith("GET")]) == 2


@pytest.mark.parametrize("drip", ["body", "chunks", "the line of a chunk", "trailers"])
def test_a_slow_challenge_body_is_not_read(connect: Callable[..., Client], tmp_path: Path, drip: str) -> None:
    content = b'{"schemaVersion":2}'

    def pieces(line: str) -> Iterable[bytes]:
        if len(server.lines) == 1:
            first, *rest = itertools.islice(DRIPS[drip](line), 1000)
            challenge = b'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm="x"\r\n'
            return [first.replace(OK, challenge), *rest]
        head = f"Content-Type: {media_types.OCI_MANIFEST}\r\nContent-Length: {len(content)}\r\n\r\n"
        return [OK + head.encode(), content]

    server = SlowServer(pieces, 0.02)
    auth = base64.b64encode(b"user:password").decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {server.host: {"auth": auth}}}))
    with server:
        environment = {"DOCKER_CONFIG": str(tmp_path)}
        client = connect_impatiently(connect, environment=environment, retries=0, read_timeout=5.0)
        fetch_manifest(client, Reference(server.host, "a", "latest"))
    assert len(server.lines) == 2


@pytest.mark.parametrize("send", [fetch_head, list_tags, list_repositories, list_referrers, fetch_config, upload])
@pytest.mark.parametrize("drip", ["status line", "interim answers"])
def test_every_kind_of_response_has_a_deadline(
    connect: Callable[..., Client], send: Callable[[Client, Reference], None], drip: str
) -> None:
    with SlowServer(DRIPS[drip], 0.02) as server:
        with pytest.raises(RegistryError) as caught:
            send(connect_impatiently(connect), Reference(server.host, "a", "latest"))
        assert not server.ended
    assert caught.value.code in GIVEN_UP


@pytest.mark.parametrize("flood", FLOODS)
@pytest.mark.parametrize("send", [fetch_manifest, fetch_manifests_in_batch])
def test_an_endless_response_is_given_up(
    connect: Callable[..., Client], send: Callable[[Client, Reference], None], flood: str
) -> None:
    with SlowServer(FLOODS[flood], 0) as server:
        with pytest.raises(RegistryError) as caught:
            send(connect_impatiently(connect, answer_timeout=1.0), Reference(server.host, "a", "latest"))
        assert not server.ended
    assert caught.value.code in GIVEN_UP


@pytest.mark.parametrize("send", [fetch_manifest, list_tags, fetch_manifests_in_batch])
def test_a_fast_response_must_end_too(
    connect: Callable[..., Client], send: Callable[[Client, Reference], None]
) -> None:
    def pieces(_: str) -> Iterable[bytes]:
        return itertools.chain([OK + b"Content-Length: 3000000\r\n\r\n"], itertools.repeat(b" " * 1000))

    with SlowServer(pieces, 0.02) as server:
        with pytest.raises(RegistryError, match="for longer than 1 seconds") as caught:
            send(connect_impatiently(connect, answer_timeout=1.0), Reference(server.host, "a", "latest"))
        assert not server.ended
    assert caught.value.code == "timeout"
    assert any("answer-timeout" in hint for hint in caught.value.hints)


@pytest.mark.parametrize("drip", ["status line", "body", "chunks"])
def test_a_stalled_token_response_is_given_up(connect: Callable[..., Client], tmp_path: Path, drip: str) -> None:
    def pieces(line: str) -> Iterable[bytes]:
        if "/token" in line:
            return DRIPS[drip](line)
        challenge = f'WWW-Authenticate: Bearer realm="http://{server.host}/token"\r\nContent-Length: 0\r\n\r\n'
        return [b"HTTP/1.1 401 Unauthorized\r\n" + challenge.encode()]

    server = SlowServer(pieces, 0.02)
    (tmp_path / "config.json").write_text(json.dumps({"auths": {server.host: {"identitytoken": "secret"}}}))
    with server, pytest.raises(RegistryError) as caught:
        fetch_manifest(
            connect_impatiently(connect, environment={"DOCKER_CONFIG": str(tmp_path)}),
            Reference(server.host, "a", "latest"),
        )
    assert caught.value.code in GIVEN_UP
    assert any("/token" in line for line in server.lines)


@pytest.mark.parametrize("send", [fetch_manifest, fetch_manifests_in_batch])
def test_a_delayed_response_is_accepted(
    connect: Callable[..., Client], send: Callable[[Client, Reference], None]
) -> None:
    """The speed is measured from the first byte."""

    def pieces(_: str) -> Iterable[bytes]:
        threading.Event().wait(0.8)
        yield (
            OK + f"Content-Type: {media_types.OCI_MANIFEST}\r\nContent-Length: 19\r\nConnection: close\r\n\r\n".encode()
        )
        yield b'{"schemaVersion":2}'

    with SlowServer(pieces, 0.05) as server:
        send(connect_impatiently(connect, read_timeout=5.0, speed_window=0.2), Reference(server.host, "a", "latest"))
