"""Thousands of small questions: a registry with a thousand tags, and what can be wrong with one tag or with all."""

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
from registry.support.fault_proxy import Fault, Passed, Proxy, Reply, reset, spoilt, status
from registry.support.fault_proxy import redirect as redirected
from registry.support.paging_server import Paging, tag
from registry.support.sample_images import PASSWORD, USER
from registry.support.scripted_server import Scripted, Step
from registry.support.thousand_tags import MIXED, THOUSAND, created_in
from support.servers import free_port
from support.waiting import soon

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from pathlib import Path
    from typing import Any

    from imq.engine.registry.client import Client
    from registry.conftest import Authority, Thousand
    from registry.support.token_server import TokenServer

    Open = Callable[..., BatchClient]


@pytest.fixture
def ask(connect: Callable[..., Client]) -> Iterator[Open]:
    """Make askers whose clients wait hardly at all before they try again, and close them."""
    made: list[BatchClient] = []

    def make(jobs: int = 8, **settings: object) -> BatchClient:
        made.append(BatchClient(connect(**settings), jobs))
        return made[-1]

    yield make
    for many in made:
        many.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("imq-asking") and not _ends(t)]


def _ends(thread: threading.Thread) -> bool:
    thread.join(5)
    return not thread.is_alive()


def created(many: BatchClient, references: dict[int, Reference]) -> dict[int, datetime | None]:
    """Return when the images were made, the config of each asked for as soon as its manifest is there."""

    def wanted() -> Iterator[tuple[int, Reference, Descriptor]]:
        for number, fetched in many.fetch_manifests(references.items()):
            assert not isinstance(fetched, ImqError), fetched
            manifest = parse_manifest(fetched.content, fetched.media_type)
            assert not hasattr(manifest, "manifests")
            yield number, references[number], manifest.config

    found = {}
    for number, content in many.fetch_configs(wanted()):
        assert isinstance(content, bytes), content
        found[number] = created_in(content)
    return found


def before(proxy: Proxy, references: dict[int, Reference], count: int | None = None) -> dict[int, Reference]:
    """Return the same names at the proxy, the first few of them."""
    return {number: references[number].replace(registry=proxy.host) for number in list(references)[:count]}


def problems(answers: dict[int, Any]) -> dict[int, ImqError]:
    return {number: answer for number, answer in answers.items() if isinstance(answer, ImqError)}


# What works


def test_when_hundreds_of_images_were_made(ask: Open, thousand: Thousand) -> None:
    many = ask()
    references = dict(list(thousand.numbered().items())[:300])
    by_tag = thousand.contents.created()
    assert created(many, references) == {number: by_tag[name.tag or ""] for number, name in references.items()}
    assert many.request_counts == {"manifest": 300, "blob": 300}


def test_what_a_thousand_tags_stand_for(ask: Open, thousand: Thousand) -> None:
    many = ask()
    references = thousand.numbered()
    found = dict(many.fetch_heads(references.items()))
    assert found == {
        number: Descriptor(made.media_type, made.digest, len(made.content))
        for number, name in references.items()
        for made in [thousand.contents.made(THOUSAND, name.tag or "")]
    }
    assert many.request_counts == {"head": 1000}


def test_what_is_still_as_it_was_is_not_read_again(ask: Open, thousand: Thousand) -> None:
    """Whoever knows what a name stood for asks whether that has changed."""
    right = thousand.contents.made(THOUSAND, "v1")
    known = Descriptor(right.media_type, right.digest, len(right.content))
    lied = Fault("HEAD .*/v3$", answer=status(304, Docker_Content_Digest="sha256:" + "0" * 64), times=1)
    denied = Fault("HEAD .*/v4$", answer=status(304))
    with Proxy(thousand.host, lied, denied) as proxy:
        references = before(proxy, thousand.numbered(), 5)
        found = dict(ask().fetch_heads(references.items(), {1: known, 2: known, 3: known}))
        asked = [one.path.rpartition("/")[2] for one in proxy.requests if "If-None-Match" in one.headers]
        whole = [one.path.rpartition("/")[2] for one in proxy.requests if one.method == "GET"]
    assert "v4" in whole, "who is not asked for a change cannot say that there is none"
    made = {number: thousand.contents.made(THOUSAND, f"v{number}") for number in range(5)}
    assert found == {n: Descriptor(one.media_type, one.digest, len(one.content)) for n, one in made.items()}
    assert sorted(asked) == ["v1", "v2", "v3"]


def test_ten_of_a_thousand_take_twenty_one_requests(ask: Open, thousand: Thousand) -> None:
    many = ask()
    [(_, page)] = many.fetch_tags([(0, thousand.reference())])
    assert isinstance(page, TagPage)
    assert page.is_last
    assert sorted(page.tags) == sorted(thousand.contents.tags[THOUSAND])
    wanted = [name for name in page.tags if name.startswith("v99") and len(name) == 4]
    assert len(created(many, {number: thousand.reference(name) for number, name in enumerate(wanted)})) == 10
    assert many.request_counts == {"tags": 1, "manifest": 10, "blob": 10}


def test_what_else_is_in_repositories(ask: Open, thousand: Thousand) -> None:
    references = thousand.numbered(MIXED)
    for number, fetched in ask().fetch_manifests(references.items()):
        assert not isinstance(fetched, ImqError)
        made = thousand.contents.made(MIXED, references[number].tag or "")
        assert (fetched.digest, fetched.content, fetched.media_type) == (made.digest, made.content, made.media_type)


def test_the_bound_holds_for_all_calls_together(ask: Open, thousand: Thousand) -> None:
    with Proxy(thousand.host, Fault(".*", latency=0.01)) as proxy:
        references = before(proxy, thousand.numbered(), 60)
        assert len(created(ask(jobs=3), references)) == 60
        assert proxy.most == 3


def test_answers_come_as_they_are_there(ask: Open, thousand: Thousand) -> None:
    held = Fault("GET .*/manifests/v0$", latency=1.0)
    with Proxy(thousand.host, held) as proxy:
        references = before(proxy, thousand.numbered(), 30)
        asked = ask(jobs=4).fetch_manifests(
            [(99, thousand.reference("v5").replace(registry=proxy.host)), *references.items()]
        )
        order = [number for number, _ in asked]
    assert order[-1] == 0
    assert len(order) == 31


def test_a_slow_network_is_waited_for_once_and_not_a_thousand_times(ask: Open, thousand: Thousand) -> None:
    with Proxy(thousand.host, Fault(".*", latency=0.05)) as proxy:
        references = before(proxy, thousand.numbered(), 160)
        assert not problems(dict(ask(jobs=16).fetch_heads(references.items())))
        assert proxy.most > 8


def test_no_more_is_asked_than_is_taken(ask: Open, thousand: Thousand) -> None:
    many = ask(jobs=4)
    answers = many.fetch_heads(thousand.numbered().items())
    for _ in range(5):
        next(answers)
    answers.close()  # type: ignore[attr-defined]
    assert many.request_counts["head"] <= 5 + 2 * 4
    assert len(dict(many.fetch_heads(list(thousand.numbered().items())[:20]))) == 20, "and it goes on being of use"


# Who is let in


def test_basic_auth(ask: Open, thousand_guarded: Thousand, tmp_path: Path) -> None:
    login = {thousand_guarded.host: {"auth": base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()}}
    (tmp_path / "config.json").write_text(json.dumps({"auths": login}))
    many = ask(environment={"DOCKER_CONFIG": str(tmp_path)})
    assert not problems(dict(many.fetch_heads(list(thousand_guarded.numbered().items())[:300])))
    assert many.request_counts["head"] == 301, "one is refused, and the rest knows"


def test_who_is_not_let_in_is_told_so_once(ask: Open, thousand_guarded: Thousand) -> None:
    many = ask()
    answers = dict(many.fetch_manifests(thousand_guarded.numbered().items()))
    assert {problem.code for problem in problems(answers).values()} == {"unauthorized"}
    assert len(problems(answers)) == 1000
    assert many.request_counts == {"manifest": 1}


def test_nobody_is_let_in_anywhere(ask: Open, thousand_guarded: Thousand) -> None:
    many = ask(jobs=2)
    names = {number: Reference(thousand_guarded.host, f"team/r{number}", "1") for number in range(100)}
    answers = dict(many.fetch_manifests(names.items()))
    assert {problem.code for problem in problems(answers).values()} == {"unauthorized"}
    assert many.request_counts["manifest"] < 20


def test_tls_of_an_authority_of_ones_own(ask: Open, thousand_tls: Thousand, authority: Authority) -> None:
    many = ask(environment={"SSL_CERT_FILE": authority.certificate})
    references = dict(list(thousand_tls.numbered().items())[:100])
    assert len(created(many, references)) == 100
    assert many.request_counts["manifest"] == 101, "the first found out that it is TLS that is spoken"


def test_tls_that_is_not_trusted(connect: Callable[..., Client], ask: Open, thousand_tls: Thousand) -> None:
    connection = connect()
    with pytest.raises(RegistryError) as caught:
        connection.http.connect(f"https://{thousand_tls.host}".replace("127.0.0.1", "localhost.localdomain"))
    assert caught.value.code in ("tls", "unreachable")
    name = Reference(thousand_tls.host, THOUSAND, "v1")
    assert not problems(dict(ask().fetch_heads([(0, name)]))), "the loopback is trusted, whatever certificate it shows"


def test_a_token_is_fetched_once(ask: Open, thousand_tokens: tuple[Thousand, TokenServer]) -> None:
    registry, tokens = thousand_tokens
    many = ask()
    assert not problems(dict(many.fetch_heads(list(registry.numbered().items())[:300])))
    assert len(tokens.asked) == 1
    assert many.request_counts == {"head": 301, "other": 1}


def test_a_token_that_expires_half_way_is_renewed_once(
    ask: Open, thousand_tokens: tuple[Thousand, TokenServer]
) -> None:
    registry, tokens = thousand_tokens
    challenge = f'Bearer realm="{tokens.realm}",service="registry, for tests",scope="repository:{THOUSAND}:pull"'

    class Forgetful(Proxy):
        """Lets the token that it saw first in for sixty requests."""

        first = ""

        def met(self, request: Passed) -> list[Fault]:
            known = request.headers.get("Authorization", "")
            self.first = self.first or known
            too_old = known == self.first and len(self.requests) > 60
            found = super().met(request)
            return [Fault(answer=status(401, WWW_Authenticate=challenge))] if too_old else found

    with Forgetful(registry.host) as proxy:
        references = before(proxy, registry.numbered(), 200)
        assert len(created(ask(), references)) == 200
        assert len(proxy.requests) <= 400 + 1 + 2 * 8 + 2
    assert len(tokens.asked) == 2


def test_a_repository_that_is_not_for_us(ask: Open, thousand_tokens: tuple[Thousand, TokenServer]) -> None:
    registry, _ = thousand_tokens
    names = [registry.reference("v1"), registry.reference("1", "secret/a"), registry.reference("v2")] * 20
    answers = dict(ask().fetch_heads(enumerate(names)))
    failed = problems(answers)
    assert sorted(failed) == list(range(1, 60, 3))
    assert {problem.code for problem in failed.values()} <= {"unauthorized", "denied"}


# What is wrong with one item


def test_a_tag_that_has_vanished(ask: Open, thousand: Thousand) -> None:
    names = [thousand.reference("v1"), thousand.reference("gone"), thousand.reference("v2")]
    for answers in (dict(ask().fetch_manifests(enumerate(names))), dict(ask().fetch_heads(enumerate(names)))):
        failed = problems(answers)
        assert {number: problem.code for number, problem in failed.items()} == {1: "manifest-unknown"}
        assert failed[1].message.startswith(f"manifest for {names[1]} not found: ")


SCHEMA1 = status(200, b'{"schemaVersion":1}', Content_Type=media_types.DOCKER_SCHEMA1_SIGNED)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (status(200, b"<html>", Content_Type="text/html; charset=utf-8"), "not-a-registry"),
        (status(200, b"\x89PNG", Content_Type="image/png"), "content-type"),
        (
            status(200, b"{}", Content_Type=media_types.OCI_MANIFEST, Docker_Content_Digest="sha256:" + "0" * 64),
            "digest-mismatch",
        ),
        (status(403, b'{"errors":[{"code":"DENIED","message":"quarantined"}]}'), "denied"),
        (status(404, b"<html>no</html>"), "manifest-unknown"),
        (status(500), "registry"),
        (status(410), "registry"),
    ],
)
def test_one_bad_answer_among_good_ones(
    ask: Open, thousand: Thousand, answer: Callable[[str], Reply], code: str
) -> None:
    with Proxy(thousand.host, Fault("GET .*/manifests/v7$", answer=answer)) as proxy:
        answers = dict(ask().fetch_manifests(before(proxy, thousand.numbered(), 50).items()))
    assert len(answers) == 50
    assert {number: problem.code for number, problem in problems(answers).items()} == {7: code}


def test_schema_1_is_handed_on_by_its_type_and_refused_by_who_reads_it(ask: Open, thousand: Thousand) -> None:
    with Proxy(thousand.host, Fault("GET .*/manifests/v7$", answer=SCHEMA1)) as proxy:
        answers = dict(ask().fetch_manifests(before(proxy, thousand.numbered(), 9).items()))
    fetched = answers[7]
    assert not isinstance(fetched, ImqError)
    with pytest.raises(Malformed) as caught:
        parse_manifest(fetched.content, fetched.media_type)
    assert caught.value.code == "schema1"


def test_blobs_that_are_not_what_was_asked_for(ask: Open, thousand: Thousand) -> None:
    name = thousand.reference("v3")
    config = thousand.contents.made(THOUSAND, "v3").config
    assert config is not None
    many = ask()
    right = next(iter(many.fetch_manifests([(0, name)])))[1]
    assert not isinstance(right, ImqError)
    described = parse_manifest(right.content, right.media_type).config  # type: ignore[union-attr]
    wrong = [
        described,
        described.replace(size=described.size - 1),
        described.replace(size=described.size + 1),
        described.replace(size=5 << 20),
        described.replace(digest=Digest("sha256:" + "1" * 64)),
    ]
    answers = dict(many.fetch_configs((number, name, descriptor) for number, descriptor in enumerate(wrong)))
    assert [getattr(answers[number], "code", "") for number in range(5)] == [
        "",
        DigestMismatch.code,
        DigestMismatch.code,
        "document-size",
        "blob-unknown",
    ]
    with Proxy(thousand.host, Fault("GET .*/blobs/", change=spoilt)) as proxy:
        [(_, answer)] = many.fetch_configs([(0, name.replace(registry=proxy.host), described)])
    assert isinstance(answer, DigestMismatch)


@pytest.mark.parametrize("refusal", [400, 401, 403, 404, 410, 501])
def test_heads_that_are_refused_are_asked_for_whole(ask: Open, thousand: Thousand, refusal: int) -> None:
    """A name counts as absent or denied only when GET says so, too."""
    with Proxy(thousand.host, Fault("HEAD .*/manifests/", answer=status(refusal))) as proxy:
        references = before(proxy, thousand.numbered(), 3) | {
            9: thousand.reference("gone").replace(registry=proxy.host)
        }
        many = ask()
        found = dict(many.fetch_heads(references.items()))
        made = [thousand.contents.made(THOUSAND, f"v{number}") for number in range(3)]
        assert [found.pop(number) for number in range(3)] == [
            Descriptor(one.media_type, one.digest, len(one.content)) for one in made
        ]
        assert problems(found)[9].code == "manifest-unknown"
        assert many.request_counts["manifest"] in (4, 5), "one more may be asked whether the host wants TLS"


def test_probes_are_believed_where_head_answers(ask: Open, thousand: Thousand) -> None:
    names = {number: thousand.reference(f"gone-{number}") for number in range(5)}
    many = ask()
    dict(many.fetch_heads([(0, thousand.reference("v1"))]))
    assert set(problems(dict(many.fetch_heads(names.items(), expect_missing=True)))) == set(names)
    assert many.request_counts == {"head": 6}
    assert set(problems(dict(many.fetch_heads(names.items())))) == set(names)
    assert many.request_counts["manifest"] == 5


def test_heads_that_say_too_little_are_asked_for_whole(ask: Open, thousand: Thousand) -> None:
    def silent(reply: Reply) -> None:
        reply.headers.pop("Docker-Content-Digest")

    faults = Fault("HEAD .*/v1[0-9]$", answer=status(405)), Fault("HEAD .*/v2[0-9]$", change=silent)
    with Proxy(thousand.host, *faults) as proxy:
        references = before(proxy, thousand.numbered(), 30)
        many = ask()
        for number, found in many.fetch_heads(references.items()):
            made = thousand.contents.made(THOUSAND, f"v{number}")
            assert found == Descriptor(made.media_type, made.digest, len(made.content))
    assert many.request_counts == {"head": 30, "manifest": 20}


def test_broken_connections_are_made_anew(ask: Open, thousand: Thousand) -> None:
    faults = (
        Fault("GET .*/manifests/", after=10, times=5, change=reset(20)),
        Fault("GET .*/blobs/", times=3, refuse_at=0),
    )
    with Proxy(thousand.host, *faults) as proxy:
        assert len(created(ask(), before(proxy, thousand.numbered(), 60))) == 60


def test_redirects_are_followed_by_the_careful_way(ask: Open, thousand: Thousand) -> None:
    with Proxy(thousand.host, Fault("GET .*/blobs/", answer=redirected(thousand.host))) as proxy:
        many = ask(jobs=4)
        assert len(created(many, before(proxy, thousand.numbered(), 40))) == 40
        assert proxy.count("GET .*/blobs/") <= 40 + 4 + 3, "and soon without trying the other first"


def test_all_goes_the_careful_way_through_a_proxy(
    ask: Open, thousand: Thousand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Transport, "is_direct", lambda *_: False)
    monkeypatch.setattr(Transport, "connect", lambda *_, **__: pytest.fail("a connection past the proxy"))
    assert len(created(ask(jobs=4), dict(list(thousand.numbered().items())[:50]))) == 50


# What is wrong with a whole registry


def test_a_host_that_is_not_there(ask: Open) -> None:
    names = {number: Reference(f"127.0.0.1:{free_port()}", "a", f"v{number}") for number in range(1000)}
    with soon():
        answers = dict(ask().fetch_heads(names.items()))
    assert {problem.code for problem in problems(answers).values()} == {"unreachable"}
    assert len(answers) == 1000


def test_a_host_that_goes_away_half_way(ask: Open, thousand: Thousand) -> None:
    many = ask()
    with Proxy(thousand.host, Fault(".*", after=100, refuse_at=0)) as proxy:
        answers = dict(many.fetch_heads(before(proxy, thousand.numbered()).items()))
    assert len(answers) == 1000
    assert 90 <= 1000 - len(problems(answers)) <= 100
    assert many.request_counts["head"] < 200


def test_a_host_that_says_nothing_is_not_waited_for_a_thousand_times(ask: Open, thousand: Thousand) -> None:
    with Proxy(thousand.host, Fault(".*", after=20, latency=3)) as proxy:
        answers = dict(ask(read_timeout=0.5).fetch_heads(before(proxy, thousand.numbered(), 300).items()))
        assert len(proxy.requests) < 100
    assert "timeout" in {problem.code for problem in problems(answers).values()}
    assert len(answers) == 300


def test_a_host_is_given_up_and_the_others_go_on(ask: Open, thousand: Thousand) -> None:
    gone = f"127.0.0.1:{free_port()}"
    names = {n: Reference(gone, "a", "1") if n % 2 else thousand.reference(f"v{n}") for n in range(200)}
    assert sorted(problems(dict(ask().fetch_heads(names.items())))) == list(range(1, 200, 2))


def test_a_short_wait_is_waited_by_all(ask: Open, thousand: Thousand) -> None:
    with Proxy(thousand.host, Fault(".*", after=50, times=1, answer=status(429, Retry_After="1"))) as proxy:
        start = time.monotonic()
        many = ask()
        assert not problems(dict(many.fetch_heads(before(proxy, thousand.numbered(), 200).items())))
        assert time.monotonic() - start >= 1
        assert many.request_counts["head"] == 201


def test_a_long_wait_ends_it_and_says_when_to_go_on(ask: Open, thousand: Thousand) -> None:
    with Proxy(thousand.host, Fault(".*", after=50, answer=status(429, Retry_After="3600"))) as proxy:
        many = ask()
        answers = dict(many.fetch_heads(before(proxy, thousand.numbered()).items()))
        assert len(answers) == 1000
        assert {problem.code for problem in problems(answers).values()} == {"too-many-requests"}
        assert len(problems(answers)) == 950
        assert many.request_counts["head"] < 50 + 20
        hints = problems(answers)[999].hints
        assert any("requests succeeded before: continue in 1 hour" in hint for hint in hints)
        again = dict(many.fetch_heads(before(proxy, thousand.numbered(), 10).items()))
        assert len(problems(again)) == 10, "and it is not asked again before that"
        assert many.request_counts["head"] < 50 + 20


def test_a_budget_is_not_overdrawn(ask: Open, thousand: Thousand) -> None:
    left = iter(range(39, -1, -1))
    lock = threading.Lock()

    def counted(reply: Reply) -> None:
        with lock:
            reply.headers["RateLimit-Limit"] = "40;w=21600"
            reply.headers["RateLimit-Remaining"] = f"{next(left)};w=21600"

    with Proxy(thousand.host, Fault(".*", change=counted)) as proxy:
        answers = dict(ask().fetch_manifests(before(proxy, thousand.numbered(), 300).items()))
        assert len(proxy.requests) == 40
    failed = problems(answers)
    assert len(failed) == 260
    assert {problem.code for problem in failed.values()} == {"too-many-requests"}
    assert "limit: 40 requests in 6 hours, 0 remaining" in failed[299].message
    assert "40 requests succeeded before: continue in 6 hours" in failed[299].hints


def test_a_budget_that_is_soon_renewed_is_waited_for(ask: Open, thousand: Thousand) -> None:
    def spent(reply: Reply) -> None:
        reply.headers.update({"RateLimit-Remaining": "0", "RateLimit-Reset": "1"})

    with Proxy(thousand.host, Fault(".*", after=20, times=1, change=spent)) as proxy:
        start = time.monotonic()
        assert not problems(dict(ask(jobs=1).fetch_heads(before(proxy, thousand.numbered(), 30).items())))
        assert time.monotonic() - start >= 1


def test_a_registry_that_fails_for_everything(ask: Open, thousand: Thousand) -> None:
    with Proxy(thousand.host, Fault(".*", answer=status(500))) as proxy:
        many = ask()
        answers = dict(many.fetch_heads(before(proxy, thousand.numbered()).items()))
        assert len(problems(answers)) == 1000
        assert many.request_counts["head"] < 200


# Calling off


def test_an_interrupt_ends_it_at_once(ask: Open, thousand: Thousand) -> None:
    with Proxy(thousand.host, Fault(".*", after=30, latency=300)) as proxy:
        many = ask(read_timeout=300)
        answers = many.fetch_heads(before(proxy, thousand.numbered()).items())
        alarm = threading.Timer(0.7, os.kill, [os.getpid(), signal.SIGINT])
        alarm.start()
        with soon(), pytest.raises(KeyboardInterrupt):
            for _ in answers:
                pass
        many.close()
        asked = len(proxy.requests)
        time.sleep(0.1)
        assert len(proxy.requests) == asked


def test_what_is_closed_says_so(ask: Open, thousand: Thousand) -> None:
    many = ask()
    answers = many.fetch_heads(thousand.numbered().items())
    next(answers)
    many.close()
    with pytest.raises(Interrupted):
        list(answers)


# Lists


def test_a_hundred_thousand_tags_page_by_page(ask: Open) -> None:
    with Paging(100_000) as server:
        pages = [page for _, page in ask().fetch_tags([(0, Reference(server.host, "many"))])]
        assert server.asked == 100
    assert [page.is_last for page in pages if isinstance(page, TagPage)] == [False] * 99 + [True]
    assert [name for page in pages if isinstance(page, TagPage) for name in page.tags] == [
        tag(n) for n in range(100_000)
    ]


def test_pages_in_a_circle_keep_what_was_listed(ask: Open) -> None:
    with Paging(50_000, circle=7) as server:
        pages = [page for _, page in ask().fetch_tags([(0, Reference(server.host, "many"))])]
        assert server.asked == 9, "the first page came once more, under another address"
    assert sum(len(page.tags) for page in pages if isinstance(page, TagPage)) == 8000
    assert isinstance(pages[-1], RegistryError)
    assert pages[-1].code == "pagination"


def test_pages_are_not_fetched_ahead_of_who_reads_them(ask: Open) -> None:
    with Paging(100_000) as server, Paging(5000) as other:
        many = ask()
        pages = many.fetch_tags([(0, Reference(server.host, "many"))])
        next(pages)
        assert len(list(many.fetch_tags([(0, Reference(other.host, "many"))]))) == 5
        assert server.asked <= 3


def test_lists_of_several_repositories(ask: Open, thousand: Thousand) -> None:
    names = [*thousand_tags.TEAM, MIXED, "nothing/here", THOUSAND]
    found: dict[int, list[str]] = {}
    failed = {}
    for number, page in ask().fetch_tags((n, thousand.reference(None, name)) for n, name in enumerate(names)):
        if isinstance(page, ImqError):
            failed[number] = page.code
        else:
            found.setdefault(number, []).extend(page.tags)
    assert failed == {4: "name-unknown"}
    assert {n: sorted(tags) for n, tags in found.items()} == {
        n: sorted(thousand.contents.tags[name]) for n, name in enumerate(names) if n != 4
    }


@pytest.mark.parametrize("body", [b"<html>", b'{"tags":{}}', b'{"tags":[5]}'])
def test_a_page_that_is_no_list(ask: Open, body: bytes) -> None:
    with Scripted(Step("GET", "/v2/a/tags/list", 200, {}, body)) as server:
        [(_, answer)] = ask().fetch_tags([(0, Reference(server.host, "a"))])
    assert isinstance(answer, Malformed)
    assert answer.code == "document"


def test_referrers_under_their_tag_where_there_is_no_api(ask: Open, thousand: Thousand) -> None:
    many = ask(jobs=1)
    tags = ["v2.0.0", *["1.0.0"] * 9]
    wanted = [(n, thousand.reference(None, MIXED), thousand.contents.made(MIXED, t).digest) for n, t in enumerate(tags)]
    found = dict(many.fetch_referrers(wanted))
    assert [d.artifact_type for d in found[0]] == [thousand_tags.BILL]  # type: ignore[union-attr]
    assert all(found[number] == [] for number in range(1, 10))
    assert many.request_counts == {"referrers": 1, "manifest": 10}, "that there is none is learnt once"


def test_referrers_of_the_api(ask: Open) -> None:
    digests = [Digest.of(str(number).encode()) for number in range(3)]
    with Scripted(loose=True) as server:
        for number, digest in enumerate(digests):
            entries = [{"mediaType": media_types.OCI_MANIFEST, "digest": d, "size": 5} for d in digests[:number]]
            body = json.dumps({"schemaVersion": 2, "manifests": entries}).encode()
            server.add(Step("GET", f"/v2/a/referrers/{digest}", 200, {"Content-Type": media_types.OCI_INDEX}, body))
        found = dict(ask().fetch_referrers((n, Reference(server.host, "a"), d) for n, d in enumerate(digests)))
    assert (
        {number: [d.digest for d in answer] for number, answer in found.items()}
        == {  # type: ignore[union-attr]
            number: digests[:number] for number in range(3)
        }
    )
