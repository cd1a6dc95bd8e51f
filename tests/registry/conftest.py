"""Real registries and clients for the tests of the registry client."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from imq.engine.oci.reference import Reference
from imq.engine.registry.client import Client
from imq.engine.registry.settings import Settings
from registry.support import thousand_tags
from registry.support.sample_images import PASSWORD, USER
from registry.support.token_server import TokenServer
from support import servers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Registry]:
    """A registry without authentication."""
    servers.require_programs(servers.PROGRAM)
    with servers.Registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="session")
def second(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Registry]:
    """Another registry without authentication."""
    servers.require_programs(servers.PROGRAM)
    with servers.Registry(tmp_path_factory.mktemp("second")) as running:
        yield running


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Registry]:
    """A registry that requires basic auth."""
    servers.require_programs(servers.PROGRAM, "htpasswd")
    with servers.Registry(tmp_path_factory.mktemp("guarded"), users={USER: PASSWORD}) as running:
        yield running


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """An untrusted certificate for the loopback, and its key."""
    servers.require_programs("openssl")
    folder = tmp_path_factory.mktemp("certificate")
    certificate_file, key = str(folder / "certificate.pem"), str(folder / "key.pem")
    names = "subjectAltName=IP:127.0.0.1,DNS:localhost"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run(
        [*command, "-addext", names, "-keyout", key, "-out", certificate_file], check=True, capture_output=True
    )
    return certificate_file, key


class RunningRegistry:
    """A running registry with the content that `thousand_tags` writes."""

    def __init__(self, registry: servers.Registry, contents: thousand_tags.Contents) -> None:
        self.registry = registry
        self.host = registry.host
        self.contents = contents

    def reference(self, tag: str | None = None, repository: str = thousand_tags.THOUSAND) -> Reference:
        """Return the reference of a tag, or of a repository."""
        return Reference(self.host, repository, tag)

    def list_references(self, repository: str = thousand_tags.THOUSAND) -> dict[int, Reference]:
        """Return the references of all tags of a repository, by number."""
        return {number: self.reference(tag, repository) for number, tag in enumerate(self.contents.tags[repository])}


@pytest.fixture(scope="session")
def thousand_written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, thousand_tags.Contents]:
    """The files of a registry with a thousand tags, and their contents. They are read-only."""
    folder = tmp_path_factory.mktemp("thousand") / "data"
    return folder, thousand_tags.write_registry(folder)


@pytest.fixture(scope="session")
def thousand(
    thousand_written: tuple[Path, thousand_tags.Contents], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningRegistry]:
    """A registry with a thousand tags and without authentication. It is shared and must not be changed."""
    yield from _serve(thousand_written, tmp_path_factory.mktemp("open"))


@pytest.fixture(scope="session")
def thousand_guarded(
    thousand_written: tuple[Path, thousand_tags.Contents], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningRegistry]:
    """The same with basic auth, for `USER` with `PASSWORD`."""
    servers.require_programs("htpasswd")
    yield from _serve(thousand_written, tmp_path_factory.mktemp("guarded-thousand"), users={USER: PASSWORD})


@pytest.fixture(scope="session")
def thousand_tls(
    thousand_written: tuple[Path, thousand_tags.Contents],
    tmp_path_factory: pytest.TempPathFactory,
    authority: Authority,
) -> Iterator[RunningRegistry]:
    """The same with TLS, and a certificate of the tests' authority."""
    yield from _serve(thousand_written, tmp_path_factory.mktemp("tls-thousand"), tls=authority.pair)


@pytest.fixture
def thousand_tokens(
    thousand_written: tuple[Path, thousand_tags.Contents], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[RunningRegistry, TokenServer]]:
    """The same with a token server that grants pulls to everyone, and everything to `USER`."""
    servers.require_programs("openssl")
    folder = tmp_path_factory.mktemp("tokens-thousand")
    with TokenServer(folder, {USER: PASSWORD}, "no refresh") as tokens:
        for running in _serve(thousand_written, folder, token=tokens.configuration):
            yield running, tokens


@pytest.fixture
def changeable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    """A separate registry with twenty of the thousand tags and everything else, which a test may change."""
    servers.require_programs(servers.PROGRAM)
    folder = tmp_path_factory.mktemp("changeable")
    contents = thousand_tags.write_registry(folder / "data", 20)
    with servers.Registry(folder) as running:
        yield RunningRegistry(running, contents)


def _serve(written: tuple[Path, thousand_tags.Contents], folder: Path, **options: Any) -> Iterator[RunningRegistry]:
    servers.require_programs(servers.PROGRAM)
    (folder / "data").symlink_to(written[0])
    with servers.Registry(folder, **options) as running:
        yield RunningRegistry(running, written[1])


class Authority:
    """A certificate authority for tests: its `certificate`, and a `pair` of certificate and key for some names."""

    def __init__(self, folder: Path, names_of_pair: str = "IP:127.0.0.1,DNS:localhost") -> None:
        self.certificate = str(folder / "authority.pem")
        self.pair = (str(folder / "server.pem"), str(folder / "server.key"))
        key, request, names = str(folder / "authority.key"), str(folder / "server.csr"), folder / "names"
        names.write_text(f"subjectAltName={names_of_pair}")
        new = ["openssl", "req", "-newkey", "rsa:2048", "-nodes"]
        signed = ["-CA", self.certificate, "-CAkey", key, "-CAcreateserial", "-days", "2", "-extfile", str(names)]
        for command in (
            [*new, "-x509", "-days", "2", "-subj", "/CN=tests authority", "-keyout", key, "-out", self.certificate],
            [*new, "-subj", "/CN=localhost", "-keyout", self.pair[1], "-out", request],
            ["openssl", "x509", "-req", "-in", request, *signed, "-out", self.pair[0]],
        ):
            subprocess.run(command, check=True, capture_output=True)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that clients trust only if `SSL_CERT_FILE` has its certificate."""
    servers.require_programs("openssl")
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def connect() -> Iterator[Callable[..., Client]]:
    """Make clients with short retry delays, and close them after the test."""
    clients: list[Client] = []

    def make(**settings: object) -> Client:
        clients.append(Client(Settings(**{"first_wait": 0.01, **settings})))  # type: ignore[arg-type]
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def client(connect: Callable[..., Client]) -> Client:
    """A client without credentials."""
    return connect()
