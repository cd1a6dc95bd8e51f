"""Clients of engines, and engines over TLS and ssh."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from imq.engine.docker_engine.client import EngineClient
from imq.engine.docker_engine.endpoint import find_endpoint
from support.certificates import Authority
from support.engines import Dockerd, ScriptedEngine
from support.servers import find_free_port, require_programs
from support.ssh_server import SshServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from support.engines import PodmanService


@pytest.fixture
def connect() -> Iterator[Callable[..., EngineClient]]:
    """Make clients of endpoints by their names, and close them."""
    clients: list[EngineClient] = []

    def make(text: str, environment: Mapping[str, str] | None = None, **options: Any) -> EngineClient:
        endpoint = find_endpoint(text, environment or {}, "/nonexistent")
        assert endpoint is not None
        if endpoint.address.startswith("ssh://"):
            options["environment"] = environment
        clients.append(EngineClient(endpoint, **options))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def scripted(tmp_path: Path, connect: Callable[..., EngineClient]) -> Iterator[Callable[..., EngineClient]]:
    """Make a client of a scripted engine: the answers by parts of request lines, and the client's options."""
    engines: list[ScriptedEngine] = []

    def make(answers: Mapping[str, bytes | None], **options: Any) -> EngineClient:
        engines.append(ScriptedEngine(tmp_path / f"{len(engines)}.sock", answers).__enter__())
        return connect(engines[-1].address, **options)

    yield make
    for engine in engines:
        engine.__exit__()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that the system does not trust."""
    require_programs("openssl")
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def client_certificates(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a certificate that `tls_dockerd` accepts."""
    return authority.sign(tmp_path_factory.mktemp("client") / "pem", "clientAuth")


@pytest.fixture(scope="session")
def tls_dockerd(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dockerd]:
    """A dockerd that also listens at a TCP port, for clients with a certificate."""
    require_programs("dockerd", "docker")
    folder = tmp_path_factory.mktemp("tls-dockerd")
    server = authority.sign(folder / "pem", "serverAuth")
    with Dockerd(folder, tls=server, port=find_free_port()) as running:
        yield running


@pytest.fixture(scope="session")
def ssh_server(
    dockerd: Dockerd, podman_service: PodmanService, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SshServer]:
    """A server whose users reach dockerd and podman."""
    require_programs("ssh", "ssh-keygen", "sshd")
    variables = {"DOCKER_HOST": dockerd.address, "CONTAINER_HOST": podman_service.address}
    with SshServer(tmp_path_factory.mktemp("ssh"), variables) as running:
        yield running
