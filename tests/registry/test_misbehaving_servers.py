"""Servers that misbehave, with scripted responses."""

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
from registry.support.scripted_server import ScriptedServer, Step

if TYPE_CHECKING:
    from collections.abc import Callable

    from imq.engine.registry.client import Client

MANIFEST = "/v2/a/manifests/latest"
OCI = {"Content-Type": media_types.OCI_MANIFEST}
BODY = b'{"schemaVersion":2}'
CONTENT = bytes(range(256)) * 40
BLOB = Descriptor(media_types.OCI_LAYER, Digest.of(CONTENT), len(CONTENT))
BLOB_PATH = f"/v2/a/blobs/{BLOB.digest}"


def make_reference(server: ScriptedServer, text: str = "a") -> Reference:
    return Reference.parse(f"{server.host}/{text}").with_default_tag()


def read_blob(client: Client, reference: Reference, piece: int = 1 << 20) -> bytes:
    content, buffer = bytearray(), memoryview(bytearray(piece))
    with client.open_blob(reference, BLOB) as stream:
        while count := stream.readinto(buffer):
            content += buffer[:count]
    return bytes(content)


# Retries


def test_429_is_retried_after_the_requested_delay(client: Client) -> None:
    with ScriptedServer(
        Step("GET", MANIFEST, 429, {"Retry-After": "1"}, b'{"errors":[{"code":"TOOMANYREQUESTS"}]}'),
        Step("GET", MANIFEST, 200, OCI, BODY),
    ) as server:
        start = time.monotonic()
        assert client.fetch_manifest(make_reference(server)).content == BODY
        assert time.monotonic() - start >= 1


def test_a_long_retry_after_is_an_error(client: Client) -> None:
    with (
        ScriptedServer(Step("GET", MANIFEST, 429, {"Retry-After": "3600"})) as server,
        pytest.raises(RegistryError) as caught,
    ):
        client.fetch_manifest(make_reference(server))
    assert (caught.value.code, caught.value.status, caught.value.temporary) == ("too-many-requests", 429, True)
    assert "imq login" in caught.value.hints[0]


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_permanently_failing_servers_are_given_up(connect: Callable[..., Client], status: int) -> None:
    with (
        ScriptedServer(*[Step("GET", MANIFEST, status) for _ in range(4)]) as server,
        pytest.raises(RegistryError, match=f"HTTP {status}") as caught,
    ):
        connect(retries=3).fetch_manifest(make_reference(server))
    assert caught.value.temporary


@pytest.mark.parametrize("status", [400, 403, 404, 405, 418, 501])
def test_immutable_documents_are_requested_once(client: Client, status: int) -> None:
    with ScriptedServer(Step("GET", MANIFEST, status)) as server, pytest.raises(RegistryError) as caught:
        client.fetch_manifest(make_reference(server))
    assert caught.value.status == status


def test_a_broken_connection_is_opened_again(client: Client) -> None:
    with ScriptedServer(
        Step("GET", MANIFEST, 200, OCI, BODY),
        Step("GET", MANIFEST, cut=True),
        Step("GET", MANIFEST, 200, OCI, BODY),
    ) as server:
        assert client.fetch_manifest(make_reference(server)) == client.fetch_manifest(make_reference(server))


def test_a_server_that_times_out(connect: Callable[..., Client]) -> None:
    hold = threading.Event()
    with ScriptedServer(Step("GET", MANIFEST, 200, OCI, BODY, length=1000, hold=hold)) as server:
        with pytest.raises(RegistryError) as caught:
            connect(read_timeout=0.2).fetch_manifest(make_reference(server))
        hold.set()
    assert caught.value.code == "timeout"


# Manifests


def test_error_messages_of_the_registry_are_cleaned(client: Client) -> None:
    errors = {"errors": [{"code": "DENIED", "message": "no \x1b[31m way\r\nat all" + "x" * 1000}]}
    with (
        ScriptedServer(Step("GET", MANIFEST, 403, body=json.dumps(errors).encode())) as server,
        pytest.raises(RegistryError) as caught,
    ):
        client.fetch_manifest(make_reference(server))
    assert caught.value.code == "denied"
    assert "\x1b" not in caught.value.message
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 500


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b'{"errors":5}', b'{"errors":[5]}', b"\xff", b"[" * 9000])
def test_any_error_body_is_handled(client: Client, body: bytes) -> None:
    with (
        ScriptedServer(Step("GET", MANIFEST, 404, body=body)) as server,
        pytest.raises(RegistryError, match="not found: manifest unknown: manifest unknown"),
    ):
        client.fetch_manifest(make_reference(server))


def test_content_that_does_not_match_the_header_digest(client: Client) -> None:
    headers = {**OCI, "Docker-Content-Digest": Digest.of(b"other")}
    with (
        ScriptedServer(Step("GET", MANIFEST, 200, headers, BODY)) as server,
        pytest.raises(DigestMismatch, match="does not match"),
    ):
        client.fetch_manifest(make_reference(server))


def test_content_that_does_not_match_the_requested_digest(client: Client) -> None:
    expected = Digest.of(b"other")
    headers = {**OCI, "Docker-Content-Digest": Digest.of(BODY)}  # the digest of the header matches the body
    with (
        ScriptedServer(Step("GET", f"/v2/a/manifests/{expected}", 200, headers, BODY)) as server,
        pytest.raises(DigestMismatch),
    ):
        client.fetch_manifest(make_reference(server).replace(digest=expected))


def test_a_web_page_is_not_a_manifest(client: Client) -> None:
    with (
        ScriptedServer(Step("GET", MANIFEST, 200, {"Content-Type": "text/html; charset=utf-8"}, b"<html>")) as server,
        pytest.raises(RegistryError, match="web page") as caught,
    ):
        client.fetch_manifest(make_reference(server))
    assert caught.value.code == "not-a-registry"


def test_other_media_types_are_rejected(client: Client) -> None:
    with (
        ScriptedServer(Step("GET", MANIFEST, 200, {"Content-Type": "image/png"}, b"\x89PNG")) as server,
        pytest.raises(Malformed, match="image/png"),
    ):
        client.fetch_manifest(make_reference(server))


@pytest.mark.parametrize("length", [None, -1], ids=["with length", "without length"])
def test_a_manifest_that_is_too_large(client: Client, length: int | None) -> None:
    with (
        ScriptedServer(Step("GET", MANIFEST, 200, OCI, b" " * ((4 << 20) + 1), length=length)) as server,
        pytest.raises(Malformed, match="more than 4194304 bytes"),
    ):
        client.fetch_manifest(make_reference(server))


def test_the_largest_manifest_is_read(client: Client) -> None:
    content = b" " * (4 << 20)
    with ScriptedServer(Step("GET", MANIFEST, 200, OCI, content, length=-1)) as server:
        assert client.fetch_manifest(make_reference(server)).content == content


def test_a_truncated_manifest_is_requested_again(client: Client) -> None:
    with ScriptedServer(
        Step("GET", MANIFEST, 200, OCI, BODY, length=len(BODY) + 5),
        Step("GET", MANIFEST, 200, OCI, BODY[:5], length=len(BODY), cut=True),
        Step("GET", MANIFEST, 200, OCI, BODY),
    ) as server:
        assert client.fetch_manifest(make_reference(server)).content == BODY


def test_a_manifest_that_is_always_truncated(connect: Callable[..., Client]) -> None:
    with (
        ScriptedServer(*[Step("GET", MANIFEST, 200, OCI, BODY, length=len(BODY) + 5)] * 3) as server,
        pytest.raises(RegistryError, match=f"sent {len(BODY)} of {len(BODY) + 5} bytes of the manifest") as caught,
    ):
        connect(retries=2).fetch_manifest(make_reference(server))
    assert caught.value.temporary


def test_an_endless_manifest_is_given_up(client: Client) -> None:
    with (
        ScriptedServer(Step("GET", MANIFEST, 200, OCI, endless=True)) as server,
        pytest.raises(Malformed, match="more than"),
    ):
        client.fetch_manifest(make_reference(server))


def test_a_document_that_is_both_index_and_image(client: Client) -> None:
    document = {"schemaVersion": 2, "manifests": [], "config": {}, "layers": []}
    with (
        ScriptedServer(Step("GET", MANIFEST, 200, OCI, encode_json(document))) as server,
        pytest.raises(Malformed, match="both an index and an image"),
    ):
        pull(client, make_reference(server), None, sample_images.MemoryStore(), NullProgress())


def test_an_index_that_contains_itself(client: Client) -> None:
    """A manifest cannot contain its own digest, so the chain uses wrong tags: an index in an index in an index."""
    store = sample_images.MemoryStore()
    inner = sample_images.add_image(store)
    chain = [inner]
    for _ in range(MAX_INDEX_DEPTH + 1):
        chain.append(sample_images.add_index(store, [{**chain[-1].to_json(), "platform": sample_images.AMD64}]))
    steps = [Step("GET", MANIFEST, 200, {"Content-Type": media_types.OCI_INDEX}, store.blobs[chain[-1].digest])]
    steps += [
        Step("GET", f"/v2/a/manifests/{d.digest}", 200, {"Content-Type": d.media_type}, store.blobs[d.digest])
        for d in reversed(chain[1:-1])
    ]
    with ScriptedServer(*steps) as server, pytest.raises(IndexDepthError):
        pull(client, make_reference(server), Platform("linux", "amd64"), sample_images.MemoryStore(), NullProgress())


def test_schema_1_is_detected(client: Client) -> None:
    headers = {"Content-Type": media_types.DOCKER_SCHEMA1_SIGNED}
    with (
        ScriptedServer(Step("GET", MANIFEST, 200, headers, b'{"schemaVersion":1}')) as server,
        pytest.raises(Malformed) as caught,
    ):
        pull(client, make_reference(server), None, sample_images.MemoryStore(), NullProgress())
    assert caught.value.code == "schema1"


def test_head_falls_back_to_get(client: Client) -> None:
    with ScriptedServer(Step("HEAD", MANIFEST, 200, OCI), Step("GET", MANIFEST, 200, OCI, BODY)) as server:
        assert client.fetch_head(make_reference(server)) == Descriptor(
            media_types.OCI_MANIFEST, Digest.of(BODY), len(BODY)
        )
    with ScriptedServer(Step("HEAD", MANIFEST, 405), Step("GET", MANIFEST, 200, OCI, BODY)) as server:
        assert client.fetch_head(make_reference(server)) is not None


# Tags


def make_tag_page(*tags: str) -> bytes:
    return json.dumps({"name": "a", "tags": tags}).encode()


def test_pages_of_tags_are_followed(client: Client) -> None:
    with ScriptedServer(
        Step(
            "GET",
            "/v2/a/tags/list?n=1000",
            200,
            {"Link": '</v2/a/tags/list?last=b&n=2>; rel="next"'},
            make_tag_page("a", "b"),
        ),
        Step(
            "GET", "/v2/a/tags/list?last=b&n=2", 200, {"Link": '<tags/../list?last=c>; rel="next"'}, make_tag_page("c")
        ),
        Step("GET", "/v2/a/tags/list?last=c", 200, {}, b'{"name":"a","tags":null}'),
    ) as server:
        server.steps[1].headers["Link"] = f'<{server.url}/v2/a/tags/list?last=c>; foo=bar; rel="next"'
        assert list(client.list_tags(make_reference(server))) == ["a", "b", "c"]


def test_a_page_loop_is_detected(client: Client) -> None:
    link = {"Link": '</v2/a/tags/list?last=b>; rel="next"'}
    with (
        ScriptedServer(
            *[Step("GET", "/v2/a/tags/list", 200, link, make_tag_page("a", "b")) for _ in range(2)]
        ) as server,
        pytest.raises(RegistryError, match="twice") as caught,
    ):
        list(client.list_tags(make_reference(server)))
    assert caught.value.code == "pagination"


def test_a_repeated_page_under_another_url_is_detected(client: Client) -> None:
    """A registry that ignores `last` returns its first page again and again."""
    steps = [
        Step(
            "GET", "/v2/a/tags/list", 200, {"Link": f'</v2/a/tags/list?last={n}>; rel="next"'}, make_tag_page("a", "b")
        )
        for n in range(2)
    ]
    with ScriptedServer(*steps) as server, pytest.raises(RegistryError, match="twice"):
        list(client.list_tags(make_reference(server)))


def test_empty_pages_are_skipped(client: Client) -> None:
    steps = [
        Step("GET", "/v2/a/tags/list", 200, {"Link": f'</v2/a/tags/list?last={n}>; rel="next"'}, make_tag_page())
        for n in range(3)
    ]
    with ScriptedServer(*steps, Step("GET", "/v2/a/tags/list", 200, {}, make_tag_page("a"))) as server:
        assert list(client.list_tags(make_reference(server))) == ["a"]


def test_pages_are_requested_on_demand(client: Client) -> None:
    link = {"Link": '</v2/a/tags/list?last=b>; rel="next"'}
    with ScriptedServer(Step("GET", "/v2/a/tags/list", 200, link, make_tag_page("a", "b"))) as server:
        tags = client.list_tags(make_reference(server))
        assert not server.requests
        assert [next(tags), next(tags)] == ["a", "b"]


def test_a_link_to_another_host_is_requested_at_the_registry(client: Client) -> None:
    link = {"Link": '<http://elsewhere.example/v2/a/tags/list?last=b>; rel="next"'}
    with ScriptedServer(
        Step("GET", "/v2/a/tags/list?n=1000", 200, link, make_tag_page("b")),
        Step("GET", "/v2/a/tags/list?last=b", 200, {}, make_tag_page("c")),
    ) as server:
        assert list(client.list_tags(make_reference(server))) == ["b", "c"]


@pytest.mark.parametrize("body", [b"", b"[]", b'{"tags":5}', b'{"tags":[5]}', b"<html>"])
def test_a_response_without_a_list_of_tags(client: Client, body: bytes) -> None:
    with (
        ScriptedServer(Step("GET", "/v2/a/tags/list", body=body)) as server,
        pytest.raises(Malformed, match="not return a list of tags"),
    ):
        list(client.list_tags(make_reference(server)))


# Blobs


@pytest.mark.parametrize("piece", [1 << 20, 1000, len(CONTENT)])
@pytest.mark.parametrize("length", [None, -1], ids=["with length", "without length"])
def test_a_complete_blob(client: Client, piece: int, length: int | None) -> None:
    with ScriptedServer(Step("GET", BLOB_PATH, body=CONTENT, length=length)) as server:
        assert read_blob(client, make_reference(server), piece) == CONTENT


def test_content_encoding_is_not_decoded(client: Client) -> None:
    with ScriptedServer(Step("GET", BLOB_PATH, 200, {"Content-Encoding": "gzip"}, CONTENT)) as server:
        assert read_blob(client, make_reference(server)) == CONTENT
    assert server.requests[0].headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("length", [None, -1, len(CONTENT)], ids=["with length", "without length", "broken"])
def test_a_truncated_blob_is_resumed(client: Client, length: int | None) -> None:
    ranged = {"Content-Range": f"bytes 5000-{len(CONTENT) - 1}/{len(CONTENT)}"}
    with ScriptedServer(
        Step("GET", BLOB_PATH, body=CONTENT[:5000], length=length),
        Step("GET", BLOB_PATH, 206, ranged, CONTENT[5000:]),
    ) as server:
        assert read_blob(client, make_reference(server)) == CONTENT
    assert server.requests[1].headers["Range"] == "bytes=5000-"


def test_an_etag_guards_resumed_ranges(client: Client) -> None:
    ranged = {"Content-Range": f"bytes 5000-{len(CONTENT) - 1}/{len(CONTENT)}"}
    with ScriptedServer(
        Step("GET", BLOB_PATH, 200, {"ETag": '"one"'}, CONTENT[:5000], length=len(CONTENT)),
        Step("GET", BLOB_PATH, 200, {"ETag": 'W/"two"'}, CONTENT[:7000], length=len(CONTENT)),
        Step("GET", BLOB_PATH, 206, {"Content-Range": ranged["Content-Range"].replace("5", "7", 1)}, CONTENT[7000:]),
    ) as server:
        assert read_blob(client, make_reference(server)) == CONTENT
    assert [seen.headers.get("If-Range") for seen in server.requests] == [None, '"one"', None]
    assert [seen.headers.get("Range") for seen in server.requests] == [None, "bytes=5000-", "bytes=7000-"]


@pytest.mark.parametrize(
    "range_header",
    [None, "bytes 6000-10239/10240", "bytes 5000-10239/20000", "bytes */10240", "5000", "items 5000-10239/10240"],
)
@pytest.mark.parametrize("status", [206, 416])
def test_an_unusable_range_leads_to_a_full_request(client: Client, status: int, range_header: str | None) -> None:
    headers = {"Content-Range": range_header} if range_header else {}
    with ScriptedServer(
        Step("GET", BLOB_PATH, body=CONTENT[:5000], length=len(CONTENT)),
        Step("GET", BLOB_PATH, status, headers, CONTENT[5000:]),
        Step("GET", BLOB_PATH, body=CONTENT[:6000], length=len(CONTENT)),
        Step("GET", BLOB_PATH, body=CONTENT),
    ) as server:
        assert read_blob(client, make_reference(server)) == CONTENT
    assert [seen.headers.get("Range") for seen in server.requests] == [None, "bytes=5000-", None, None]


def test_a_range_that_starts_earlier_is_skipped_to_the_offset(client: Client) -> None:
    early = {"Content-Range": f"bytes 4000-{len(CONTENT) - 1}/{len(CONTENT)}"}
    with ScriptedServer(
        Step("GET", BLOB_PATH, body=CONTENT[:5000], length=len(CONTENT)),
        Step("GET", BLOB_PATH, 206, early, CONTENT[4000:]),
    ) as server:
        assert read_blob(client, make_reference(server)) == CONTENT


def test_a_server_without_ranges_is_read_from_the_start(client: Client) -> None:
    with ScriptedServer(
        Step("GET", BLOB_PATH, body=CONTENT[:5000], length=len(CONTENT)), Step("GET", BLOB_PATH, body=CONTENT)
    ) as server:
        assert read_blob(client, make_reference(server)) == CONTENT


def test_a_large_blob_allows_more_broken_connections(connect: Callable[..., Client]) -> None:
    content = CONTENT * 500
    blob, path = Descriptor("", Digest.of(content), len(content)), f"/v2/a/blobs/{Digest.of(content)}"
    with ScriptedServer() as server:
        for start in range(0, len(content), 1 << 20):
            range_headers = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
            part = content[start : start + (1 << 20)]
            server.add(Step("GET", path, 206 if start else 200, range_headers, part, length=len(content) - start))
        got, buffer = bytearray(), memoryview(bytearray(1 << 18))
        with connect(retries=1).open_blob(make_reference(server), blob) as stream:
            while count := stream.readinto(buffer):
                got += buffer[:count]
    assert got == content


def test_one_budget_holds_for_all_requests_of_a_blob(connect: Callable[..., Client]) -> None:
    """Refusals and broken connections share one retry budget."""
    with (
        ScriptedServer(
            Step("GET", BLOB_PATH, body=CONTENT[:5000], length=len(CONTENT)),
            *[Step("GET", BLOB_PATH, 503)] * 3,
        ) as server,
        pytest.raises(RegistryError, match="HTTP 503"),
    ):
        read_blob(connect(retries=3), make_reference(server))
    uploads = "/v2/a/blobs/uploads/"
    with (
        ScriptedServer(
            Step("HEAD", BLOB_PATH, 404),
            Step("POST", uploads, 503),
            Step("POST", uploads, 202, {"Location": "one"}),
            Step("PUT", f"{uploads}one", 503),
            Step("POST", uploads, 503),
            Step("POST", uploads, 503),
        ) as server,
        pytest.raises(RegistryError, match="HTTP 503"),
    ):
        connect(retries=3).upload_blob(make_reference(server), BLOB, lambda: io.BytesIO(CONTENT))


def test_a_blob_that_is_always_truncated(connect: Callable[..., Client]) -> None:
    with (
        ScriptedServer(*[Step("GET", BLOB_PATH, body=CONTENT[:5000]) for _ in range(3)]) as server,
        pytest.raises(RegistryError) as caught,
    ):
        read_blob(connect(retries=2), make_reference(server))
    assert (caught.value.code, caught.value.temporary) == ("truncated", True)
    assert f"{server.host} sent 5000 bytes of blob" in caught.value.message
    assert f"but its manifest specifies {len(CONTENT)}" in caught.value.message


def test_a_blob_longer_than_its_size_is_rejected_by_its_header(client: Client) -> None:
    with (
        ScriptedServer(Step("GET", BLOB_PATH, body=CONTENT + b"!")) as server,
        pytest.raises(DigestMismatch, match=f"more than the {len(CONTENT)} bytes"),
    ):
        read_blob(client, make_reference(server))


@pytest.mark.parametrize("piece", [1 << 16, 1000, len(CONTENT)])
def test_an_endless_blob_is_rejected_early(client: Client, piece: int) -> None:
    with (
        ScriptedServer(Step("GET", BLOB_PATH, body=CONTENT, endless=True)) as server,
        pytest.raises(DigestMismatch, match="sent more than"),
    ):
        read_blob(client, make_reference(server), piece)


def test_a_config_that_does_not_match_its_digest(client: Client) -> None:
    with (
        ScriptedServer(Step("GET", BLOB_PATH, body=bytes(len(CONTENT)))) as server,
        pytest.raises(DigestMismatch, match="does not match"),
    ):
        client.fetch_blob(make_reference(server), BLOB)


def test_a_config_that_is_too_large_is_not_fetched(client: Client) -> None:
    with ScriptedServer() as server, pytest.raises(Malformed, match="largest_document allows"):
        client.fetch_blob(make_reference(server), BLOB.replace(size=1 << 40))


# Redirects


def test_credentials_are_not_sent_to_another_host(connect: Callable[..., Client], tmp_path: object) -> None:
    with ScriptedServer() as registry, ScriptedServer(Step("GET", "/data", body=CONTENT)) as storage:
        with open(f"{tmp_path}/config.json", "w") as file:
            json.dump({"auths": {registry.host: {"username": "ann", "password": "secret"}}}, file)
        registry.add(
            Step("GET", BLOB_PATH, 401, {"WWW-Authenticate": 'Basic realm="x"', "Set-Cookie": "id=5"}),
            Step("GET", BLOB_PATH, 307, {"Location": "/v2/here", "Set-Cookie": "id=6"}),
            Step("GET", "/v2/here", 302, {"Location": f"http://u:p@{storage.host}/data?signature=abc"}),
        )
        client = connect(environment={"DOCKER_CONFIG": str(tmp_path)})
        assert read_blob(client, make_reference(registry)) == CONTENT
    assert [bool(seen.headers.get("Authorization")) for seen in registry.requests] == [False, True, True]
    assert "Authorization" not in storage.requests[0].headers
    assert not any("Cookie" in seen.headers for seen in (*registry.requests, *storage.requests))


def test_a_challenge_of_another_host_is_not_answered(connect: Callable[..., Client], tmp_path: object) -> None:
    challenge = {"WWW-Authenticate": 'Basic realm="x"'}
    with ScriptedServer() as registry, ScriptedServer(Step("GET", "/data", 401, challenge)) as storage:
        with open(f"{tmp_path}/config.json", "w") as file:
            json.dump({"auths": {registry.host: {"username": "ann", "password": "secret"}}}, file)
        registry.add(Step("GET", BLOB_PATH, 307, {"Location": f"{storage.url}/data"}))
        with pytest.raises(RegistryError):
            read_blob(connect(environment={"DOCKER_CONFIG": str(tmp_path)}), make_reference(registry))
    assert "Authorization" not in storage.requests[0].headers


@pytest.mark.parametrize(
    "location", ["http://elsewhere.example/x?sig=abc", "file:///etc/passwd", "ftp://127.0.0.1/x", "http://["]
)
def test_redirects_to_http_or_invalid_urls_are_refused(client: Client, location: str) -> None:
    with (
        ScriptedServer(Step("GET", BLOB_PATH, 307, {"Location": location})) as server,
        pytest.raises(RegistryError) as caught,
    ):
        read_blob(client, make_reference(server))
    assert caught.value.code == "insecure-redirect"
    assert "sig=abc" not in caught.value.message


@pytest.mark.parametrize("query", ["sig=a%7Eb", "sig=a%2bb%3d", "sig=a+b%zz&x={y}", "", "a=%E9//../b"])
def test_a_redirect_url_is_not_normalized(client: Client, query: str) -> None:
    target = f"/store//a/../%7e/b.~c?{query}"
    with ScriptedServer() as registry, ScriptedServer(Step("GET", target, body=CONTENT)) as storage:
        registry.add(Step("GET", BLOB_PATH, 307, {"Location": f"{storage.url}{target}"}))
        assert read_blob(client, make_reference(registry)) == CONTENT
    assert [seen.path for seen in storage.requests] == [target]
    assert storage.requests[0].headers["Host"] == storage.host


def test_the_body_of_a_redirect_is_not_read(client: Client) -> None:
    with ScriptedServer(
        Step("GET", BLOB_PATH, 307, {"Location": "/x"}, endless=True), Step("GET", "/x", body=CONTENT)
    ) as server:
        assert read_blob(client, make_reference(server)) == CONTENT


def test_endless_redirects(client: Client) -> None:
    with (
        ScriptedServer(*[Step("GET", BLOB_PATH, 307, {"Location": BLOB_PATH}) for _ in range(10)]) as server,
        pytest.raises(RegistryError) as caught,
    ):
        read_blob(client, make_reference(server))
    assert caught.value.code == "redirects"


# Uploads


def test_a_broken_upload_restarts(client: Client) -> None:
    uploads = "/v2/a/blobs/uploads/"
    with ScriptedServer(
        Step("HEAD", BLOB_PATH, 404),
        Step("POST", uploads, 202, {"Location": "one?state=1"}),
        Step("PUT", "/v2/a/blobs/uploads/one", 503),
        Step("POST", uploads, 202, {"Location": "/v2/a/blobs/uploads/two"}),
        Step("PUT", "/v2/a/blobs/uploads/two", 201),
    ) as server:
        store = sample_images.MemoryStore()
        store.add(CONTENT)
        assert client.upload_blob(make_reference(server), BLOB, lambda: store.open(BLOB.digest)) == "sent"
    first, second = server.requests[2], server.requests[4]
    assert first.path == f"/v2/a/blobs/uploads/one?state=1&digest=sha256%3A{BLOB.digest.encoded}"
    assert second.path.endswith(f"two?digest=sha256%3A{BLOB.digest.encoded}")
    assert first.body == second.body == CONTENT
    assert second.headers["Content-Length"] == str(len(CONTENT))


def test_an_upload_without_a_location(client: Client) -> None:
    with (
        ScriptedServer(Step("HEAD", BLOB_PATH, 404), Step("POST", "/v2/a/blobs/uploads/", 202)) as server,
        pytest.raises(RegistryError, match="without a Location header"),
    ):
        client.upload_blob(make_reference(server), BLOB, sample_images.MemoryStore)  # type: ignore[arg-type]


def test_a_registry_that_stores_other_bytes(client: Client) -> None:
    headers = {"Docker-Content-Digest": str(Digest.of(b"other"))}
    with ScriptedServer(Step("PUT", MANIFEST, 201, headers)) as server, pytest.raises(DigestMismatch):
        client.put_manifest(make_reference(server), BODY, media_types.OCI_MANIFEST)
