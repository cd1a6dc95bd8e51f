"""What tables of registries remember: by digest for ever, of names for as long as one says, and what explain tells."""

from __future__ import annotations

import re
import sqlite3
from typing import TYPE_CHECKING

import pytest
from imq.grammar.errors import StatementError
from registry.support.fault_proxy import Proxy
from registry.support.query import ask, opened

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from imq.engine.session.session import Session
    from registry.conftest import Thousand

HEAD, DOCUMENT = "HEAD .*/manifests/", "GET .*/manifests/sha256:"
MINUTE = 60 * 10**9


class Clock:
    """A clock that stands still until it is moved on."""

    def __init__(self) -> None:
        self.now = 1_700_000_000 * 10**9

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def proxied(changeable: Thousand) -> Iterator[Proxy]:
    with Proxy(changeable.host) as proxy:
        yield proxy


@pytest.fixture
def timed(tmp_path: Path) -> Iterator[tuple[Session, Clock]]:
    """A session whose time is told by hand."""
    session, clock = opened(tmp_path / "store"), Clock()
    session.context = session.context.replace(clock=clock)
    yield session, clock
    session.close()


def explained(session: Session, text: str) -> int:
    """Return how many requests a question takes at most, as explain says."""
    said = "".join(session.explain_all(text))
    return sum(int(number.replace(",", "")) for number in re.findall(r"at most ([\d,]+)", said))


class TestFresh:
    def test_names_are_asked_for_again_at_first(self, proxied: Proxy, timed: tuple[Session, Clock]) -> None:
        session, _ = timed
        for times in (1, 2):
            ask(session, f"tags of {proxied.host}/mixed where digest is known")
            assert proxied.count(HEAD) == times * 16

    def test_names_count_as_known_for_a_while(self, proxied: Proxy, timed: tuple[Session, Clock]) -> None:
        session, clock = timed
        text = f"set fresh = 10m; tags of {proxied.host}/mixed select name, digest, media_type, created"
        first = ask(session, text).rows
        before = len(proxied.requests)
        clock.now += 9 * MINUTE
        assert ask(session, text).rows == first
        assert [one.path.partition("?")[0] for one in proxied.requests[before:]] == ["/v2/mixed/tags/list"]
        clock.now += MINUTE
        assert ask(session, text).rows == first
        assert proxied.count(HEAD) == 16
        clock.now -= 30 * MINUTE  # what was told in the future was told by another clock
        assert ask(session, text).rows == first
        assert proxied.count(HEAD) == 32

    def test_a_new_tag_is_asked_for_and_one_that_is_gone_is_gone(
        self, proxied: Proxy, changeable: Thousand, timed: tuple[Session, Clock], tmp_path: Path
    ) -> None:
        session, _ = timed
        text = f"set fresh = 1h; tags of {proxied.host}/team/one select tag, digest"
        ask(session, text)
        ask(tmp_path / "other", f"copy {changeable.host}/team/two:latest to {changeable.host}/team/one:new")
        found = {row["tag"]: row["digest"] for row in ask(session, text).rows}
        assert found["new"] == changeable.contents.made("team/two", "latest").digest
        assert proxied.count(HEAD) == 2

    def test_actions_ask_always(self, changeable: Thousand, timed: tuple[Session, Clock], tmp_path: Path) -> None:
        session, _ = timed
        host, one = changeable.host, f"{changeable.host}/team/one:latest"
        new = changeable.contents.made("team/two", "latest").digest
        text = f"set fresh = 1h; tags of {host}/team/one where digest = {new}"
        assert not ask(session, text).rows
        ask(tmp_path / "other", f"copy {host}/team/two:latest to {one}")
        assert not ask(session, text).rows, "it is what was asked for: an answer of up to an hour ago"
        assert ask(session, f"dry run pull tags of {host}/team/one where digest = {new}").column("target") == [one]

    def test_what_imq_itself_has_changed_is_asked_for_anew(
        self, changeable: Thousand, timed: tuple[Session, Clock]
    ) -> None:
        session, _ = timed
        host = changeable.host
        text = f"set fresh = 1h; tags of {host}/team/one select digest"
        ask(session, text)
        ask(session, f"copy {host}/team/two:latest to {host}/team/one:latest")
        assert ask(session, text).column("digest") == [changeable.contents.made("team/two", "latest").digest]

    @pytest.mark.parametrize("wrong", ["soon", "-1h", "10"])
    def test_what_is_no_duration(self, timed: tuple[Session, Clock], wrong: str) -> None:
        session, _ = timed
        with pytest.raises(StatementError):
            list(session.run(f'set fresh = "{wrong}"'))


class TestForesight:
    """What explain says that a question takes, beside what it takes."""

    @pytest.mark.parametrize(
        "condition",
        ["digest is known", "size > 0", "created is known", "digest is known and created is known", "signed is known"],
    )
    def test_the_most_that_is_asked(self, proxied: Proxy, timed: tuple[Session, Clock], condition: str) -> None:
        session, clock = timed
        text = f"tags of {proxied.host}/thousand where {condition}"
        assert "at most" not in "".join(session.explain_all(text)), "nothing is known of it yet"
        ask(session, f"tags of {proxied.host}/thousand")
        for fresh in ("0", "10m"):
            for _ in range(2):
                list(session.run(f"set fresh = {fresh}"))
                most = explained(session, text)
                before = len(proxied.requests)
                assert ask(session, text).rows
                took = [one for one in proxied.requests[before:] if one.path != "/v2/"]
                assert len(took) == most or (condition == "signed is known" and len(took) < most)
                clock.now += MINUTE

    def test_names_with_their_tags(self, proxied: Proxy, timed: tuple[Session, Clock]) -> None:
        session, clock = timed
        text = f"set fresh = 5m; tags of {proxied.host}/thousand:v1, {proxied.host}/thousand:v2 select created"
        for most in (6, 0):
            assert explained(session, text) == most
            ask(session, text)
        clock.now += 6 * MINUTE
        assert explained(session, text) == 2

    def test_how_old_what_is_told_may_be(self, proxied: Proxy, timed: tuple[Session, Clock]) -> None:
        session, clock = timed
        text = f"set fresh = 10m; tags of {proxied.host}/thousand where digest is known"
        ask(session, f"{text} and tag like 'v1?'")
        clock.now += 4 * MINUTE
        said = "".join(session.explain_all(text))
        assert "at most 10 if nothing has changed; of 20 tags 10 are fresh, the oldest requested 4 minutes ago" in said
        assert "fresh" not in "".join(
            session.explain_all(f"pull tags of {proxied.host}/thousand where digest is known")
        )

    def test_an_index_takes_its_images_manifest_too(self, proxied: Proxy, timed: tuple[Session, Clock]) -> None:
        session, _ = timed
        text = f"tags of {proxied.host}/mixed:multi where created is known"
        said = "".join(session.explain_all(text))
        assert "1 more for each of 1 new name of an index" in said
        most = []
        for _ in range(2):
            most.append(explained(session, text))
            before = len(proxied.requests)
            ask(session, text)
            assert len(proxied.requests) - before == most[-1] + ("new name" in said)
            said = "".join(session.explain_all(text))
        assert most == [3, 1]
        arm = text.replace("where", "where platform = linux/arm64 and")
        assert explained(session, arm) == 3, "the manifest and the config of another image"


def test_a_memory_of_an_earlier_version_is_taken_over(proxied: Proxy, tmp_path: Path) -> None:
    root = tmp_path / "store"
    text = f"tags of {proxied.host}/mixed select tag, created"
    first = ask(root, text).rows
    with sqlite3.connect(root / "remote.db") as memory:
        memory.execute("DROP TABLE tag")
        memory.execute("DROP TABLE tag_count")
        memory.execute("DROP TABLE config")
        memory.execute("DROP TABLE step")
        memory.execute("CREATE TABLE tag (registry, repository, tag, digest)")
        memory.execute("CREATE TABLE config (digest)")
        memory.execute("PRAGMA user_version = 1")
    memory.close()
    before = proxied.count(DOCUMENT)
    assert ask(root, text).rows == first
    assert proxied.count(DOCUMENT) == 2 * before > 0, "documents of an earlier version are requested again"
    with sqlite3.connect(root / "remote.db") as memory:
        assert memory.execute("SELECT count(*) FROM document").fetchone()[0]
    memory.close()
