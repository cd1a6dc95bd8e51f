"""Removing in registries: what goes, what must stay, and that nothing is done but the plan."""

from __future__ import annotations

import http.client
import json
import re
import shutil
from typing import TYPE_CHECKING

import pytest
from imq.grammar.errors import ImqError
from registry.support.fault_proxy import Fault, Proxy, Reply
from registry.support.query import Asked, ask, opened

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from imq.engine.result import RowSet
    from imq.engine.session.session import Session
    from registry.conftest import Thousand


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    running = opened(tmp_path / "store")
    yield running
    running.close()


def tags(session: Session, host: str, repository: str = "mixed") -> set[str]:
    return set(ask(session, f"tags of {host}/{repository}").column("tag"))


def codes(found: Asked) -> list[str]:
    return [error.code for error in found.errors]


def takes_tags_alone(registry: Thousand) -> Fault:
    """Let a registry take a tag alone, as distribution does from version 3 on: what it keeps of the tag goes."""
    path = re.compile(r"/v2/(.+)/manifests/([^:]+)\Z")

    def untag(asked: str) -> Reply:
        found = path.match(asked.partition(" ")[2] or asked)
        assert found is not None
        kept = f"{registry.registry.folder}/data/docker/registry/v2/repositories/{found[1]}/_manifests/tags/{found[2]}"
        shutil.rmtree(kept)
        return Reply(202, {}, b"")

    return Fault(r"DELETE .*/manifests/[^:]+\Z", answer=untag)


class TestOlderRegistries:
    """Docker's registry of before version 3 removes manifests, with every tag that they have."""

    def test_a_tag_with_a_manifest_of_its_own(self, changeable: Thousand, session: Session) -> None:
        before = tags(session, changeable.host)
        found = ask(session, f"rm tags of {changeable.host}/mixed where tag = '1.0.0'")
        assert (found.column("action"), found.exit_code) == (["remove"], 0)
        assert tags(session, changeable.host) == before - {"1.0.0"}

    def test_a_tag_that_shares_its_manifest(self, changeable: Thousand, session: Session) -> None:
        before = tags(session, changeable.host)
        found = ask(session, f"rm tags of {changeable.host}/mixed where tag in (latest, '1.0.0')")
        assert codes(found) == ["shared"]
        assert found.exit_code == 1
        assert tags(session, changeable.host) == before - {"1.0.0"}

    def test_all_tags_of_a_manifest(self, changeable: Thousand, session: Session) -> None:
        before = tags(session, changeable.host)
        found = ask(session, f"rm tags of {changeable.host}/mixed where tag in (latest, stable, '2.0', 'v2.0.0')")
        assert (len(found.rows), found.exit_code) == (4, 0)
        assert tags(session, changeable.host) == before - {"latest", "stable", "2.0", "v2.0.0"}

    def test_with_its_tags(self, changeable: Thousand, session: Session) -> None:
        before = tags(session, changeable.host)
        text = f"rm tags of {changeable.host}/mixed where tag = latest with its tags"
        planned = ask(session, f"dry run {text}")
        assert planned.column("note") == ["with its tags: 2.0, latest, stable, v2.0.0"]
        assert tags(session, changeable.host) == before
        assert ask(session, text).exit_code == 0
        assert tags(session, changeable.host) == before - {"latest", "stable", "2.0", "v2.0.0"}

    def test_untag_removes_no_manifest(self, changeable: Thousand, session: Session) -> None:
        before = tags(session, changeable.host)
        assert codes(ask(session, f"untag tags of {changeable.host}/mixed where tag = '1.0.0'")) == ["no-untag"]
        assert tags(session, changeable.host) == before

    def test_deletion_turned_off(self, changeable: Thousand, session: Session) -> None:
        off = Fault("DELETE ", answer=lambda _: Reply(405, {}, b'{"errors":[{"code":"UNSUPPORTED"}]}'))
        with Proxy(changeable.host, off) as proxy:
            found = ask(session, f"rm tags of {proxy.host}/mixed where tag = '1.0.0'")
        assert codes(found) == ["no-delete"]

    def test_a_part_of_an_index_that_stays(self, changeable: Thousand, session: Session) -> None:
        host = changeable.host
        (child,) = ask(session, f"platforms of {host}/mixed:multi where platform = linux/arm64 select digest").rows
        list(session.run(f"copy {host}/mixed@{child['digest']} to {host}/mixed:arm"))
        found = ask(session, f"rm tags of {host}/mixed where tag = arm")
        assert codes(found) == ["shared"]
        assert "mixed:multi" in found.errors[0].message
        together = ask(session, f"rm tags of {host}/mixed where tag = arm with its tags")
        assert codes(together) == ["protected"]
        assert ask(session, f"platforms of {host}/mixed:multi where no manifests").rows == []

    def test_what_is_attached_to_an_image_that_stays(self, changeable: Thousand, session: Session) -> None:
        before = tags(session, changeable.host)
        text = f"rm tags of {changeable.host}/mixed where tag like 'sha256-*'"
        found = ask(session, text)
        assert codes(found) == ["protected"] * 2
        assert tags(session, changeable.host) == before
        list(session.run(f"rm tags of {changeable.host}/mixed where tag = latest with its tags"))
        assert ask(session, text).exit_code == 0
        assert not [tag for tag in tags(session, changeable.host) if tag.startswith("sha256-")]


class TestNewerRegistries:
    @pytest.fixture
    def proxy(self, changeable: Thousand) -> Iterator[Proxy]:
        with Proxy(changeable.host, takes_tags_alone(changeable)) as running:
            yield running

    def test_only_the_tag_goes(self, proxy: Proxy, session: Session) -> None:
        before = tags(session, proxy.host)
        found = ask(session, f"rm tags of {proxy.host}/mixed where tag = latest")
        assert (found.column("action"), found.exit_code) == (["untag"], 0)
        assert tags(session, proxy.host) == before - {"latest"}
        assert ask(session, f"untag tags of {proxy.host}/mixed where tag = stable").exit_code == 0
        assert ask(session, f"tags of {proxy.host}/mixed:v2.0.0 select digest").exit_code == 0

    def test_what_has_no_tag_left_is_known_and_can_go(self, proxy: Proxy, session: Session) -> None:
        of = f"manifests of {proxy.host}/mixed where tags is unknown and parent_index is unknown"
        ask(session, f"tags of {proxy.host}/mixed select digest")
        list(session.run(f"untag tags of {proxy.host}/mixed where tag in ('1.0.0', multi)"))
        untagged = ask(session, f"{of} select digest, media_type")
        assert len(untagged.rows) == 2
        assert ask(session, f"rm {of}").exit_code == 0
        assert ask(session, of).rows == []

    def test_what_a_registry_took_too_much_is_put_back(self, changeable: Thousand, session: Session) -> None:
        made = changeable.contents.made("mixed", "latest")

        def whole(_: str) -> Reply:
            data = f"{changeable.registry.folder}/data/docker/registry/v2/repositories/mixed/_manifests"
            for tag in ("latest", "stable", "2.0", "v2.0.0"):
                shutil.rmtree(f"{data}/tags/{tag}")
            return Reply(202, {}, b"")

        with Proxy(changeable.host, Fault(r"DELETE .*/manifests/latest\Z", answer=whole)) as proxy:
            found = ask(session, f"rm tags of {proxy.host}/mixed where tag = latest")
            assert codes(found) == ["shared"]
            kept = ask(session, f"tags of {proxy.host}/mixed where digest = {made.digest}")
        assert set(kept.column("tag")) == {"stable", "2.0", "v2.0.0"}


def removes(host: str, selector: str, repository: str = "mixed") -> Reply:
    """Remove a manifest by its digest, with all its tags, as an answer to something else."""
    connection = http.client.HTTPConnection(host, timeout=20)
    connection.request("DELETE", f"/v2/{repository}/manifests/{selector}")
    done = connection.getresponse().status
    connection.close()
    return Reply(done, {}, b"")


def refused(status: int, code: str) -> Reply:
    return Reply(status, {"Content-Type": "application/json"}, b'{"errors":[{"code":"%s"}]}' % code.encode())


class TestWhatARegistryClaims:
    """A removal counts when the name is gone, and not when the registry says so."""

    ONE = "mixed where tag = '1.0.0'"
    ANSWERS = (
        (Reply(404, {"Content-Type": "text/html"}, b"<html>no such page</html>"), "not-found"),
        (Reply(404, {}, b""), "not-found"),
        (refused(404, "NAME_UNKNOWN"), "name-unknown"),
        (refused(404, "MANIFEST_UNKNOWN"), "not-removed"),
        (refused(403, "DENIED"), "denied"),
        (Reply(202, {}, b""), "not-removed"),
        (Reply(200, {"Content-Type": "text/html"}, b"<html>log in</html>"), "not-removed"),
    )

    def test_a_tag_that_stays_is_a_failure(self, changeable: Thousand, session: Session) -> None:
        before, made = tags(session, changeable.host), changeable.contents.made("mixed", "1.0.0")
        with Proxy(changeable.host) as proxy:
            statements = (
                f"rm tags of {proxy.host}/{self.ONE}",
                f"rm tags of {proxy.host}/{self.ONE} with its tags",
                f"rm manifests of {proxy.host}/mixed where digest = {made.digest} with its tags",
            )
            for statement in statements:
                for reply, code in self.ANSWERS:
                    proxy.faults[:] = [Fault("DELETE ", answer=lambda _, reply=reply: reply)]
                    found = ask(session, statement)
                    assert (found.column("error"), found.exit_code) == ([code], 3), statement
        assert tags(session, changeable.host) == before

    def test_a_manifest_that_is_removed_while_its_tag_stays_listed(
        self, changeable: Thousand, session: Session
    ) -> None:
        lists = Fault("GET .*/mixed/tags/list", change=lambda reply: setattr(reply, "body", listing))
        listing = json.dumps({"name": "mixed", "tags": sorted(tags(session, changeable.host))}).encode()
        with Proxy(changeable.host, lists) as proxy:
            found = ask(session, f"rm tags of {proxy.host}/{self.ONE}")
        assert (codes(found), found.exit_code) == (["still-listed"], 3)
        assert "1.0.0" not in tags(session, changeable.host)

    def test_an_answer_that_cannot_be_checked(self, changeable: Thousand, session: Session) -> None:
        with Proxy(changeable.host) as proxy:

            def last(path: str) -> Reply:
                proxy.faults.append(Fault("(HEAD|GET) .*/manifests/1.0.0", answer=lambda _: refused(403, "DENIED")))
                return removes(changeable.host, path.rpartition("/")[2])

            proxy.faults.append(Fault("DELETE .*/manifests/sha256:", answer=last))
            found = ask(session, f"rm tags of {proxy.host}/{self.ONE}")
        assert (codes(found), found.exit_code) == (["unconfirmed"], 3)

    def test_what_another_client_removes_meanwhile(self, changeable: Thousand, session: Session) -> None:
        made = changeable.contents.made("mixed", "1.0.0")

        def overtaken(_: str) -> Reply:
            removes(changeable.host, str(made.digest))
            return refused(404, "MANIFEST_UNKNOWN")

        with Proxy(changeable.host, Fault("DELETE ", answer=overtaken)) as proxy:
            found = ask(session, f"rm tags of {proxy.host}/{self.ONE}")
        assert (found.column("note"), found.exit_code) == (["it no longer existed"], 0)

    def test_a_listed_tag_without_a_manifest(self, changeable: Thousand, session: Session) -> None:
        lost = Fault("(HEAD|GET) .*/manifests/1.0.0", answer=lambda _: refused(404, "MANIFEST_UNKNOWN"))
        with Proxy(changeable.host, lost) as proxy:
            both = ask(session, f"rm tags of {proxy.host}/mixed where tag in ('1.0.0', '1.0.1')")
            alone = ask(session, f"rm tags of {proxy.host}/{self.ONE}")
        assert {row["target"].rpartition(":")[2]: row["error"] for row in both.rows} == {
            "1.0.0": "manifest-unknown",
            "1.0.1": None,
        }
        assert (both.exit_code, alone.exit_code, codes(alone)) == (1, 3, ["manifest-unknown"])


class TestWhatOthersNeed:
    """What a registry removes beside what it is asked to remove is put back, and is a failure."""

    @pytest.fixture
    def child(self, changeable: Thousand, session: Session) -> str:
        """The digest of an image that an index lists and that has the tag `arm`."""
        host = changeable.host
        (row,) = ask(session, f"platforms of {host}/mixed:multi where platform = linux/arm64 select digest").rows
        list(session.run(f"copy {host}/mixed@{row['digest']} to {host}/mixed:arm"))
        return str(row["digest"])

    def test_the_image_of_an_index(self, changeable: Thousand, session: Session, child: str) -> None:
        greedy = Fault(r"DELETE .*/manifests/arm\Z", answer=lambda _: removes(changeable.host, child))
        with Proxy(changeable.host, greedy) as proxy:
            found = ask(session, f"rm tags of {proxy.host}/mixed where tag = arm")
        assert (codes(found), found.exit_code) == (["shared"], 3)
        assert child in found.errors[0].message
        assert "arm" not in tags(session, changeable.host)
        assert ask(session, f"platforms of {changeable.host}/mixed:multi where no manifests").rows == []

    @pytest.mark.parametrize("together", ["", " with its tags"])
    def test_an_image_that_goes_with_its_index(
        self, changeable: Thousand, session: Session, child: str, together: str
    ) -> None:
        index = ask(session, f"tags of {changeable.host}/mixed:multi select digest").rows[0]["digest"]

        def cascades(_: str) -> Reply:
            removes(changeable.host, child)
            return removes(changeable.host, index)

        with Proxy(changeable.host, Fault("DELETE ", answer=cascades)) as proxy:
            found = ask(session, f"rm tags of {proxy.host}/mixed where tag = multi{together}")
        assert codes(found) == ["shared"]
        kept = ask(session, f"tags of {changeable.host}/mixed where tag in (arm, multi) select tag, digest").rows
        assert kept == [{"tag": "arm", "digest": child}]

    def test_the_manifest_of_what_is_untagged(self, changeable: Thousand, session: Session) -> None:
        made = changeable.contents.made("mixed", "1.0.0")
        greedy = Fault(r"DELETE .*/manifests/1.0.0\Z", answer=lambda _: removes(changeable.host, str(made.digest)))
        with Proxy(changeable.host, greedy) as proxy:
            found = ask(session, f"untag tags of {proxy.host}/mixed where tag = '1.0.0'")
        assert codes(found) == ["shared"]
        assert ask(session, f"tags of {changeable.host}/mixed@{made.digest} select digest").exit_code == 0
        assert "1.0.0" not in tags(session, changeable.host)

    def test_a_registry_known_to_take_too_much_is_not_asked_again(
        self, changeable: Thousand, session: Session, child: str
    ) -> None:
        made = changeable.contents.made("mixed", "latest")

        def greedy(path: str) -> Reply:
            return removes(changeable.host, child if path.endswith("/arm") else str(made.digest))

        with Proxy(changeable.host, Fault("DELETE ", answer=greedy)) as proxy:
            found = ask(session, f"rm tags of {proxy.host}/mixed where tag in (arm, latest)")
            assert proxy.count("DELETE ") == 1
        assert codes(found) == ["shared"] * 2
        assert len({"arm", "latest"} & tags(session, changeable.host)) == 1

    def test_what_cannot_be_put_back_is_said(self, changeable: Thousand, session: Session, child: str) -> None:
        greedy = Fault(r"DELETE .*/manifests/arm\Z", answer=lambda _: removes(changeable.host, child))
        deaf = Fault("PUT ", answer=lambda _: refused(403, "DENIED"))
        with Proxy(changeable.host, greedy, deaf) as proxy:
            found = ask(session, f"rm tags of {proxy.host}/mixed where tag = arm")
        assert (codes(found), found.exit_code) == (["lost"], 3)
        assert child in found.errors[0].message


class TestLostTags:
    """A tag that vanishes and was not to be removed is a failure of its own."""

    def test_an_unrelated_tag_that_goes_too(self, changeable: Thousand, session: Session) -> None:
        before, other = tags(session, changeable.host), str(changeable.contents.made("mixed", "1.0.1").digest)

        def greedy(path: str) -> Reply:
            removes(changeable.host, other)
            return removes(changeable.host, path.rpartition("/")[2])

        with Proxy(changeable.host, Fault("DELETE .*/sha256:", answer=greedy)) as proxy:
            found = ask(session, f"rm tags of {proxy.host}/mixed where tag = '1.0.0'")
        lost = sorted(before - tags(session, changeable.host) - {"1.0.0"})
        assert "1.0.1" in lost
        rows = {row["target"].rpartition(":")[2]: row["error"] for row in found.rows}
        assert rows == {"1.0.0": None, **dict.fromkeys(lost, "lost-tag")}
        assert found.exit_code == 1

    def test_a_repository_that_vanishes(self, changeable: Thousand, session: Session) -> None:
        before = tags(session, changeable.host)

        def empties(_: str) -> Reply:
            proxy.faults.append(Fault(".* /v2/mixed/", answer=lambda _: refused(404, "NAME_UNKNOWN")))
            return Reply(202, {}, b"")

        with Proxy(changeable.host, Fault("DELETE ", answer=empties)) as proxy:
            found = ask(session, f"rm tags of {proxy.host}/mixed where tag = '1.0.0'")
        lost = [row["target"].rpartition(":")[2] for row in found.rows if row["error"] == "lost-tag"]
        assert lost == sorted(before - {"1.0.0"})
        assert found.exit_code == 1

    def test_a_listing_that_fails_afterwards_claims_no_loss(self, changeable: Thousand, session: Session) -> None:
        def closes(path: str) -> Reply:
            proxy.faults.append(Fault("GET .*/tags/list", answer=lambda _: refused(403, "DENIED")))
            return removes(changeable.host, path.rpartition("/")[2])

        with Proxy(changeable.host, Fault("DELETE .*/sha256:", answer=closes)) as proxy:
            found = ask(session, f"rm tags of {proxy.host}/mixed where tag = '1.0.0'")
        assert (codes(found), len(found.rows), found.exit_code) == ([], 1, 0)


class TestAttachedTags:
    """Tags such as `sha256-….sig` stay while the registry has what they are attached to, tagged or not."""

    FOUR = "latest, stable, '2.0', 'v2.0.0'"

    @pytest.mark.parametrize("of", ["tags", "manifests"])
    def test_an_untagged_subject(self, changeable: Thousand, session: Session, of: str) -> None:
        attached = (
            "where tag like 'sha256-*'" if of == "tags" else "where join(tags, ' ') like 'sha256-*' with its tags"
        )
        with Proxy(changeable.host, takes_tags_alone(changeable)) as proxy:
            list(session.run(f"untag tags of {proxy.host}/mixed where tag in ({self.FOUR})"))
            before = tags(session, proxy.host)
            found = ask(session, f"rm {of} of {proxy.host}/mixed {attached}")
        assert codes(found) == ["protected"] * 2
        subject = str(changeable.contents.made("mixed", "latest").digest)
        assert all(f"is attached to {proxy.host}/mixed@{subject}" in error.message for error in found.errors)
        assert tags(session, changeable.host) == before

    def test_a_subject_that_cannot_be_asked_for(self, changeable: Thousand, session: Session) -> None:
        made = changeable.contents.made("mixed", "latest")
        list(session.run(f"rm tags of {changeable.host}/mixed where tag = latest with its tags"))
        denied = Fault(f"(HEAD|GET) .*/manifests/{made.digest}", answer=lambda _: refused(403, "DENIED"))
        with Proxy(changeable.host, denied) as proxy:
            found = ask(session, f"rm tags of {proxy.host}/mixed where tag like 'sha256-*'")
        assert codes(found) == ["protected"] * 2

    def test_what_is_attached_goes_after_its_subject(self, changeable: Thousand, session: Session) -> None:
        found = ask(session, f"rm tags of {changeable.host}/mixed where tag in ({self.FOUR}) or tag like 'sha256-*'")
        assert found.exit_code == 0
        assert [row["target"].partition(":sha256-")[1] != "" for row in found.rows] == [False] * 4 + [True] * 2

    def test_what_is_attached_stays_when_its_subject_does(self, changeable: Thousand, session: Session) -> None:
        made = changeable.contents.made("mixed", "latest")
        refuses = Fault(f"DELETE .*/manifests/{made.digest}", answer=lambda _: refused(403, "DENIED"))
        with Proxy(changeable.host, refuses) as proxy:
            found = ask(session, f"rm tags of {proxy.host}/mixed where tag in ({self.FOUR}) or tag like 'sha256-*'")
        assert codes(found) == ["denied"] * 4 + ["protected"] * 2
        assert {tag for tag in tags(session, changeable.host) if tag.startswith("sha256-")}


class TestThePlan:
    def test_nothing_goes_unsaid(self, changeable: Thousand, session: Session) -> None:
        for text in (f"rm tags of {changeable.host}/mixed", f"rm tags in {changeable.host}"):
            with pytest.raises(ImqError) as caught:
                ask(session, text)
            assert caught.value.code == "refused"
        assert ask(session, f"dry run rm all tags of {changeable.host}/team/one").column("action") == ["remove"]

    def test_a_tag_that_moved_since_is_left_alone(self, changeable: Thousand, tmp_path: Path) -> None:
        host = changeable.host
        other = opened(tmp_path / "other")

        def meanwhile(_: RowSet) -> bool:
            list(other.run(f"copy {host}/mixed:1.1.0 to {host}/mixed:1.0.0"))
            return True

        session = opened(tmp_path / "store", confirm=meanwhile)
        found = ask(session, f"rm tags of {host}/mixed where tag in ('1.0.0', '1.0.1')")
        assert codes(found) == ["changed"]
        assert {"1.0.0", "1.1.0"} <= tags(session, host)
        assert "1.0.1" not in tags(session, host)
        session.close()
        other.close()

    def test_a_row_that_could_not_be_told_is_left_alone(self, changeable: Thousand, session: Session) -> None:
        broken = Fault("GET .*/manifests/v1[0-9]", answer=lambda _: Reply(200, {"Content-Type": "text/html"}, b"<p>"))
        with Proxy(changeable.host, broken) as proxy:
            found = ask(session, f"rm tags of {proxy.host}/thousand where not label.number = 3 and tag like 'v*'")
        assert len(found.rows) == 19
        assert codes(found) == ["unanswered"] * 10
        assert tags(session, changeable.host, "thousand") == {"v3", *(f"v{number}" for number in range(10, 20))}

    def test_what_a_registry_did_not_tell_is_a_failure_of_the_action(
        self, changeable: Thousand, session: Session, tmp_path: Path
    ) -> None:
        of = f"{changeable.host}/mixed"
        (tmp_path / "names").write_text(f"{of}\n127.0.0.1:1/x\nWrong/Case\n")
        for targets, unanswered in (
            (f"{of}, 127.0.0.1:1/x", ["unreachable"]),
            (f"{of}, {changeable.host}/nowhere", ["name-unknown"]),
            (f"(lines of '{tmp_path}/names')", ["reference", "unreachable"]),
        ):
            for verb, rest in (("rm", ""), ("untag", ""), ("pull", ""), ("verify", ""), ("copy", " to b.example")):
                found = ask(session, f"dry run {verb} tags of {targets} where tag = '1.0.0'{rest}")
                assert sorted(codes(found)) == unanswered, (verb, targets)
                assert (len(found.rows), found.exit_code) == (1 + len(unanswered), 1)

    def test_a_condition_that_could_not_be_told_is_a_failure_too(self, changeable: Thousand, session: Session) -> None:
        config = changeable.contents.made("thousand", "v3").config
        broken = Fault(f"GET .*/blobs/{config}", answer=lambda _: refused(403, "DENIED"))
        with Proxy(changeable.host, broken) as proxy:
            found = ask(session, f"rm tags of {proxy.host}/thousand where label.number = 4 or label.number = 3")
        assert (codes(found), found.exit_code) == (["denied"], 1)
        assert {"v3"} == tags(session, changeable.host, "thousand") & {"v3", "v4"}

    def test_images_of_a_store_do_not_mix_with_a_registrys(self, changeable: Thousand, session: Session) -> None:
        list(session.run(f"pull {changeable.host}/team/one"))
        with pytest.raises(ImqError) as caught:
            ask(session, f"rm images in store, {changeable.host}/team where tag = latest")
        assert caught.value.code == "operand"


class TestOtherVerbs:
    def test_tag(self, changeable: Thousand, session: Session) -> None:
        host = changeable.host
        assert ask(session, f"tag {host}/mixed:1.1.0 as {host}/mixed:prod").exit_code == 0
        assert ask(session, f"tag tags of {host}/mixed where version = 1.0.1 as '{host}/mixed:old-{{{{.Tag}}}}'").rows
        digests = {row["tag"]: row["digest"] for row in ask(session, f"tags of {host}/mixed select tag, digest").rows}
        assert digests["prod"] == digests["1.1.0"]
        assert digests["old-1.0.1"] == digests["1.0.1"]
        assert not ask(session, "images").rows

    def test_copy_and_pull(self, changeable: Thousand, session: Session) -> None:
        host = changeable.host
        newest = f"tags of {host}/mixed where version >= 1.1 and prerelease is unknown order by version desc limit 2"
        assert ask(session, f"copy {newest} to {host}/mirror").exit_code == 0
        assert tags(session, host, "mirror/mixed") == {"v2.0.0", "2.0.0-alpine"}
        assert set(ask(session, f"copy {newest} to {host}/mirror").column("note")) == {"it exists already"}
        assert len(ask(session, f"pull {newest}").rows) == 2
        assert set(ask(session, "images").column("tag")) == {"v2.0.0", "2.0.0-alpine"}


class TestIndex:
    def test_several_images_become_one(self, changeable: Thousand, session: Session) -> None:
        host = changeable.host
        parts = ask(session, f"platforms of {host}/mixed:multi where not attestation select architecture, digest").rows
        for row in parts:
            list(session.run(f"copy {host}/mixed@{row['digest']} to {host}/mixed:v1-{row['architecture']}"))
        made = ask(session, f"index tags of {host}/mixed where tag like v1-* as {host}/other:v1")
        assert made.exit_code == 0
        entries = ask(session, f"platforms of {host}/other:v1 where any manifests").rows
        assert {row["digest"] for row in entries} == {row["digest"] for row in parts}
        assert {row["platform"] for row in entries} == {"linux/amd64", "linux/arm64", "linux/arm/v7"}
        assert ask(session, f"verify tags of {host}/other where tag = v1").exit_code == 0

    def test_two_of_one_platform(self, changeable: Thousand, session: Session) -> None:
        host = changeable.host
        found = ask(session, f"index {host}/mixed:1.0.0, {host}/mixed:1.0.1 as {host}/mixed:both")
        assert codes(found) == ["platforms"]
        assert "both" not in tags(session, host)


class TestVerify:
    def test_what_is_whole(self, changeable: Thousand, session: Session) -> None:
        found = ask(session, f"verify tags of {changeable.host}/mixed where artifact_type is unknown")
        assert found.exit_code == 0
        assert len(found.rows) > 10

    def test_a_blob_that_is_gone_and_one_that_is_short(self, changeable: Thousand, session: Session) -> None:
        data = f"{changeable.registry.folder}/data/docker/registry/v2/blobs/sha256"
        lost = changeable.contents.made("mixed", "1.0.0").config
        cut = changeable.contents.made("mixed", "1.0.1").config
        assert lost is not None
        assert cut is not None
        shutil.rmtree(f"{data}/{lost.encoded[:2]}/{lost.encoded}")
        with open(f"{data}/{cut.encoded[:2]}/{cut.encoded}/data", "ab") as file:
            file.write(b" ")
        found = ask(session, f"verify tags of {changeable.host}/mixed where version < 1.1 and prerelease is unknown")
        assert codes(found) == ["incomplete"] * 2
        said = " ".join(error.message for error in found.errors)
        assert f"the blob {lost.short} is missing" in said
        assert f"the blob {cut.short} has" in said
