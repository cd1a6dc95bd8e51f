"""Registries as tables: the requests and the rows of queries, with a real docker-registry."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as tried
from hypothesis import strategies as st
from imq.engine.configuration.configuration import Configuration, Registry
from imq.engine.oci import media_types
from imq.engine.oci.platform import Platform
from imq.grammar.errors import ImqError
from registry.support import thousand_tags as written
from registry.support.fault_proxy import Fault, FaultProxy, Reply, reply_with
from registry.support.query import QueryResult, execute, open_session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from imq.engine.session.session import Session
    from registry.conftest import RunningRegistry

LIST, HEAD, MANIFEST, BLOB = "GET .*/tags/list", "HEAD .*/manifests/", "GET .*/manifests/", "GET .*/blobs/"
MULTI = ["linux/amd64", "linux/arm64", "linux/arm/v7"]


@pytest.fixture(scope="module")
def warm(thousand: RunningRegistry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """A session for amd64 whose cache has all of `mixed`."""
    session = open_session(tmp_path_factory.mktemp("warm") / "store", platform=Platform("linux", "amd64"))
    execute(session, f"tags of {thousand.host}/mixed select tag, created, signed")
    yield session
    session.close()


class TestTags:
    def test_listed_referrers(self, thousand: RunningRegistry, warm: Session) -> None:
        result = execute(warm, f"tags of {thousand.host}/mixed")
        assert {row["tag"] for row in result.rows} == set(thousand.contents.tags["mixed"])
        assert set(result.column("repository")) == {f"{thousand.host}/mixed"}

    def test_the_newest_version_comes_first(self, thousand: RunningRegistry, warm: Session) -> None:
        tags = execute(warm, f"tags of {thousand.host}/mixed where version is known").column("tag")
        assert tags == [
            "3.0.0-beta",
            "v2.0.0",
            "2.0.0-alpine",
            "2.0",
            "1.10.0",
            "1.1.0",
            "1.1.0-rc.1",
            "1.0.1",
            "1.0.0",
        ]

    @pytest.mark.parametrize(
        ("condition", "expected"),
        [
            ("version >= 1.10 and prerelease is unknown", {"1.10.0", "v2.0.0", "2.0", "2.0.0-alpine"}),
            ("version = 2", {"v2.0.0", "2.0", "2.0.0-alpine"}),
            ("version in (1.0.1, v1.10)", {"1.0.1", "1.10.0"}),
            ("version between 1.1 and 1.9", {"1.1.0"}),
            ("version < 1.1", {"1.0.0", "1.0.1", "1.1.0-rc.1"}),
            ("version.major = 1 and version.minor = 1 and version.patch = 0", {"1.1.0", "1.1.0-rc.1"}),
            ("version.variant = alpine", {"2.0.0-alpine"}),
            ("version like '*.0-*'", {"2.0.0-alpine", "1.1.0-rc.1", "3.0.0-beta"}),
            ("version = (tags of HOST/mixed select max(version))", {"3.0.0-beta"}),
        ],
    )
    def test_versions(self, thousand: RunningRegistry, warm: Session, condition: str, expected: set[str]) -> None:
        result = execute(warm, f"tags of {thousand.host}/mixed where {condition.replace('HOST', thousand.host)}")
        assert set(result.column("tag")) == expected

    def test_config_fields(self, thousand: RunningRegistry, warm: Session) -> None:
        result = execute(warm, f"tags of {thousand.host}/mixed where created is known select tag, created, digest, id")
        explanation = {
            tag: time for tag, time in thousand.contents.list_creation_times("mixed").items() if time is not None
        }
        assert {row["tag"] for row in result.rows} >= set(written.VERSIONS)
        for row in result.rows:
            manifest = thousand.contents.find("mixed", row["tag"])
            assert row["digest"] == manifest.digest
            if manifest.created is not None:
                assert row["created"] == written.format_time(explanation[row["tag"]])
                assert row["id"] == manifest.config

    def test_all_tags_of_one_digest(self, thousand: RunningRegistry, warm: Session) -> None:
        repository = f"{thousand.host}/mixed"
        result = execute(warm, f"tags of {repository} where digest = digest of {repository}:latest and tag != latest")
        assert set(result.column("tag")) == {"stable", "2.0", "v2.0.0"}
        grouped = execute(
            warm, f"tags of {repository} group by digest having count > 1 select digest, list(tag) as tags"
        )
        assert grouped.column("tags") == [["2.0", "latest", "stable", "v2.0.0"]]

    def test_a_condition_selects_the_platform(self, thousand: RunningRegistry, warm: Session) -> None:
        of = f"tags of {thousand.host}/mixed where tag = multi"
        assert execute(warm, f"{of} select platform, platforms").rows == [
            {"platform": "linux/amd64", "platforms": MULTI}
        ]
        (arm,) = execute(warm, f"{of} and platform = linux/aarch64 select platform, manifest_digest, created").rows
        assert arm["platform"] == "linux/arm64"
        by_word = execute(warm, f"{of} and architecture = arm and variant = v7 select created, platform").rows
        assert by_word == [{"created": "2024-01-31T00:02:00Z", "platform": "linux/arm/v7"}]
        assert not execute(warm, f"{of} and platform = linux/s390x").rows

    def test_signed(self, thousand: RunningRegistry, warm: Session) -> None:
        result = execute(warm, f"tags of {thousand.host}/mixed where signed select tag")
        assert set(result.column("tag")) == {"latest", "stable", "2.0", "v2.0.0"}

    def test_artifacts(self, thousand: RunningRegistry, warm: Session) -> None:
        result = execute(warm, f"tags of {thousand.host}/mixed where artifact_type is known select tag, artifact_type")
        assert {"tag": "chart", "artifact_type": written.HELM} in result.rows

    def test_resolving_sources(self, thousand: RunningRegistry, warm: Session) -> None:
        assert execute(warm, f"tags in {thousand.host}/team").column("tag") == ["latest"] * 3
        assert execute(warm, f"tags in {thousand.host}/t*one").column("repository") == [f"{thousand.host}/team/one"]
        counted = execute(
            warm, f"tags in {thousand.host} group by repository select repository, count as n order by n desc"
        )
        assert counted.rows[0] == {"repository": f"{thousand.host}/thousand", "n": 1000}
        assert len(counted.rows) == 5

    def test_names_one_by_one(self, thousand: RunningRegistry, warm: Session) -> None:
        host = thousand.host
        result = execute(
            warm, f"tags of {host}/mixed:latest, {host}/team/one:nope, {host}/mixed:1.0.0 select tag, problem"
        )
        assert [row["tag"] for row in result.rows if row["problem"] is None] == ["1.0.0", "latest"]
        assert result.exit_code == 3
        assert [error.code for error in result.errors] == ["manifest-unknown"]

    def test_a_missing_repository(self, thousand: RunningRegistry, warm: Session) -> None:
        with pytest.raises(ImqError) as caught:
            execute(warm, f"tags of {thousand.host}/nothing")
        assert caught.value.code == "name-unknown"

    def test_a_query_of_all_fields(self, warm: Session) -> None:
        with pytest.raises(ImqError) as caught:
            execute(warm, "tags where tag = latest")
        assert caught.value.code == "target"


class TestOtherTables:
    def test_platforms(self, thousand: RunningRegistry, warm: Session) -> None:
        of = f"platforms of {thousand.host}/mixed:multi"
        assert execute(warm, f"{of} where not attestation").column("platform") == MULTI
        assert len(execute(warm, f"{of} where attestation").rows) == 3
        sizes = execute(warm, f"{of} where not attestation select platform, size, created").rows
        assert all(row["size"] > 0 and row["created"].startswith("2024-01-31") for row in sizes)

    def test_a_single_image_has_its_own_platform(self, thousand: RunningRegistry, warm: Session) -> None:
        (row,) = execute(warm, f"platforms of {thousand.host}/team/one select platform, digest, attestation").rows
        assert (row["platform"], row["attestation"]) == ("linux/amd64", False)
        assert row["digest"] == thousand.contents.find("team/one", "latest").digest

    def test_find_tags_that_lack_a_platform(self, thousand: RunningRegistry, warm: Session) -> None:
        of = f"tags of {thousand.host}/mixed where version is unknown and artifact_type is unknown"
        lacking = execute(warm, f"{of} and no platforms where platform = linux/arm64 select tag").column("tag")
        assert "multi" not in lacking
        assert "latest" in lacking

    def test_a_list_of_platforms_as_an_operand(self, thousand: RunningRegistry, warm: Session, tmp_path: Path) -> None:
        listed = tmp_path / "expected.txt"
        listed.write_text("linux/amd64\nlinux/arm64\nlinux/riscv64\n")
        lines = f'lines of "{listed}" select line as platform'
        missing = execute(warm, f"({lines}) except platforms of {thousand.host}/mixed:multi by platform")
        assert missing.column("platform") == ["linux/riscv64"]

    def test_referrers(self, thousand: RunningRegistry, warm: Session) -> None:
        result = execute(warm, f"referrers of {thousand.host}/mixed:latest")
        assert result.column("artifact_type") == [written.BILL]
        assert result.column("subject") == [thousand.contents.find("mixed", "latest").digest]

    def test_repositories(self, thousand: RunningRegistry, warm: Session) -> None:
        result = execute(warm, f"repositories in {thousand.host} order by size desc select name, tag_count, size")
        assert result.rows[0]["name"] == f"{thousand.host}/thousand"
        assert {row["name"].partition("/")[2]: row["tag_count"] for row in result.rows} == {
            repository: len(tags) for repository, tags in thousand.contents.tags.items()
        }
        named = execute(warm, f"repositories in {thousand.host} where any tags where tag = undated")
        assert named.column("name") == [f"{thousand.host}/mixed"]

    def test_manifests(self, thousand: RunningRegistry, warm: Session) -> None:
        result = execute(warm, f"manifests of {thousand.host}/mixed select digest, tags, parent_index, media_type")
        by_digest = {row["digest"]: row for row in result.rows}
        newest = thousand.contents.find("mixed", "latest").digest
        assert by_digest[newest]["tags"] == ["2.0", "latest", "stable", "v2.0.0"]
        multi = thousand.contents.find("mixed", "multi").digest
        assert sum(row["parent_index"] == multi for row in result.rows) == 6
        assert {row["digest"] for row in result.rows if row["tags"]} == {
            manifest.digest for manifest in thousand.contents.tags["mixed"].values()
        }
        untagged = execute(warm, f"manifests of {thousand.host}/mixed where no tags select digest").column("digest")
        assert sorted(untagged) == sorted(row["digest"] for row in result.rows if not row["tags"])

    def test_index_entries_with_an_existing_manifest(self, thousand: RunningRegistry, warm: Session) -> None:
        assert not execute(warm, f"platforms of {thousand.host}/mixed:multi where no manifests").rows

    def test_search(self, thousand: RunningRegistry, warm: Session) -> None:
        assert execute(warm, f"search tho in {thousand.host}").column("name") == [f"{thousand.host}/thousand"]
        assert len(execute(warm, f'search "team/" in {thousand.host} where name like "*o*"').rows) == 2

    def test_images_of_a_registry(self, thousand: RunningRegistry, warm: Session) -> None:
        result = execute(
            warm, f"images in {thousand.host}/team where label.number is unknown select name, size, source"
        )
        assert len(result.rows) == 3
        assert set(result.column("source")) == {thousand.host}

    def test_unused_images_of_registries(self, thousand: RunningRegistry, tmp_path: Path) -> None:
        session = open_session(tmp_path / "store")
        assert len(execute(session, f"use {thousand.host}/team; images").rows) == 3
        assert not execute(session, "images in store").rows
        session.close()


class TestAcrossSources:
    def test_outdated_and_local_only_images(self, changeable: RunningRegistry, tmp_path: Path) -> None:
        host, session = changeable.host, open_session(tmp_path / "store")
        list(session.run(f"pull {host}/mixed:latest, {host}/mixed:1.0.0, {host}/mixed:1.0.1"))
        list(session.run(f"tag {host}/mixed:1.0.0 as {host}/mixed:mine"))
        list(session.run(f"copy {host}/mixed:1.1.0 to {host}/mixed:1.0.1"))
        assert execute(session, "images where outdated").column("tag") == ["1.0.1"]
        assert execute(session, "images where local only").column("tag") == ["mine"]
        result = {row["tag"]: row for row in execute(session, "images select tag, digest, remote.digest as there").rows}
        assert result["latest"]["digest"] == result["latest"]["there"]
        assert result["1.0.1"]["there"] == changeable.contents.find("mixed", "1.1.0").digest
        assert result["mine"]["there"] is None
        session.close()

    @pytest.mark.parametrize("condition", ["outdated", "not outdated", "not (remote.digest = .digest or tag = x)"])
    def test_local_images_cause_no_requests(self, changeable: RunningRegistry, tmp_path: Path, condition: str) -> None:
        session = open_session(tmp_path / "store")
        with FaultProxy(changeable.host) as proxy:
            list(session.run(f"pull {proxy.host}/mixed:1.0.0"))
            list(session.run(f"tag {proxy.host}/mixed:1.0.0 as {proxy.host}/secret:mine"))
            list(session.run(f"tag {proxy.host}/mixed:1.0.0 as nowhere.invalid/secret:1"))
            before = len(proxy.requests)
            result = execute(session, f"images where {condition}")
            asked = {one.path for one in proxy.requests[before:]} - {"/v2/"}
        assert asked == {"/v2/mixed/manifests/1.0.0"}
        assert (result.errors, result.exit_code) == ((), 0)
        names = {"outdated": [], "not outdated": ["1", "1.0.0", "mine"]}.get(condition, ["1", "mine"])
        assert sorted(result.column("tag")) == names
        session.close()

    def test_an_unreachable_host_is_one_problem(self, changeable: RunningRegistry, tmp_path: Path) -> None:
        session = open_session(tmp_path / "store")
        list(session.run(f"pull {changeable.host}/mixed:1.0.0"))
        for number in range(5):
            list(session.run(f"tag {changeable.host}/mixed:1.0.0 as nowhere.invalid/image-{number}:1"))
        result = execute(session, "images where local only")
        assert (result.rows, result.exit_code) == ([], 3)
        assert [error.code for error in result.errors] == ["unreachable"]
        session.close()

    def test_an_unreachable_registry_does_not_make_an_image_local_only(
        self, changeable: RunningRegistry, tmp_path: Path
    ) -> None:
        session = open_session(tmp_path / "store")
        list(session.run(f"pull {changeable.host}/mixed:1.0.0"))
        changeable.registry.stop()
        result = execute(session, "images where local only")
        assert (result.rows, result.exit_code) == ([], 3)
        with pytest.raises(ImqError) as caught:
            execute(session, "rm images where not outdated")
        assert caught.value.code == "unreachable"
        session.close()

    def test_names_of_a_list(self, thousand: RunningRegistry, warm: Session, tmp_path: Path) -> None:
        listed = tmp_path / "images.txt"
        listed.write_text(f"{thousand.host}/mixed:latest\n{thousand.host}/mixed:gone\n{thousand.host}/team/one\n")
        missing = execute(warm, f'lines of "{listed}" where no remote')
        assert missing.column("line") == [f"{thousand.host}/mixed:gone"]
        digests = execute(warm, f'lines of "{listed}" where any remote select line, remote.digest as digest').rows
        assert digests[0]["digest"] == thousand.contents.find("mixed", "latest").digest

    def test_names_of_a_saved_answer(self, changeable: RunningRegistry, tmp_path: Path) -> None:
        host, session = changeable.host, open_session(tmp_path / "store")
        saved = tmp_path / "saved.json"
        of = f"tags of {host}/mixed where tag in (1.0.0, 1.0.1) select name, digest"
        rows = [
            *execute(session, of).rows,
            {"name": f"{host}/team/one", "digest": None},
            {"name": None, "digest": None},
        ]
        saved.write_text(json.dumps(rows))
        changed = f'rows of "{saved}" where remote.digest != .digest select name'
        assert execute(session, changed).rows == []
        list(session.run(f"copy {host}/mixed:1.1.0 to {host}/mixed:1.0.1"))
        assert execute(session, changed).column("name") == [f"{host}/mixed:1.0.1"]
        there = execute(session, f'rows of "{saved}" where any remote select name, remote.tag as tag')
        assert there.rows[-1] == {"name": f"{host}/team/one", "tag": "latest"}, "a name without a tag means latest"
        assert len(there.rows) == 3
        saved.write_text('[{"image": "a"}]')
        with pytest.raises(ImqError) as caught:
            execute(session, changed.replace("select name", "count"))
        assert caught.value.code == "unknown-field"
        session.close()

    def test_an_empty_list_is_refused(self, thousand: RunningRegistry, warm: Session, tmp_path: Path) -> None:
        listed = tmp_path / "keep.txt"
        listed.write_text("\n")
        with pytest.raises(ImqError) as caught:
            execute(warm, f'rm tags of {thousand.host}/mixed where tag not in (nonempty lines of "{listed}")')
        assert caught.value.code == "empty"

    def test_tags_that_another_repository_lacks(self, thousand: RunningRegistry, warm: Session) -> None:
        host = thousand.host
        result = execute(warm, f"tags of {host}/mixed except tags of {host}/team/one by tag")
        assert set(result.column("tag")) == set(thousand.contents.tags["mixed"]) - {"latest"}
        both = execute(warm, f"(tags of {host}/mixed union tags of {host}/team/one by name) where tag = latest")
        assert len(both.rows) == 2

    def test_a_repository_that_may_be_missing(self, thousand: RunningRegistry, warm: Session) -> None:
        host = thousand.host
        with pytest.raises(ImqError) as caught:
            execute(warm, f"tags of {host}/mixed except tags of {host}/nothing by tag")
        assert caught.value.code == "name-unknown"
        assert any(f"tags in {host}/nothing" in hint for hint in caught.value.hints)
        result = execute(warm, f"tags of {host}/mixed except tags in {host}/nothing by tag")
        assert set(result.column("tag")) == set(thousand.contents.tags["mixed"])
        assert (result.errors, result.exit_code) == ((), 0)

    def test_one_of_several_repositories_is_missing(self, thousand: RunningRegistry, warm: Session) -> None:
        host = thousand.host
        result = execute(warm, f"tags of {host}/team/one, {host}/nothing")
        assert result.column("tag") == ["latest"]
        assert ([error.code for error in result.errors], result.exit_code) == (["name-unknown"], 3)

    def test_a_union_of_two_repositories_is_one_batch(self, thousand: RunningRegistry, tmp_path: Path) -> None:
        """A union supports every clause, and fetches no more than the condition needs."""
        with FaultProxy(thousand.host) as proxy:
            session = open_session(tmp_path / "store")
            union = f"tags of {proxy.host}/thousand union tags of {proxy.host}/team/one"
            result = execute(
                session, f"({union}) where tag in (v7, latest) order by created select tag, created, digest"
            )
            manifest = [thousand.contents.find("team/one", "latest"), thousand.contents.find("thousand", "v7")]
            assert result.column("digest") == [one.digest for one in manifest]
            assert None not in result.column("created")
            assert (proxy.count_requests(LIST), proxy.count_requests(BLOB)) == (2, 2)
            one_by_one = f"(tags of {proxy.host}/team/one union tags of {proxy.host}/team/two) union"
            assert execute(session, f"({one_by_one} tags in {proxy.host}/team/th*) where any layers count").rows == [
                {"count": 3}
            ]
            session.close()

    def test_both_sides_of_a_union_fetch_the_selected_fields(self, thousand: RunningRegistry, warm: Session) -> None:
        host = thousand.host
        union = f"tags of {host}/mixed where version = 2 union (tags of {host}/thousand where tag = v7) by digest"
        result = execute(
            warm, f"({union}) where size > 0 select tag, version.major as major, created order by created desc"
        )
        tags = [("2.0", 2), ("2.0.0-alpine", 2), ("v2.0.0", 2), ("v7", 7)]
        assert sorted((row["tag"], row["major"]) for row in result.rows) == tags
        assert None not in result.column("created")

    def test_rows_of_the_store_and_a_registry(self, thousand: RunningRegistry, tmp_path: Path) -> None:
        session = open_session(tmp_path / "store")
        list(session.run(f"pull {thousand.host}/team/one"))
        result = execute(session, f"images in store, {thousand.host}/team select name, source, created, id")
        assert len(result.rows) == 4
        assert {row["source"] for row in result.rows} == {"store", thousand.host}
        assert len({row["id"] for row in result.rows if row["name"].endswith("one:latest")}) == 1
        session.close()


class TestStages:
    """The number of requests of queries."""

    @pytest.fixture
    def proxied(self, thousand: RunningRegistry) -> Iterator[FaultProxy]:
        with FaultProxy(thousand.host) as proxy:
            yield proxy

    def test_a_condition_on_names_comes_first(self, proxied: FaultProxy, tmp_path: Path) -> None:
        text = f"tags of {proxied.host}/thousand where tag like 'v99?' select tag, created"
        assert len(execute(tmp_path / "store", text).rows) == 10
        assert proxied.count_requests(LIST) <= 2
        assert proxied.count_requests(HEAD) + proxied.count_requests(MANIFEST) + proxied.count_requests(BLOB) <= 30
        before = len(proxied.requests)
        assert len(execute(tmp_path / "store", text).rows) == 10
        again = proxied.requests[before:]
        assert not [one for one in again if one.method == "GET" and "/tags/" not in one.path and one.path != "/v2/"]

    def test_names_alone_take_only_the_listing(self, proxied: FaultProxy, tmp_path: Path) -> None:
        assert execute(tmp_path / "store", f"tags of {proxied.host}/thousand where version > 990 count").rows == [
            {"count": 9}
        ]
        assert proxied.count_requests(HEAD) + proxied.count_requests(MANIFEST) + proxied.count_requests(BLOB) == 0

    def test_a_limit_ends_the_requests(self, proxied: FaultProxy, tmp_path: Path) -> None:
        text = f"tags of {proxied.host}/thousand where label.number != 999 order by version desc limit 3 select tag"
        assert execute(tmp_path / "store", text).column("tag") == ["v998", "v997", "v996"]
        assert proxied.count_requests(BLOB) < 50

    def test_a_limit_fetches_until_it_is_reached(self, proxied: FaultProxy, tmp_path: Path) -> None:
        text = f"tags of {proxied.host}/thousand where label.number like '88?' order by version desc limit 3 select tag"
        assert execute(tmp_path / "store", text).column("tag") == ["v889", "v888", "v887"]
        assert 100 < proxied.count_requests(BLOB) < 400

    def test_digests_need_no_manifests(self, proxied: FaultProxy, tmp_path: Path) -> None:
        execute(tmp_path / "store", f"tags of {proxied.host}/mixed where digest is known select tag")
        assert proxied.count_requests(HEAD) == len(written.VERSIONS) + 8
        assert proxied.count_requests(MANIFEST) + proxied.count_requests(BLOB) == 0

    def test_either_of_two_conditions(self, proxied: FaultProxy, tmp_path: Path) -> None:
        text = f"tags of {proxied.host}/thousand where tag = v1 or (tag like 'v1?' and label.number = 15) select tag"
        assert set(execute(tmp_path / "store", text).column("tag")) == {"v1", "v15"}
        assert proxied.count_requests(BLOB) <= 11

    def test_explain_sends_no_request(self, proxied: FaultProxy, tmp_path: Path) -> None:
        session = open_session(tmp_path / "store")
        text = f"tags of {proxied.host}/thousand where tag like 'v9*' and created is known order by version limit 5"
        explanation = "".join(session.explain_all(text))
        session.close()
        assert not proxied.requests
        assert [line.split(":")[0] for line in explanation.splitlines() if "requests:" in line]
        assert "until 5 rows are complete" in explanation
        assert "cached: 0 manifests" in explanation


ATOMS = (
    "tag like '1*'", "version >= 1.1", "prerelease is known", "digest = digest of HOST/mixed:latest",
    "created is known", "created > 2024-01-03", "platforms has linux/arm64", "artifact_type is known",
    "layer_count > 0", "signed", "any platforms where attestation", "label.number is unknown", "any referrers",
)  # fmt: skip


def draw_conditions() -> st.SearchStrategy[str]:
    """Draw conditions whose parts are decided at different stages."""
    return st.recursive(
        st.sampled_from(ATOMS),
        lambda inner: st.one_of(
            inner.map(lambda one: f"not ({one})"),
            st.tuples(inner, inner).map(lambda two: f"({two[0]}) and ({two[1]})"),
            st.tuples(inner, inner).map(lambda two: f"({two[0]}) or ({two[1]})"),
        ),
        max_leaves=5,
    )


@given(draw_conditions())
@tried(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_staged_fetching_returns_the_same_rows(thousand: RunningRegistry, warm: Session, condition: str) -> None:
    explanation = condition.replace("HOST", thousand.host)
    staged = set(execute(warm, f"tags of {thousand.host}/mixed where {explanation} select tag").column("tag"))
    message = execute(warm, f"tags of {thousand.host}/mixed select tag, if({explanation}, 'yes', 'no') as holds").rows
    assert staged == {row["tag"] for row in message if row["holds"] == "yes"}


class TestFaults:
    """A row with a failed request has a problem, and the other rows are complete."""

    def asked(self, thousand: RunningRegistry, root: Path, *faults: Fault) -> QueryResult:
        with FaultProxy(thousand.host, *faults) as proxy:
            return execute(root, f"tags of {proxy.host}/thousand where tag like 'v1?' select tag, created, problem")

    @pytest.mark.parametrize(
        ("fault", "code"),
        [
            (Fault("GET .*/manifests/v15", answer=reply_with(404)), "manifest-unknown"),
            (
                Fault(
                    "GET .*/manifests/v15",
                    answer=lambda _: Reply(200, {"Content-Type": "text/html"}, b"<html>please log in</html>"),
                ),
                "not-a-registry",
            ),
            (
                Fault(
                    "GET .*/manifests/v15",
                    answer=lambda _: Reply(
                        200,
                        {"Content-Type": "application/vnd.docker.distribution.manifest.v1+prettyjws"},
                        b'{"schemaVersion": 1}',
                    ),
                ),
                "schema1",
            ),
        ],
    )
    def test_one_manifest(self, thousand: RunningRegistry, tmp_path: Path, fault: Fault, code: str) -> None:
        result = self.asked(thousand, tmp_path / "store", fault)
        assert [row["tag"] for row in result.rows if row["problem"]] == ["v15"]
        assert [row["tag"] for row in result.rows if row["created"] is None] == ["v15"]
        assert [error.code for error in result.errors] == [code]
        assert result.exit_code == 3

    def test_no_catalog(self, thousand: RunningRegistry, tmp_path: Path) -> None:
        with FaultProxy(thousand.host, Fault("GET /v2/_catalog", answer=reply_with(404))) as proxy:
            with pytest.raises(ImqError) as caught:
                execute(tmp_path / "store", f"repositories in {proxy.host}")
            assert caught.value.code == "no-catalog"
            assert len(execute(tmp_path / "store", f"tags in {proxy.host}/team/one").rows) == 1

    def test_a_corrupt_cache_is_created_again(self, thousand: RunningRegistry, tmp_path: Path) -> None:
        text = f"tags of {thousand.host}/mixed where tag = '1.0.0' select created"
        first = execute(tmp_path / "store", text).rows
        (tmp_path / "store" / "remote.db").write_bytes(b"this is no database" * 500)
        assert execute(tmp_path / "store", text).rows == first
        shutil.rmtree(tmp_path / "store")
        assert execute(tmp_path / "store", text).rows == first


def test_an_invalid_listed_tag_does_not_block_the_others(changeable: RunningRegistry, tmp_path: Path) -> None:
    digest = changeable.contents.find("mixed", "1.1.0").digest
    wrong = ["bad tag", "a/b", "x?y=1", "..", "%41", "\u00e9", f"1.0.0@{digest}"]
    tags = ["1.0.0", *wrong, "1.0.1"]

    def refused(answer: QueryResult) -> dict[str, bool]:
        return {row["target"].partition("mixed:")[2]: bool(row["error"]) for row in answer.rows}

    def listed(reply: Reply) -> None:
        reply.body = json.dumps({"name": "mixed", "tags": tags}).encode()

    result = reply_with(200, b"123456789", Docker_Content_Digest=digest, Content_Type=media_types.OCI_MANIFEST)
    path = r"bad%20tag|a%2Fb|x%3Fy%3D1|%2E%2E|%2541|%C3%A9|1\.0\.0%40sha256:\w+"
    named = Fault(rf"HEAD .*/manifests/({path})$", answer=result)
    with FaultProxy(changeable.host, Fault("GET .*/tags/list", change=listed), named) as proxy:
        session = open_session(tmp_path / "store", confirm=lambda _: True)
        of = f"tags of {proxy.host}/mixed"
        answer = execute(session, f"{of} where digest is known select tag")
        assert (set(answer.column("tag")), answer.exit_code) == (set(tags), 0)
        pulled = execute(session, f"pull all {of}")
        assert refused(pulled) == {tag: tag in wrong for tag in tags}
        removed = execute(session, f"dry run rm {of} where tag != 1.0.1")
        assert refused(removed) == {tag: tag in wrong for tag in tags[:-1]}
        session.close()


def test_an_invalid_name_is_reported(thousand: RunningRegistry, warm: Session, tmp_path: Path) -> None:
    listed = tmp_path / "names.txt"
    listed.write_text(f"Not A Name\n{thousand.host}/mixed:latest\n")
    result = execute(warm, f'tags of (lines of "{listed}") select name, digest, problem')
    assert result.rows[-1]["name"] == "Not A Name"
    assert result.rows[-1]["problem"]
    assert [error.code for error in result.errors] == ["reference"]
    assert execute(warm, f'lines of "{listed}" where no remote').column("line") == ["Not A Name"]


def test_configured_registry_names(thousand: RunningRegistry, tmp_path: Path) -> None:
    configuration = Configuration(
        registries={
            "work": Registry("work", thousand.host, "team"),
            "gone": Registry("gone", "127.0.0.1:1"),
        }
    )
    session = open_session(tmp_path / "store", configuration=configuration)
    assert execute(session, "tags in work/o*").column("repository") == [f"{thousand.host}/team/one"]
    assert len(execute(session, "use work; images").rows) == 3
    result = {row["name"]: row for row in execute(session, "sources").rows}
    assert (result["work"]["address"], result["work"]["reachable"]) == (f"{thousand.host}/team", True)
    assert not result["gone"]["reachable"]
    assert result["store"]["images"] == 0
    session.close()
