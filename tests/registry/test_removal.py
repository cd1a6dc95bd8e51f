"""Removing in registries: what goes, what must stay, and that nothing is done but the plan."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import pytest
from imq.grammar.errors import ImqError
from registry.asking import Asked, ask, opened
from registry.proxy import Fault, Proxy, Reply

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from imq.engine.result import Answer
    from imq.engine.session import Session
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

        def meanwhile(_: Answer) -> bool:
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
        assert set(ask(session, f"copy {newest} to {host}/mirror").column("note")) == {"it is there already"}
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
        shutil.rmtree(f"{data}/{lost.hex[:2]}/{lost.hex}")
        with open(f"{data}/{cut.hex[:2]}/{cut.hex}/data", "ab") as file:
            file.write(b" ")
        found = ask(session, f"verify tags of {changeable.host}/mixed where version < 1.1 and prerelease is unknown")
        assert codes(found) == ["incomplete"] * 2
        said = " ".join(error.message for error in found.errors)
        assert f"the blob {lost.short} is missing" in said
        assert f"the blob {cut.short} has" in said
