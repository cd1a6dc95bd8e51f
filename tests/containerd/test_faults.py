"""A containerd that is not there, refuses, hangs, dies or speaks another protocol."""

from __future__ import annotations

import os
import socket
import struct
import threading
from typing import TYPE_CHECKING, Self

import pytest
from containerd.conftest import K8S, open_session
from imq.engine.containerd_client.client import ContainerdClient
from imq.engine.containerd_client.errors import connect_error
from imq.grammar.errors import Conflict, EngineError, NotFound
from support.engines import Containerd

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    from containerd.conftest import Node


class ScriptedServer:
    """A server on a unix socket that sends some bytes after the first request, then closes. None: it never answers."""

    def __init__(self, path: pathlib.Path, answer: bytes | None) -> None:
        self.address = os.fspath(path)
        self._answer = answer
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.address)
        self._listener.listen()
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        for connection in (self._listener, *self._open):
            connection.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            if self._answer is not None:
                connection.recv(1 << 16)
                connection.sendall(self._answer)
                connection.shutdown(socket.SHUT_WR)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


SETTINGS = frame(4, 0, 0)
OK_HEADERS = frame(1, 4, 1, b"\x88")
TRAILERS = b"\x00\x0bgrpc-status\x010"

BROKEN = {
    "closes": (b"", "closed the connection"),
    "text": (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak HTTP/2"),
    "half a frame": (SETTINGS + b"\0\0\x10\0", "closed the connection"),
    "half a response": (SETTINGS + OK_HEADERS + frame(0, 0, 1, b"\0\0\0\0\x05ab"), "closed the connection"),
    "no status": (SETTINGS + OK_HEADERS + frame(0, 1, 1, b"\0\0\0\0\0"), "no status"),
    "truncated message": (
        SETTINGS + OK_HEADERS + frame(0, 0, 1, b"\0\0\0\0\x05ab") + frame(1, 5, 1, TRAILERS),
        "truncated",
    ),
    "huge message": (SETTINGS + OK_HEADERS + frame(0, 0, 1, b"\0\xff\xff\xff\xff"), "too large"),
    "compressed": (SETTINGS + OK_HEADERS + frame(0, 0, 1, b"\1\0\0\0\0"), "compressed"),
    "bad headers": (SETTINGS + frame(1, 4, 1, b"\x80"), "does not follow HTTP/2"),
    "unknown index": (SETTINGS + frame(1, 4, 1, b"\xff\xff\x00"), "does not follow HTTP/2"),
    "bad Huffman": (SETTINGS + frame(1, 4, 1, b"\x00\x81\x00\x00"), "does not follow HTTP/2"),
    "data before headers": (SETTINGS + frame(0, 0, 1, b"\0\0\0\0\0"), "does not follow HTTP/2"),
    "reset": (SETTINGS + frame(3, 0, 1, b"\0\0\0\2"), "reset the call"),
    "http error": (SETTINGS + frame(1, 4, 1, b"\x8d"), "HTTP status 404"),
    "bad message": (SETTINGS + OK_HEADERS + frame(0, 0, 1, b"\0\0\0\0\2\x0a\x09") + frame(1, 5, 1, TRAILERS), "trunc"),
    "short goaway": (SETTINGS + frame(7, 0, 0, b"\0"), "does not follow HTTP/2"),
    "goes away": (SETTINGS + frame(7, 0, 0, bytes(8)), "closed the connection"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_server_that_breaks_the_protocol_is_an_error_of_it(tmp_path: pathlib.Path, name: str) -> None:
    answer, message = BROKEN[name]
    with ScriptedServer(tmp_path / "s", answer) as server:
        client = ContainerdClient(server.address, timeout=5)
        with pytest.raises(EngineError, match=message) as caught:
            client.list_namespaces()
        assert (caught.value.code, caught.value.endpoint) == ("engine-protocol", server.address)
        client.close()


def test_a_server_that_hangs_is_given_up(tmp_path: pathlib.Path) -> None:
    with ScriptedServer(tmp_path / "s", None) as server:
        client = ContainerdClient(server.address, timeout=0.2)
        with pytest.raises(EngineError, match="did not respond within") as caught:
            client.list_namespaces()
        assert caught.value.code == "engine-timeout"
        client.close()


def test_pings_and_settings_of_the_server_are_acknowledged(tmp_path: pathlib.Path) -> None:
    good = (
        SETTINGS + frame(6, 0, 0, b"12345678") + OK_HEADERS + frame(0, 0, 1, b"\0\0\0\0\0") + frame(1, 5, 1, TRAILERS)
    )
    with ScriptedServer(tmp_path / "s", good) as server:
        client = ContainerdClient(server.address, timeout=5)
        assert client.list_namespaces() == []
        client.close()


@pytest.fixture
def own(containerd: Containerd, tmp_path: pathlib.Path) -> Iterator[Containerd]:
    """A containerd that a test may stop."""
    assert containerd.process is not None
    (tmp_path / "own").mkdir()
    with Containerd(tmp_path / "own") as running:
        yield running


def test_a_stopped_containerd_is_an_error_and_a_restarted_one_is_found_again(own: Containerd) -> None:
    client = ContainerdClient(own.socket, timeout=5)
    own.run("namespaces", "create", "a")
    assert client.list_namespaces() == ["a"]
    own.stop()
    with pytest.raises(EngineError) as caught:
        client.list_namespaces()
    assert caught.value.code in ("engine-unreachable", "engine-protocol")
    own.start()
    assert client.list_namespaces() == ["a"]
    own.stop()
    own.start()
    assert client.list_namespaces() == ["a"], "the call is sent again over a new connection"
    client.close()


def test_a_containerd_that_hangs_is_given_up(own: Containerd) -> None:
    client = ContainerdClient(own.socket, timeout=0.2)
    with own.suspended(), pytest.raises(EngineError) as caught:
        client.list_namespaces()
    assert caught.value.code == "engine-timeout"
    client.close()


@pytest.mark.parametrize(
    ("kind", "code"),
    [("missing", "engine-unreachable"), ("file", "engine-not-a-socket"), ("no listener", "engine-unreachable")],
)
def test_a_socket_that_cannot_be_used_says_why(tmp_path: pathlib.Path, kind: str, code: str) -> None:
    path = tmp_path / "c.sock"
    if kind == "file":
        path.write_text("")
    elif kind == "no listener":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(os.fspath(path))
    with open_session(tmp_path, os.fspath(path)) as session, pytest.raises(EngineError) as caught:
        session.rows(f"images in containerd:{K8S}")
    assert caught.value.code == code
    assert any("CONTAINERD_ADDRESS" in hint for hint in caught.value.hints)


def test_a_socket_without_permission_names_the_group(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "c.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.fspath(path))
    os.chown(path, os.geteuid(), os.getegid())
    error = connect_error(os.fspath(path), PermissionError(13, "Permission denied"))
    assert error.code == "engine-permission"
    assert "run imq with sudo" in error.hints[0]
    listener.close()


def test_errors_of_containerd_are_in_its_words(node: Node) -> None:
    client = ContainerdClient(node.engine.socket)
    record = client.list_images(K8S)[0]
    with pytest.raises(NotFound, match='image "nope": not found'):
        client.remove_name(K8S, "nope", record.target, collects=False)
    with pytest.raises(Conflict, match="already exists"):
        client.set_name(K8S, record.name, record.target, {})
    with pytest.raises(NotFound):
        list(client.read_blob(K8S, record.target.digest.__class__("sha256:" + "0" * 64)))
    client.close()


def test_one_namespace_that_is_missing_does_not_stop_the_others(node: Node) -> None:
    rows = node.session.rows(f"images in containerd:none, containerd:{K8S} select name, source")
    assert {row["source"] for row in rows} == {f"containerd:{K8S}"}
    assert len(rows) == 3
