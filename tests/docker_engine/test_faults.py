"""Faults of engines: each has its own code, and a hint about the next step."""

from __future__ import annotations

import contextlib
import grp
import os
import shutil
import socket
import tempfile
from typing import TYPE_CHECKING

import pytest
from imq.engine.docker_engine import client as client_module
from imq.engine.docker_engine.errors import clean_text
from imq.grammar.errors import EngineError
from support.engines import HANG, ScriptedEngine, http_answer
from support.waiting import deadline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from imq.engine.docker_engine.client import EngineClient
    from support.engines import Dockerd

NOBODY = 65534


def failure(client: EngineClient) -> EngineError:
    with pytest.raises(EngineError) as caught:
        client.get_json("images/json")
    assert caught.value.exit_code == 3
    assert caught.value.endpoint == client.endpoint.name
    assert caught.value.hints
    return caught.value


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """Run as a user who is in no group."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


def test_no_engine_is_unreachable(tmp_path: Path, connect: Callable[..., EngineClient]) -> None:
    error = failure(connect(f"unix://{tmp_path}/docker.sock"))
    assert error.code == "engine-unreachable"
    assert f"unix://{tmp_path}/docker.sock is not reachable: no such file or directory" in error.message
    assert "systemctl start docker" in error.hints[0]


def test_no_podman_is_unreachable(tmp_path: Path, connect: Callable[..., EngineClient]) -> None:
    error = failure(connect("podman", {"CONTAINER_HOST": f"unix://{tmp_path}/podman.sock"}))
    assert error.code == "engine-unreachable"
    assert f"podman at unix://{tmp_path}/podman.sock is not reachable" in error.message
    assert "podman.socket" in error.hints[0]


def test_an_abandoned_socket_is_unreachable(tmp_path: Path, scripted: Callable[..., EngineClient]) -> None:
    client = scripted({})
    client.ping()
    os.rename(tmp_path / "0.sock", tmp_path / "abandoned.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "0.sock"))
    error = failure(client)
    assert error.code == "engine-unreachable"
    assert "connection refused" in error.message


@pytest.mark.parametrize("make", [os.mkdir, lambda path: open(path, "w").close()], ids=["folder", "file"])
def test_another_file_is_not_a_socket(
    make: Callable[[str], None], tmp_path: Path, connect: Callable[..., EngineClient]
) -> None:
    make(str(tmp_path / "docker.sock"))
    error = failure(connect(f"unix://{tmp_path}/docker.sock"))
    assert error.code == "engine-not-a-socket"


def test_permission_denied_names_the_group(dockerd: Dockerd, connect: Callable[..., EngineClient]) -> None:
    folder = tempfile.mkdtemp()
    try:
        os.chmod(folder, 0o755)
        os.link(dockerd.socket, f"{folder}/docker.sock")
        group = grp.getgrall()[1]
        os.chown(f"{folder}/docker.sock", 0, group.gr_gid)
        client = connect(f"unix://{folder}/docker.sock")
        with unprivileged():
            error = failure(client)
    finally:
        os.chown(dockerd.socket, 0, 0)
        shutil.rmtree(folder)
    assert error.code == "engine-permission"
    assert f"it belongs to the group {group.gr_name}" in error.message
    assert f"usermod -aG {group.gr_name}" in error.hints[0]


def test_permission_denied_names_a_closed_folder(dockerd: Dockerd, connect: Callable[..., EngineClient]) -> None:
    client = connect(dockerd.address)
    with unprivileged():
        error = failure(client)
    assert error.code == "engine-permission"
    assert dockerd.folder in error.hints[0]


def test_an_old_engine_is_refused(scripted: Callable[..., EngineClient]) -> None:
    error = failure(scripted({"_ping": http_answer(b"OK", "Api-Version: 1.12")}))
    assert error.code == "engine-api-version"
    assert "1.12" in error.message


def test_a_real_engine_refuses_an_old_version(
    dockerd: Dockerd, connect: Callable[..., EngineClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "MAX_API", (1, 5))
    error = failure(connect(dockerd.address))
    assert error.code == "engine-api-version"
    assert "client version 1.5 is too old" in error.message


def test_an_engine_without_a_common_version_is_refused(scripted: Callable[..., EngineClient]) -> None:
    reason = b'{"message":"client version 1.47 is too old. Minimum supported API version is 1.60"}'
    answers = {
        "_ping": http_answer(b"OK", "Api-Version: 1.70"),
        "images": http_answer(reason, status="400 Bad Request"),
    }
    assert failure(scripted(answers)).code == "engine-api-version"


def test_a_stopped_engine_is_not_waited_for(dockerd: Dockerd, connect: Callable[..., EngineClient]) -> None:
    with dockerd.suspended(), deadline():
        error = failure(connect(dockerd.address, timeout=0.2))
    assert error.code == "engine-timeout"
    assert "did not respond within 0.2 seconds" in error.message


def test_an_engine_that_hangs_after_its_ping_is_not_waited_for(scripted: Callable[..., EngineClient]) -> None:
    assert failure(scripted({"images": HANG}, timeout=0.2)).code == "engine-timeout"


BROKEN: Mapping[str, bytes] = {
    "nothing": b"",
    "half a status line": b"HTTP/1.1 20",
    "half the headers": b"HTTP/1.1 200 OK\r\nContent-Le",
    "half a document": http_answer(b'[{"Id"', length=1000),
    "half a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n[{",
    "no last chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n",
    "no JSON": http_answer(b"<html>"),
    "deep JSON": http_answer(b"[" * 100_000),
    "another protocol": b"220 mail.example.com ESMTP\r\n",
    "no status": b"HTTP/1.1 abc OK\r\n\r\n",
    "no header": b"HTTP/1.1 200 OK\r\nheader\r\n\r\n",
    "a space in a header": b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\n[]",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n[]",
    "a negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n[]",
    "an endless length": b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 40 + b"\r\n\r\n[]",
    "an unknown encoding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n[]",
    "an invalid chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nsize\r\n[]\r\n",
    "a chunk that is too long": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n[]\r\n",
    "a long chunk line": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"0" * 100_000,
    "long headers": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000_000,
}


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN)
def test_a_broken_answer_is_an_error(answer: bytes, scripted: Callable[..., EngineClient]) -> None:
    assert failure(scripted({"images": answer})).code == "engine-protocol"


@pytest.mark.parametrize(
    "answer",
    [
        http_answer(b"x" * 1001),
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 5000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"64\r\n" + b"x" * 100 + b"\r\n",
    ],
    ids=["length", "until the end", "chunks"],
)
def test_an_oversized_answer_is_not_read(answer: bytes, scripted: Callable[..., EngineClient]) -> None:
    if b"chunked" in answer:
        head, separator, chunk = answer.partition(b"\r\n\r\n")
        answer = head + separator + chunk * 20
    error = failure(scripted({"images": answer}, max_document=1000))
    assert error.code == "engine-protocol"
    assert "longer than 1,000 bytes" in error.message


def test_a_ping_without_a_version_is_no_engine(scripted: Callable[..., EngineClient]) -> None:
    error = failure(scripted({"_ping": http_answer(b"welcome")}))
    assert error.code == "engine-protocol"
    assert "no API version" in error.message


def test_an_error_is_in_the_words_of_the_engine(scripted: Callable[..., EngineClient]) -> None:
    answer = http_answer(b'{"message":"driver failed\\u001b[2J: ' + b"no space " * 100 + b'"}', status="500 Error")
    client = scripted({"images": answer})
    with pytest.raises(EngineError, match=r"returned an error \(HTTP 500\): driver failed \[2J: no space") as caught:
        client.get_json("images/json")
    assert caught.value.code == "engine"
    assert caught.value.status == 500
    assert len(caught.value.message) < 500


def test_informational_answers_are_skipped(scripted: Callable[..., EngineClient]) -> None:
    client = scripted({"images": b"HTTP/1.1 100 Continue\r\n\r\n" + http_answer(b"[]")})
    assert client.get_json("images/json") == []


def test_an_answer_with_more_than_its_length_ends_the_connection(scripted: Callable[..., EngineClient]) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]"
    client = scripted({"images": answer + answer.replace(b"[]", b"{}")})
    assert client.get_json("images/json") == []
    assert client.get_json("images/json") == []


def test_progress_that_ends_half_way_is_an_error(scripted: Callable[..., EngineClient]) -> None:
    answer = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{"status":"one"}\r\n'
    client = scripted({"create": answer})
    with pytest.raises(EngineError) as caught, client.open_stream("POST", "images/create") as stream:
        list(stream.read_messages())
    assert caught.value.code == "engine-protocol"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"status":"one"}\n{"error":"manifest unknown"}\n', "engine"),
        (b'{"status":"one"}\nnot JSON\n', "engine-protocol"),
        (b'{"status":"one"}\n[]\n', "engine-protocol"),
        (b'{"status":"one"}\n' + b"x" * 3_000_000, "engine-protocol"),
    ],
    ids=["an error", "no JSON", "no object", "a long line"],
)
def test_progress_with_an_error_ends(body: bytes, code: str, scripted: Callable[..., EngineClient]) -> None:
    client = scripted({"create": http_answer(body)})
    with client.open_stream("POST", "images/create") as stream:
        messages = stream.read_messages()
        assert next(messages) == {"status": "one"}
        with pytest.raises(EngineError) as caught:
            next(messages)
    assert caught.value.code == code


def test_a_request_is_not_split_by_its_path(tmp_path: Path, connect: Callable[..., EngineClient]) -> None:
    with ScriptedEngine(tmp_path / "socket", {"images": http_answer(b"[]")}) as engine:
        assert connect(engine.address).get_json("images/a b\r\nX: y/json", {"é\n": "&="}) == []
        assert engine.requests[1] == "GET /v1.41/images/a%20b%0D%0AX:%20y/json?%C3%A9%0A=%26%3D HTTP/1.1"


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("Get https://ann:s3cret@registry.local/v2/: refused", "Get https://ann:***@registry.local/v2/: refused"),
        ("sent Authorization: Bearer eyJhbGciOi1.abc", "sent Authorization: Bearer ***"),
        ("no host at http://registry.local:5000/v2/", "no host at http://registry.local:5000/v2/"),
    ],
)
def test_messages_of_an_engine_are_shown_without_credentials(message: str, shown: str) -> None:
    assert clean_text(message) == shown


def test_a_server_that_knows_no_ping_is_no_engine(scripted: Callable[..., EngineClient]) -> None:
    error = failure(scripted({"_ping": http_answer(b"404 page not found", status="404 Not Found")}))
    assert (error.code, error.exit_code) == ("engine-protocol", 3)
    assert "it does not know the request of a ping, so it is no engine" in error.message
    assert error.hints
