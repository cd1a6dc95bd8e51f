"""Endpoints of container engines: how users name them, and the addresses behind the names."""

from __future__ import annotations

import os

from imq.grammar.errors import EngineError
from imq.grammar.record import TYPE_CHECKING, Record

from .address import DEFAULT_SOCKET, SCHEMES, normalize_address
from .docker_contexts import (
    DEFAULT_CONTEXT,
    config_folder,
    is_context,
    list_contexts,
    read_context,
    read_current_context,
)
from .podman_connections import Connections, read_connections
from .tls import Tls

if TYPE_CHECKING:
    from collections.abc import Mapping

    from imq.grammar.errors import ImqError

_PODMAN_SOCKET = "/run/podman/podman.sock"


class Endpoint(Record):
    """An address at which an engine listens.

    `name` is how users write it: `docker`, `docker:CONTEXT`, `podman`, `ssh://HOST`. `kind` is `docker` or `podman`;
    for an address it is a guess, and a ping returns the kind of the engine. `address` is `unix://PATH`,
    `tcp://HOST:PORT` or `ssh://[USER@]HOST[:PORT][/PATH]`. `problem` is why the endpoint is unusable. Example: a broken
    context. `identity` is the path of a private key for ssh; None leaves the choice to ssh.
    """

    name: str
    kind: str
    address: str
    tls: Tls | None = None
    problem: ImqError | None = None
    identity: str | None = None

    @property
    def socket_path(self) -> str | None:
        """The path of a unix socket; None for other addresses."""
        return self.address.removeprefix("unix://") if self.address.startswith("unix://") else None


def find_endpoint(text: str, environment: Mapping[str, str], home: str) -> Endpoint | None:
    """Return the endpoint that a user's text names; None when the text names no endpoint.

    A broken context or address, and a missing context after `docker:`, make an endpoint with a `problem`. `home` is the
    home folder of the user.
    """
    if text == "docker":
        return _default_docker(environment, home)
    if text == "podman":
        return _default_podman(environment, home)
    if text.startswith(SCHEMES):
        return _make_endpoint(text, _guess_kind(text), text, _environment_tls(text, environment, home))
    if text.startswith("docker:"):
        return _context_endpoint(text, text.removeprefix("docker:"), environment, home)
    if text.startswith("podman:"):
        return _connection_endpoint(text, text.removeprefix("podman:"), read_connections(environment, home))
    return _context_endpoint(text, text, environment, home) if is_context(text, environment, home) else None


def list_endpoints(environment: Mapping[str, str], home: str) -> list[Endpoint]:
    """Return the endpoints of this user and machine: configured ones, and default sockets that exist.

    Several endpoints may have the same address. Example: `docker` and its current context.
    """
    defaults = (_default_docker(environment, home), _default_podman(environment, home))
    endpoints = [one for one in defaults if one.socket_path is None or os.path.exists(one.socket_path)]
    contexts = list_contexts(environment, home)
    endpoints += [_context_endpoint(f"docker:{name}", name, environment, home) for name in contexts]
    connections = read_connections(environment, home)
    endpoints += [_connection_endpoint(f"podman:{name}", name, connections) for name in sorted(connections.by_name)]
    return endpoints


def _default_docker(environment: Mapping[str, str], home: str) -> Endpoint:
    if environment.get("DOCKER_HOST"):
        return _host_endpoint("docker", environment, home)
    try:
        context = read_current_context(environment, home)
    except EngineError as error:
        return _broken_endpoint("docker", "docker", "", error)
    return _context_endpoint("docker", context, environment, home)


def _context_endpoint(name: str, context: str, environment: Mapping[str, str], home: str) -> Endpoint:
    if context == DEFAULT_CONTEXT:
        return _host_endpoint(name, environment, home)
    try:
        address, tls = read_context(context, environment, home)
    except EngineError as error:
        return _broken_endpoint(name, "docker", "", error)
    return _make_endpoint(name, "docker", address, tls)


def _host_endpoint(name: str, environment: Mapping[str, str], home: str) -> Endpoint:
    """Return the endpoint of docker's default context: DOCKER_HOST, else a socket of this machine."""
    host = environment.get("DOCKER_HOST") or f"unix://{_find_docker_socket(environment)}"
    return _make_endpoint(name, "docker", host, _environment_tls(host, environment, home))


def _find_docker_socket(environment: Mapping[str, str]) -> str:
    runtime = environment.get("XDG_RUNTIME_DIR")
    rootless = os.path.join(runtime, "docker.sock") if runtime else ""
    return rootless if rootless and not os.path.exists(DEFAULT_SOCKET) and os.path.exists(rootless) else DEFAULT_SOCKET


def _environment_tls(address: str, environment: Mapping[str, str], home: str) -> Tls | None:
    """Return the certificates that docker's environment variables name for an address."""
    verify = bool(environment.get("DOCKER_TLS_VERIFY"))
    if address.startswith(("unix:", "ssh:")) or not (verify or environment.get("DOCKER_TLS")):
        return None
    return Tls.of_folder(environment.get("DOCKER_CERT_PATH") or config_folder(environment, home), verify=verify)


def _default_podman(environment: Mapping[str, str], home: str) -> Endpoint:
    host = environment.get("CONTAINER_HOST")
    if host:
        return _make_endpoint("podman", "podman", host, None, environment.get("CONTAINER_SSHKEY"))
    connection = environment.get("CONTAINER_CONNECTION")
    if connection:
        return _connection_endpoint("podman", connection, read_connections(environment, home))
    runtime = environment.get("XDG_RUNTIME_DIR")
    sockets = [os.path.join(runtime, "podman", "podman.sock"), _PODMAN_SOCKET] if runtime else [_PODMAN_SOCKET]
    existing = [path for path in sockets if os.path.exists(path)]
    if not existing:  # a machine without a service: podman's own machine, or another host
        connections = read_connections(environment, home)
        if connections.default:
            return _connection_endpoint("podman", connections.default, connections)
    return Endpoint("podman", "podman", f"unix://{[*existing, *sockets][0]}")


def _connection_endpoint(name: str, connection_name: str, connections: Connections) -> Endpoint:
    try:
        connection = connections.find(connection_name)
    except EngineError as error:
        return _broken_endpoint(name, "podman", "", error)
    return _make_endpoint(name, "podman", connection.address, None, connection.identity)


def _guess_kind(address: str) -> str:
    return "podman" if "podman" in address else "docker"


def _make_endpoint(name: str, kind: str, address: str, tls: Tls | None, identity: str | None = None) -> Endpoint:
    try:
        return Endpoint(name, kind, normalize_address(address, tls=tls is not None), tls, identity=identity or None)
    except EngineError as error:
        return _broken_endpoint(name, kind, address, error)


def _broken_endpoint(name: str, kind: str, address: str, problem: EngineError) -> Endpoint:
    problem.endpoint = name
    return Endpoint(name, kind, address, problem=problem)
