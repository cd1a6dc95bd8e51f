"""Authorities and client certificates for single hosts, in docker's folders."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from imq.engine.oci.reference import Reference
from imq.engine.registry.http.certificates import find_certificates
from imq.engine.registry.http.proxies import get_ca_bundle
from imq.engine.registry.settings import HostSettings
from imq.grammar.errors import RegistryError
from support import servers
from support.servers import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from imq.engine.registry.client import Client


class ClientCertificateRegistry(Registry):
    """A registry that requires a client certificate signed by the authority `known`."""

    known = ""

    def _configuration(self) -> str:
        key = f"    key: {self._tls[1] if self._tls else ''}\n"
        return super()._configuration().replace(key, f"{key}    clientcas: [{self.known}]\n")


@pytest.fixture(scope="module")
def encrypted(certificate: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    servers.require_programs(servers.PROGRAM)
    with Registry(tmp_path_factory.mktemp("encrypted"), tls=certificate) as running:
        yield running


@pytest.fixture(scope="module")
def other(certificate: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with Registry(tmp_path_factory.mktemp("other"), tls=certificate) as running:
        yield running


@pytest.fixture(scope="module")
def client_certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A self-signed client certificate, and its key."""
    servers.require_programs("openssl")
    folder = tmp_path_factory.mktemp("person")
    made, key = str(folder / "client.cert"), str(folder / "client.key")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=ann"]
    subprocess.run([*command, "-keyout", key, "-out", made], check=True, capture_output=True)
    return made, key


@pytest.fixture(scope="module")
def mutual_tls(
    certificate: tuple[str, str], client_certificate: tuple[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Registry]:
    servers.require_programs(servers.PROGRAM)
    registry = ClientCertificateRegistry(tmp_path_factory.mktemp("asking"), tls=certificate)
    registry.known = client_certificate[0]
    with registry:
        yield registry


@pytest.fixture
def remote_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat the loopback as a remote host, whose certificate is verified."""
    for module in ("settings", "http.client", "http.transport"):
        monkeypatch.setattr(f"imq.engine.registry.{module}.is_loopback", lambda _: False)


def write_certificates(home: Path, host: str, *files: tuple[str, str]) -> dict[str, str]:
    """Copy files (path, name) to the folder of a host, and return an environment with that folder."""
    folder = home / ".config" / "docker" / "certs.d" / host
    folder.mkdir(parents=True, exist_ok=True)
    for path, name in files:
        shutil.copy(path, folder / name)
    return {"HOME": str(home)}


def has_no_such_image(client: Client, registry: Registry) -> bool:
    """Return whether the registry reports a missing image."""
    return client.fetch_head(Reference.parse(f"{registry.host}/a")) is None


@pytest.mark.usefixtures("remote_loopback")
def test_an_authority_is_for_one_host(
    connect: Callable[..., Client], encrypted: Registry, other: Registry, certificate: tuple[str, str], tmp_path: Path
) -> None:
    client = connect(environment=write_certificates(tmp_path, encrypted.host, (certificate[0], "ca.crt")))
    assert has_no_such_image(client, encrypted)
    with pytest.raises(RegistryError, match="is not trusted") as caught:
        has_no_such_image(client, other)
    assert f"/etc/docker/certs.d/{other.host}/ca.crt" in caught.value.hints[0]
    assert has_no_such_image(client, encrypted)


@pytest.fixture
def expired(tmp_path: Path) -> Iterator[tuple[Registry, str]]:
    """Yield a registry whose certificate expired in January 2024, and the certificate."""
    servers.require_programs("openssl")
    key, request, made = (os.fspath(tmp_path / name) for name in ("old.key", "old.csr", "old.pem"))
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", request, *subject]
    subprocess.run(command, check=True, capture_output=True)
    (tmp_path / "index").write_text("")
    (tmp_path / "serial").write_text("01")
    (tmp_path / "ca.cnf").write_text(
        f"[ca]\ndefault_ca=own\n[own]\ndatabase={tmp_path}/index\nserial={tmp_path}/serial\nnew_certs_dir={tmp_path}\n"
        "default_md=sha256\npolicy=any\ncopy_extensions=copy\n[any]\ncommonName=supplied\n"
    )
    times = ["-startdate", "20240101000000Z", "-enddate", "20240201000000Z"]
    command = ["openssl", "ca", "-batch", "-selfsign", "-config", os.fspath(tmp_path / "ca.cnf"), "-keyfile", key]
    subprocess.run([*command, "-in", request, "-out", made, *times], check=True, capture_output=True)
    with Registry(tmp_path / "old", tls=(made, key)) as registry:
        yield registry, made


@pytest.mark.usefixtures("remote_loopback")
def test_an_expired_certificate_is_an_error(
    connect: Callable[..., Client], expired: tuple[Registry, str], tmp_path: Path
) -> None:
    registry, made = expired
    client = connect(environment=write_certificates(tmp_path, registry.host, (made, "ca.crt")))
    with pytest.raises(RegistryError, match="is not trusted: certificate has expired") as caught:
        has_no_such_image(client, registry)
    assert (caught.value.code, caught.value.exit_code) == ("tls", 3)
    assert caught.value.hints[0].startswith("the operator of the registry must renew it")
    assert f"--insecure {registry.host}" in caught.value.hints[1]


@pytest.mark.usefixtures("remote_loopback")
@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_an_authority_from_the_environment_is_for_all(
    connect: Callable[..., Client], encrypted: Registry, other: Registry, certificate: tuple[str, str], name: str
) -> None:
    client = connect(environment={name: certificate[0]})
    assert has_no_such_image(client, encrypted)
    assert has_no_such_image(client, other)


@pytest.mark.usefixtures("remote_loopback")
def test_the_configuration_specifies_an_authority_for_one_host_or_all(
    connect: Callable[..., Client], encrypted: Registry, other: Registry, certificate: tuple[str, str], tmp_path: Path
) -> None:
    one = connect(hosts={encrypted.host: HostSettings(authority=certificate[0])})
    assert has_no_such_image(one, encrypted)
    with pytest.raises(RegistryError, match="is not trusted"):
        has_no_such_image(one, other)
    assert has_no_such_image(connect(authority=certificate[0]), other)
    empty = tmp_path / "empty.pem"
    empty.touch()
    with pytest.raises(RegistryError):
        has_no_such_image(connect(authority=certificate[0], environment={"SSL_CERT_FILE": str(empty)}), other)


@pytest.mark.usefixtures("remote_loopback")
def test_the_configuration_specifies_a_client_certificate(
    connect: Callable[..., Client],
    mutual_tls: Registry,
    certificate: tuple[str, str],
    client_certificate: tuple[str, str],
) -> None:
    displayed = HostSettings(authority=certificate[0], certificate=client_certificate[0], key=client_certificate[1])
    assert has_no_such_image(connect(hosts={mutual_tls.host: displayed}), mutual_tls)
    with pytest.raises(RegistryError) as caught:
        has_no_such_image(connect(hosts={mutual_tls.host: displayed.replace(key=certificate[1])}), mutual_tls)
    assert (caught.value.code, client_certificate[0] in caught.value.message) == ("tls", True)


def test_environment_variables_are_read_in_order() -> None:
    assert get_ca_bundle({"SSL_CERT_FILE": "/a", "REQUESTS_CA_BUNDLE": "/b"}) == "/b"
    assert get_ca_bundle({"SSL_CERT_DIR": "/c", "SSL_CERT_FILE": ""}) == "/c"
    assert get_ca_bundle({}) == ""


@pytest.mark.parametrize("verified", [True, False], ids=["verified", "loopback"])
def test_a_client_sends_its_certificate(
    connect: Callable[..., Client],
    mutual_tls: Registry,
    certificate: tuple[str, str],
    client_certificate: tuple[str, str],
    tmp_path: Path,
    request: pytest.FixtureRequest,
    verified: bool,
) -> None:
    if verified:
        request.getfixturevalue("remote_loopback")
    files = [(client_certificate[0], "client.cert"), (client_certificate[1], "client.key")]
    if verified:
        files.append((certificate[0], "ca.crt"))
    assert has_no_such_image(connect(environment=write_certificates(tmp_path, mutual_tls.host, *files)), mutual_tls)


@pytest.mark.usefixtures("remote_loopback")
def test_a_missing_client_certificate_is_rejected(
    connect: Callable[..., Client],
    mutual_tls: Registry,
    certificate: tuple[str, str],
    client_certificate: tuple[str, str],
    tmp_path: Path,
) -> None:
    environment = write_certificates(tmp_path, mutual_tls.host, (certificate[0], "ca.crt"))
    write_certificates(
        tmp_path, "another.example", (client_certificate[0], "client.cert"), (client_certificate[1], "client.key")
    )
    with pytest.raises(RegistryError) as caught:
        has_no_such_image(connect(environment=environment, retries=0), mutual_tls)
    assert caught.value.host == mutual_tls.host


@pytest.mark.parametrize(("present_file", "lacking"), [("client.cert", "client.key"), ("client.key", "client.cert")])
def test_a_certificate_without_its_key_is_an_error(
    connect: Callable[..., Client],
    encrypted: Registry,
    client_certificate: tuple[str, str],
    tmp_path: Path,
    present_file: str,
    lacking: str,
) -> None:
    environment = write_certificates(tmp_path, encrypted.host, (client_certificate[0], present_file))
    with pytest.raises(RegistryError, match=rf"{present_file} for {encrypted.host} requires {lacking}") as caught:
        has_no_such_image(connect(environment=environment), encrypted)
    assert caught.value.code == "tls"


@pytest.mark.usefixtures("remote_loopback")
@pytest.mark.parametrize("damage", ["text", "other key", "password", "folder"])
def test_invalid_certificate_files_are_errors(
    connect: Callable[..., Client],
    encrypted: Registry,
    client_certificate: tuple[str, str],
    certificate: tuple[str, str],
    tmp_path: Path,
    damage: str,
) -> None:
    environment = write_certificates(
        tmp_path, encrypted.host, (client_certificate[0], "client.cert"), (certificate[1], "client.key")
    )
    folder = tmp_path / ".config" / "docker" / "certs.d" / encrypted.host
    if damage == "text":
        (folder / "ca.crt").write_text("no certificate")
    elif damage == "password":
        locked = [
            "openssl",
            "rsa",
            "-aes128",
            "-passout",
            "pass:secret",
            "-in",
            client_certificate[1],
            "-out",
            "client.key",
        ]
        subprocess.run(locked, check=True, capture_output=True, cwd=folder)
    elif damage == "folder":
        os.mkdir(folder / "ca.crt")
    with pytest.raises(RegistryError, match=rf"certs\.d.*, for {encrypted.host}, ") as caught:
        has_no_such_image(connect(environment=environment), encrypted)
    assert caught.value.code == "tls"


def test_the_first_certificate_folder_takes_precedence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imq.engine.registry.http.certificates.SYSTEM_FOLDERS", (str(tmp_path / "system"),))
    (tmp_path / "system" / "a.example:5000").mkdir(parents=True)
    (tmp_path / "system" / "a.example:5000" / "b.crt").touch()
    (tmp_path / "system" / "a.example:5000" / "a.crt").touch()
    actual = find_certificates({}, "a.example:5000")
    assert actual is not None
    assert [os.path.basename(path) for path in actual.authorities] == ["a.crt", "b.crt"]
    (tmp_path / "own" / "containers" / "certs.d" / "a.example:5000").mkdir(parents=True)
    assert find_certificates({"XDG_CONFIG_HOME": str(tmp_path / "own")}, "a.example:5000") == actual, "it is empty"
    for host in ("a.example", "", "..", "a/../a.example:5000"):
        assert find_certificates({}, host) is None
