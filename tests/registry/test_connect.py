"""Connections to registries: hosts, schemes, TLS, proxies, and errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from imq.engine.oci import media_types
from imq.engine.oci.platform import Platform
from imq.engine.oci.reference import Reference
from imq.engine.progress import NullProgress
from imq.engine.registry.http.proxies import get_ca_bundle, resolve_proxies
from imq.engine.registry.settings import Settings, get_server, is_loopback
from imq.engine.registry.transfer.pull import pull
from imq.engine.registry.transfer.push import push
from imq.grammar.errors import RegistryError
from registry.support import sample_images
from registry.support.scripted_server import ScriptedServer, Step
from support import servers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from imq.engine.registry.client import Client
    from support.servers import Registry

AMD64 = Platform("linux", "amd64")


@pytest.fixture(scope="module")
def encrypted(certificate: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry with TLS and an untrusted certificate."""
    servers.require_programs(servers.PROGRAM)
    with servers.Registry(tmp_path_factory.mktemp("encrypted"), tls=certificate) as running:
        yield running


@pytest.mark.parametrize("method", ["get", "head", "push"])
def test_tls_on_the_loopback_is_detected(connect: Callable[..., Client], encrypted: Registry, method: str) -> None:
    client, store = connect(), sample_images.MemoryStore()
    name = Reference.parse(f"{encrypted.host}/team/{method}:1")
    if method == "get":
        with pytest.raises(RegistryError, match="manifest unknown"):
            client.fetch_manifest(name)
    elif method == "head":
        assert client.fetch_head(name) is None
    else:
        manifest = sample_images.add_image(store)
        push(client, name, manifest, store, NullProgress())
        assert pull(client, name, AMD64, sample_images.MemoryStore(), NullProgress()).manifest == manifest


def test_a_plain_loopback_registry_costs_no_failed_attempt(client: Client) -> None:
    with ScriptedServer(Step("GET", "/v2/a/manifests/latest", 404)) as server, pytest.raises(RegistryError):
        client.fetch_manifest(Reference.parse(f"{server.host}/a"))
    assert len(server.requests) == 1


def disable_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat the loopback as a remote host."""
    for module in ("settings", "http.client", "http.transport"):
        monkeypatch.setattr(f"imq.engine.registry.{module}.is_loopback", lambda _: False)


def test_other_hosts_need_a_valid_certificate(
    client: Client, encrypted: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    disable_loopback(monkeypatch)
    with pytest.raises(RegistryError, match="not trusted: self-signed certificate") as caught:
        client.fetch_manifest(Reference.parse(f"{encrypted.host}/a"))
    assert caught.value.code == "tls"
    assert "SSL_CERT_FILE" in caught.value.hints[0]


def test_a_custom_authority_from_the_environment(
    connect: Callable[..., Client],
    encrypted: Registry,
    certificate: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disable_loopback(monkeypatch)
    client = connect(environment={"REQUESTS_CA_BUNDLE": certificate[0]})
    assert client.fetch_head(Reference.parse(f"{encrypted.host}/a")) is None


def test_plain_http_is_refused_unless_allowed(
    connect: Callable[..., Client], registry: Registry, encrypted: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    disable_loopback(monkeypatch)
    with pytest.raises(RegistryError) as caught:
        connect().fetch_manifest(Reference.parse(f"{registry.host}/a"))
    assert caught.value.code == "tls"
    assert f"list {registry.host} as an insecure registry" in caught.value.hints[0]
    reported = connect(insecure=frozenset({registry.host, "127.0.0.0/8"}))
    assert reported.fetch_head(Reference.parse(f"{registry.host}/a")) is None
    assert reported.fetch_head(Reference.parse(f"{encrypted.host}/a")) is None, (
        "TLS that is not verified, without a warning"
    )


def test_no_server_listens(client: Client) -> None:
    host = f"127.0.0.1:{servers.find_free_port()}"
    with pytest.raises(RegistryError, match=f"{host} cannot be reached: connection refused") as caught:
        client.fetch_manifest(Reference.parse(f"{host}/a"))
    assert (caught.value.code, caught.value.exit_code, caught.value.temporary) == ("unreachable", 3, False)


def test_an_unknown_host(client: Client) -> None:
    with pytest.raises(RegistryError, match=r"host nowhere\.invalid not found") as caught:
        client.fetch_manifest(Reference.parse("nowhere.invalid/a"))
    assert caught.value.code == "unreachable"


def test_a_server_that_is_not_a_registry(connect: Callable[..., Client]) -> None:
    import socket
    import threading

    def answer(listener: socket.socket) -> None:
        for _ in range(2):
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"220 mail.example ESMTP\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer, args=(listener,))
        thread.start()
        host = f"127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(RegistryError) as caught:
            connect(retries=0).fetch_manifest(Reference.parse(f"{host}/a"))
        thread.join()
    assert host in caught.value.message


def test_a_proxy_is_not_used_for_the_loopback(connect: Callable[..., Client]) -> None:
    path = "http://registry.invalid:80/v2/a/manifests/latest"
    ok = {"Content-Type": media_types.OCI_MANIFEST}
    with (
        ScriptedServer(Step("GET", path, 200, ok, b"{}")) as proxy,
        ScriptedServer(Step("GET", "/v2/a/manifests/latest", 200, ok, b"[]")) as direct,
    ):
        environment = {"http_proxy": proxy.url, "https_proxy": f"http://127.0.0.1:{servers.find_free_port()}"}
        client = connect(environment=environment, insecure=frozenset({"registry.invalid:80"}))
        assert client.fetch_manifest(Reference.parse("registry.invalid:80/a")).content == b"{}"
        assert client.fetch_manifest(Reference.parse(f"{direct.host}/a")).content == b"[]"


@pytest.mark.parametrize(
    ("no_proxy", "used"),
    [
        ("", True),
        ("*", False),
        ("example.com", False),
        (".example.com", False),
        ("*.example.com", False),
        ("ample.com", True),
        ("other.org, r.example.com:443", True),
        ("r.example.com:5000", False),
        ("10.0.0.0/8", True),
    ],
)
def test_no_proxy(no_proxy: str, used: bool) -> None:
    environment = {"HTTPS_PROXY": "proxy:3128", "NO_PROXY": no_proxy}
    result = resolve_proxies("https://r.example.com:5000/v2/", environment)
    assert result == ({"https": "http://proxy:3128"} if used else {})


def test_other_proxy_settings() -> None:
    assert resolve_proxies("https://10.1.2.3/v2/", {"https_proxy": "http://p", "no_proxy": "10.0.0.0/8"}) == {}
    assert resolve_proxies("https://a.b/", {"ALL_PROXY": "http://p"}) == {"https": "http://p"}
    assert resolve_proxies("http://a.b/", {"HTTP_PROXY": "http://p", "REQUEST_METHOD": "GET"}) == {}
    assert get_ca_bundle({"CURL_CA_BUNDLE": "/x"}) == "/x"


def test_loopback_hosts() -> None:
    here = ["localhost", "localhost:5000", "127.0.0.1", "127.9.9.9:80", "[::1]:5000", "[::1]", "LOCALHOST"]
    there = ["127.0.0.1.example.com", "localhost.example.com", "128.0.0.1", "127.0.0.256", "1270.0.0.1", "[::2]", "a"]
    assert all(is_loopback(host) for host in here)
    assert not any(is_loopback(host) for host in there)


def test_insecure_hosts() -> None:
    settings = Settings(insecure=frozenset({"a.example", "b.example:5000", "10.0.0.0/8", "fd00::/8", "no/range"}))
    inside = ["a.example", "a.example:80", "b.example:5000", "10.1.2.3", "10.1.2.3:5000", "[fd00::1]:5000"]
    outside = ["b.example", "b.example:80", "11.0.0.1", "c.a.example", "[fe00::1]"]
    assert all(settings.is_insecure(host) for host in inside)
    assert not any(settings.is_insecure(host) for host in outside)


def test_docker_hub_has_another_api_host() -> None:
    assert get_server("docker.io") == "registry-1.docker.io"
    assert get_server("ghcr.io") == "ghcr.io"


def test_repr_omits_the_environment() -> None:
    assert "hunter2" not in repr(Settings(environment={"PASSWORD": "hunter2"}))
