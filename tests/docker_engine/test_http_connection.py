"""The reader of responses: any response, however it is cut into pieces."""

from __future__ import annotations

import socket
import threading
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imq.engine.docker_engine.http_connection import HttpConnection

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Pieces:
    """A socket that receives given pieces."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = [piece for piece in pieces if piece]

    def recv(self, _size: int) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""


def encode(body: bytes, form: str, sizes: Sequence[int]) -> bytes:
    """Return a response with a body in one of the forms that engines use."""
    if form == "length":
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    if form == "end":
        return b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\n" + body
    response = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    for size in sizes:
        chunk, body = body[:size], body[size:]
        if chunk:
            response += b"%x;extension\r\n%b\r\n" % (len(chunk), chunk)
    return response + (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + b"0\r\nTrailer: x\r\n\r\n"


@settings(deadline=None, max_examples=200)
@given(
    body=st.binary(max_size=200),
    form=st.sampled_from(["length", "end", "chunks"]),
    sizes=st.lists(st.integers(1, 50), max_size=5),
    cuts=st.lists(st.integers(0, 400), max_size=8),
    size=st.integers(1, 300),
)
def test_a_response_is_read_whole(body: bytes, form: str, sizes: list[int], cuts: list[int], size: int) -> None:
    response = encode(body, form, sizes)
    places = sorted({0, *(min(cut, len(response)) for cut in cuts), len(response)})
    pieces = [response[start:end] for start, end in pairwise(places)]
    connection = HttpConnection(Pieces(pieces))  # type: ignore[arg-type]
    connection._start("GET", "/", {})
    assert connection.read_head() == 200
    assert b"".join(iter(lambda: connection.read(size), b"")) == body
    assert connection.is_complete
    assert connection.is_reusable == (form != "end")


@pytest.fixture
def pair() -> Iterator[tuple[HttpConnection, socket.socket]]:
    """A connection, and the socket of the engine."""
    ours, theirs = socket.socketpair()
    ours.settimeout(20)
    theirs.settimeout(20)
    with ours, theirs:
        yield HttpConnection(ours), theirs


def test_progress_is_read_while_a_body_is_sent(pair: tuple[HttpConnection, socket.socket]) -> None:
    """An engine that writes more progress than fits into its socket before it reads on must not block both sides."""
    connection, engine = pair
    body, progress = bytes(4 << 20), b"x" * (2 << 20)

    def serve() -> None:
        received = engine.recv(1000)
        engine.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(progress))
        engine.sendall(progress)
        while not received.endswith(b"\r\n0\r\n\r\n"):
            received = received[-10:] + engine.recv(1 << 20)

    thread = threading.Thread(target=serve)
    thread.start()
    connection.send_chunks("POST", "/", {}, [body[:1000], body[1000:]])
    thread.join()
    assert connection.read_head() == 200
    assert b"".join(iter(lambda: connection.read(1 << 20), b"")) == progress
    assert connection.is_reusable


def test_an_engine_that_does_not_read_is_a_timeout(pair: tuple[HttpConnection, socket.socket]) -> None:
    connection, _ = pair
    connection._socket.settimeout(0.05)
    with pytest.raises(TimeoutError):
        connection.send("POST", "/", {}, bytes(16 << 20))
    assert connection._socket.gettimeout() == 0.05
