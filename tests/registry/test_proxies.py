"""Registries behind a proxy: HTTPS through CONNECT, with and without a login, and the faults of a proxy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from imq.engine.oci.platform import Platform
from imq.engine.oci.reference import Reference
from imq.engine.progress import NullProgress
from imq.engine.registry.http.proxies import resolve_proxies
from imq.engine.registry.transfer.pull import pull
from imq.engine.registry.transfer.push import push
from imq.grammar.errors import RegistryError
from registry.support import sample_images
from registry.support.connect_proxy import ConnectProxy
from support import servers
from support.servers import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from imq.engine.registry.client import Client
    from registry.conftest import Authority

HOST = "registry.example.test:443"
"""A name that only the proxy can resolve."""
AMD64 = Platform("linux", "amd64")


@pytest.fixture(scope="module")
def named_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority with a certificate for the name of the registry."""
    from registry.conftest import Authority

    servers.require_programs("openssl")
    return Authority(tmp_path_factory.mktemp("authority"), "DNS:registry.example.test")


@pytest.fixture(scope="module")
def encrypted(named_authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    servers.require_programs(servers.PROGRAM)
    with Registry(tmp_path_factory.mktemp("encrypted"), tls=named_authority.pair) as running:
        yield running


def targets(registry: Registry) -> dict[str, tuple[str, int]]:
    return {HOST: ("127.0.0.1", registry.port)}


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_images_travel_through_a_tunnel(
    connect: Callable[..., Client], encrypted: Registry, named_authority: Authority, variable: str
) -> None:
    name = Reference.parse(f"{HOST}/behind/{variable.lower()}:1")
    source_store, target_store = sample_images.MemoryStore(), sample_images.MemoryStore()
    manifest = sample_images.add_image(source_store, layers=2, size=300_000)
    with ConnectProxy(targets(encrypted)) as proxy:
        client = connect(environment={variable: f"http://{proxy.host}", "SSL_CERT_FILE": named_authority.certificate})
        push(client, name, manifest, source_store, NullProgress())
        pull(client, name, AMD64, target_store, NullProgress())
        assert list(client.list_tags(name)) == ["1"]
        assert (
            target_store.blobs.items()
            >= {digest: content for digest, content in source_store.blobs.items() if digest != manifest.digest}.items()
        )
        assert proxy.tunnels >= 1
        assert {line.rpartition(" ")[0] for line, _ in proxy.requests} == {f"CONNECT {HOST}"}
        for _, headers in proxy.requests:
            assert not headers.keys() & {"authorization", "cookie", "proxy-authorization"}


def test_a_proxy_gets_its_login_and_the_registry_does_not(
    connect: Callable[..., Client], encrypted: Registry, named_authority: Authority
) -> None:
    environment = {"SSL_CERT_FILE": named_authority.certificate}
    with ConnectProxy(targets(encrypted), login="ann:p@ss") as proxy:
        client = connect(environment={**environment, "HTTPS_PROXY": f"http://ann:p%40ss@{proxy.host}"})
        assert client.fetch_head(Reference.parse(f"{HOST}/a:1")) is None
        assert proxy.tunnels == 1
        wrong = connect(environment={**environment, "HTTPS_PROXY": f"http://ann:wr0ng@{proxy.host}"})
        with pytest.raises(RegistryError, match=r"the proxy for registry\.example\.test.* cannot be used") as caught:
            wrong.fetch_head(Reference.parse(f"{HOST}/a:1"))
    assert "wr0ng" not in f"{caught.value.message}{caught.value.hints}"
    with open(encrypted.log) as log:
        assert "p@ss" not in log.read()


def test_the_certificate_behind_a_tunnel_is_verified(connect: Callable[..., Client], encrypted: Registry) -> None:
    with ConnectProxy(targets(encrypted)) as proxy:
        client = connect(environment={"HTTPS_PROXY": f"http://{proxy.host}"})
        with pytest.raises(RegistryError, match="is not trusted") as caught:
            client.fetch_head(Reference.parse(f"{HOST}/a:1"))
    assert caught.value.code == "tls"


@pytest.mark.parametrize("status", [403, 502])
def test_a_proxy_that_refuses_is_named(
    connect: Callable[..., Client], encrypted: Registry, named_authority: Authority, status: int
) -> None:
    with ConnectProxy(targets(encrypted), status=status) as proxy:
        client = connect(
            environment={"HTTPS_PROXY": f"http://{proxy.host}", "SSL_CERT_FILE": named_authority.certificate}
        )
        with pytest.raises(RegistryError, match="the proxy for") as caught:
            client.fetch_head(Reference.parse(f"{HOST}/a:1"))
    assert (caught.value.code, caught.value.exit_code) == ("unreachable", 3)
    assert "HTTPS_PROXY" in caught.value.hints[0]


def test_a_silent_proxy_has_a_deadline(connect: Callable[..., Client], encrypted: Registry) -> None:
    with ConnectProxy(targets(encrypted), is_silent=True) as proxy:
        client = connect(
            environment={"HTTPS_PROXY": f"http://{proxy.host}"},
            connect_timeout=0.3, read_timeout=0.3, answer_timeout=0.5, retries=0,
        )  # fmt: skip
        with pytest.raises(RegistryError) as caught:
            client.fetch_head(Reference.parse(f"{HOST}/a:1"))
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("exceptions", "is_direct"),
    [
        ("registry.example.test", True),
        (".example.test", True),
        ("*.example.test", True),
        ("other.test, registry.example.test:443", True),
        ("*", True),
        ("registry.example.test:5000", False),
        ("ample.test", False),
        ("10.0.0.0/8", False),
        ("", False),
    ],
)
def test_hosts_in_no_proxy_are_reached_directly(exceptions: str, *, is_direct: bool) -> None:
    environment = {"HTTPS_PROXY": "http://proxy.test:1", "NO_PROXY": exceptions}
    expected = {} if is_direct else {"https": "http://proxy.test:1"}
    assert resolve_proxies(f"https://{HOST}/v2/", environment) == expected
