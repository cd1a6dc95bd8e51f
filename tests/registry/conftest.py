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


class Thousand:
    """A registry with what `thousand` writes, running: `host`, and what is in it."""

    def __init__(self, registry: servers.Registry, contents: thousand_tags.Contents) -> None:
        self.registry = registry
        self.host = registry.host
        self.contents = contents

    def reference(self, tag: str | None = None, repository: str = thousand_tags.THOUSAND) -> Reference:
        """Return the name of a tag, or of a repository."""
        return Reference(self.host, repository, tag)

    def numbered(self, repository: str = thousand_tags.THOUSAND) -> dict[int, Reference]:
        """Return the names of all tags of a repository, with numbers."""
        return {number: self.reference(tag, repository) for number, tag in enumerate(self.contents.tags[repository])}


@pytest.fixture(scope="session")
def thousand_written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, thousand_tags.Contents]:
    """The files of a registry with a thousand tags, to be read only, and what is in them."""
    folder = tmp_path_factory.mktemp("thousand") / "data"
    return folder, thousand_tags.write(folder)


@pytest.fixture(scope="session")
def thousand(
    thousand_written: tuple[Path, thousand_tags.Contents], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Thousand]:
    """A registry with a thousand tags that lets everyone in; it is shared: change nothing in it."""
    yield from _serving(thousand_written, tmp_path_factory.mktemp("open"))


@pytest.fixture(scope="session")
def thousand_guarded(
    thousand_written: tuple[Path, thousand_tags.Contents], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Thousand]:
    """The same behind basic auth, for `USER` with `PASSWORD`."""
    servers.needed("htpasswd")
    yield from _serving(thousand_written, tmp_path_factory.mktemp("guarded-thousand"), users={USER: PASSWORD})


@pytest.fixture(scope="session")
def thousand_tls(
    thousand_written: tuple[Path, thousand_tags.Contents],
    tmp_path_factory: pytest.TempPathFactory,
    authority: Authority,
) -> Iterator[Thousand]:
    """The same behind TLS, with a certificate of the tests' own authority."""
    yield from _serving(thousand_written, tmp_path_factory.mktemp("tls-thousand"), tls=authority.pair)


@pytest.fixture
def thousand_tokens(
    thousand_written: tuple[Path, thousand_tags.Contents], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Thousand, TokenServer]]:
    """The same behind a token server that looks at scopes: it grants pulling to everyone, all to `USER`."""
    servers.needed("openssl")
    folder = tmp_path_factory.mktemp("tokens-thousand")
    with TokenServer(folder, {USER: PASSWORD}, "no refresh") as tokens:
        for running in _serving(thousand_written, folder, token=tokens.configuration):
            yield running, tokens


@pytest.fixture
def changeable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Thousand]:
    """A registry of one's own with twenty of the thousand tags and all the rest, to be changed at will."""
    servers.needed(servers.PROGRAM)
    folder = tmp_path_factory.mktemp("changeable")
    contents = thousand_tags.write(folder / "data", 20)
    with servers.Registry(folder) as running:
        yield Thousand(running, contents)


def _serving(written: tuple[Path, thousand_tags.Contents], folder: Path, **options: Any) -> Iterator[Thousand]:
    servers.needed(servers.PROGRAM)
    (folder / "data").symlink_to(written[0])
    with servers.Registry(folder, **options) as running:
        yield Thousand(running, written[1])


class Authority:
    """A certificate authority of the tests: its `certificate`, and a `pair` of certificate and key for the loopback."""

    def __init__(self, folder: Path) -> None:
        self.certificate = str(folder / "authority.pem")
        self.pair = (str(folder / "server.pem"), str(folder / "server.key"))
        key, request, names = str(folder / "authority.key"), str(folder / "server.csr"), folder / "names"
        names.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost")
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
    """An authority whose certificate a client must be told to trust (`SSL_CERT_FILE`)."""
    servers.needed("openssl")
    return Authority(tmp_path_factory.mktemp("authority"))


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
