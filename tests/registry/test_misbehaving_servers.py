"""Servers that misbehave, as a script tells them to."""

from __future__ import annotations

import io
import json
import threading
import time
from typing import TYPE_CHECKING

import pytest
from imq.engine.oci import media_types
from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Descriptor, encode_json
from imq.engine.oci.manifest_walk import MAX_INDEX_DEPTH, IndexDepthError
from imq.engine.oci.platform import Platform
from imq.engine.oci.reference import Reference
from imq.engine.progress import NullProgress
from imq.engine.registry.transfer.pull import pull
from imq.grammar.errors import DigestMismatch, Malformed, RegistryError
from registry.support import sample_images
from registry.support.scripted_server import Scripted, Step

if TYPE_CHECKING:
    from collections.abc import Callable

    from imq.engine.registry.client import Client

MANIFEST = "/v2/a/manifests/latest"
OCI = {"Content-Type": media_types.OCI_MANIFEST}
BODY = b'{"schemaVersion":2}'
CONTENT = bytes(range(256)) * 40
BLOB = Descriptor(media_types.OCI_LAYER, Digest.of(CONTENT), len(CONTENT))
BLOB_PATH = f"/v2/a/blobs/{BLOB.digest}"


def at(server: Scripted, text: str = "a") -> Reference:
    return Reference.parse(f"{server.host}/{text}").with_default_tag()


def read(client: Client, reference: Reference, piece: int = 1 << 20) -> bytes:
    content, buffer = bytearray(), memoryview(bytearray(piece))
    with client.open_blob(reference, BLOB) as stream:
        while count := stream.readinto(buffer):
            content += buffer[:count]
    return bytes(content)


# trying again


def test_429_is_obeyed_and_tried_again(client: Client) -> None:
    with Scripted(
        Step("GET", MANIFEST, 429, {"Retry-After": "1"}, b'{"errors":[{"code":"TOOMANYREQUESTS"}]}'),
        Step("GET", MANIFEST, 200, OCI, BODY),
    ) as server:
        start = time.monotonic()
        assert client.fetch_manifest(at(server)).content == BODY
        assert time.monotonic() - start >= 1


def test_a_wait_that_is_too_long_is_not_waited_for(client: Client) -> None:
    with (
        Scripted(Step("GET", MANIFEST, 429, {"Retry-After": "3600"})) as server,
        pytest.raises(RegistryError) as caught,
    ):
        client.fetch_manifest(at(server))
    assert (caught.value.code, caught.value.status, caught.value.temporary) == ("too-many-requests", 429, True)
    assert "imq login" in caught.value.hints[0]


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_servers_that_stay_broken_are_given_up(connect: Callable[..., Client], status: int) -> None:
    with (
        Scripted(*[Step("GET", MANIFEST, status) for _ in range(4)]) as server,
        pytest.raises(RegistryError, match=f"HTTP {status}") as caught,
    ):
        connect(retries=3).fetch_manifest(at(server))
    assert caught.value.temporary


@pytest.mark.parametrize("status", [400, 403, 404, 405, 418, 501])
def test_what_will_not_change_is_asked_once(client: Client, status: int) -> None:
    with Scripted(Step("GET", MANIFEST, status)) as server, pytest.raises(RegistryError) as caught:
        client.fetch_manifest(at(server))
    assert caught.value.status == status


def test_a_connection_that_breaks_is_made_again(client: Client) -> None:
    with Scripted(
        Step("GET", MANIFEST, 200, OCI, BODY),
        Step("GET", MANIFEST, cut=True),
        Step("GET", MANIFEST, 200, OCI, BODY),
    ) as server:
        assert client.fetch_manifest(at(server)) == client.fetch_manifest(at(server))


def test_a_server_that_says_nothing_in_time(connect: Callable[..., Client]) -> None:
    hold = threading.Event()
    with Scripted(Step("GET", MANIFEST, 200, OCI, BODY, length=1000, hold=hold)) as server:
        with pytest.raises(RegistryError) as caught:
            connect(read_timeout=0.2).fetch_manifest(at(server))
        hold.set()
    assert caught.value.code == "timeout"


# manifests


def test_errors_of_the_registry_are_told_cleaned(client: Client) -> None:
    errors = {"errors": [{"code": "DENIED", "message": "no \x1b[31m way\r\nat all" + "x" * 1000}]}
    with (
        Scripted(Step("GET", MANIFEST, 403, body=json.dumps(errors).encode())) as server,
        pytest.raises(RegistryError) as caught,
    ):
        client.fetch_manifest(at(server))
    assert caught.value.code == "denied"
    assert "\x1b" not in caught.value.message
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 500


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b'{"errors":5}', b'{"errors":[5]}', b"\xff", b"[" * 9000])
def test_error_bodies_of_any_kind_are_survived(client: Client, body: bytes) -> None:
    with (
        Scripted(Step("GET", MANIFEST, 404, body=body)) as server,
        pytest.raises(RegistryError, match="not found: manifest unknown: manifest unknown"),
    ):
        client.fetch_manifest(at(server))


def test_other_bytes_than_the_header_says(client: Client) -> None:
    headers = {**OCI, "Docker-Content-Digest": Digest.of(b"other")}
    with (
        Scripted(Step("GET", MANIFEST, 200, headers, BODY)) as server,
        pytest.raises(DigestMismatch, match="does not match"),
    ):
        client.fetch_manifest(at(server))


def test_other_bytes_than_the_digest_asked_for(client: Client) -> None:
    wanted = Digest.of(b"other")
    headers = {**OCI, "Docker-Content-Digest": Digest.of(BODY)}  # the server vouches for what it sends
    with (
        Scripted(Step("GET", f"/v2/a/manifests/{wanted}", 200, headers, BODY)) as server,
        pytest.raises(DigestMismatch),
    ):
        client.fetch_manifest(at(server).replace(digest=wanted))


def test_a_web_page_is_no_manifest(client: Client) -> None:
    with (
        Scripted(Step("GET", MANIFEST, 200, {"Content-Type": "text/html; charset=utf-8"}, b"<html>")) as server,
        pytest.raises(RegistryError, match="web page") as caught,
    ):
        client.fetch_manifest(at(server))
    assert caught.value.code == "not-a-registry"


def test_other_types_are_no_manifest(client: Client) -> None:
    with (
        Scripted(Step("GET", MANIFEST, 200, {"Content-Type": "image/png"}, b"\x89PNG")) as server,
        pytest.raises(Malformed, match="image/png"),
    ):
        client.fetch_manifest(at(server))


@pytest.mark.parametrize("length", [None, -1], ids=["told", "not told"])
def test_a_manifest_that_is_too_large(client: Client, length: int | None) -> None:
    with (
        Scripted(Step("GET", MANIFEST, 200, OCI, b" " * ((4 << 20) + 1), length=length)) as server,
        pytest.raises(Malformed, match="more than 4194304 bytes"),
    ):
        client.fetch_manifest(at(server))


def test_the_largest_manifest_is_read(client: Client) -> None:
    content = b" " * (4 << 20)
    with Scripted(Step("GET", MANIFEST, 200, OCI, content, length=-1)) as server:
        assert client.fetch_manifest(at(server)).content == content


def test_a_manifest_that_is_cut_short_is_asked_for_again(client: Client) -> None:
    with Scripted(
        Step("GET", MANIFEST, 200, OCI, BODY, length=len(BODY) + 5),
        Step("GET", MANIFEST, 200, OCI, BODY[:5], length=len(BODY), cut=True),
        Step("GET", MANIFEST, 200, OCI, BODY),
    ) as server:
        assert client.fetch_manifest(at(server)).content == BODY


def test_a_manifest_that_stays_short(connect: Callable[..., Client]) -> None:
    with (
        Scripted(*[Step("GET", MANIFEST, 200, OCI, BODY, length=len(BODY) + 5)] * 3) as server,
        pytest.raises(RegistryError, match=f"sent {len(BODY)} of {len(BODY) + 5} bytes of the manifest") as caught,
    ):
        connect(retries=2).fetch_manifest(at(server))
    assert caught.value.temporary


def test_an_endless_manifest_is_given_up(client: Client) -> None:
    with (
        Scripted(Step("GET", MANIFEST, 200, OCI, endless=True)) as server,
        pytest.raises(Malformed, match="more than"),
    ):
        client.fetch_manifest(at(server))


def test_index_and_image_at_once(client: Client) -> None:
    document = {"schemaVersion": 2, "manifests": [], "config": {}, "layers": []}
    with (
        Scripted(Step("GET", MANIFEST, 200, OCI, encode_json(document))) as server,
        pytest.raises(Malformed, match="both an index and an image"),
    ):
        pull(client, at(server), None, sample_images.Memory(), NullProgress())


def test_an_index_that_names_itself_ends(client: Client) -> None:
    """A digest cannot name itself, so the chain is of tags that lie: here an index in an index in an index."""
    store = sample_images.Memory()
    inner = sample_images.image(store)
    chain = [inner]
    for _ in range(MAX_INDEX_DEPTH + 1):
        chain.append(sample_images.index(store, [{**chain[-1].to_json(), "platform": sample_images.AMD64}]))
    steps = [Step("GET", MANIFEST, 200, {"Content-Type": media_types.OCI_INDEX}, store.blobs[chain[-1].digest])]
    steps += [
        Step("GET", f"/v2/a/manifests/{d.digest}", 200, {"Content-Type": d.media_type}, store.blobs[d.digest])
        for d in reversed(chain[1:-1])
    ]
    with Scripted(*steps) as server, pytest.raises(IndexDepthError):
        pull(client, at(server), Platform("linux", "amd64"), sample_images.Memory(), NullProgress())


def test_schema_1_is_told_apart(client: Client) -> None:
    headers = {"Content-Type": media_types.DOCKER_SCHEMA1_SIGNED}
    with (
        Scripted(Step("GET", MANIFEST, 200, headers, b'{"schemaVersion":1}')) as server,
        pytest.raises(Malformed) as caught,
    ):
        pull(client, at(server), None, sample_images.Memory(), NullProgress())
    assert caught.value.code == "schema1"


def test_head_falls_back_to_get(client: Client) -> None:
    with Scripted(Step("HEAD", MANIFEST, 200, OCI), Step("GET", MANIFEST, 200, OCI, BODY)) as server:
        assert client.fetch_head(at(server)) == Descriptor(media_types.OCI_MANIFEST, Digest.of(BODY), len(BODY))
    with Scripted(Step("HEAD", MANIFEST, 405), Step("GET", MANIFEST, 200, OCI, BODY)) as server:
        assert client.fetch_head(at(server)) is not None


# tags


def tag_page(*tags: str) -> bytes:
    return json.dumps({"name": "a", "tags": tags}).encode()


def test_pages_of_tags_are_followed(client: Client) -> None:
    with Scripted(
        Step(
            "GET",
            "/v2/a/tags/list?n=1000",
            200,
            {"Link": '</v2/a/tags/list?last=b&n=2>; rel="next"'},
            tag_page("a", "b"),
        ),
        Step("GET", "/v2/a/tags/list?last=b&n=2", 200, {"Link": '<tags/../list?last=c>; rel="next"'}, tag_page("c")),
        Step("GET", "/v2/a/tags/list?last=c", 200, {}, b'{"name":"a","tags":null}'),
    ) as server:
        server.steps[1].headers["Link"] = f'<{server.url}/v2/a/tags/list?last=c>; foo=bar; rel="next"'
        assert list(client.list_tags(at(server))) == ["a", "b", "c"]


def test_pages_in_a_circle_are_noticed(client: Client) -> None:
    link = {"Link": '</v2/a/tags/list?last=b>; rel="next"'}
    with (
        Scripted(*[Step("GET", "/v2/a/tags/list", 200, link, tag_page("a", "b")) for _ in range(2)]) as server,
        pytest.raises(RegistryError, match="twice") as caught,
    ):
        list(client.list_tags(at(server)))
    assert caught.value.code == "pagination"


def test_a_page_that_comes_again_under_another_address_is_noticed(client: Client) -> None:
    """A registry that knows no `last` gives its first page for ever."""
    steps = [
        Step("GET", "/v2/a/tags/list", 200, {"Link": f'</v2/a/tags/list?last={n}>; rel="next"'}, tag_page("a", "b"))
        for n in range(2)
    ]
    with Scripted(*steps) as server, pytest.raises(RegistryError, match="twice"):
        list(client.list_tags(at(server)))


def test_pages_without_entries_are_passed_over(client: Client) -> None:
    steps = [
        Step("GET", "/v2/a/tags/list", 200, {"Link": f'</v2/a/tags/list?last={n}>; rel="next"'}, tag_page())
        for n in range(3)
    ]
    with Scripted(*steps, Step("GET", "/v2/a/tags/list", 200, {}, tag_page("a"))) as server:
        assert list(client.list_tags(at(server))) == ["a"]


def test_pages_are_asked_for_when_they_are_wanted(client: Client) -> None:
    link = {"Link": '</v2/a/tags/list?last=b>; rel="next"'}
    with Scripted(Step("GET", "/v2/a/tags/list", 200, link, tag_page("a", "b"))) as server:
        tags = client.list_tags(at(server))
        assert not server.seen
        assert [next(tags), next(tags)] == ["a", "b"]


def test_a_link_to_another_host_stays_here(client: Client) -> None:
    link = {"Link": '<http://elsewhere.example/v2/a/tags/list?last=b>; rel="next"'}
    with Scripted(
        Step("GET", "/v2/a/tags/list?n=1000", 200, link, tag_page("b")),
        Step("GET", "/v2/a/tags/list?last=b", 200, {}, tag_page("c")),
    ) as server:
        assert list(client.list_tags(at(server))) == ["b", "c"]


@pytest.mark.parametrize("body", [b"", b"[]", b'{"tags":5}', b'{"tags":[5]}', b"<html>"])
def test_no_list_of_tags(client: Client, body: bytes) -> None:
    with (
        Scripted(Step("GET", "/v2/a/tags/list", body=body)) as server,
        pytest.raises(Malformed, match="not return a list of tags"),
    ):
        list(client.list_tags(at(server)))


# blobs


@pytest.mark.parametrize("piece", [1 << 20, 1000, len(CONTENT)])
@pytest.mark.parametrize("length", [None, -1], ids=["told", "not told"])
def test_a_whole_blob(client: Client, piece: int, length: int | None) -> None:
    with Scripted(Step("GET", BLOB_PATH, body=CONTENT, length=length)) as server:
        assert read(client, at(server), piece) == CONTENT


def test_content_encoding_is_not_undone(client: Client) -> None:
    with Scripted(Step("GET", BLOB_PATH, 200, {"Content-Encoding": "gzip"}, CONTENT)) as server:
        assert read(client, at(server)) == CONTENT
    assert server.seen[0].headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("length", [None, -1, len(CONTENT)], ids=["honest", "not told", "broken"])
def test_a_blob_that_is_cut_is_taken_up_again(client: Client, length: int | None) -> None:
    ranged = {"Content-Range": f"bytes 5000-{len(CONTENT) - 1}/{len(CONTENT)}"}
    with Scripted(
        Step("GET", BLOB_PATH, body=CONTENT[:5000], length=length),
        Step("GET", BLOB_PATH, 206, ranged, CONTENT[5000:]),
    ) as server:
        assert read(client, at(server)) == CONTENT
    assert server.seen[1].headers["Range"] == "bytes=5000-"


def test_an_entity_tag_holds_the_server_to_the_same_bytes(client: Client) -> None:
    ranged = {"Content-Range": f"bytes 5000-{len(CONTENT) - 1}/{len(CONTENT)}"}
    with Scripted(
        Step("GET", BLOB_PATH, 200, {"ETag": '"one"'}, CONTENT[:5000], length=len(CONTENT)),
        Step("GET", BLOB_PATH, 200, {"ETag": 'W/"two"'}, CONTENT[:7000], length=len(CONTENT)),
        Step("GET", BLOB_PATH, 206, {"Content-Range": ranged["Content-Range"].replace("5", "7", 1)}, CONTENT[7000:]),
    ) as server:
        assert read(client, at(server)) == CONTENT
    assert [seen.headers.get("If-Range") for seen in server.seen] == [None, '"one"', None]
    assert [seen.headers.get("Range") for seen in server.seen] == [None, "bytes=5000-", "bytes=7000-"]


@pytest.mark.parametrize(
    "said",
    [None, "bytes 6000-10239/10240", "bytes 5000-10239/20000", "bytes */10240", "5000", "items 5000-10239/10240"],
)
@pytest.mark.parametrize("status", [206, 416])
def test_a_range_that_does_not_fit_is_asked_for_whole(client: Client, status: int, said: str | None) -> None:
    headers = {"Content-Range": said} if said else {}
    with Scripted(
        Step("GET", BLOB_PATH, body=CONTENT[:5000], length=len(CONTENT)),
        Step("GET", BLOB_PATH, status, headers, CONTENT[5000:]),
        Step("GET", BLOB_PATH, body=CONTENT[:6000], length=len(CONTENT)),
        Step("GET", BLOB_PATH, body=CONTENT),
    ) as server:
        assert read(client, at(server)) == CONTENT
    assert [seen.headers.get("Range") for seen in server.seen] == [None, "bytes=5000-", None, None]


def test_a_range_that_starts_earlier_is_read_over(client: Client) -> None:
    early = {"Content-Range": f"bytes 4000-{len(CONTENT) - 1}/{len(CONTENT)}"}
    with Scripted(
        Step("GET", BLOB_PATH, body=CONTENT[:5000], length=len(CONTENT)),
        Step("GET", BLOB_PATH, 206, early, CONTENT[4000:]),
    ) as server:
        assert read(client, at(server)) == CONTENT


def test_a_server_without_ranges_is_read_over(client: Client) -> None:
    with Scripted(
        Step("GET", BLOB_PATH, body=CONTENT[:5000], length=len(CONTENT)), Step("GET", BLOB_PATH, body=CONTENT)
    ) as server:
        assert read(client, at(server)) == CONTENT


def test_a_large_blob_survives_more_breaks_than_a_small_one(connect: Callable[..., Client]) -> None:
    content = CONTENT * 500
    blob, path = Descriptor("", Digest.of(content), len(content)), f"/v2/a/blobs/{Digest.of(content)}"
    with Scripted() as server:
        for start in range(0, len(content), 1 << 20):
            said = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
            part = content[start : start + (1 << 20)]
            server.add(Step("GET", path, 206 if start else 200, said, part, length=len(content) - start))
        got, buffer = bytearray(), memoryview(bytearray(1 << 18))
        with connect(retries=1).open_blob(at(server), blob) as stream:
            while count := stream.readinto(buffer):
                got += buffer[:count]
    assert got == content


def test_one_budget_holds_for_all_requests_of_a_blob(connect: Callable[..., Client]) -> None:
    """Neither refusals after a break nor breaks after a refusal begin a budget of their own."""
    with (
        Scripted(
            Step("GET", BLOB_PATH, body=CONTENT[:5000], length=len(CONTENT)),
            *[Step("GET", BLOB_PATH, 503)] * 3,
        ) as server,
        pytest.raises(RegistryError, match="HTTP 503"),
    ):
        read(connect(retries=3), at(server))
    uploads = "/v2/a/blobs/uploads/"
    with (
        Scripted(
            Step("HEAD", BLOB_PATH, 404),
            Step("POST", uploads, 503),
            Step("POST", uploads, 202, {"Location": "one"}),
            Step("PUT", f"{uploads}one", 503),
            Step("POST", uploads, 503),
            Step("POST", uploads, 503),
        ) as server,
        pytest.raises(RegistryError, match="HTTP 503"),
    ):
        connect(retries=3).upload_blob(at(server), BLOB, lambda: io.BytesIO(CONTENT))


def test_a_blob_that_stays_short(connect: Callable[..., Client]) -> None:
    with (
        Scripted(*[Step("GET", BLOB_PATH, body=CONTENT[:5000]) for _ in range(3)]) as server,
        pytest.raises(RegistryError) as caught,
    ):
        read(connect(retries=2), at(server))
    assert (caught.value.code, caught.value.temporary) == ("truncated", True)
    assert f"{server.host} sent 5000 bytes of blob" in caught.value.message
    assert f"but its manifest specifies {len(CONTENT)}" in caught.value.message


def test_a_blob_longer_than_told_is_refused_by_its_header(client: Client) -> None:
    with (
        Scripted(Step("GET", BLOB_PATH, body=CONTENT + b"!")) as server,
        pytest.raises(DigestMismatch, match=f"more than the {len(CONTENT)} bytes"),
    ):
        read(client, at(server))


@pytest.mark.parametrize("piece", [1 << 16, 1000, len(CONTENT)])
def test_an_endless_blob_is_refused_as_soon_as_seen(client: Client, piece: int) -> None:
    with (
        Scripted(Step("GET", BLOB_PATH, body=CONTENT, endless=True)) as server,
        pytest.raises(DigestMismatch, match="sent more than"),
    ):
        read(client, at(server), piece)


def test_other_bytes_for_a_config(client: Client) -> None:
    with (
        Scripted(Step("GET", BLOB_PATH, body=bytes(len(CONTENT)))) as server,
        pytest.raises(DigestMismatch, match="does not match"),
    ):
        client.fetch_blob(at(server), BLOB)


def test_a_config_that_is_too_large_is_not_fetched(client: Client) -> None:
    with Scripted() as server, pytest.raises(Malformed, match="largest_document allows"):
        client.fetch_blob(at(server), BLOB.replace(size=1 << 40))


# redirects


def test_credentials_stay_behind_at_a_redirect(connect: Callable[..., Client], tmp_path: object) -> None:
    with Scripted() as registry, Scripted(Step("GET", "/data", body=CONTENT)) as storage:
        with open(f"{tmp_path}/config.json", "w") as file:
            json.dump({"auths": {registry.host: {"username": "ann", "password": "secret"}}}, file)
        registry.add(
            Step("GET", BLOB_PATH, 401, {"WWW-Authenticate": 'Basic realm="x"', "Set-Cookie": "id=5"}),
            Step("GET", BLOB_PATH, 307, {"Location": "/v2/here", "Set-Cookie": "id=6"}),
            Step("GET", "/v2/here", 302, {"Location": f"http://u:p@{storage.host}/data?signature=abc"}),
        )
        client = connect(environment={"DOCKER_CONFIG": str(tmp_path)})
        assert read(client, at(registry)) == CONTENT
    assert [bool(seen.headers.get("Authorization")) for seen in registry.seen] == [False, True, True]
    assert "Authorization" not in storage.seen[0].headers
    assert not any("Cookie" in seen.headers for seen in (*registry.seen, *storage.seen))


def test_a_challenge_from_elsewhere_is_not_answered(connect: Callable[..., Client], tmp_path: object) -> None:
    challenge = {"WWW-Authenticate": 'Basic realm="x"'}
    with Scripted() as registry, Scripted(Step("GET", "/data", 401, challenge)) as storage:
        with open(f"{tmp_path}/config.json", "w") as file:
            json.dump({"auths": {registry.host: {"username": "ann", "password": "secret"}}}, file)
        registry.add(Step("GET", BLOB_PATH, 307, {"Location": f"{storage.url}/data"}))
        with pytest.raises(RegistryError):
            read(connect(environment={"DOCKER_CONFIG": str(tmp_path)}), at(registry))
    assert "Authorization" not in storage.seen[0].headers


@pytest.mark.parametrize(
    "location", ["http://elsewhere.example/x?sig=abc", "file:///etc/passwd", "ftp://127.0.0.1/x", "http://["]
)
def test_redirects_to_plain_or_odd_addresses_are_refused(client: Client, location: str) -> None:
    with (
        Scripted(Step("GET", BLOB_PATH, 307, {"Location": location})) as server,
        pytest.raises(RegistryError) as caught,
    ):
        read(client, at(server))
    assert caught.value.code == "insecure-redirect"
    assert "sig=abc" not in caught.value.message


@pytest.mark.parametrize("query", ["sig=a%7Eb", "sig=a%2bb%3d", "sig=a+b%zz&x={y}", "", "a=%E9//../b"])
def test_a_redirect_is_followed_as_it_is_written(client: Client, query: str) -> None:
    target = f"/store//a/../%7e/b.~c?{query}"
    with Scripted() as registry, Scripted(Step("GET", target, body=CONTENT)) as storage:
        registry.add(Step("GET", BLOB_PATH, 307, {"Location": f"{storage.url}{target}"}))
        assert read(client, at(registry)) == CONTENT
    assert [seen.path for seen in storage.seen] == [target]
    assert storage.seen[0].headers["Host"] == storage.host


def test_the_body_of_a_redirect_is_not_read(client: Client) -> None:
    with Scripted(
        Step("GET", BLOB_PATH, 307, {"Location": "/x"}, endless=True), Step("GET", "/x", body=CONTENT)
    ) as server:
        assert read(client, at(server)) == CONTENT


def test_redirects_without_end(client: Client) -> None:
    with (
        Scripted(*[Step("GET", BLOB_PATH, 307, {"Location": BLOB_PATH}) for _ in range(10)]) as server,
        pytest.raises(RegistryError) as caught,
    ):
        read(client, at(server))
    assert caught.value.code == "redirects"


# uploads


def test_an_upload_that_breaks_starts_again(client: Client) -> None:
    uploads = "/v2/a/blobs/uploads/"
    with Scripted(
        Step("HEAD", BLOB_PATH, 404),
        Step("POST", uploads, 202, {"Location": "one?state=1"}),
        Step("PUT", "/v2/a/blobs/uploads/one", 503),
        Step("POST", uploads, 202, {"Location": "/v2/a/blobs/uploads/two"}),
        Step("PUT", "/v2/a/blobs/uploads/two", 201),
    ) as server:
        store = sample_images.Memory()
        store.add(CONTENT)
        assert client.upload_blob(at(server), BLOB, lambda: store.open(BLOB.digest)) == "sent"
    first, second = server.seen[2], server.seen[4]
    assert first.path == f"/v2/a/blobs/uploads/one?state=1&digest=sha256%3A{BLOB.digest.encoded}"
    assert second.path.endswith(f"two?digest=sha256%3A{BLOB.digest.encoded}")
    assert first.body == second.body == CONTENT
    assert second.headers["Content-Length"] == str(len(CONTENT))


def test_an_upload_without_an_address(client: Client) -> None:
    with (
        Scripted(Step("HEAD", BLOB_PATH, 404), Step("POST", "/v2/a/blobs/uploads/", 202)) as server,
        pytest.raises(RegistryError, match="without a Location header"),
    ):
        client.upload_blob(at(server), BLOB, sample_images.Memory)  # type: ignore[arg-type]


def test_a_registry_that_stores_other_bytes(client: Client) -> None:
    headers = {"Docker-Content-Digest": str(Digest.of(b"other"))}
    with Scripted(Step("PUT", MANIFEST, 201, headers)) as server, pytest.raises(DigestMismatch):
        client.put_manifest(at(server), BODY, media_types.OCI_MANIFEST)
