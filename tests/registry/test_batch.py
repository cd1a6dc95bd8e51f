"""Batches of thousands of small requests: a registry with a thousand tags, and errors of one tag or of all."""

from __future__ import annotations

import base64
import json
import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest
from imq.engine.oci import media_types
from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Descriptor, parse_manifest
from imq.engine.oci.reference import Reference
from imq.engine.registry.batch.client import BatchClient
from imq.engine.registry.batch.requests import TagPage
from imq.engine.registry.http.transport import Transport
from imq.grammar.errors import DigestMismatch, ImqError, Interrupted, Malformed, RegistryError
from registry.support import thousand_tags
from registry.support.fault_proxy import Fault, FaultProxy, ReceivedRequest, Reply, flip_bit, reply_with, reset
from registry.support.fault_proxy import redirect as redirected
from registry.support.paging_server import PagingServer, make_tag
from registry.support.sample_images import PASSWORD, USER
from registry.support.scripted_server import ScriptedServer, Step
from registry.support.thousand_tags import MIXED, THOUSAND, read_creation_time
from support.servers import find_free_port
from support.waiting import deadline, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from pathlib import Path
    from typing import Any

    from imq.engine.registry.client import Client
    from registry.conftest import Authority, RunningRegistry
    from registry.support.token_server import TokenServer

    Open = Callable[..., BatchClient]


@pytest.fixture
def ask(connect: Callable[..., Client]) -> Iterator[Open]:
    """Make batch clients with short retry delays, and close them after the test."""
    clients: list[BatchClient] = []

    def make(jobs: int = 8, **settings: object) -> BatchClient:
        clients.append(BatchClient(connect(**settings), jobs))
        return clients[-1]

    yield make
    for batch_client in clients:
        batch_client.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("imq-asking") and not _has_ended(t)]


def _has_ended(thread: threading.Thread) -> bool:
    thread.join(5)
    return not thread.is_alive()


def fetch_creation_times(batch_client: BatchClient, references: dict[int, Reference]) -> dict[int, datetime | None]:
    """Return the creation times of images; each config is requested as deadline as its manifest arrives."""

    def expected() -> Iterator[tuple[int, Reference, Descriptor]]:
        for number, fetched in batch_client.fetch_manifests(references.items()):
            assert not isinstance(fetched, ImqError), fetched
            manifest = parse_manifest(fetched.content, fetched.media_type)
            assert not hasattr(manifest, "manifests")
            yield number, references[number], manifest.config

    received = {}
    for number, content in batch_client.fetch_configs(expected()):
        assert isinstance(content, bytes), content
        received[number] = read_creation_time(content)
    return received


def list_references(
    proxy: FaultProxy, references: dict[int, Reference], count: int | None = None
) -> dict[int, Reference]:
    """Return the first `count` of these names at the proxy."""
    return {number: references[number].replace(registry=proxy.host) for number in list(references)[:count]}


def select_errors(results: dict[int, Any]) -> dict[int, ImqError]:
    return {number: answer for number, answer in results.items() if isinstance(answer, ImqError)}


# Successful requests


def test_created_of_hundreds_of_images(ask: Open, thousand: RunningRegistry) -> None:
    batch_client = ask()
    references = dict(list(thousand.list_references().items())[:300])
    by_tag = thousand.contents.list_creation_times()
    assert fetch_creation_times(batch_client, references) == {
        number: by_tag[name.tag or ""] for number, name in references.items()
    }
    assert batch_client.request_counts == {"manifest": 300, "blob": 300}


def test_digests_of_a_thousand_tags(ask: Open, thousand: RunningRegistry) -> None:
    batch_client = ask()
    references = thousand.list_references()
    received = dict(batch_client.fetch_heads(references.items()))
    assert received == {
        number: Descriptor(clients.media_type, clients.digest, len(clients.content))
        for number, name in references.items()
        for clients in [thousand.contents.find(THOUSAND, name.tag or "")]
    }
    assert batch_client.request_counts == {"head": 1000}


def test_an_unchanged_manifest_is_not_fetched_again(ask: Open, thousand: RunningRegistry) -> None:
    """A name with a cached digest is requested conditionally."""
    right = thousand.contents.find(THOUSAND, "v1")
    known = Descriptor(right.media_type, right.digest, len(right.content))
    lied = Fault("HEAD .*/v3$", answer=reply_with(304, Docker_Content_Digest="sha256:" + "0" * 64), times=1)
    denied = Fault("HEAD .*/v4$", answer=reply_with(304))
    with FaultProxy(thousand.host, lied, denied) as proxy:
        references = list_references(proxy, thousand.list_references(), 5)
        received = dict(ask().fetch_heads(references.items(), {1: known, 2: known, 3: known}))
        asked = [one.path.rpartition("/")[2] for one in proxy.requests if "If-None-Match" in one.headers]
        whole = [one.path.rpartition("/")[2] for one in proxy.requests if one.method == "GET"]
    assert "v4" in whole, "without a condition the response is complete"
    clients = {number: thousand.contents.find(THOUSAND, f"v{number}") for number in range(5)}
    assert received == {n: Descriptor(one.media_type, one.digest, len(one.content)) for n, one in clients.items()}
    assert sorted(asked) == ["v1", "v2", "v3"]


def test_ten_of_a_thousand_tags_take_twenty_one_requests(ask: Open, thousand: RunningRegistry) -> None:
    batch_client = ask()
    [(_, page)] = batch_client.fetch_tags([(0, thousand.reference())])
    assert isinstance(page, TagPage)
    assert page.is_last
    assert sorted(page.tags) == sorted(thousand.contents.tags[THOUSAND])
    expected = [name for name in page.tags if name.startswith("v99") and len(name) == 4]
    assert (
        len(
            fetch_creation_times(
                batch_client, {number: thousand.reference(name) for number, name in enumerate(expected)}
            )
        )
        == 10
    )
    assert batch_client.request_counts == {"tags": 1, "manifest": 10, "blob": 10}


def test_other_content_of_repositories(ask: Open, thousand: RunningRegistry) -> None:
    references = thousand.list_references(MIXED)
    for number, fetched in ask().fetch_manifests(references.items()):
        assert not isinstance(fetched, ImqError)
        clients = thousand.contents.find(MIXED, references[number].tag or "")
        assert (fetched.digest, fetched.content, fetched.media_type) == (
            clients.digest,
            clients.content,
            clients.media_type,
        )


def test_concurrent_batches_share_the_limit(ask: Open, thousand: RunningRegistry) -> None:
    with FaultProxy(thousand.host, Fault(".*", latency=0.01)) as proxy:
        references = list_references(proxy, thousand.list_references(), 60)
        assert len(fetch_creation_times(ask(jobs=3), references)) == 60
        assert proxy.max_active == 3


def test_results_are_yielded_as_they_arrive(ask: Open, thousand: RunningRegistry) -> None:
    held = Fault("GET .*/manifests/v0$", latency=1.0)
    with FaultProxy(thousand.host, held) as proxy:
        references = list_references(proxy, thousand.list_references(), 30)
        asked = ask(jobs=4).fetch_manifests(
            [(99, thousand.reference("v5").replace(registry=proxy.host)), *references.items()]
        )
        order = [number for number, _ in asked]
    assert order[-1] == 0
    assert len(order) == 31


def test_a_slow_network_times_out_once_for_a_batch(ask: Open, thousand: RunningRegistry) -> None:
    with FaultProxy(thousand.host, Fault(".*", latency=0.05)) as proxy:
        references = list_references(proxy, thousand.list_references(), 160)
        assert not select_errors(dict(ask(jobs=16).fetch_heads(references.items())))
        assert proxy.max_active > 8


def test_requests_follow_the_consumer(ask: Open, thousand: RunningRegistry) -> None:
    batch_client = ask(jobs=4)
    results = batch_client.fetch_heads(thousand.list_references().items())
    for _ in range(5):
        next(results)
    results.close()  # type: ignore[attr-defined]
    assert batch_client.request_counts["head"] <= 5 + 2 * 4
    assert len(dict(batch_client.fetch_heads(list(thousand.list_references().items())[:20]))) == 20, (
        "the client can be used again"
    )


# Authentication


def test_basic_auth(ask: Open, thousand_guarded: RunningRegistry, tmp_path: Path) -> None:
    login = {thousand_guarded.host: {"auth": base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()}}
    (tmp_path / "config.json").write_text(json.dumps({"auths": login}))
    batch_client = ask(environment={"DOCKER_CONFIG": str(tmp_path)})
    assert not select_errors(dict(batch_client.fetch_heads(list(thousand_guarded.list_references().items())[:300])))
    assert batch_client.request_counts["head"] == 301, "one is refused, and the rest knows"


def test_an_unauthorized_batch_fails_with_one_error(ask: Open, thousand_guarded: RunningRegistry) -> None:
    batch_client = ask()
    results = dict(batch_client.fetch_manifests(thousand_guarded.list_references().items()))
    assert {problem.code for problem in select_errors(results).values()} == {"unauthorized"}
    assert len(select_errors(results)) == 1000
    assert batch_client.request_counts == {"manifest": 1}


def test_denied_access_to_every_repository(ask: Open, thousand_guarded: RunningRegistry) -> None:
    batch_client = ask(jobs=2)
    names = {number: Reference(thousand_guarded.host, f"team/r{number}", "1") for number in range(100)}
    results = dict(batch_client.fetch_manifests(names.items()))
    assert {problem.code for problem in select_errors(results).values()} == {"unauthorized"}
    assert batch_client.request_counts["manifest"] < 20


def test_tls_with_a_custom_authority(ask: Open, thousand_tls: RunningRegistry, authority: Authority) -> None:
    batch_client = ask(environment={"SSL_CERT_FILE": authority.certificate})
    references = dict(list(thousand_tls.list_references().items())[:100])
    assert len(fetch_creation_times(batch_client, references)) == 100
    assert batch_client.request_counts["manifest"] == 101, "the first found out that it is TLS that is spoken"


def test_untrusted_tls(connect: Callable[..., Client], ask: Open, thousand_tls: RunningRegistry) -> None:
    connection = connect()
    with pytest.raises(RegistryError) as caught:
        connection.http.connect(f"https://{thousand_tls.host}".replace("127.0.0.1", "localhost.localdomain"))
    assert caught.value.code in ("tls", "unreachable")
    name = Reference(thousand_tls.host, THOUSAND, "v1")
    assert not select_errors(dict(ask().fetch_heads([(0, name)]))), (
        "the loopback is trusted, whatever certificate it shows"
    )


def test_a_token_is_fetched_once(ask: Open, thousand_tokens: tuple[RunningRegistry, TokenServer]) -> None:
    registry, tokens = thousand_tokens
    batch_client = ask()
    assert not select_errors(dict(batch_client.fetch_heads(list(registry.list_references().items())[:300])))
    assert len(tokens.requests) == 1
    assert batch_client.request_counts == {"head": 301, "other": 1}


def test_an_expired_token_is_renewed_once(ask: Open, thousand_tokens: tuple[RunningRegistry, TokenServer]) -> None:
    registry, tokens = thousand_tokens
    challenge = f'Bearer realm="{tokens.realm}",service="registry, for tests",scope="repository:{THOUSAND}:pull"'

    class Forgetful(FaultProxy):
        """Accepts the first token for sixty requests."""

        first = ""

        def match_faults(self, request: ReceivedRequest) -> list[Fault]:
            known = request.headers.get("Authorization", "")
            self.first = self.first or known
            too_old = known == self.first and len(self.requests) > 60
            received = super().match_faults(request)
            return [Fault(answer=reply_with(401, WWW_Authenticate=challenge))] if too_old else received

    with Forgetful(registry.host) as proxy:
        references = list_references(proxy, registry.list_references(), 200)
        assert len(fetch_creation_times(ask(), references)) == 200
        assert len(proxy.requests) <= 400 + 1 + 2 * 8 + 2
    assert len(tokens.requests) == 2


def test_a_denied_repository(ask: Open, thousand_tokens: tuple[RunningRegistry, TokenServer]) -> None:
    registry, _ = thousand_tokens
    names = [registry.reference("v1"), registry.reference("1", "secret/a"), registry.reference("v2")] * 20
    results = dict(ask().fetch_heads(enumerate(names)))
    failed = select_errors(results)
    assert sorted(failed) == list(range(1, 60, 3))
    assert {problem.code for problem in failed.values()} <= {"unauthorized", "denied"}


# Errors of one item


def test_a_tag_that_has_vanished(ask: Open, thousand: RunningRegistry) -> None:
    names = [thousand.reference("v1"), thousand.reference("gone"), thousand.reference("v2")]
    for results in (dict(ask().fetch_manifests(enumerate(names))), dict(ask().fetch_heads(enumerate(names)))):
        failed = select_errors(results)
        assert {number: problem.code for number, problem in failed.items()} == {1: "manifest-unknown"}
        assert failed[1].message.startswith(f"manifest for {names[1]} not found: ")


SCHEMA1 = reply_with(200, b'{"schemaVersion":1}', Content_Type=media_types.DOCKER_SCHEMA1_SIGNED)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (reply_with(200, b"<html>", Content_Type="text/html; charset=utf-8"), "not-a-registry"),
        (reply_with(200, b"\x89PNG", Content_Type="image/png"), "content-type"),
        (
            reply_with(200, b"{}", Content_Type=media_types.OCI_MANIFEST, Docker_Content_Digest="sha256:" + "0" * 64),
            "digest-mismatch",
        ),
        (reply_with(403, b'{"errors":[{"code":"DENIED","message":"quarantined"}]}'), "denied"),
        (reply_with(404, b"<html>no</html>"), "manifest-unknown"),
        (reply_with(500), "registry"),
        (reply_with(410), "registry"),
    ],
)
def test_one_invalid_response_among_valid_ones(
    ask: Open, thousand: RunningRegistry, answer: Callable[[str], Reply], code: str
) -> None:
    with FaultProxy(thousand.host, Fault("GET .*/manifests/v7$", answer=answer)) as proxy:
        results = dict(ask().fetch_manifests(list_references(proxy, thousand.list_references(), 50).items()))
    assert len(results) == 50
    assert {number: problem.code for number, problem in select_errors(results).items()} == {7: code}


def test_schema_1_is_returned_and_rejected_when_parsed(ask: Open, thousand: RunningRegistry) -> None:
    with FaultProxy(thousand.host, Fault("GET .*/manifests/v7$", answer=SCHEMA1)) as proxy:
        results = dict(ask().fetch_manifests(list_references(proxy, thousand.list_references(), 9).items()))
    fetched = results[7]
    assert not isinstance(fetched, ImqError)
    with pytest.raises(Malformed) as caught:
        parse_manifest(fetched.content, fetched.media_type)
    assert caught.value.code == "schema1"


def test_blobs_that_do_not_match_their_descriptor(ask: Open, thousand: RunningRegistry) -> None:
    name = thousand.reference("v3")
    config = thousand.contents.find(THOUSAND, "v3").config
    assert config is not None
    batch_client = ask()
    right = next(iter(batch_client.fetch_manifests([(0, name)])))[1]
    assert not isinstance(right, ImqError)
    described = parse_manifest(right.content, right.media_type).config  # type: ignore[union-attr]
    wrong = [
        described,
        described.replace(size=described.size - 1),
        described.replace(size=described.size + 1),
        described.replace(size=5 << 20),
        described.replace(digest=Digest("sha256:" + "1" * 64)),
    ]
    results = dict(batch_client.fetch_configs((number, name, descriptor) for number, descriptor in enumerate(wrong)))
    assert [getattr(results[number], "code", "") for number in range(5)] == [
        "",
        DigestMismatch.code,
        DigestMismatch.code,
        "document-size",
        "blob-unknown",
    ]
    with FaultProxy(thousand.host, Fault("GET .*/blobs/", change=flip_bit)) as proxy:
        [(_, answer)] = batch_client.fetch_configs([(0, name.replace(registry=proxy.host), described)])
    assert isinstance(answer, DigestMismatch)


@pytest.mark.parametrize("refusal", [400, 401, 403, 404, 410, 501])
def test_a_refused_head_is_followed_by_get(ask: Open, thousand: RunningRegistry, refusal: int) -> None:
    """A name is missing or denied only if GET confirms it."""
    with FaultProxy(thousand.host, Fault("HEAD .*/manifests/", answer=reply_with(refusal))) as proxy:
        references = list_references(proxy, thousand.list_references(), 3) | {
            9: thousand.reference("gone").replace(registry=proxy.host)
        }
        batch_client = ask()
        received = dict(batch_client.fetch_heads(references.items()))
        clients = [thousand.contents.find(THOUSAND, f"v{number}") for number in range(3)]
        assert [received.pop(number) for number in range(3)] == [
            Descriptor(one.media_type, one.digest, len(one.content)) for one in clients
        ]
        assert select_errors(received)[9].code == "manifest-unknown"
        assert batch_client.request_counts["manifest"] in (4, 5), "one more may be asked whether the host wants TLS"


def test_a_404_is_final_where_head_works(ask: Open, thousand: RunningRegistry) -> None:
    names = {number: thousand.reference(f"gone-{number}") for number in range(5)}
    batch_client = ask()
    dict(batch_client.fetch_heads([(0, thousand.reference("v1"))]))
    assert set(select_errors(dict(batch_client.fetch_heads(names.items(), expect_missing=True)))) == set(names)
    assert batch_client.request_counts == {"head": 6}
    assert set(select_errors(dict(batch_client.fetch_heads(names.items())))) == set(names)
    assert batch_client.request_counts["manifest"] == 5


def test_a_head_response_with_missing_headers_is_followed_by_get(ask: Open, thousand: RunningRegistry) -> None:
    def silent(reply: Reply) -> None:
        reply.headers.pop("Docker-Content-Digest")

    faults = Fault("HEAD .*/v1[0-9]$", answer=reply_with(405)), Fault("HEAD .*/v2[0-9]$", change=silent)
    with FaultProxy(thousand.host, *faults) as proxy:
        references = list_references(proxy, thousand.list_references(), 30)
        batch_client = ask()
        for number, received in batch_client.fetch_heads(references.items()):
            clients = thousand.contents.find(THOUSAND, f"v{number}")
            assert received == Descriptor(clients.media_type, clients.digest, len(clients.content))
    assert batch_client.request_counts == {"head": 30, "manifest": 20}


def test_broken_connections_are_replaced(ask: Open, thousand: RunningRegistry) -> None:
    faults = (
        Fault("GET .*/manifests/", after=10, times=5, change=reset(20)),
        Fault("GET .*/blobs/", times=3, refuse_at=0),
    )
    with FaultProxy(thousand.host, *faults) as proxy:
        assert len(fetch_creation_times(ask(), list_references(proxy, thousand.list_references(), 60))) == 60


def test_redirects_use_the_full_client(ask: Open, thousand: RunningRegistry) -> None:
    with FaultProxy(thousand.host, Fault("GET .*/blobs/", answer=redirected(thousand.host))) as proxy:
        batch_client = ask(jobs=4)
        assert len(fetch_creation_times(batch_client, list_references(proxy, thousand.list_references(), 40))) == 40
        assert proxy.count_requests("GET .*/blobs/") <= 40 + 4 + 3, "later requests use the full client directly"


def test_the_full_client_is_used_with_a_proxy(
    ask: Open, thousand: RunningRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Transport, "is_direct", lambda *_: False)
    monkeypatch.setattr(Transport, "connect", lambda *_, **__: pytest.fail("a connection past the proxy"))
    assert len(fetch_creation_times(ask(jobs=4), dict(list(thousand.list_references().items())[:50]))) == 50


# Errors of a registry


def test_an_unreachable_host(ask: Open) -> None:
    names = {number: Reference(f"127.0.0.1:{find_free_port()}", "a", f"v{number}") for number in range(1000)}
    with deadline():
        results = dict(ask().fetch_heads(names.items()))
    assert {problem.code for problem in select_errors(results).values()} == {"unreachable"}
    assert len(results) == 1000


def test_a_host_that_disappears_during_a_batch(ask: Open, thousand: RunningRegistry) -> None:
    batch_client = ask()
    with FaultProxy(thousand.host, Fault(".*", after=100, refuse_at=0)) as proxy:
        results = dict(batch_client.fetch_heads(list_references(proxy, thousand.list_references()).items()))
    assert len(results) == 1000
    assert 90 <= 1000 - len(select_errors(results)) <= 100
    assert batch_client.request_counts["head"] < 200


def test_an_unresponsive_host_times_out_once_for_a_batch(ask: Open, thousand: RunningRegistry) -> None:
    with FaultProxy(thousand.host, Fault(".*", after=20, latency=3)) as proxy:
        results = dict(
            ask(read_timeout=0.5).fetch_heads(list_references(proxy, thousand.list_references(), 300).items())
        )
        assert len(proxy.requests) < 100
    assert "timeout" in {problem.code for problem in select_errors(results).values()}
    assert len(results) == 300


def test_giving_up_one_host_does_not_affect_the_others(ask: Open, thousand: RunningRegistry) -> None:
    gone = f"127.0.0.1:{find_free_port()}"
    names = {n: Reference(gone, "a", "1") if n % 2 else thousand.reference(f"v{n}") for n in range(200)}
    assert sorted(select_errors(dict(ask().fetch_heads(names.items())))) == list(range(1, 200, 2))


def test_a_short_retry_after_delays_all_requests(ask: Open, thousand: RunningRegistry) -> None:
    with FaultProxy(thousand.host, Fault(".*", after=50, times=1, answer=reply_with(429, Retry_After="1"))) as proxy:
        start = time.monotonic()
        batch_client = ask()
        assert not select_errors(
            dict(batch_client.fetch_heads(list_references(proxy, thousand.list_references(), 200).items()))
        )
        assert time.monotonic() - start >= 1
        assert batch_client.request_counts["head"] == 201


def test_a_long_retry_after_ends_the_batch_with_a_hint(ask: Open, thousand: RunningRegistry) -> None:
    with FaultProxy(thousand.host, Fault(".*", after=50, answer=reply_with(429, Retry_After="3600"))) as proxy:
        batch_client = ask()
        results = dict(batch_client.fetch_heads(list_references(proxy, thousand.list_references()).items()))
        assert len(results) == 1000
        assert {problem.code for problem in select_errors(results).values()} == {"too-many-requests"}
        assert len(select_errors(results)) == 950
        assert batch_client.request_counts["head"] < 50 + 20
        hints = select_errors(results)[999].hints
        assert any("requests succeeded before: continue in 1 hour" in hint for hint in hints)
        again = dict(batch_client.fetch_heads(list_references(proxy, thousand.list_references(), 10).items()))
        assert len(select_errors(again)) == 10, "no request is sent before that time"
        assert batch_client.request_counts["head"] < 50 + 20


def test_a_rate_limit_is_not_exceeded(ask: Open, thousand: RunningRegistry) -> None:
    left = iter(range(39, -1, -1))
    lock = threading.Lock()

    def counted(reply: Reply) -> None:
        with lock:
            reply.headers["RateLimit-Limit"] = "40;w=21600"
            reply.headers["RateLimit-Remaining"] = f"{next(left)};w=21600"

    with FaultProxy(thousand.host, Fault(".*", change=counted)) as proxy:
        results = dict(ask().fetch_manifests(list_references(proxy, thousand.list_references(), 300).items()))
        assert len(proxy.requests) == 40
    failed = select_errors(results)
    assert len(failed) == 260
    assert {problem.code for problem in failed.values()} == {"too-many-requests"}
    assert "limit: 40 requests in 6 hours, 0 remaining" in failed[299].message
    assert "40 requests succeeded before: continue in 6 hours" in failed[299].hints


def test_a_rate_limit_that_resets_soon_is_waited_for(ask: Open, thousand: RunningRegistry) -> None:
    def spent(reply: Reply) -> None:
        reply.headers.update({"RateLimit-Remaining": "0", "RateLimit-Reset": "1"})

    with FaultProxy(thousand.host, Fault(".*", after=20, times=1, change=spent)) as proxy:
        start = time.monotonic()
        assert not select_errors(
            dict(ask(jobs=1).fetch_heads(list_references(proxy, thousand.list_references(), 30).items()))
        )
        assert time.monotonic() - start >= 1


def test_a_registry_that_fails_every_request(ask: Open, thousand: RunningRegistry) -> None:
    with FaultProxy(thousand.host, Fault(".*", answer=reply_with(500))) as proxy:
        batch_client = ask()
        results = dict(batch_client.fetch_heads(list_references(proxy, thousand.list_references()).items()))
        assert len(select_errors(results)) == 1000
        assert batch_client.request_counts["head"] < 200


# Cancellation


def test_an_interrupt_ends_a_pull_immediately(ask: Open, thousand: RunningRegistry) -> None:
    with FaultProxy(thousand.host, Fault(".*", after=30, latency=300)) as proxy:
        batch_client = ask(read_timeout=300)
        results = batch_client.fetch_heads(list_references(proxy, thousand.list_references()).items())

        def interrupt() -> None:
            wait_until(lambda: len(proxy.requests) > 30)  # one has no answer
            os.kill(os.getpid(), signal.SIGINT)

        threading.Thread(target=interrupt).start()
        with deadline(), pytest.raises(KeyboardInterrupt):
            for _ in results:
                pass
        batch_client.close()
        time.sleep(0.1)
        assert len(proxy.requests) < 100, "the server reads what was sent before; nothing more is sent"


def test_a_closing_connection_is_finished(ask: Open, thousand: RunningRegistry) -> None:
    batch_client = ask()
    results = batch_client.fetch_heads(thousand.list_references().items())
    next(results)
    batch_client.close()
    with pytest.raises(Interrupted):
        list(results)


# Lists


def test_a_hundred_thousand_tags_page_by_page(ask: Open) -> None:
    with PagingServer(100_000) as server:
        pages = [page for _, page in ask().fetch_tags([(0, Reference(server.host, "many"))])]
        assert server.request_count == 100
    assert [page.is_last for page in pages if isinstance(page, TagPage)] == [False] * 99 + [True]
    assert [name for page in pages if isinstance(page, TagPage) for name in page.tags] == [
        make_tag(n) for n in range(100_000)
    ]


def test_a_page_loop_keeps_listed_tags(ask: Open) -> None:
    with PagingServer(50_000, circle=7) as server:
        pages = [page for _, page in ask().fetch_tags([(0, Reference(server.host, "many"))])]
        assert server.request_count == 9, "the first page came once more, under another address"
    assert sum(len(page.tags) for page in pages if isinstance(page, TagPage)) == 8000
    assert isinstance(pages[-1], RegistryError)
    assert pages[-1].code == "pagination"


def test_pages_are_not_prefetched(ask: Open) -> None:
    with PagingServer(100_000) as server, PagingServer(5000) as other:
        batch_client = ask()
        pages = batch_client.fetch_tags([(0, Reference(server.host, "many"))])
        next(pages)
        assert len(list(batch_client.fetch_tags([(0, Reference(other.host, "many"))]))) == 5
        assert server.request_count <= 3


def test_lists_of_several_repositories(ask: Open, thousand: RunningRegistry) -> None:
    names = [*thousand_tags.TEAM, MIXED, "nothing/here", THOUSAND]
    received: dict[int, list[str]] = {}
    failed = {}
    for number, page in ask().fetch_tags((n, thousand.reference(None, name)) for n, name in enumerate(names)):
        if isinstance(page, ImqError):
            failed[number] = page.code
        else:
            received.setdefault(number, []).extend(page.tags)
    assert failed == {4: "name-unknown"}
    assert {n: sorted(tags) for n, tags in received.items()} == {
        n: sorted(thousand.contents.tags[name]) for n, name in enumerate(names) if n != 4
    }


@pytest.mark.parametrize("body", [b"<html>", b'{"tags":{}}', b'{"tags":[5]}'])
def test_a_page_that_is_not_a_list(ask: Open, body: bytes) -> None:
    with ScriptedServer(Step("GET", "/v2/a/tags/list", 200, {}, body)) as server:
        [(_, answer)] = ask().fetch_tags([(0, Reference(server.host, "a"))])
    assert isinstance(answer, Malformed)
    assert answer.code == "document"


def test_referrers_by_tag_without_the_api(ask: Open, thousand: RunningRegistry) -> None:
    batch_client = ask(jobs=1)
    tags = ["v2.0.0", *["1.0.0"] * 9]
    expected = [
        (n, thousand.reference(None, MIXED), thousand.contents.find(MIXED, t).digest) for n, t in enumerate(tags)
    ]
    received = dict(batch_client.fetch_referrers(expected))
    assert [d.artifact_type for d in received[0]] == [thousand_tags.BILL]  # type: ignore[union-attr]
    assert all(received[number] == [] for number in range(1, 10))
    assert batch_client.request_counts == {"referrers": 1, "manifest": 10}, "the missing API is detected once"


def test_referrers_from_the_api(ask: Open) -> None:
    digests = [Digest.of(str(number).encode()) for number in range(3)]
    with ScriptedServer(any_order=True) as server:
        for number, digest in enumerate(digests):
            entries = [{"mediaType": media_types.OCI_MANIFEST, "digest": d, "size": 5} for d in digests[:number]]
            body = json.dumps({"schemaVersion": 2, "manifests": entries}).encode()
            server.add(Step("GET", f"/v2/a/referrers/{digest}", 200, {"Content-Type": media_types.OCI_INDEX}, body))
        received = dict(ask().fetch_referrers((n, Reference(server.host, "a"), d) for n, d in enumerate(digests)))
    assert (
        {number: [d.digest for d in answer] for number, answer in received.items()}
        == {  # type: ignore[union-attr]
            number: digests[:number] for number in range(3)
        }
    )
