"""Real registries and clients for the tests of the registry client."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

_TESTS = os.path.dirname(os.path.dirname(__file__))
for folder in (os.path.dirname(__file__), _TESTS, os.path.join(_TESTS, "store")):
    if folder not in sys.path:
        sys.path.insert(0, folder)

import servers  # noqa: E402
from imq.engine.registry.client import Client  # noqa: E402
from imq.engine.registry.settings import Settings  # noqa: E402
from sample import PASSWORD, USER  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Registry]:
    """A registry that lets everyone in."""
    servers.needed(servers.PROGRAM)
    with servers.Registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="session")
def second(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Registry]:
    """Another registry that lets everyone in."""
    servers.needed(servers.PROGRAM)
    with servers.Registry(tmp_path_factory.mktemp("second")) as running:
        yield running


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Registry]:
    """A registry that wants basic auth."""
    servers.needed(servers.PROGRAM, "htpasswd")
    with servers.Registry(tmp_path_factory.mktemp("guarded"), users={USER: PASSWORD}) as running:
        yield running


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A certificate for the loopback that nobody trusts, and its key."""
    servers.needed("openssl")
    folder = tmp_path_factory.mktemp("certificate")
    made, key = str(folder / "certificate.pem"), str(folder / "key.pem")
    names = "subjectAltName=IP:127.0.0.1,DNS:localhost"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run([*command, "-addext", names, "-keyout", key, "-out", made], check=True, capture_output=True)
    return made, key


@pytest.fixture
def connect() -> Iterator[Callable[..., Client]]:
    """Make clients that wait hardly at all before they try again, and close them."""
    made: list[Client] = []

    def make(**settings: object) -> Client:
        made.append(Client(Settings(**{"first_wait": 0.01, **settings})))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def client(connect: Callable[..., Client]) -> Client:
    """A client with no credentials."""
    return connect()
