"""Removal in registries: what is removed, what is protected, and that only the plan is executed."""

from __future__ import annotations

import http.client
import json
import re
import shutil
from typing import TYPE_CHECKING

import pytest
from imq.grammar.errors import ImqError
from registry.support.fault_proxy import Fault, FaultProxy, Reply
from registry.support.query import QueryResult, execute, open_session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from imq.engine.result import RowSet
    from imq.engine.session.session import Session
    from registry.conftest import RunningRegistry


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    running = open_session(tmp_path / "store")
    yield running
    running.close()


def list_tags(session: Session, host: str, repository: str = "mixed") -> set[str]:
    return set(execute(session, f"tags of {host}/{repository}").column("tag"))


def list_codes(results: QueryResult) -> list[str]:
    return [error.code for error in results.errors]


def make_untag_fault(registry: RunningRegistry) -> Fault:
    """Make a registry remove a tag alone, as distribution 3 does: the files of the tag are deleted."""
    path = re.compile(r"/v2/(.+)/manifests/([^:]+)\Z")

    def untag(asked: str) -> Reply:
        results = path.match(asked.partition(" ")[2] or asked)
        assert results is not None
        stored = (
            f"{registry.registry.folder}/data/docker/registry/v2/repositories/{results[1]}/_manifests/tags/{results[2]}"
        )
        shutil.rmtree(stored)
        return Reply(202, {}, b"")

    return Fault(r"DELETE .*/manifests/[^:]+\Z", answer=untag)


class TestOlderRegistries:
    """Docker's registry before version 3 removes manifests with all their tags."""

    def test_a_tag_with_its_own_manifest(self, changeable: RunningRegistry, session: Session) -> None:
        before = list_tags(session, changeable.host)
        results = execute(session, f"rm tags of {changeable.host}/mixed where tag = '1.0.0'")
        assert (results.column("action"), results.exit_code) == (["remove"], 0)
        assert list_tags(session, changeable.host) == before - {"1.0.0"}

    def test_a_tag_that_shares_its_manifest(self, changeable: RunningRegistry, session: Session) -> None:
        before = list_tags(session, changeable.host)
        results = execute(session, f"rm tags of {changeable.host}/mixed where tag in (latest, '1.0.0')")
        assert list_codes(results) == ["shared"]
        assert results.exit_code == 1
        assert list_tags(session, changeable.host) == before - {"1.0.0"}

    def test_all_tags_of_a_manifest(self, changeable: RunningRegistry, session: Session) -> None:
        before = list_tags(session, changeable.host)
        results = execute(session, f"rm tags of {changeable.host}/mixed where tag in (latest, stable, '2.0', 'v2.0.0')")
        assert (len(results.rows), results.exit_code) == (4, 0)
        assert list_tags(session, changeable.host) == before - {"latest", "stable", "2.0", "v2.0.0"}

    def test_with_its_tags_removes_all_tags_of_the_manifest(
        self, changeable: RunningRegistry, session: Session
    ) -> None:
        before = list_tags(session, changeable.host)
        text = f"rm tags of {changeable.host}/mixed where tag = latest with its tags"
        planned = execute(session, f"dry run {text}")
        assert planned.column("note") == ["with its tags: 2.0, latest, stable, v2.0.0"]
        assert list_tags(session, changeable.host) == before
        assert execute(session, text).exit_code == 0
        assert list_tags(session, changeable.host) == before - {"latest", "stable", "2.0", "v2.0.0"}

    def test_untag_keeps_the_manifest(self, changeable: RunningRegistry, session: Session) -> None:
        before = list_tags(session, changeable.host)
        assert list_codes(execute(session, f"untag tags of {changeable.host}/mixed where tag = '1.0.0'")) == [
            "no-untag"
        ]
        assert list_tags(session, changeable.host) == before

    def test_deletion_is_disabled(self, changeable: RunningRegistry, session: Session) -> None:
        off = Fault("DELETE ", answer=lambda _: Reply(405, {}, b'{"errors":[{"code":"UNSUPPORTED"}]}'))
        with FaultProxy(changeable.host, off) as proxy:
            results = execute(session, f"rm tags of {proxy.host}/mixed where tag = '1.0.0'")
        assert list_codes(results) == ["no-delete"]

    def test_a_part_of_a_remaining_index(self, changeable: RunningRegistry, session: Session) -> None:
        host = changeable.host
        (child,) = execute(session, f"platforms of {host}/mixed:multi where platform = linux/arm64 select digest").rows
        list(session.run(f"copy {host}/mixed@{child['digest']} to {host}/mixed:arm"))
        results = execute(session, f"rm tags of {host}/mixed where tag = arm")
        assert list_codes(results) == ["shared"]
        assert "mixed:multi" in results.errors[0].message
        together = execute(session, f"rm tags of {host}/mixed where tag = arm with its tags")
        assert list_codes(together) == ["protected"]
        assert execute(session, f"platforms of {host}/mixed:multi where no manifests").rows == []

    def test_a_referrer_of_a_remaining_image(self, changeable: RunningRegistry, session: Session) -> None:
        before = list_tags(session, changeable.host)
        text = f"rm tags of {changeable.host}/mixed where tag like 'sha256-*'"
        results = execute(session, text)
        assert list_codes(results) == ["protected"] * 2
        assert list_tags(session, changeable.host) == before
        list(session.run(f"rm tags of {changeable.host}/mixed where tag = latest with its tags"))
        assert execute(session, text).exit_code == 0
        assert not [tag for tag in list_tags(session, changeable.host) if tag.startswith("sha256-")]


class TestNewerRegistries:
    @pytest.fixture
    def proxy(self, changeable: RunningRegistry) -> Iterator[FaultProxy]:
        with FaultProxy(changeable.host, make_untag_fault(changeable)) as running:
            yield running

    def test_only_the_tag_is_removed(self, proxy: FaultProxy, session: Session) -> None:
        before = list_tags(session, proxy.host)
        (planned,) = execute(session, f"dry run rm tags of {proxy.host}/mixed where tag = latest").column("note")
        results = execute(session, f"rm tags of {proxy.host}/mixed where tag = latest")
        assert (results.column("action"), results.exit_code) == (["untag"], 0)
        (note,) = results.column("note")
        assert planned == f"{note}; refused if the registry cannot remove a tag alone"
        assert list_tags(session, proxy.host) == before - {"latest"}
        assert execute(session, f"untag tags of {proxy.host}/mixed where tag = stable").exit_code == 0
        assert execute(session, f"tags of {proxy.host}/mixed:v2.0.0 select digest").exit_code == 0

    def test_an_untagged_manifest_is_listed_and_can_be_removed(self, proxy: FaultProxy, session: Session) -> None:
        of = f"manifests of {proxy.host}/mixed where tags is unknown and parent_index is unknown"
        execute(session, f"tags of {proxy.host}/mixed select digest")
        list(session.run(f"untag tags of {proxy.host}/mixed where tag in ('1.0.0', multi)"))
        untagged = execute(session, f"{of} select digest, media_type")
        assert len(untagged.rows) == 2
        assert execute(session, f"rm {of}").exit_code == 0
        assert execute(session, of).rows == []

    def test_manifests_removed_unintentionally_are_restored(
        self, changeable: RunningRegistry, session: Session
    ) -> None:
        manifest = changeable.contents.find("mixed", "latest")

        def whole(_: str) -> Reply:
            data = f"{changeable.registry.folder}/data/docker/registry/v2/repositories/mixed/_manifests"
            for tag in ("latest", "stable", "2.0", "v2.0.0"):
                shutil.rmtree(f"{data}/tags/{tag}")
            return Reply(202, {}, b"")

        with FaultProxy(changeable.host, Fault(r"DELETE .*/manifests/latest\Z", answer=whole)) as proxy:
            results = execute(session, f"rm tags of {proxy.host}/mixed where tag = latest")
            assert list_codes(results) == ["shared"]
            stored = execute(session, f"tags of {proxy.host}/mixed where digest = {manifest.digest}")
        assert set(stored.column("tag")) == {"stable", "2.0", "v2.0.0"}


def delete_manifest(host: str, selector: str, repository: str = "mixed") -> Reply:
    """Remove a manifest by its digest, with all its tags, as the reply to another request."""
    connection = http.client.HTTPConnection(host, timeout=20)
    connection.request("DELETE", f"/v2/{repository}/manifests/{selector}")
    done = connection.getresponse().status
    connection.close()
    return Reply(done, {}, b"")


def make_error_reply(status: int, code: str) -> Reply:
    return Reply(status, {"Content-Type": "application/json"}, b'{"errors":[{"code":"%s"}]}' % code.encode())


class TestUntrustedResponses:
    """A removal succeeds if the name no longer exists, whatever the registry reports."""

    ONE = "mixed where tag = '1.0.0'"
    ANSWERS = (
        (Reply(404, {"Content-Type": "text/html"}, b"<html>no such page</html>"), "not-found"),
        (Reply(404, {}, b""), "not-found"),
        (make_error_reply(404, "NAME_UNKNOWN"), "name-unknown"),
        (make_error_reply(404, "MANIFEST_UNKNOWN"), "not-removed"),
        (make_error_reply(403, "DENIED"), "denied"),
        (Reply(202, {}, b""), "not-removed"),
        (Reply(200, {"Content-Type": "text/html"}, b"<html>log in</html>"), "not-removed"),
    )

    def test_a_tag_that_still_exists_is_a_failure(self, changeable: RunningRegistry, session: Session) -> None:
        before, manifest = list_tags(session, changeable.host), changeable.contents.find("mixed", "1.0.0")
        with FaultProxy(changeable.host) as proxy:
            statements = (
                f"rm tags of {proxy.host}/{self.ONE}",
                f"rm tags of {proxy.host}/{self.ONE} with its tags",
                f"rm manifests of {proxy.host}/mixed where digest = {manifest.digest} with its tags",
            )
            for statement in statements:
                for reply, code in self.ANSWERS:
                    proxy.faults[:] = [Fault("DELETE ", answer=lambda _, reply=reply: reply)]
                    results = execute(session, statement)
                    assert (results.column("error"), results.exit_code) == ([code], 3), statement
        assert list_tags(session, changeable.host) == before

    def test_a_manifest_that_is_removed_while_its_tag_stays_listed(
        self, changeable: RunningRegistry, session: Session
    ) -> None:
        lists = Fault("GET .*/mixed/tags/list", change=lambda reply: setattr(reply, "body", listing))
        listing = json.dumps({"name": "mixed", "tags": sorted(list_tags(session, changeable.host))}).encode()
        with FaultProxy(changeable.host, lists) as proxy:
            results = execute(session, f"rm tags of {proxy.host}/{self.ONE}")
        assert (list_codes(results), results.exit_code) == (["still-listed"], 3)
        assert "1.0.0" not in list_tags(session, changeable.host)

    def test_a_response_that_cannot_be_verified(self, changeable: RunningRegistry, session: Session) -> None:
        with FaultProxy(changeable.host) as proxy:

            def last(path: str) -> Reply:
                proxy.faults.append(
                    Fault("(HEAD|GET) .*/manifests/1.0.0", answer=lambda _: make_error_reply(403, "DENIED"))
                )
                return delete_manifest(changeable.host, path.rpartition("/")[2])

            proxy.faults.append(Fault("DELETE .*/manifests/sha256:", answer=last))
            results = execute(session, f"rm tags of {proxy.host}/{self.ONE}")
        assert (list_codes(results), results.exit_code) == (["unconfirmed"], 3)

    def test_a_tag_that_another_client_removed(self, changeable: RunningRegistry, session: Session) -> None:
        manifest = changeable.contents.find("mixed", "1.0.0")

        def overtaken(_: str) -> Reply:
            delete_manifest(changeable.host, str(manifest.digest))
            return make_error_reply(404, "MANIFEST_UNKNOWN")

        with FaultProxy(changeable.host, Fault("DELETE ", answer=overtaken)) as proxy:
            results = execute(session, f"rm tags of {proxy.host}/{self.ONE}")
        assert (results.column("note"), results.exit_code) == (["it no longer existed"], 0)

    def test_a_listed_tag_without_a_manifest(self, changeable: RunningRegistry, session: Session) -> None:
        lost = Fault("(HEAD|GET) .*/manifests/1.0.0", answer=lambda _: make_error_reply(404, "MANIFEST_UNKNOWN"))
        with FaultProxy(changeable.host, lost) as proxy:
            both = execute(session, f"rm tags of {proxy.host}/mixed where tag in ('1.0.0', '1.0.1')")
            alone = execute(session, f"rm tags of {proxy.host}/{self.ONE}")
        assert {row["target"].rpartition(":")[2]: row["error"] for row in both.rows} == {
            "1.0.0": "manifest-unknown",
            "1.0.1": None,
        }
        assert (both.exit_code, alone.exit_code, list_codes(alone)) == (1, 3, ["manifest-unknown"])


class TestSharedManifests:
    """Manifests that a registry removes unintentionally are restored, and are a failure."""

    @pytest.fixture
    def child(self, changeable: RunningRegistry, session: Session) -> str:
        """The digest of an image that an index lists and that has the tag `arm`."""
        host = changeable.host
        (row,) = execute(session, f"platforms of {host}/mixed:multi where platform = linux/arm64 select digest").rows
        list(session.run(f"copy {host}/mixed@{row['digest']} to {host}/mixed:arm"))
        return str(row["digest"])

    def test_the_image_of_an_index(self, changeable: RunningRegistry, session: Session, child: str) -> None:
        greedy = Fault(r"DELETE .*/manifests/arm\Z", answer=lambda _: delete_manifest(changeable.host, child))
        with FaultProxy(changeable.host, greedy) as proxy:
            results = execute(session, f"rm tags of {proxy.host}/mixed where tag = arm")
        assert (list_codes(results), results.exit_code) == (["shared"], 3)
        assert child in results.errors[0].message
        assert "arm" not in list_tags(session, changeable.host)
        assert execute(session, f"platforms of {changeable.host}/mixed:multi where no manifests").rows == []

    @pytest.mark.parametrize("together", ["", " with its tags"])
    def test_an_image_removed_with_its_index(
        self, changeable: RunningRegistry, session: Session, child: str, together: str
    ) -> None:
        index = execute(session, f"tags of {changeable.host}/mixed:multi select digest").rows[0]["digest"]

        def cascades(_: str) -> Reply:
            delete_manifest(changeable.host, child)
            return delete_manifest(changeable.host, index)

        with FaultProxy(changeable.host, Fault("DELETE ", answer=cascades)) as proxy:
            results = execute(session, f"rm tags of {proxy.host}/mixed where tag = multi{together}")
        assert list_codes(results) == ["shared"]
        stored = execute(session, f"tags of {changeable.host}/mixed where tag in (arm, multi) select tag, digest").rows
        assert stored == [{"tag": "arm", "digest": child}]

    def test_the_manifest_of_an_untagged_image(self, changeable: RunningRegistry, session: Session) -> None:
        manifest = changeable.contents.find("mixed", "1.0.0")
        greedy = Fault(
            r"DELETE .*/manifests/1.0.0\Z", answer=lambda _: delete_manifest(changeable.host, str(manifest.digest))
        )
        with FaultProxy(changeable.host, greedy) as proxy:
            results = execute(session, f"untag tags of {proxy.host}/mixed where tag = '1.0.0'")
        assert list_codes(results) == ["shared"]
        assert execute(session, f"tags of {changeable.host}/mixed@{manifest.digest} select digest").exit_code == 0
        assert "1.0.0" not in list_tags(session, changeable.host)

    def test_a_registry_that_removed_too_much_gets_no_more_removals(
        self, changeable: RunningRegistry, session: Session, child: str
    ) -> None:
        manifest = changeable.contents.find("mixed", "latest")

        def greedy(path: str) -> Reply:
            return delete_manifest(changeable.host, child if path.endswith("/arm") else str(manifest.digest))

        with FaultProxy(changeable.host, Fault("DELETE ", answer=greedy)) as proxy:
            results = execute(session, f"rm tags of {proxy.host}/mixed where tag in (arm, latest)")
            assert proxy.count_requests("DELETE ") == 1
        assert list_codes(results) == ["shared"] * 2
        assert len({"arm", "latest"} & list_tags(session, changeable.host)) == 1

    def test_a_failed_restore_is_reported(self, changeable: RunningRegistry, session: Session, child: str) -> None:
        greedy = Fault(r"DELETE .*/manifests/arm\Z", answer=lambda _: delete_manifest(changeable.host, child))
        deaf = Fault("PUT ", answer=lambda _: make_error_reply(403, "DENIED"))
        with FaultProxy(changeable.host, greedy, deaf) as proxy:
            results = execute(session, f"rm tags of {proxy.host}/mixed where tag = arm")
        assert (list_codes(results), results.exit_code) == (["lost"], 3)
        assert child in results.errors[0].message


class TestLostTags:
    """A tag that disappears although it was not to be removed is a separate failure."""

    def test_an_unrelated_tag_that_disappears_is_reported(self, changeable: RunningRegistry, session: Session) -> None:
        before, other = list_tags(session, changeable.host), str(changeable.contents.find("mixed", "1.0.1").digest)

        def greedy(path: str) -> Reply:
            delete_manifest(changeable.host, other)
            return delete_manifest(changeable.host, path.rpartition("/")[2])

        with FaultProxy(changeable.host, Fault("DELETE .*/sha256:", answer=greedy)) as proxy:
            results = execute(session, f"rm tags of {proxy.host}/mixed where tag = '1.0.0'")
        lost = sorted(before - list_tags(session, changeable.host) - {"1.0.0"})
        assert "1.0.1" in lost
        rows = {row["target"].rpartition(":")[2]: row["error"] for row in results.rows}
        assert rows == {"1.0.0": None, **dict.fromkeys(lost, "lost-tag")}
        assert results.exit_code == 1

    def test_a_repository_that_vanishes(self, changeable: RunningRegistry, session: Session) -> None:
        before = list_tags(session, changeable.host)

        def empties(_: str) -> Reply:
            proxy.faults.append(Fault(".* /v2/mixed/", answer=lambda _: make_error_reply(404, "NAME_UNKNOWN")))
            return Reply(202, {}, b"")

        with FaultProxy(changeable.host, Fault("DELETE ", answer=empties)) as proxy:
            results = execute(session, f"rm tags of {proxy.host}/mixed where tag = '1.0.0'")
        lost = [row["target"].rpartition(":")[2] for row in results.rows if row["error"] == "lost-tag"]
        assert lost == sorted(before - {"1.0.0"})
        assert results.exit_code == 1

    def test_a_listing_that_fails_afterwards_claims_no_loss(
        self, changeable: RunningRegistry, session: Session
    ) -> None:
        def closes(path: str) -> Reply:
            proxy.faults.append(Fault("GET .*/tags/list", answer=lambda _: make_error_reply(403, "DENIED")))
            return delete_manifest(changeable.host, path.rpartition("/")[2])

        with FaultProxy(changeable.host, Fault("DELETE .*/sha256:", answer=closes)) as proxy:
            results = execute(session, f"rm tags of {proxy.host}/mixed where tag = '1.0.0'")
        assert (list_codes(results), len(results.rows), results.exit_code) == ([], 1, 0)


class TestAttachedTags:
    """Tags such as `sha256-….sig` are protected while the registry has their subject, tagged or not."""

    FOUR = "latest, stable, '2.0', 'v2.0.0'"

    @pytest.mark.parametrize("of", ["tags", "manifests"])
    def test_an_untagged_subject(self, changeable: RunningRegistry, session: Session, of: str) -> None:
        attached = (
            "where tag like 'sha256-*'" if of == "tags" else "where join(tags, ' ') like 'sha256-*' with its tags"
        )
        with FaultProxy(changeable.host, make_untag_fault(changeable)) as proxy:
            list(session.run(f"untag tags of {proxy.host}/mixed where tag in ({self.FOUR})"))
            before = list_tags(session, proxy.host)
            results = execute(session, f"rm {of} of {proxy.host}/mixed {attached}")
        assert list_codes(results) == ["protected"] * 2
        subject = str(changeable.contents.find("mixed", "latest").digest)
        assert all(f"is attached to {proxy.host}/mixed@{subject}" in error.message for error in results.errors)
        assert list_tags(session, changeable.host) == before

    def test_a_subject_whose_request_fails(self, changeable: RunningRegistry, session: Session) -> None:
        manifest = changeable.contents.find("mixed", "latest")
        list(session.run(f"rm tags of {changeable.host}/mixed where tag = latest with its tags"))
        denied = Fault(f"(HEAD|GET) .*/manifests/{manifest.digest}", answer=lambda _: make_error_reply(403, "DENIED"))
        with FaultProxy(changeable.host, denied) as proxy:
            results = execute(session, f"rm tags of {proxy.host}/mixed where tag like 'sha256-*'")
        assert list_codes(results) == ["protected"] * 2

    def test_a_referrer_is_removed_after_its_subject(self, changeable: RunningRegistry, session: Session) -> None:
        results = execute(
            session, f"rm tags of {changeable.host}/mixed where tag in ({self.FOUR}) or tag like 'sha256-*'"
        )
        assert results.exit_code == 0
        assert [row["target"].partition(":sha256-")[1] != "" for row in results.rows] == [False] * 4 + [True] * 2

    def test_a_referrer_stays_if_its_subject_stays(self, changeable: RunningRegistry, session: Session) -> None:
        manifest = changeable.contents.find("mixed", "latest")
        refuses = Fault(f"DELETE .*/manifests/{manifest.digest}", answer=lambda _: make_error_reply(403, "DENIED"))
        with FaultProxy(changeable.host, refuses) as proxy:
            results = execute(
                session, f"rm tags of {proxy.host}/mixed where tag in ({self.FOUR}) or tag like 'sha256-*'"
            )
        assert list_codes(results) == ["denied"] * 4 + ["protected"] * 2
        assert {tag for tag in list_tags(session, changeable.host) if tag.startswith("sha256-")}


class TestThePlan:
    def test_every_loss_is_reported(self, changeable: RunningRegistry, session: Session) -> None:
        for text in (f"rm tags of {changeable.host}/mixed", f"rm tags in {changeable.host}"):
            with pytest.raises(ImqError) as caught:
                execute(session, text)
            assert caught.value.code == "refused"
        assert execute(session, f"dry run rm all tags of {changeable.host}/team/one").column("action") == ["remove"]

    def test_a_tag_that_moved_is_not_removed(self, changeable: RunningRegistry, tmp_path: Path) -> None:
        host = changeable.host
        other = open_session(tmp_path / "other")

        def meanwhile(_: RowSet) -> bool:
            list(other.run(f"copy {host}/mixed:1.1.0 to {host}/mixed:1.0.0"))
            return True

        session = open_session(tmp_path / "store", confirm=meanwhile)
        results = execute(session, f"rm tags of {host}/mixed where tag in ('1.0.0', '1.0.1')")
        assert list_codes(results) == ["changed"]
        assert {"1.0.0", "1.1.0"} <= list_tags(session, host)
        assert "1.0.1" not in list_tags(session, host)
        session.close()
        other.close()

    def test_a_row_with_a_failed_request_is_not_changed(self, changeable: RunningRegistry, session: Session) -> None:
        broken = Fault("GET .*/manifests/v1[0-9]", answer=lambda _: Reply(200, {"Content-Type": "text/html"}, b"<p>"))
        with FaultProxy(changeable.host, broken) as proxy:
            results = execute(session, f"rm tags of {proxy.host}/thousand where not label.number = 3 and tag like 'v*'")
        assert len(results.rows) == 19
        assert list_codes(results) == ["unanswered"] * 10
        assert list_tags(session, changeable.host, "thousand") == {"v3", *(f"v{number}" for number in range(10, 20))}

    def test_a_failed_request_is_a_failure_of_the_action(
        self, changeable: RunningRegistry, session: Session, tmp_path: Path
    ) -> None:
        of = f"{changeable.host}/mixed"
        (tmp_path / "names").write_text(f"{of}\n127.0.0.1:1/x\nWrong/Case\n")
        for targets, unanswered in (
            (f"{of}, 127.0.0.1:1/x", ["unreachable"]),
            (f"{of}, {changeable.host}/nowhere", ["name-unknown"]),
            (f"(lines of '{tmp_path}/names')", ["reference", "unreachable"]),
        ):
            for verb, rest in (("rm", ""), ("untag", ""), ("pull", ""), ("verify", ""), ("copy", " to b.example")):
                results = execute(session, f"dry run {verb} tags of {targets} where tag = '1.0.0'{rest}")
                assert sorted(list_codes(results)) == unanswered, (verb, targets)
                assert (len(results.rows), results.exit_code) == (1 + len(unanswered), 1)

    def test_a_failed_request_does_not_stop_the_removal_of_other_manifests(
        self, changeable: RunningRegistry, session: Session
    ) -> None:
        digest = changeable.contents.find("mixed", "1.0.0").digest
        broken = Fault("GET .*/manifests/1.0.1", answer=lambda _: Reply(200, {"Content-Type": "text/html"}, b"<p>"))
        with FaultProxy(changeable.host, broken) as proxy:
            selected = f"manifests of {proxy.host}/mixed where digest = {digest}"
            results = execute(session, f"dry run rm {selected} with its tags")
        assert [row["action"] for row in results.rows if row["error"] is None] == ["remove"]
        assert list_codes(results) == ["not-a-registry"]

    def test_a_condition_with_a_failed_request_is_a_failure(
        self, changeable: RunningRegistry, session: Session
    ) -> None:
        config = changeable.contents.find("thousand", "v3").config
        broken = Fault(f"GET .*/blobs/{config}", answer=lambda _: make_error_reply(403, "DENIED"))
        with FaultProxy(changeable.host, broken) as proxy:
            results = execute(session, f"rm tags of {proxy.host}/thousand where label.number = 4 or label.number = 3")
        assert (list_codes(results), results.exit_code) == (["denied"], 1)
        assert {"v3"} == list_tags(session, changeable.host, "thousand") & {"v3", "v4"}

    def test_images_of_the_store_and_of_a_registry_are_separate(
        self, changeable: RunningRegistry, session: Session
    ) -> None:
        list(session.run(f"pull {changeable.host}/team/one"))
        with pytest.raises(ImqError) as caught:
            execute(session, f"rm images in store, {changeable.host}/team where tag = latest")
        assert caught.value.code == "operand"


class TestOtherVerbs:
    def test_tag(self, changeable: RunningRegistry, session: Session) -> None:
        host = changeable.host
        assert execute(session, f"tag {host}/mixed:1.1.0 as {host}/mixed:prod").exit_code == 0
        assert execute(
            session, f"tag tags of {host}/mixed where version = 1.0.1 as '{host}/mixed:old-{{{{.Tag}}}}'"
        ).rows
        digests = {
            row["tag"]: row["digest"] for row in execute(session, f"tags of {host}/mixed select tag, digest").rows
        }
        assert digests["prod"] == digests["1.1.0"]
        assert digests["old-1.0.1"] == digests["1.0.1"]
        assert not execute(session, "images").rows

    def test_copy_and_pull(self, changeable: RunningRegistry, session: Session) -> None:
        host = changeable.host
        newest = f"tags of {host}/mixed where version >= 1.1 and prerelease is unknown order by version desc limit 2"
        assert execute(session, f"copy {newest} to {host}/mirror").exit_code == 0
        assert list_tags(session, host, "mirror/mixed") == {"v2.0.0", "2.0.0-alpine"}
        assert set(execute(session, f"copy {newest} to {host}/mirror").column("note")) == {"it exists already"}
        assert len(execute(session, f"pull {newest}").rows) == 2
        assert set(execute(session, "images").column("tag")) == {"v2.0.0", "2.0.0-alpine"}


class TestIndex:
    def test_several_images_become_one_index(self, changeable: RunningRegistry, session: Session) -> None:
        host = changeable.host
        parts = execute(
            session, f"platforms of {host}/mixed:multi where not attestation select architecture, digest"
        ).rows
        for row in parts:
            list(session.run(f"copy {host}/mixed@{row['digest']} to {host}/mixed:v1-{row['architecture']}"))
        manifest = execute(session, f"index tags of {host}/mixed where tag like v1-* as {host}/other:v1")
        assert manifest.exit_code == 0
        entries = execute(session, f"platforms of {host}/other:v1 where any manifests").rows
        assert {row["digest"] for row in entries} == {row["digest"] for row in parts}
        assert {row["platform"] for row in entries} == {"linux/amd64", "linux/arm64", "linux/arm/v7"}
        assert execute(session, f"verify tags of {host}/other where tag = v1").exit_code == 0

    def test_two_images_of_one_platform(self, changeable: RunningRegistry, session: Session) -> None:
        host = changeable.host
        results = execute(session, f"index {host}/mixed:1.0.0, {host}/mixed:1.0.1 as {host}/mixed:both")
        assert list_codes(results) == ["platforms"]
        assert "both" not in list_tags(session, host)


class TestVerify:
    def test_verify_of_complete_images(self, changeable: RunningRegistry, session: Session) -> None:
        results = execute(session, f"verify tags of {changeable.host}/mixed where artifact_type is unknown")
        assert results.exit_code == 0
        assert len(results.rows) > 10

    def test_a_missing_blob_and_a_truncated_one(self, changeable: RunningRegistry, session: Session) -> None:
        data = f"{changeable.registry.folder}/data/docker/registry/v2/blobs/sha256"
        lost = changeable.contents.find("mixed", "1.0.0").config
        cut = changeable.contents.find("mixed", "1.0.1").config
        assert lost is not None
        assert cut is not None
        shutil.rmtree(f"{data}/{lost.encoded[:2]}/{lost.encoded}")
        with open(f"{data}/{cut.encoded[:2]}/{cut.encoded}/data", "ab") as file:
            file.write(b" ")
        results = execute(
            session, f"verify tags of {changeable.host}/mixed where version < 1.1 and prerelease is unknown"
        )
        assert list_codes(results) == ["incomplete"] * 2
        messages = " ".join(error.message for error in results.errors)
        assert f"the blob {lost.short} is missing" in messages
        assert f"the blob {cut.short} has" in messages
