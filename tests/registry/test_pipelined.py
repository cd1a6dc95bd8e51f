"""Responses over one pipelined connection: complete or in pieces, supported or not."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from imq.engine.registry.http.pipelined import ConnectionBrokenError, PipelinedConnection
from imq.engine.registry.http.response_head import UnsupportedResponseError, are_sendable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imq.engine.registry.http.response import BufferedResponse

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
def ends() -> Iterator[tuple[PipelinedConnection, socket.socket]]:
    """A connection, and its server side."""
    ours, theirs = socket.socketpair()
    wire = PipelinedConnection(ours, "http://r")
    yield wire, theirs
    wire.close()
    theirs.close()


def exchange(
    ends: tuple[PipelinedConnection, socket.socket], raw: bytes, method: str = "GET", limit: int = 100, step: int = 0
) -> BufferedResponse:
    """Send a request and a response in pieces of `step` bytes, and return the parsed response."""
    wire, theirs = ends
    wire.send(method, b"GET / HTTP/1.1\r\n\r\n", limit)
    theirs.recv(1000)
    parsed = None
    for start in range(0, len(raw), step or len(raw)):
        assert parsed is None, "no response before its end"
        theirs.sendall(raw[start : start + (step or len(raw))])
        parsed = wire.receive("/x")
    assert parsed is not None
    return parsed


def receive_response(wire: PipelinedConnection) -> BufferedResponse:
    """Receive until the response is complete."""
    while (parsed := wire.receive("/")) is None:
        pass
    return parsed


@pytest.mark.parametrize("step", [0, 1, 7])
@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (OK + b"Content-Length: 5\r\n\r\nhello", b"hello"),
        (OK + b"content-length:5 \r\nX: 1\r\nx: 2\r\n\r\nhello", b"hello"),
        (OK + b"Content-Length: 0\r\n\r\n", b""),
        (CHUNKED + b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
        (CHUNKED + b"2;a=b\r\nhe\r\n03\r\nllo\r\n0\r\nTrailer: x\r\n\r\n", b"hello"),
        (CHUNKED + b"0\r\n\r\n", b""),
        (b"HTTP/1.1 204 \r\n\r\n", b""),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno", b"no"),
    ],
)
def test_responses_in_any_number_of_pieces(
    ends: tuple[PipelinedConnection, socket.socket], raw: bytes, body: bytes, step: int
) -> None:
    for _ in range(2):  # the second over the same connection
        parsed = exchange(ends, raw, step=step)
        assert (parsed.status, parsed.read(0)) == (int(raw[9:12]), body)
        assert not ends[0].is_finished
    assert parsed.url == "http://r/x"
    assert parsed.header("x") in ("", "1, 2")


def test_a_response_to_head_has_no_body(ends: tuple[PipelinedConnection, socket.socket]) -> None:
    parsed = exchange(ends, OK + b"Content-Length: 5000\r\n\r\n", "HEAD")
    assert (parsed.read(9), parsed.length, parsed.bodiless, ends[0].is_finished) == (b"", 5000, True, False)


@pytest.mark.parametrize(
    "raw",
    [
        OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        OK + b"Content-Length: 2\r\n\r\nhi and more",
        CHUNKED + b"2\r\nhi\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    ],
)
def test_a_connection_closed_by_the_server(ends: tuple[PipelinedConnection, socket.socket], raw: bytes) -> None:
    assert exchange(ends, raw).read(9) == b"hi"
    assert ends[0].is_finished


def test_a_body_that_ends_with_the_connection(ends: tuple[PipelinedConnection, socket.socket]) -> None:
    wire, theirs = ends
    wire.send("GET", b"?", 100)
    theirs.recv(9)
    theirs.sendall(OK + b"\r\nhello")
    assert wire.receive("/") is None
    theirs.close()
    parsed = wire.receive("/")
    assert parsed is not None
    assert (parsed.read(9), wire.is_finished) == (b"hello", True)


@pytest.mark.parametrize(
    "raw",
    [
        OK + b"Content-Length: 1000\r\n\r\n" + b"x" * 11,
        CHUNKED + b"9\r\n" + b"x" * 9 + b"\r\n9\r\nxx",
        CHUNKED + b"fff\r\n" + b"x" * 11,
        OK + b"\r\n" + b"x" * 11,
    ],
)
def test_only_the_requested_bytes_are_read(ends: tuple[PipelinedConnection, socket.socket], raw: bytes) -> None:
    assert exchange(ends, raw, limit=10).read(10) == b"x" * 11
    assert ends[0].is_finished


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/2 200 OK\r\n\r\n",
        b"<html>\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 200OK\r\n\r\n",
        OK + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        OK + b"Content-Length: -5\r\n\r\n",
        OK + b"Content-Length: 5, 5\r\n\r\nhello",
        OK + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        OK + b"Two\r\n\r\n",
        OK + b" folded: x\r\n\r\n",
        OK + b"A: x\nB: y\r\n\r\n",
        OK + b"A: \0\r\n\r\n",
        CHUNKED + b"x\r\n",
        CHUNKED + b"-2\r\nhi\r\n",
        CHUNKED + b"2\r\nhi!!",
        CHUNKED + b"1" * 2000,
        OK + b"A: " + b"x" * 70_000,
    ],
)
def test_unsupported_responses_are_rejected(ends: tuple[PipelinedConnection, socket.socket], raw: bytes) -> None:
    wire, theirs = ends
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 18)
    wire.send("GET", b"?", 100)
    theirs.sendall(raw)
    with pytest.raises(UnsupportedResponseError):
        receive_response(wire)


@pytest.mark.parametrize("raw", [b"", b"HTTP/1.1 2", OK + b"Content-Length: 5\r\n\r\nhell", CHUNKED + b"5\r\nhell"])
def test_broken_connections(ends: tuple[PipelinedConnection, socket.socket], raw: bytes) -> None:
    wire, theirs = ends
    wire.send("GET", b"?", 100)
    theirs.sendall(raw)
    theirs.close()
    with pytest.raises(ConnectionBrokenError):
        receive_response(wire)
    with pytest.raises(ConnectionBrokenError):
        wire.send("GET", b"?", 100)


def test_a_request_that_is_sent_in_parts() -> None:
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    wire = PipelinedConnection(ours, "http://r")
    long = bytes(1 << 20)
    wire.send("GET", long, 100)
    assert wire.is_sending
    got = 0
    while wire.is_sending:
        got += len(theirs.recv(1 << 16))
        wire.flush()
    theirs.setblocking(False)
    while got < len(long):
        got += len(theirs.recv(1 << 16))
    assert got == len(long)
    wire.close()
    theirs.close()


def test_characters_of_a_request_line() -> None:
    assert are_sendable("/v2/a/manifests/v1?n=5&last=%20", "127.0.0.1:5000")
    assert not any(are_sendable(text) for text in ("", "/a b", "/a\r\nX: y", "/ä", "/\0", "/a\n"))
