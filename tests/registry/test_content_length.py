"""Responses with an invalid Content-Length or chunk size, both of which http.client accepts."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Descriptor
from imq.engine.oci.reference import Reference
from imq.grammar.errors import RegistryError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from imq.engine.registry.client import Client

CONTENT = json.dumps({"os": "linux"}).encode()
BLOB = Descriptor("application/json", Digest.of(CONTENT), len(CONTENT))
SIZE = len(CONTENT)


@contextmanager
def serve_bytes(head: str, body: bytes) -> Iterator[str]:
    """Respond to every request with these bytes and close the connection. Yield the address."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(f"HTTP/1.1 200 OK\r\nConnection: close\r\n{head}\r\n\r\n".encode() + body)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def fetch_document(client: Client, host: str) -> bytes:
    return client.fetch_blob(Reference(host, "a", "1"), BLOB)


@pytest.mark.parametrize("length", [f"-{SIZE}", "-1", f"+{SIZE}", f"0x{SIZE:x}", f"{SIZE}, -1", "1_0", "²"])
def test_an_invalid_content_length_is_refused(connect: Callable[..., Client], length: str) -> None:
    with serve_bytes(f"Content-Length: {length}", CONTENT) as host, pytest.raises(RegistryError) as caught:
        fetch_document(connect(retries=0), host)
    assert caught.value.code == "not-a-registry"


@pytest.mark.parametrize("size", [f"-{SIZE:x}", "-1", f"+{SIZE:x}", f"0x{SIZE:x}", "1_0", ""])
def test_an_invalid_chunk_size_is_refused(connect: Callable[..., Client], size: str) -> None:
    body = f"{size}\r\n".encode() + CONTENT + b"\r\n0\r\n\r\n"
    with serve_bytes("Transfer-Encoding: chunked", body) as host, pytest.raises(RegistryError) as caught:
        fetch_document(connect(retries=0), host)
    assert caught.value.code == "not-a-registry"


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (f"Content-Length: {SIZE}", CONTENT),
        (f"Content-Length: {SIZE}, {SIZE}", CONTENT),
        ("X: y", CONTENT),
        ("Transfer-Encoding: chunked", f"{SIZE:X} ;a=b\r\n".encode() + CONTENT + b"\r\n0\r\nTrailer: -1\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\nContent-Length: -1", f"{SIZE:x}\r\n".encode() + CONTENT + b"\r\n0\r\n\r\n"),
    ],
)
def test_valid_responses_are_parsed(connect: Callable[..., Client], head: str, body: bytes) -> None:
    with serve_bytes(head, body) as host:
        assert fetch_document(connect(retries=0), host) == CONTENT
