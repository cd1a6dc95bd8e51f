"""Endpoints of container engines: how users name them, and the addresses that the names stand for."""

from __future__ import annotations

import os

from imq.grammar.errors import EngineError
from imq.grammar.record import TYPE_CHECKING, Record

from .contexts import Tls, default_context, list_contexts, read_context

if TYPE_CHECKING:
    from collections.abc import Mapping

    from imq.grammar.errors import ImqError

_DOCKER_SOCKET = "/var/run/docker.sock"
_PODMAN_SOCKET = "/run/podman/podman.sock"
_SCHEMES = ("unix://", "tcp://", "ssh://")


class Endpoint(Record):
    """An address at which an engine listens.

    `name` is how users write it: `docker`, `docker:CONTEXT`, `podman`, `ssh://HOST`. `kind` is `docker` or `podman`;
    for an address it is a guess, and a ping returns the kind of the engine. `address` is `unix://PATH`, `tcp://HOST:PORT`
    or `ssh://[USER@]HOST[:PORT][/PATH]`. `problem` is why the endpoint is unusable. Example: a broken context.
    """

    name: str
    kind: str
    address: str
    tls: Tls | None = None
    problem: ImqError | None = None

    @property
    def socket_path(self) -> str | None:
        """The path of a unix socket; None for other addresses."""
        return self.address.removeprefix("unix://") if self.address.startswith("unix://") else None


def find_endpoint(text: str, environment: Mapping[str, str], home: str) -> Endpoint | None:
    """Return the endpoint that a user's text names; None when the text names no endpoint.

    A context that exists but is broken, and a missing one after `docker:`, make an endpoint with a `problem`.
    """
    if text == "docker":
        return _default_docker(environment, home)
    if text == "podman":
        return _default_podman(environment)
    if text.startswith(_SCHEMES):
        return _parse_address(text, text, environment, home)
    if text.startswith("docker:"):
        return _context_endpoint(text.removeprefix("docker:"), environment, home)
    if text in list_contexts(environment, home):
        return _context_endpoint(text, environment, home).replace(name=text)
    return None


def list_endpoints(environment: Mapping[str, str], home: str) -> list[Endpoint]:
    """Return the endpoints of this machine and user that are configured, or whose sockets exist."""
    endpoints = []
    for endpoint in (_default_docker(environment, home), _default_podman(environment)):
        path = endpoint.socket_path
        if path is None or os.path.exists(path):
            endpoints.append(endpoint)
    endpoints += [_context_endpoint(name, environment, home) for name in list_contexts(environment, home)]
    return endpoints


def _default_docker(environment: Mapping[str, str], home: str) -> Endpoint:
    host = environment.get("DOCKER_HOST", "")
    if host:
        return _parse_address("docker", host, environment, home)
    context = default_context(environment, home)
    if context != "default":
        return _context_endpoint(context, environment, home).replace(name="docker")
    return Endpoint("docker", "docker", f"unix://{_find_docker_socket(environment)}")


def _find_docker_socket(environment: Mapping[str, str]) -> str:
    runtime = environment.get("XDG_RUNTIME_DIR")
    rootless = os.path.join(runtime, "docker.sock") if runtime else ""
    return rootless if rootless and not os.path.exists(_DOCKER_SOCKET) and os.path.exists(rootless) else _DOCKER_SOCKET


def _default_podman(environment: Mapping[str, str]) -> Endpoint:
    host = environment.get("CONTAINER_HOST", "")
    if host:
        return Endpoint("podman", "podman", host)
    runtime = environment.get("XDG_RUNTIME_DIR")
    rootless = os.path.join(runtime, "podman", "podman.sock") if runtime else ""
    return Endpoint("podman", "podman", f"unix://{rootless if os.path.exists(rootless) else _PODMAN_SOCKET}")


def _parse_address(name: str, address: str, environment: Mapping[str, str], home: str) -> Endpoint:
    if address == "unix://":
        address = f"unix://{_DOCKER_SOCKET}"
    kind = "podman" if "podman" in address else "docker"
    tls = None
    if address.startswith("tcp://") and (environment.get("DOCKER_TLS_VERIFY") or environment.get("DOCKER_TLS")):
        folder = environment.get("DOCKER_CERT_PATH") or os.path.join(home, ".docker")
        tls = Tls.of_folder(folder, verify=bool(environment.get("DOCKER_TLS_VERIFY")))
    return Endpoint(name, kind, address, tls)


def _context_endpoint(context: str, environment: Mapping[str, str], home: str) -> Endpoint:
    name = f"docker:{context}"
    if context == "default":
        return Endpoint(name, "docker", f"unix://{_find_docker_socket(environment)}")
    try:
        address, tls = read_context(context, environment, home)
    except EngineError as error:
        return Endpoint(name, "docker", "", problem=error)
    return Endpoint(name, "docker", address, tls)
