"""The client against real engines: dockerd and podman's service."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from imq.engine.docker_engine.client import EngineClient
from imq.engine.docker_engine.endpoint import Endpoint, find_endpoint
from imq.grammar.errors import EngineError, NotFound

if TYPE_CHECKING:
    from pathlib import Path

    from support.engines import Dockerd, PodmanService


def test_a_ping_negotiates_the_version(dockerd: Dockerd) -> None:
    endpoint = find_endpoint("docker", {"DOCKER_HOST": dockerd.address}, "/nonexistent")
    assert endpoint == Endpoint("docker", "docker", dockerd.address)
    with EngineClient(endpoint) as client:
        version = client.ping(details=True)
        assert (version.kind, version.os) == ("docker", "linux")
        assert version.engine_version == dockerd.run("version", "--format", "{{.Server.Version}}")
        assert version.architecture
        assert client.get_json("images/json") == []
        with pytest.raises(NotFound, match="No such image: nothing"):
            client.delete_json("images/nothing")


def test_podman_serves_the_same_requests(podman_service: PodmanService) -> None:
    endpoint = find_endpoint(podman_service.address, {}, "/nonexistent")
    assert endpoint is not None
    with EngineClient(endpoint) as client:
        version = client.ping()
        assert (version.kind, version.os) == ("podman", "linux")
        assert client.get_json("images/json") == []
        assert client.get_json("libpod/images/json") == []


def test_an_engine_that_does_not_run_is_unreachable(tmp_path: Path) -> None:
    endpoint = find_endpoint(f"unix://{tmp_path}/docker.sock", {}, "/nonexistent")
    assert endpoint is not None
    with EngineClient(endpoint) as client, pytest.raises(EngineError, match="not reachable") as caught:
        client.ping()
    assert caught.value.code == "engine-unreachable"
