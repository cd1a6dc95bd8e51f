"""The cache of registry tables: documents do not expire, tags expire after `fresh`, and explain estimates with it."""

from __future__ import annotations

import re
import shutil
import sqlite3
from typing import TYPE_CHECKING

import pytest
from imq.grammar.errors import StatementError
from registry.support.fault_proxy import FaultProxy
from registry.support.query import execute, open_session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from imq.engine.session.session import Session
    from registry.conftest import RunningRegistry

HEAD, DOCUMENT = "HEAD .*/manifests/", "GET .*/manifests/sha256:"
MINUTE = 60 * 10**9


class Clock:
    """A clock that changes only when `now` is set."""

    def __init__(self) -> None:
        self.now = 1_700_000_000 * 10**9

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def proxied(changeable: RunningRegistry) -> Iterator[FaultProxy]:
    with FaultProxy(changeable.host) as proxy:
        yield proxy


@pytest.fixture
def timed(tmp_path: Path) -> Iterator[tuple[Session, Clock]]:
    """A session with a manual clock."""
    session, clock = open_session(tmp_path / "store"), Clock()
    session.context = session.context.replace(clock=clock)
    yield session, clock
    session.close()


def explain_requests(session: Session, text: str) -> int:
    """Return the maximum number of requests of a query, as explain estimates it."""
    explanation = "".join(session.explain_all(text))
    return sum(int(number.replace(",", "")) for number in re.findall(r"at most ([\d,]+)", explanation))


class TestFresh:
    def test_names_are_requested_again_after_half_a_minute_by_default(
        self, proxied: FaultProxy, timed: tuple[Session, Clock]
    ) -> None:
        session, clock = timed
        text = f"tags of {proxied.host}/mixed where digest is known"
        for seconds, count in ((0, 16), (29, 16), (1, 32)):
            clock.now += seconds * 10**9
            execute(session, text)
            assert proxied.count_requests(HEAD) == count
        assert "; tags for 30 seconds (set fresh)" in "".join(session.explain_all(text))

    def test_names_are_always_requested_without_a_cache(
        self, proxied: FaultProxy, timed: tuple[Session, Clock]
    ) -> None:
        session, _ = timed
        text = f"set fresh = 0; tags of {proxied.host}/mixed where digest is known"
        for times in (1, 2):
            execute(session, text)
            assert proxied.count_requests(HEAD) == times * 16
        assert "set fresh)" not in "".join(session.explain_all(text))

    def test_assertions_always_request_tags_again(self, proxied: FaultProxy, timed: tuple[Session, Clock]) -> None:
        session, _ = timed
        text = f"assert no (tags of {proxied.host}/mixed where digest is unknown)"
        for times in (1, 2):
            list(session.run(text))
            assert proxied.count_requests(HEAD) == times * 16
        assert "set fresh)" not in "".join(session.explain_all(text))

    def test_cached_digests_are_fresh_for_a_while(self, proxied: FaultProxy, timed: tuple[Session, Clock]) -> None:
        session, clock = timed
        text = f"set fresh = 10m; tags of {proxied.host}/mixed select name, digest, media_type, created"
        first = execute(session, text).rows
        before = len(proxied.requests)
        clock.now += 9 * MINUTE
        assert execute(session, text).rows == first
        assert [one.path.partition("?")[0] for one in proxied.requests[before:]] == ["/v2/mixed/tags/list"]
        clock.now += MINUTE
        assert execute(session, text).rows == first
        assert proxied.count_requests(HEAD) == 16
        clock.now -= 30 * MINUTE  # a time in the future comes from another clock
        assert execute(session, text).rows == first
        assert proxied.count_requests(HEAD) == 32

    def test_new_tags_are_requested_and_removed_ones_disappear(
        self, proxied: FaultProxy, changeable: RunningRegistry, timed: tuple[Session, Clock], tmp_path: Path
    ) -> None:
        session, _ = timed
        text = f"set fresh = 1h; tags of {proxied.host}/team/one select tag, digest"
        execute(session, text)
        execute(tmp_path / "other", f"copy {changeable.host}/team/two:latest to {changeable.host}/team/one:new")
        result = {row["tag"]: row["digest"] for row in execute(session, text).rows}
        assert result["new"] == changeable.contents.find("team/two", "latest").digest
        assert proxied.count_requests(HEAD) == 2

    def test_actions_always_request_tags_again(
        self, changeable: RunningRegistry, timed: tuple[Session, Clock], tmp_path: Path
    ) -> None:
        session, _ = timed
        host, one = changeable.host, f"{changeable.host}/team/one:latest"
        new = changeable.contents.find("team/two", "latest").digest
        text = f"set fresh = 1h; tags of {host}/team/one where digest = {new}"
        assert not execute(session, text).rows
        execute(tmp_path / "other", f"copy {host}/team/two:latest to {one}")
        assert not execute(session, text).rows, "it is what was asked for: an answer of up to an hour ago"
        assert execute(session, f"dry run pull tags of {host}/team/one where digest = {new}").column("target") == [one]

    def test_tags_are_requested_again_after_a_write(
        self, changeable: RunningRegistry, timed: tuple[Session, Clock]
    ) -> None:
        session, _ = timed
        host = changeable.host
        text = f"set fresh = 1h; tags of {host}/team/one select digest"
        execute(session, text)
        execute(session, f"copy {host}/team/two:latest to {host}/team/one:latest")
        assert execute(session, text).column("digest") == [changeable.contents.find("team/two", "latest").digest]

    @pytest.mark.parametrize("wrong", ["soon", "-1h", "10"])
    def test_an_invalid_duration(self, timed: tuple[Session, Clock], wrong: str) -> None:
        session, _ = timed
        with pytest.raises(StatementError):
            list(session.run(f'set fresh = "{wrong}"'))


class TestEstimates:
    """The estimates of explain, compared with the requests of the query."""

    @pytest.mark.parametrize(
        "condition",
        ["digest is known", "size > 0", "created is known", "digest is known and created is known", "signed is known"],
    )
    def test_the_upper_bound_of_requests(
        self, proxied: FaultProxy, timed: tuple[Session, Clock], condition: str
    ) -> None:
        session, clock = timed
        text = f"tags of {proxied.host}/thousand where {condition}"
        assert "at most" not in "".join(session.explain_all(text)), "nothing is cached yet"
        execute(session, f"tags of {proxied.host}/thousand")
        for fresh in ("0", "10m"):
            for _ in range(2):
                list(session.run(f"set fresh = {fresh}"))
                estimates = explain_requests(session, text)
                before = len(proxied.requests)
                assert execute(session, text).rows
                took = [one for one in proxied.requests[before:] if one.path != "/v2/"]
                assert len(took) == estimates or (condition == "signed is known" and len(took) < estimates)
                clock.now += MINUTE

    def test_names_with_their_tags(self, proxied: FaultProxy, timed: tuple[Session, Clock]) -> None:
        session, clock = timed
        text = f"set fresh = 5m; tags of {proxied.host}/thousand:v1, {proxied.host}/thousand:v2 select created"
        for estimates in (6, 0):
            assert explain_requests(session, text) == estimates
            execute(session, text)
        clock.now += 6 * MINUTE
        assert explain_requests(session, text) == 2

    def test_explain_shows_the_age_of_fresh_tags(self, proxied: FaultProxy, timed: tuple[Session, Clock]) -> None:
        session, clock = timed
        text = f"set fresh = 10m; tags of {proxied.host}/thousand where digest is known"
        execute(session, f"{text} and tag like 'v1?'")
        clock.now += 4 * MINUTE
        explanation = "".join(session.explain_all(text))
        assert (
            "at most 10 if nothing has changed; of 20 tags 10 are fresh, the oldest requested 4 minutes ago"
            in explanation
        )
        assert "fresh" not in "".join(
            session.explain_all(f"pull tags of {proxied.host}/thousand where digest is known")
        )

    def test_the_estimate_of_an_index_includes_its_manifest(
        self, proxied: FaultProxy, timed: tuple[Session, Clock]
    ) -> None:
        session, _ = timed
        text = f"set fresh = 0; tags of {proxied.host}/mixed:multi where created is known"
        explanation = "".join(session.explain_all(text))
        assert "1 more for each of 1 new name of an index" in explanation
        estimates = []
        for _ in range(2):
            estimates.append(explain_requests(session, text))
            before = len(proxied.requests)
            execute(session, text)
            assert len(proxied.requests) - before == estimates[-1] + ("new name" in explanation)
            explanation = "".join(session.explain_all(text))
        assert estimates == [3, 1]
        arm = text.replace("where", "where platform = linux/arm64 and")
        assert explain_requests(session, arm) == 3, "the manifest and the config of another image"


def test_a_cache_that_came_with_a_copied_store_is_not_believed(proxied: FaultProxy, tmp_path: Path) -> None:
    root, copy = tmp_path / "store", tmp_path / "copy"
    text = f"tags of {proxied.host}/mixed select tag, created, author"
    first = execute(root, text).rows
    shutil.copytree(root, copy)
    with sqlite3.connect(copy / "remote.db") as other:
        assert other.execute("UPDATE config SET author = 'forged'").rowcount
    other.close()
    assert execute(copy, text).rows == first
    with sqlite3.connect(copy / "remote.db") as other:
        assert not other.execute("SELECT 1 FROM config WHERE author = 'forged'").fetchall()
    other.close()


ENDLESS = (
    "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) AS digest, 'x' AS value FROM n"
)
FOREIGN = {
    "a view in place of the documents": f"DROP TABLE document; CREATE VIEW document AS {ENDLESS}",
    "a view in place of the origin": f"DROP TABLE origin; CREATE VIEW origin AS {ENDLESS}",
    "a trigger": "CREATE TRIGGER more AFTER INSERT ON tag BEGIN DELETE FROM tag; END",
    "a table more": "CREATE TABLE more (x)",
    "a missing table": "DROP TABLE step",
}


@pytest.mark.parametrize("case", FOREIGN)
def test_a_cache_with_foreign_tables_is_replaced(proxied: FaultProxy, tmp_path: Path, case: str) -> None:
    root = tmp_path / "store"
    text = f"tags of {proxied.host}/mixed select tag, created"
    first = execute(root, text).rows
    with sqlite3.connect(root / "remote.db") as other:
        other.executescript(FOREIGN[case])
    other.close()
    assert execute(root, text).rows == first
    with sqlite3.connect(root / "remote.db") as other:
        objects = dict(other.execute("SELECT name, type FROM sqlite_master").fetchall())
        assert objects["document"] == objects["origin"] == objects["step"] == "table"
        assert not {"more"} & objects.keys()
    other.close()


def test_a_cache_of_an_earlier_version_is_migrated(proxied: FaultProxy, tmp_path: Path) -> None:
    root = tmp_path / "store"
    text = f"tags of {proxied.host}/mixed select tag, created"
    first = execute(root, text).rows
    with sqlite3.connect(root / "remote.db") as memory:
        memory.execute("DROP TABLE tag")
        memory.execute("DROP TABLE tag_count")
        memory.execute("DROP TABLE config")
        memory.execute("DROP TABLE step")
        memory.execute("CREATE TABLE tag (registry, repository, tag, digest)")
        memory.execute("CREATE TABLE config (digest)")
        memory.execute("PRAGMA user_version = 1")
    memory.close()
    before = proxied.count_requests(DOCUMENT)
    assert execute(root, text).rows == first
    assert proxied.count_requests(DOCUMENT) == 2 * before > 0, "documents of an earlier version are requested again"
    with sqlite3.connect(root / "remote.db") as memory:
        assert memory.execute("SELECT count(*) FROM document").fetchone()[0]
    memory.close()
