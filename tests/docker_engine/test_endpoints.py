"""The names of endpoints, and the files of docker and podman that define them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest
from imq.engine.docker_engine.endpoint import Endpoint, find_endpoint, list_endpoints
from imq.engine.docker_engine.tls import Tls
from imq.grammar.errors import EngineError
from support.servers import require_programs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from imq.engine.docker_engine.client import EngineClient
    from support.engines import Dockerd, PodmanService


def find(text: str, home: Path | str, **environment: str) -> Endpoint:
    endpoint = find_endpoint(text, environment, str(home))
    assert endpoint is not None
    return endpoint


def problem(text: str, home: Path | str, **environment: str) -> EngineError:
    found = find(text, home, **environment).problem
    assert isinstance(found, EngineError)
    assert found.code == "engine-context"
    assert found.endpoint == text
    return found


def run_docker(home: Path, *words: str) -> None:
    require_programs("docker")
    environment = {"PATH": os.environ["PATH"], "HOME": str(home)}
    subprocess.run(["docker", *words], env=environment, check=True, capture_output=True)


def run_podman(home: Path, *words: str) -> None:
    require_programs("podman")
    storage = ["--root", str(home / "storage"), "--runroot", str(home / "run"), "--tmpdir", str(home / "tmp")]
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config")}
    environment["CONTAINERS_CONF"] = str(home / ".config" / "containers" / "containers.conf")
    os.makedirs(home / ".config" / "containers", exist_ok=True)
    (home / ".config" / "containers" / "containers.conf").touch()
    subprocess.run(["podman", *storage, *words], env=environment, check=True, capture_output=True)


def listen(path: Path) -> str:
    """Leave a socket at a path, and return its address."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    return f"unix://{path}"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("unix:///a/b.sock", "unix:///a/b.sock"),
        ("unix:/a/b.sock", "unix:///a/b.sock"),
        ("unix://", "unix:///var/run/docker.sock"),
        ("tcp://host", "tcp://host:2375"),
        ("tcp://host:1/", "tcp://host:1"),
        ("tcp://[::1]:1", "tcp://[::1]:1"),
        ("host:1", "tcp://host:1"),
        ("ssh://user@host:22", "ssh://user@host:22"),
        ("ssh://host/run/podman/podman.sock", "ssh://host/run/podman/podman.sock"),
    ],
)
def test_docker_host_is_an_address(text: str, address: str) -> None:
    assert find("docker", "/nonexistent", DOCKER_HOST=text) == Endpoint("docker", "docker", address)


@pytest.mark.parametrize(
    "text",
    [
        *("unix://relative", "npipe:////./pipe/docker_engine", "http://host", "fd://", "tcp://", "tcp://host:port"),
        *("tcp://host:99999", "tcp://host:1/path", "tcp://-o", "ssh://", "ssh://@host", "ssh://-oProxyCommand=x"),
        *("ssh://-luser@host", "ssh://user:secret@host", "ssh://a b", "ssh://host:0"),
    ],
)
def test_an_invalid_address_is_a_problem_of_the_endpoint(text: str) -> None:
    found = problem("docker", "/nonexistent", DOCKER_HOST=text)
    assert "is not the address of an engine" in found.message
    assert "secret" not in str(found)


def test_docker_is_the_default_socket_without_configuration(tmp_path: Path) -> None:
    assert find("docker", tmp_path) == Endpoint("docker", "docker", "unix:///var/run/docker.sock")


def test_docker_is_the_rootless_socket_when_only_that_exists(tmp_path: Path) -> None:
    if os.path.exists("/var/run/docker.sock"):
        pytest.skip("this machine has a default socket")
    address = listen(tmp_path / "docker.sock")
    assert find("docker", tmp_path, XDG_RUNTIME_DIR=str(tmp_path)).address == address


def test_the_environment_overrides_the_current_context(tmp_path: Path) -> None:
    run_docker(tmp_path, "context", "create", "one", "--docker", "host=tcp://one:1")
    run_docker(tmp_path, "context", "create", "two", "--docker", "host=ssh://two")
    run_docker(tmp_path, "context", "use", "one")
    assert find("docker", tmp_path) == Endpoint("docker", "docker", "tcp://one:1")
    assert find("docker", tmp_path, DOCKER_CONTEXT="two").address == "ssh://two"
    assert find("docker", tmp_path, DOCKER_CONTEXT="two", DOCKER_HOST="tcp://three:1").address == "tcp://three:1"
    assert find("docker", tmp_path, DOCKER_CONTEXT="default").address == "unix:///var/run/docker.sock"
    assert find("docker", "/nonexistent", DOCKER_CONFIG=str(tmp_path / ".docker")).address == "tcp://one:1"
    assert find("two", tmp_path) == Endpoint("two", "docker", "ssh://two")
    assert find("docker:two", tmp_path) == Endpoint("docker:two", "docker", "ssh://two")
    assert find("docker:default", tmp_path, DOCKER_HOST="tcp://three:1").address == "tcp://three:1"
    assert [one.name for one in list_endpoints({}, str(tmp_path))] == ["docker", "docker:one", "docker:two"]


def test_a_context_leads_to_an_engine_over_tls(
    tls_dockerd: Dockerd, client_certificates: str, tmp_path: Path, connect: Callable[..., EngineClient]
) -> None:
    files = ",".join(f"{name}={client_certificates}/{name}.pem" for name in ("ca", "cert", "key"))
    run_docker(tmp_path, "context", "create", "far", "--docker", f"host={tls_dockerd.tls_address},{files}")
    endpoint = find("far", tmp_path)
    assert endpoint.tls is not None
    assert endpoint.tls.verify
    client = connect("far", {"DOCKER_CONFIG": str(tmp_path / ".docker")})
    assert client.get_json("images/json") == []


def test_certificates_come_from_the_environment(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    environment = {"DOCKER_HOST": "tcp://host", "DOCKER_CERT_PATH": str(tmp_path)}
    verified = find("docker", "/nonexistent", DOCKER_TLS_VERIFY="1", **environment)
    assert (verified.address, verified.tls) == ("tcp://host:2376", Tls(str(tmp_path / "ca.pem")))
    unverified = find("docker", "/nonexistent", DOCKER_TLS="1", **environment)
    assert unverified.tls == Tls(str(tmp_path / "ca.pem"), verify=False)
    assert find("docker", "/nonexistent", **environment).tls is None


def test_a_missing_context_is_a_problem_with_a_suggestion(tmp_path: Path) -> None:
    run_docker(tmp_path, "context", "create", "staging", "--docker", "host=tcp://one:1")
    found = problem("docker:stagin", tmp_path)
    assert found.message == "docker context stagin not found"
    assert found.hints == ('did you mean "staging"?',)
    assert problem("docker", tmp_path, DOCKER_CONTEXT="none").message == "docker context none not found"
    assert find_endpoint("stagin", {}, str(tmp_path)) is None


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"Endpoints": {}}', '{"Endpoints": {"docker": {"Host": 1}}}', "[" * 100_000]
)
def test_a_broken_context_is_a_problem(content: str, tmp_path: Path, connect: Callable[..., EngineClient]) -> None:
    run_docker(tmp_path, "context", "create", "one", "--docker", "host=tcp://one:1")
    (path,) = (tmp_path / ".docker" / "contexts" / "meta").glob("*/meta.json")
    path.write_text(content)
    assert "docker context one is broken" in problem("docker:one", tmp_path).message
    client = connect("docker:one", {"DOCKER_CONFIG": str(tmp_path / ".docker")})
    with pytest.raises(EngineError, match="is broken"):
        client.ping()


@pytest.mark.parametrize("content", ["", "[]", "{"])
def test_a_broken_configuration_is_a_problem(content: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(content)
    assert "current docker context" in problem("docker", "/nonexistent", DOCKER_CONFIG=str(tmp_path)).message


def test_the_current_context_is_read_under_a_key_in_any_case(tmp_path: Path) -> None:
    """As docker reads it: with an exact comparison imq would act on another engine."""
    run_docker(tmp_path, "context", "create", "one", "--docker", "host=tcp://one:1")
    path = tmp_path / ".docker" / "config.json"
    path.write_text('{"CurrentContext": "one"}')
    assert find("docker", tmp_path).address == "tcp://one:1"
    path.write_text('{"currentContext": "default", "currentcontext": "one"}')
    assert "current docker context is unknown" in problem("docker", tmp_path).message
    (meta,) = (tmp_path / ".docker" / "contexts" / "meta").glob("*/meta.json")
    meta.write_text('{"name": "one", "endpoints": {"docker": {"host": "tcp://two:1"}}}')
    path.write_text('{"currentContext": "one"}')
    assert find("docker", tmp_path).address == "tcp://two:1"


def test_podman_is_the_socket_of_the_user_or_of_the_machine(tmp_path: Path) -> None:
    assert find("podman", tmp_path) == Endpoint("podman", "podman", "unix:///run/podman/podman.sock")
    address = listen(tmp_path / "podman" / "podman.sock")
    assert find("podman", tmp_path, XDG_RUNTIME_DIR=str(tmp_path)).address == address
    endpoint = find("podman", tmp_path, CONTAINER_HOST="ssh://core@host:1/run/p.sock", CONTAINER_SSHKEY="/key")
    assert endpoint == Endpoint("podman", "podman", "ssh://core@host:1/run/p.sock", identity="/key")


def test_connections_of_podman_are_endpoints(tmp_path: Path, podman_service: PodmanService) -> None:
    run_podman(tmp_path, "system", "connection", "add", "here", podman_service.address)
    run_podman(tmp_path, "system", "connection", "add", "-d", "far", "tcp://far:1")
    assert find("podman:here", tmp_path) == Endpoint("podman:here", "podman", podman_service.address)
    assert find("podman", tmp_path).address in ("tcp://far:1", "unix:///run/podman/podman.sock")
    assert find("podman", tmp_path, CONTAINER_CONNECTION="here").address == podman_service.address
    names = [one.name for one in list_endpoints({}, str(tmp_path))]
    assert names[-2:] == ["podman:far", "podman:here"]
    assert problem("podman:hera", tmp_path).hints == ('did you mean "here"?',)


def test_connections_of_podman_5_are_endpoints(tmp_path: Path) -> None:
    path = tmp_path / "podman-connections.json"
    entry: Mapping[str, object] = {"URI": "ssh://core@host:1/run/p.sock", "Identity": "/key", "IsMachine": True}
    path.write_text(json.dumps({"Connection": {"Default": "machine", "Connections": {"machine": entry, "bad": 1}}}))
    expected = Endpoint("podman:machine", "podman", "ssh://core@host:1/run/p.sock", identity="/key")
    assert find("podman:machine", tmp_path, PODMAN_CONNECTIONS_CONF=str(path)) == expected
    assert problem("podman:bad", tmp_path, PODMAN_CONNECTIONS_CONF=str(path)).message.endswith("bad not found")


def test_a_broken_file_of_connections_is_named(tmp_path: Path) -> None:
    path = tmp_path / "podman-connections.json"
    path.write_text("{")
    found = problem("podman:one", tmp_path, PODMAN_CONNECTIONS_CONF=str(path))
    assert f"{path} is broken" in found.hints


@pytest.mark.parametrize("text", ["", "store", "redis:7", "registry.local:5000", "oci:layout", "default", "../x"])
def test_other_names_are_no_endpoints(text: str, tmp_path: Path) -> None:
    assert find_endpoint(text, {}, str(tmp_path)) is None
