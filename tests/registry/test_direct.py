"""GET and HEAD over connections of imq's own: responses in pieces, connections that are kept, and their limits."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Self

import pytest
from imq.engine.oci import media_types
from imq.engine.oci.reference import Reference
from imq.engine.registry.http.direct import DirectTransport
from imq.engine.registry.http.transport import Transport
from imq.engine.registry.http.urls import split_authority
from imq.engine.registry.settings import Settings
from imq.grammar.errors import RegistryError
from registry.support.scripted_server import ScriptedServer, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from imq.engine.registry.client import Client
    from registry.conftest import Authority, RunningRegistry

OK = b"HTTP/1.1 200 OK\r\n"
LENGTH = OK + b"Content-Length: 5\r\n\r\nhello"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nA: b\r\n\r\n"
SETTINGS = Settings(read_timeout=5.0)


class Server:
    """Answers each request on each connection with the next of the responses, in pieces of `step` bytes.

    `leftover` is sent after each response without a request.
    """

    def __init__(self, *responses: bytes, step: int = 0, leftover: bytes = b"", closes: bool = False) -> None:
        self._responses = list(responses)
        self._step, self._leftover, self._closes = step, leftover, closes
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.connection_count = 0
        self.requests: list[bytes] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self.connection_count += 1
            with connection:
                while self._responses and (request := self._receive(connection)):
                    self.requests.append(request)
                    response = self._responses.pop(0) + self._leftover
                    step = self._step or len(response)
                    for start in range(0, len(response), step):
                        connection.sendall(response[start : start + step])
                    if self._closes:
                        break

    def _receive(self, connection: socket.socket) -> bytes:
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            piece = connection.recv(65536)
            if not piece:
                return b""
            request += piece
        return request


@pytest.fixture
def transport() -> Iterator[Transport]:
    made = Transport(SETTINGS)
    yield made
    made.close()


def get(transport: Transport, server: Server, method: str = "GET") -> bytes:
    return transport.send(method, f"{server.url}/v2/", {}).read(100)


@pytest.mark.parametrize("response", [LENGTH, CHUNKED], ids=["length", "chunks"])
@pytest.mark.parametrize("step", [0, 1, 3, 7])
def test_a_response_in_pieces_keeps_its_connection(transport: Transport, response: bytes, step: int) -> None:
    with Server(response, response, step=step) as server:
        assert [get(transport, server), get(transport, server)] == [b"hello", b"hello"]
        assert server.connection_count == 1
    assert server.requests[0].startswith(b"GET /v2/ HTTP/1.1\r\nHost: 127.0.0.1:")


@pytest.mark.parametrize("response", [OK + b"Content-Length: 5\r\n\r\n", OK + b"Transfer-Encoding: chunked\r\n\r\n"])
def test_a_response_to_head_keeps_its_connection(transport: Transport, response: bytes) -> None:
    with Server(response, LENGTH) as server:
        assert [get(transport, server, "HEAD"), get(transport, server)] == [b"", b"hello"]
        assert server.connection_count == 1


def test_a_body_without_length_ends_with_the_connection(transport: Transport) -> None:
    with Server(OK + b"\r\nhello", LENGTH, closes=True) as server:
        assert [get(transport, server), get(transport, server)] == [b"hello", b"hello"]
        assert server.connection_count == 2


def test_an_idle_connection_that_was_closed_is_replaced(transport: Transport) -> None:
    with Server(LENGTH, LENGTH, closes=True) as server:
        assert [get(transport, server), get(transport, server)] == [b"hello", b"hello"]
        assert (server.connection_count, len(server.requests)) == (2, 2)


def test_bytes_without_a_request_are_not_taken_for_its_response(transport: Transport) -> None:
    """Some servers send 408 on an idle connection before they close it."""
    timed_out = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n"
    with Server(LENGTH, LENGTH, leftover=timed_out) as server:
        assert [get(transport, server), get(transport, server)] == [b"hello", b"hello"]
        assert server.connection_count == 2


def test_a_response_that_is_not_read_closes_its_connection(transport: Transport) -> None:
    with Server(LENGTH, LENGTH) as server:
        transport.send("GET", f"{server.url}/v2/", {}).close()
        assert get(transport, server) == b"hello"
        assert server.connection_count == 2


@pytest.mark.parametrize(
    "head",
    [OK + b"X-A: b\r\n folded\r\n", OK + b"Content-Length: 5\r\n", OK[:-2] + b"\n"],
    ids=["folded", "two lengths", "a bare line feed"],
)
def test_other_responses_are_left_to_requests(transport: Transport, head: bytes) -> None:
    """Also the following ones of this host."""
    response = head + LENGTH.removeprefix(OK)
    with Server(response, response, LENGTH) as server:
        assert [get(transport, server), get(transport, server)] == [b"hello", b"hello"]
    assert [b"\r\nAccept-Encoding: identity\r\n" in request for request in server.requests] == [True, True, True]


def test_interim_responses_are_skipped(transport: Transport) -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    with Server(interim + LENGTH, LENGTH) as server:
        assert [get(transport, server), get(transport, server)] == [b"hello", b"hello"]
        assert server.connection_count == 1


@pytest.mark.parametrize("raw", [b"220 mail.example ESMTP\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"y" * 300_000])
def test_bytes_that_are_no_response_are_rejected_at_once(transport: Transport, raw: bytes) -> None:
    with Server(raw) as server, pytest.raises(RegistryError) as caught:
        get(transport, server)
    assert (caught.value.code, caught.value.temporary) == ("not-a-registry", False)


@pytest.mark.parametrize("missing", [20, 14, 4], ids=["its size", "its bytes", "trailers"])
def test_a_truncated_body_in_chunks_is_an_error(transport: Transport, missing: int) -> None:
    with Server(CHUNKED[:-missing], closes=True) as server, pytest.raises(RegistryError) as caught:
        get(transport, server)
    assert (caught.value.code, caught.value.temporary) == ("unreachable", True)


def test_a_waiting_reader_is_woken(transport: Transport) -> None:
    with Server(LENGTH[:-2]) as server:
        response = transport.send("GET", f"{server.url}/v2/", {})
        buffer = memoryview(bytearray(10))
        assert response.readinto(buffer) == 3
        timer = threading.Timer(0.1, response.abort)
        timer.start()
        try:
            assert response.readinto(buffer) == 0
        finally:
            timer.join()
            response.close()


def test_headers_that_cannot_be_sent_are_left_to_requests(transport: Transport) -> None:
    with Server(LENGTH) as server:
        response = transport.send("GET", f"{server.url}/v2/", {"X-Name": "für"})
        assert response.read(100) == b"hello"
    assert "X-Name: für".encode("latin-1") in server.requests[0]


@pytest.mark.parametrize(
    ("scheme", "authority", "expected"),
    [
        ("https", "a.example", ("a.example", 443)),
        ("http", "a.example", ("a.example", 80)),
        ("http", "a.example:5000", ("a.example", 5000)),
        ("https", "[::1]:5000", ("::1", 5000)),
        ("https", "[::1]", ("::1", 443)),
        ("http", "a.example:", ("a.example", 80)),
    ],
)
def test_hosts_and_ports(scheme: str, authority: str, expected: tuple[str, int]) -> None:
    assert split_authority(scheme, authority) == expected


@pytest.mark.parametrize("host", ["a..example", "a" * 64 + ".example", "a.example:99999"])
def test_a_name_that_no_host_can_have(connect: Callable[..., Client], host: str) -> None:
    with pytest.raises(RegistryError) as caught:
        connect(insecure=frozenset({host}), retries=0).fetch_manifest(Reference(host, "a", "1"))
    assert caught.value.code == "unreachable"


def run_question(question: str, environment: dict[str, str]) -> list[str]:
    """Run imq in a new process; return which of the libraries it has imported."""
    code = (
        "import os, sys\n"
        "from imq.cli.main import Cli\n"
        f"code = Cli(sys.stdin, sys.stdout, sys.stderr, os.environ).main(['--no-config', {question!r}])\n"
        "names = 'requests', 'urllib3', 'http.client', 'ssl'\n"
        "print('', *[name for name in names if name in sys.modules], file=sys.stderr)\n"
        "sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "v999" in done.stdout
    return done.stderr.split()


def test_a_question_imports_no_http_library(thousand: RunningRegistry, tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "IMQ_ROOT": str(tmp_path / "store")}
    assert run_question(f"tags of {thousand.reference()} limit 3", environment) == []


def test_a_question_over_tls_imports_only_ssl(
    thousand_tls: RunningRegistry, authority: Authority, tmp_path: Path
) -> None:
    environment = {
        "HOME": str(tmp_path),
        "IMQ_ROOT": str(tmp_path / "store"),
        "SSL_CERT_FILE": authority.certificate,
    }
    assert run_question(f"tags of {thousand_tls.reference()} limit 3", environment) == ["ssl"]


def test_authorities_that_cannot_be_read_are_an_error(
    connect: Callable[..., Client], thousand_tls: RunningRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("settings", "http.client", "http.transport"):
        monkeypatch.setattr(f"imq.engine.registry.{module}.is_loopback", lambda _: False)
    missing = tmp_path / "missing.pem"
    client = connect(environment={"SSL_CERT_FILE": str(missing)}, retries=0)
    with pytest.raises(
        RegistryError, match=f"{missing}, for {thousand_tls.host}, cannot be read: no such file"
    ) as caught:
        client.fetch_head(thousand_tls.reference("v1"))
    assert caught.value.code == "tls"


def test_a_redirect_may_lead_to_a_response_that_only_requests_supports(client: Client) -> None:
    manifest = b'{"schemaVersion":2}'
    head = f"Content-Type: {media_types.OCI_MANIFEST}\r\nContent-Length: {len(manifest)}\r\n\r\n".encode()
    with (
        Server(*[OK + b"X-A: b\r\n folded\r\n" + head + manifest] * 2) as target,
        ScriptedServer(Step("GET", "/v2/a/manifests/1", 307, {"Location": f"{target.url}/x"})) as server,
    ):
        assert client.fetch_manifest(Reference(server.host, "a", "1")).content == manifest


def test_a_connection_with_tls_is_kept(
    connect: Callable[..., Client],
    thousand_tls: RunningRegistry,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The session tickets that a server sends after the handshake do not count as unexpected bytes."""
    connected: list[str] = []
    connect_one = DirectTransport.connect

    def count(self: DirectTransport, url: str, *, verify: bool) -> socket.socket:
        connected.append(url)
        return connect_one(self, url, verify=verify)

    monkeypatch.setattr(DirectTransport, "connect", count)
    client = connect(environment={"SSL_CERT_FILE": authority.certificate})
    client.http._schemes[thousand_tls.host] = "https"
    for tag in ("v1", "v2", "v3"):
        assert client.fetch_manifest(thousand_tls.reference(tag)).content
    assert connected == [f"https://{thousand_tls.host}"]
