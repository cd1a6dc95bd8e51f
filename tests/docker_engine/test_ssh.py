"""Engines of other hosts, over ssh to sshd at the loopback."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from imq.engine.docker_engine.ssh import MAX_CONNECTIONS
from imq.grammar.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from imq.engine.docker_engine.client import EngineClient
    from support.engines import Dockerd, PodmanService
    from support.ssh_server import SshServer


@pytest.fixture(scope="session")
def key(ssh_server: SshServer) -> str:
    """A private key whose owner may log in."""
    key = ssh_server.make_key("key")
    ssh_server.authorize(key)
    return key


def failure(client: EngineClient) -> EngineError:
    with pytest.raises(EngineError) as caught:
        client.ping()
    return caught.value


def test_docker_of_another_host_is_reached(
    ssh_server: SshServer, key: str, dockerd: Dockerd, connect: Callable[..., EngineClient]
) -> None:
    client = connect(ssh_server.address, ssh_server.client_environment(key))
    version = client.ping()
    assert (version.kind, client.endpoint.kind) == ("docker", "docker")
    assert client.get_json("info")["ID"] == dockerd.run("info", "--format", "{{.ID}}")
    processes = [channel._process for channel in client._idle]  # type: ignore[attr-defined]
    assert len(processes) == 1
    client.close()
    assert all(process.returncode is not None for process in processes)


def test_threads_share_a_few_connections(ssh_server: SshServer, key: str, connect: Callable[..., EngineClient]) -> None:
    client = connect(ssh_server.address, ssh_server.client_environment(key), jobs=32)
    client.ping()
    with ThreadPoolExecutor(12) as pool:
        ids = list(pool.map(lambda _: client.get_json("info")["ID"], range(24)))
    assert len(set(ids)) == 1
    assert len(client._idle) <= MAX_CONNECTIONS


def test_podman_is_used_when_the_host_has_no_docker(
    ssh_server: SshServer, tmp_path: Path, connect: Callable[..., EngineClient]
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    podman = shutil.which("podman")
    assert podman is not None
    (programs / "podman").symlink_to(podman)
    key = ssh_server.make_key("podman-only")
    ssh_server.authorize(key, f'environment="PATH={programs}"')
    client = connect(ssh_server.address, ssh_server.client_environment(key))
    assert client.ping().kind == "podman"
    assert client.endpoint.kind == "podman"
    assert client.get_json("libpod/images/json") == []


def test_a_host_without_a_client_is_an_error(
    ssh_server: SshServer, tmp_path: Path, connect: Callable[..., EngineClient]
) -> None:
    key = ssh_server.make_key("nothing")
    ssh_server.authorize(key, f'environment="PATH={tmp_path}"')
    error = failure(connect(ssh_server.address, ssh_server.client_environment(key)))
    assert error.code == "engine-ssh"
    assert "does not have the command docker" in error.message


def test_the_path_of_an_address_is_a_socket_of_the_host(
    ssh_server: SshServer, key: str, podman_service: PodmanService, connect: Callable[..., EngineClient]
) -> None:
    environment = ssh_server.client_environment(key)
    address = f"{ssh_server.address}{podman_service.socket}"
    assert connect("podman", {**environment, "CONTAINER_HOST": address}).ping().kind == "podman"
    assert connect("docker", {**environment, "DOCKER_HOST": address}).ping().kind == "podman"


def test_a_host_without_an_engine_is_unreachable(
    ssh_server: SshServer, key: str, tmp_path: Path, connect: Callable[..., EngineClient]
) -> None:
    environment = ssh_server.client_environment(key)
    address = f"{ssh_server.address}{tmp_path}/not here.sock"
    error = failure(connect("docker", {**environment, "DOCKER_HOST": address}))
    assert error.code == "engine-unreachable"
    assert "no such file or directory" in error.message


def test_ssh_asks_for_no_password(ssh_server: SshServer, connect: Callable[..., EngineClient]) -> None:
    key = ssh_server.make_key("stranger")
    error = failure(connect(ssh_server.address, ssh_server.client_environment(key)))
    assert error.code == "engine-ssh"
    assert "Permission denied" in error.message
    assert "does not ask for passwords" in error.hints[0]


def test_ssh_asks_for_no_host_key(ssh_server: SshServer, key: str, connect: Callable[..., EngineClient]) -> None:
    error = failure(connect(ssh_server.address, ssh_server.client_environment(key, knows_host=False)))
    assert error.code == "engine-ssh"
    assert "host key verification failed" in error.message
    assert "run `ssh" in error.hints[0]


def test_a_shell_that_writes_a_greeting_is_an_error(
    ssh_server: SshServer, connect: Callable[..., EngineClient]
) -> None:
    key = ssh_server.make_key("greeting")
    ssh_server.authorize(key, 'command="echo welcome; exec docker system dial-stdio"')
    error = failure(connect(ssh_server.address, ssh_server.client_environment(key)))
    assert error.code == "engine-protocol"
    assert "must write nothing" in error.hints[1]


def test_a_port_without_a_server_is_an_error(
    ssh_server: SshServer, key: str, connect: Callable[..., EngineClient]
) -> None:
    error = failure(connect("ssh://127.0.0.1:1", ssh_server.client_environment(key)))
    assert error.code == "engine-ssh"
    assert "Connection refused" in error.message


def test_a_machine_without_ssh_is_an_error(tmp_path: Path, connect: Callable[..., EngineClient]) -> None:
    error = failure(connect("ssh://host", {"PATH": str(tmp_path)}))
    assert error.code == "engine-ssh"
    assert "ssh does not start" in error.message
