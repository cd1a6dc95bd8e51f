"""Link headers (RFC 8288), and resolving the URLs in Link and Location headers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from imq.engine.oci.reference import Reference
from imq.engine.registry.batch.client import BatchClient
from imq.engine.registry.http.link_header import Link, LinkError, parse_links
from imq.engine.registry.http.urls import get_origin, quote_segment, resolve_url
from imq.grammar.errors import ImqError, RegistryError
from registry.support.scripted_server import ScriptedServer, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from imq.engine.registry.client import Client

PATH = "/v2/a/tags/list"


@pytest.mark.parametrize(
    ("header", "links"),
    [
        ("", ()),
        (" , ,", ()),
        ('</x?last=a,b;c>; rel="next"', (Link("/x?last=a,b;c", ("next",)),)),
        ("</x>;rel=next", (Link("/x", ("next",)),)),
        ('</x> ; REL = "NEXT"', (Link("/x", ("next",)),)),
        ('</x>; title="a \\"quoted, title\\"; rel=prev"; rel="last  next"', (Link("/x", ("last", "next")),)),
        ("</x>;; ; rel=next;", (Link("/x", ("next",)),)),
        ('</x>; rel=prev; rel="next"', (Link("/x", ("prev",)),)),
        ("</x>; crossorigin; rel=next; type=text/html", (Link("/x", ("next",)),)),
        ("</x>; title*=UTF-8''a%2Cb; rel=next", (Link("/x", ("next",)),)),
        ('</a>; rel="first", </b>; rel="next" ,</c>;rel=http://example.com/r', (
            Link("/a", ("first",)), Link("/b", ("next",)), Link("/c", ("http://example.com/r",)),
        )),
        ('<>; rel="self"; anchor="#top"', (Link("", ("self",), "#top"),)),
    ],
)  # fmt: skip
def test_links_are_read(header: str, links: tuple[Link, ...]) -> None:
    assert parse_links(header) == links


@pytest.mark.parametrize(
    "header",
    [
        "/x; rel=next",
        "</x; rel=next",
        "</x>",
        "</x>; title=a",
        "</x> rel=next",
        '</x>; rel="next',
        '</x>; rel=""',
        "</x>; rel='next'",
        "</x>; rel=next </y>; rel=prev",
        "</a b>; rel=next",
        "<</x>; rel=next",
        "</x>; rel = ",
        "next",
    ],
)
def test_an_invalid_link_header_is_refused(header: str) -> None:
    with pytest.raises(LinkError):
        parse_links(header)


BASE = "https://a.example:5000/v2/a/tags/list?n=1"


@pytest.mark.parametrize(
    ("reference", "address"),
    [
        ("/x?sig=a%7Eb%2bc%2B&d=a:b", "https://a.example:5000/x?sig=a%7Eb%2bc%2B&d=a:b"),
        ("https://b.example/a//b/../c/%2e?q=%zz", "https://b.example/a//b/../c/%2e?q=%zz"),
        ("HTTPS://user:pass@B.example#end", "https://B.example/"),
        ("https://b.example?q", "https://b.example/?q"),
        ("//b.example/x?u=http://c/", "https://b.example/x?u=http://c/"),
        ("?last=b", "https://a.example:5000/v2/a/tags/list?last=b"),
        ("", BASE),
        ("list?last=b", "https://a.example:5000/v2/a/tags/list?last=b"),
        ("../tags/./list?../x", "https://a.example:5000/v2/a/tags/list?../x"),
        ("../../../../..", "https://a.example:5000/"),
        ("/a b?c\xe9", "https://a.example:5000/a%20b?c%E9"),
        ("http://[::1]:80/x", "http://[::1]:80/x"),
        ("mailto:x", ""),
        ("http:///x", ""),
        ("http://a.example\\@b.example/x", "http://b.example/x"),
        ("http://[/x", ""),
    ],
)
def test_urls_are_not_normalized(reference: str, address: str) -> None:
    assert resolve_url(BASE, reference) == address


def test_origins_compare_with_their_ports() -> None:
    assert get_origin("https://A.example/x") == get_origin("https://a.example:443")
    assert get_origin("http://a.example") != get_origin("https://a.example")


def test_only_invalid_characters_are_escaped_in_a_path() -> None:
    assert quote_segment("v1.2_a-B") == "v1.2_a-B"
    assert quote_segment("sha256:0a") == "sha256:0a"
    assert quote_segment("..") == "%2E%2E"
    assert quote_segment("a/b?c#d e\xe9%") == "a%2Fb%3Fc%23d%20e%C3%A9%25"


def make_page(*tags: str) -> bytes:
    return json.dumps({"name": "a", "tags": tags}).encode()


def list_with_client(client: Client, reference: Reference) -> Iterator[str]:
    return client.list_tags(reference)


def list_with_batch(client: Client, reference: Reference) -> Iterator[str]:
    with BatchClient(client) as batch_client:
        for _, result in batch_client.fetch_tags([(0, reference)]):
            if isinstance(result, ImqError):
                raise result
            yield from result.tags


WAYS = pytest.mark.parametrize("listed", [list_with_client, list_with_batch])


@WAYS
@pytest.mark.parametrize(
    ("link", "target"),
    [
        ('</v2/a/tags/list?last=b,c>; Rel = "NEXT"', f"{PATH}?last=b,c"),
        ("<?last=b%7E>; rel=next", f"{PATH}?last=b%7E"),
        ('</v2/x>; rel="prev first", <list?last=b>; title="a,b"; rel="last next"', f"{PATH}?last=b"),
        ('<http://inside.example/v2/a/tags/list?last=b%2b>; rel="next"', f"{PATH}?last=b%2b"),
    ],
)
def test_the_next_page_is_requested_as_written(
    client: Client, listed: Callable[[Client, Reference], Iterator[str]], link: str, target: str
) -> None:
    with ScriptedServer(
        Step("GET", PATH, 200, {"Link": link}, make_page("a", "b")), Step("GET", target, 200, {}, make_page("c"))
    ) as server:
        assert list(listed(client, Reference(server.host, "a"))) == ["a", "b", "c"]
    assert [seen.path for seen in server.requests] == [f"{PATH}?n=1000", target]


@WAYS
@pytest.mark.parametrize("link", ["</v2/x>; rel=prev", '</v2/x>; rel="next"; anchor="/v2/other"'])
def test_other_links_are_not_the_next_page(
    client: Client, listed: Callable[[Client, Reference], Iterator[str]], link: str
) -> None:
    with ScriptedServer(Step("GET", PATH, 200, {"Link": link}, make_page("a"))) as server:
        assert list(listed(client, Reference(server.host, "a"))) == ["a"]


@WAYS
@pytest.mark.parametrize(
    "link", ["</x>; rel='next'", "/x; rel=next", "</x>; rel=next, </y>; rel=next", "<mailto:x>; rel=next"]
)
def test_a_list_with_an_invalid_link_is_incomplete(
    client: Client, listed: Callable[[Client, Reference], Iterator[str]], link: str
) -> None:
    with ScriptedServer(Step("GET", PATH, 200, {"Link": link}, make_page("a", "b"))) as server:
        tags = listed(client, Reference(server.host, "a"))
        assert [next(tags), next(tags)] == ["a", "b"], "listed tags are yielded before the error"
        with pytest.raises(RegistryError, match="may be incomplete") as caught:
            next(tags)
    assert caught.value.code == "pagination"


@WAYS
def test_a_redirected_list_continues_at_its_new_host(
    client: Client, listed: Callable[[Client, Reference], Iterator[str]]
) -> None:
    with ScriptedServer() as server, ScriptedServer() as store:
        server.add(Step("GET", PATH, 307, {"Location": f"{store.url}/lists/1"}))
        store.add(
            Step("GET", "/lists/1", 200, {"Link": '<2?sig=%2b>; rel="next"'}, make_page("a")),
            Step("GET", "/lists/2?sig=%2b", 200, {}, make_page("b")),
        )
        assert list(listed(client, Reference(server.host, "a"))) == ["a", "b"]


@WAYS
@pytest.mark.parametrize("status", [400, 416, 422])
def test_a_rejected_page_size_is_omitted(
    client: Client, listed: Callable[[Client, Reference], Iterator[str]], status: int
) -> None:
    refusal = b'{"errors":[{"code":"PAGINATION_NUMBER_INVALID","message":"invalid number of results requested"}]}'
    with ScriptedServer(
        Step("GET", PATH, status, {}, refusal), Step("GET", PATH, 200, {}, make_page("a", "b"))
    ) as server:
        assert list(listed(client, Reference(server.host, "a"))) == ["a", "b"]
    assert [seen.path for seen in server.requests] == [f"{PATH}?n=1000", PATH]


@WAYS
def test_a_registry_that_rejects_every_page_size(
    client: Client, listed: Callable[[Client, Reference], Iterator[str]]
) -> None:
    with (
        ScriptedServer(Step("GET", PATH, 400), Step("GET", PATH, 400)) as server,
        pytest.raises(RegistryError, match="HTTP 400"),
    ):
        list(listed(client, Reference(server.host, "a")))


@WAYS
def test_endless_pages_are_given_up(
    connect: Callable[..., Client], listed: Callable[[Client, Reference], Iterator[str]]
) -> None:
    steps = [Step("GET", PATH, 200, {"Link": f"<?last={n}>; rel=next"}, make_page(f"t{n}")) for n in range(5)]
    with ScriptedServer(*steps) as server, pytest.raises(RegistryError, match="more than 5 pages") as caught:
        list(listed(connect(list_pages=5), Reference(server.host, "a")))
    assert caught.value.code == "pagination"
    assert "list-pages" in caught.value.hints[0]
