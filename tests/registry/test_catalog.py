"""Catalogs and searches: of a real registry, and of servers that imitate Docker Hub."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING

import pytest
from imq.engine.oci.reference import Reference
from imq.engine.progress import NullProgress
from imq.engine.registry import catalog
from imq.engine.registry.catalog import Repository
from imq.engine.registry.transfer.push import push
from imq.grammar.errors import Malformed, RegistryError
from registry.support import sample_images
from registry.support.scripted_server import ScriptedServer, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from imq.engine.registry.client import Client
    from support.servers import Registry

CATALOG = "/v2/_catalog?n=1000"
REDIS = {
    "name": "redis",
    "description": "A \x1b[1mstore",
    "star_count": 13000,
    "is_official": True,
    "is_automated": False,
}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    """A server that replaces Docker Hub's search."""
    with ScriptedServer() as server:
        monkeypatch.setattr(catalog, "HUB_SEARCH_HOST", server.host)
        yield server


def make_catalog(*names: str) -> bytes:
    return json.dumps({"repositories": names}).encode()


def make_results(pages: int, *result: dict[str, object]) -> bytes:
    return json.dumps({"num_pages": pages, "num_results": 1, "page": 1, "query": "x", "results": result}).encode()


@pytest.mark.parametrize("body", [b'{"tags":["a"],"Tags":["b"]}', b'{"TAGS":["b"],"name":"n","tags":["a"]}'])
def test_tags_under_two_keys_that_other_tools_read_as_one_are_refused(client: Client, body: bytes) -> None:
    """Go's readers take the last of them: docker and imq would see different tags."""
    with ScriptedServer() as server:
        server.add(Step("GET", "/v2/n/tags/list?n=1000", body=body))
        with pytest.raises(Malformed) as caught:
            list(client.list_tags(Reference(server.host, "n")))
    assert caught.value.code == "ambiguous-key"
    assert "'tags'" in caught.value.message


def test_keys_of_lists_are_read_in_any_case(client: Client) -> None:
    with ScriptedServer() as server:
        server.add(Step("GET", "/v2/n/tags/list?n=1000", body=b'{"Name":"n","Tags":["b"]}'))
        server.add(Step("GET", CATALOG, body=b'{"Repositories":["r"]}'))
        assert list(client.list_tags(Reference(server.host, "n"))) == ["b"]
        assert list(client.list_repositories(server.host)) == ["r"]


def test_a_catalog_under_two_keys_is_refused(client: Client) -> None:
    with ScriptedServer() as server:
        server.add(Step("GET", CATALOG, body=b'{"Repositories":["r"],"repositories":["s"]}'))
        with pytest.raises(Malformed, match="most tools read as one"):
            list(client.list_repositories(server.host))


def test_the_catalog_of_a_real_registry(client: Client, registry: Registry) -> None:
    source_store, part = sample_images.MemoryStore(), uuid.uuid4().hex[:8]
    manifest = sample_images.add_image(source_store, layers=1, size=10)
    names = [f"catalog/{part}-{number}" for number in range(3)]
    for name in names:
        push(client, Reference.parse(f"{registry.host}/{name}:1"), manifest, source_store, NullProgress())
    assert [name for name in client.list_repositories(registry.host) if part in name] == names
    assert list(client.search(part.upper(), registry.host, 25)) == [Repository(name) for name in names]
    assert len(list(client.search(part, registry.host, 2))) == 2
    assert list(client.search(part, registry.host, 0)) == []


def test_catalog_pages_are_read_on_demand(client: Client) -> None:
    link = {"Link": '</v2/_catalog?last=b&n=2>; rel="next"'}
    with ScriptedServer(
        Step("GET", CATALOG, 200, link, make_catalog("a", "b")),
        Step("GET", "/v2/_catalog?last=b&n=2", 200, {}, make_catalog("c")),
    ) as server:
        assert list(client.list_repositories(server.host)) == ["a", "b", "c"]
    with ScriptedServer(Step("GET", CATALOG, 200, link, make_catalog("a", "b"))) as server:
        assert [result.name for result in client.search("a", server.host, 1)] == ["a"]


@pytest.mark.parametrize("status", [401, 403, 404, 405, 501])
def test_hosts_without_a_catalog(client: Client, status: int) -> None:
    with ScriptedServer(Step("GET", CATALOG, status)) as server, pytest.raises(RegistryError) as caught:
        list(client.search("x", server.host, 5))
    assert (caught.value.code, caught.value.host) == ("no-catalog", server.host)
    assert server.host in caught.value.message
    assert caught.value.hints


def test_the_catalog_of_a_registry_with_authentication(
    connect: Callable[..., Client], guarded: Registry, tmp_path: Path
) -> None:
    with pytest.raises(RegistryError) as caught:
        list(connect().list_repositories(guarded.host))
    assert (caught.value.code, caught.value.hints[0]) == ("no-catalog", f"log in first: imq login {guarded.host}")
    login = {guarded.host: {"username": sample_images.USER, "password": sample_images.PASSWORD}}
    (tmp_path / "config.json").write_text(json.dumps({"auths": login}))
    assert isinstance(list(connect(environment={"DOCKER_CONFIG": str(tmp_path)}).list_repositories(guarded.host)), list)


def test_docker_hub_has_no_catalog(client: Client) -> None:
    with pytest.raises(RegistryError) as caught:
        list(client.list_repositories("docker.io"))
    assert caught.value.code == "no-catalog"


@pytest.mark.parametrize("body", [b"", b"[]", b'{"repositories":5}', b'{"repositories":[5]}', b"<html>"])
def test_a_response_without_a_list_of_repositories(client: Client, body: bytes) -> None:
    with (
        ScriptedServer(Step("GET", CATALOG, body=body)) as server,
        pytest.raises(Malformed, match="not return a list of repositories"),
    ):
        list(client.list_repositories(server.host))


def test_docker_hub_is_searched(client: Client, hub: ScriptedServer) -> None:
    hub.add(
        Step("GET", "/v1/search?q=redis+cache&n=25&page=1", 200, {}, make_results(1, REDIS, {"name": "team/redis"}))
    )
    assert list(client.search("redis cache", "docker.io", 25)) == [
        Repository("redis", "A [1mstore", 13000, official=True),
        Repository("team/redis"),
    ]


def test_search_pages_end_at_the_limit_or_the_last_result(client: Client, hub: ScriptedServer) -> None:
    page = [{"name": f"r{number}"} for number in range(100)]
    more = [{"name": f"s{number}"} for number in range(100)]
    hub.add(
        Step("GET", "/v1/search?q=x&n=100&page=1", 200, {}, make_results(3, *page)),
        Step("GET", "/v1/search?q=x&n=100&page=2", 200, {}, make_results(3, *more)),
    )
    assert len(list(client.search("x", "docker.io", 150))) == 150
    hub.add(
        Step("GET", "/v1/search?q=x&n=100&page=1", 200, {}, make_results(9, *page)),
        Step("GET", "/v1/search?q=x&n=100&page=2", 200, {}, make_results(9, *page)),
    )
    assert len(list(client.search("x", "docker.io", 1000))) == 100, "a page without new results is the last"


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"results":{}}', b'{"results":[5]}', b'{"results":[{"name":5}]}']
)
def test_no_results(client: Client, hub: ScriptedServer, body: bytes) -> None:
    hub.add(Step("GET", "/v1/search", 200, {}, body))
    with pytest.raises(Malformed, match=r"invalid search response from docker\.io"):
        list(client.search("x", "docker.io", 5))


def test_a_search_that_is_refused(client: Client, hub: ScriptedServer) -> None:
    hub.add(Step("GET", "/v1/search", 429, {"Retry-After": "900"}))
    with pytest.raises(RegistryError) as caught:
        list(client.search("x", "docker.io", 5))
    assert caught.value.code == "too-many-requests"
    assert caught.value.message.startswith("docker.io rate limit exceeded")
    assert caught.value.hints[-1].startswith("try again in 15 minutes")
