"""Engines over TCP with TLS."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from imq.grammar.errors import EngineError
from support.certificates import Authority
from support.servers import find_free_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from imq.engine.docker_engine.client import EngineClient
    from support.engines import Dockerd


def variables(dockerd: Dockerd, folder: str | Path, **more: str) -> dict[str, str]:
    """Return the variables by which docker reaches an engine over TLS."""
    return {"DOCKER_HOST": dockerd.tls_address, "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(folder), **more}


def failure(client: EngineClient) -> EngineError:
    with pytest.raises(EngineError) as caught:
        client.get_json("images/json")
    return caught.value


def test_an_engine_is_reached_with_certificates(
    tls_dockerd: Dockerd, client_certificates: str, connect: Callable[..., EngineClient]
) -> None:
    client = connect("docker", variables(tls_dockerd, client_certificates))
    assert client.ping().kind == "docker"
    for _ in range(3):
        assert client.get_json("images/json") == []
    assert len(client._idle) == 1


def test_an_upload_over_tls_is_answered(
    tls_dockerd: Dockerd, client_certificates: str, connect: Callable[..., EngineClient]
) -> None:
    client = connect("docker", variables(tls_dockerd, client_certificates))
    parts = [bytes(1 << 20)] * 8
    with client.open_stream("POST", "images/create", {"fromSrc": "-", "repo": "tls/test"}, body=parts) as stream:
        (message,) = stream.read_messages()
    assert client.delete_json(f"images/{message['status']}")


def test_an_unknown_authority_is_an_error(
    tls_dockerd: Dockerd, client_certificates: str, tmp_path: Path, connect: Callable[..., EngineClient]
) -> None:
    shutil.copytree(client_certificates, tmp_path / "pem")
    (tmp_path / "other").mkdir()
    shutil.copy(Authority(tmp_path / "other", "another").certificate, tmp_path / "pem" / "ca.pem")
    error = failure(connect("docker", variables(tls_dockerd, tmp_path / "pem")))
    assert error.code == "engine-tls"
    assert "certificate" in error.message
    unverified = variables(tls_dockerd, tmp_path / "pem", DOCKER_TLS_VERIFY="", DOCKER_TLS="1")
    assert connect("docker", unverified).ping().kind == "docker"


def test_a_missing_client_certificate_is_an_error(
    tls_dockerd: Dockerd, client_certificates: str, tmp_path: Path, connect: Callable[..., EngineClient]
) -> None:
    shutil.copy(f"{client_certificates}/ca.pem", tmp_path)
    error = failure(connect("docker", variables(tls_dockerd, tmp_path)))
    assert error.code == "engine-tls"
    assert "certificate" in error.message


def test_a_client_without_tls_is_an_error(tls_dockerd: Dockerd, connect: Callable[..., EngineClient]) -> None:
    error = failure(connect(tls_dockerd.tls_address))
    assert error.code == "engine-tls"
    assert "DOCKER_TLS_VERIFY" in error.hints[0]


def test_a_damaged_key_is_an_error(
    tls_dockerd: Dockerd, client_certificates: str, tmp_path: Path, connect: Callable[..., EngineClient]
) -> None:
    shutil.copytree(client_certificates, tmp_path / "pem")
    (tmp_path / "pem" / "key.pem").write_text("no key")
    error = failure(connect("docker", variables(tls_dockerd, tmp_path / "pem")))
    assert error.code == "engine-tls"
    assert "key.pem" in error.hints[0]


def test_a_port_without_a_listener_is_unreachable(connect: Callable[..., EngineClient]) -> None:
    error = failure(connect(f"tcp://127.0.0.1:{find_free_port()}"))
    assert error.code == "engine-unreachable"
    assert "connection refused" in error.message
