"""Names and removals in containerd: `rm`, `untag`, `prune` and `tag`, and what keeps an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from containerd.conftest import K8S, ONE, TWO, make_program
from imq.grammar.errors import Conflict, NotFound, StatementError
from support.images import ARM64, Image, Layout, layer

if TYPE_CHECKING:
    from containerd.conftest import Node

APP = "docker.io/library/app"
B = "ghcr.io/team/b:2"
HERE = f"containerd:{K8S}"


def notes(outcomes: list[dict[str, object]]) -> list[tuple[object, ...]]:
    return [(one["action"], one["target"], one["image"], one["error"]) for one in outcomes]


def test_rm_of_one_of_several_names_keeps_the_image(node: Node) -> None:
    assert notes(node.session.do(f"rm app:1 from {HERE}")) == [("untag", "app:1", ONE.id, None)]
    assert node.names() == {f"{APP}:latest", B}


def test_rm_of_the_last_name_removes_the_content(node: Node) -> None:
    assert notes(node.session.do(f"rm {B} from {HERE}")) == [("remove", B, TWO.id, None)]
    assert node.names() == {f"{APP}:1", f"{APP}:latest"}
    assert TWO.digest not in node.ctr("content", "ls", "-q").split()


def test_the_last_tag_takes_the_digest_names_and_the_id_with_it(node: Node) -> None:
    node.ctr("images", "tag", B, f"ghcr.io/team/b@{TWO.digest}", TWO.id)
    assert notes(node.session.do(f"rm {B} from {HERE}")) == [("remove", B, TWO.id, None)]
    assert node.names() == {f"{APP}:1", f"{APP}:latest"}


def test_rm_by_id_of_several_names_needs_force(node: Node) -> None:
    (outcome,) = node.session.outcomes(f"rm {ONE.id} from {HERE}")
    assert outcome["error"] == "conflict"
    assert "several names" in str(outcome["message"])
    node.session.do(f"rm {ONE.id} from {HERE} force")
    assert node.names() == {B}


def test_rm_of_a_query_is_exactly_its_plan(node: Node) -> None:
    statement = f"rm images in {HERE} where label.part = one"
    planned = node.session.rows(statement, dry_run=True)
    assert [(one["action"], one["target"]) for one in planned] == [("remove", "app:1, app:latest")]
    assert node.names() == {f"{APP}:1", f"{APP}:latest", B}
    assert notes(node.session.do(statement)) == [("remove", "app:1, app:latest", ONE.id, None)]
    assert node.names() == {B}


def test_rm_needs_a_condition(node: Node) -> None:
    with pytest.raises(StatementError):
        node.session.rows(f"rm images in {HERE}")
    assert len(node.names()) == 3


def test_rm_of_an_unknown_image_says_where_it_looked(node: Node) -> None:
    with pytest.raises(NotFound, match="No such image: none:1") as caught:
        node.session.rows(f"rm none:1 from {HERE}")
    assert caught.value.hints == (f"searched in {HERE}",)


def test_an_image_of_a_container_stays(node: Node) -> None:
    node.ctr("containers", "create", B, "web", "serve")
    (outcome,) = node.session.outcomes(f"rm {B} from {HERE}")
    assert outcome["message"] == f"unable to remove {B}: the container web uses the image"
    assert notes(node.session.outcomes(f"rm images in {HERE} where not in use")) == [
        ("remove", "app:1, app:latest", ONE.id, None)
    ]
    assert node.names() == {B}
    node.session.do(f"rm {B} from {HERE} force")
    assert node.names() == set()


def test_an_image_below_the_snapshot_of_a_container_stays(node: Node) -> None:
    node.ctr("containers", "create", B, "web", "serve")
    node.ctr("images", "tag", B, "docker.io/library/kept:1")
    node.ctr("images", "tag", "--force", f"{APP}:1", B)
    (outcome,) = node.session.outcomes(f"rm kept:1 from {HERE}")
    assert outcome["error"] == "in-use"


def test_force_does_not_remove_the_image_of_a_running_container(node: Node) -> None:
    node.add({"docker.io/library/wait:1": make_program()})
    node.ctr("run", "-d", "docker.io/library/wait:1", "runs", "/wait")
    (outcome,) = node.session.outcomes(f"rm wait:1 from {HERE} force")
    assert "(cannot be forced): the container runs uses the image" in str(outcome["message"])
    assert "docker.io/library/wait:1" in node.names()


def test_a_pinned_image_stays(node: Node) -> None:
    node.ctr("images", "label", B, "io.cri-containerd.pinned=pinned")
    assert [row["name"] for row in node.rows(f"images in {HERE} where pinned select name")] == [B]
    (outcome,) = node.session.outcomes(f"rm {B} from {HERE}")
    assert outcome["error"] == "pinned"
    node.session.do(f"rm {B} from {HERE} force")
    assert B not in node.names()


def test_an_image_that_got_a_container_since_the_plan_stays(node: Node) -> None:
    from imq.engine.containerd_client.client import ContainerdClient
    from imq.engine.oci.digest import Digest
    from imq.engine.sources.containerd.remove import RemoveNames

    client = ContainerdClient(node.engine.socket)
    (record,) = client.list_images(K8S, f"name=={B}")
    action = RemoveNames(HERE, K8S, (B,), Digest(TWO.id), record.target, (B,), frozenset({B}), True)
    action.check_unchanged(client)
    node.ctr("containers", "create", B, "web", "serve")
    with pytest.raises(Conflict, match="the container web was made") as caught:
        action.check_unchanged(client)
    assert caught.value.code == "changed"
    node.ctr("images", "tag", B, "docker.io/library/new:1")
    with pytest.raises(NotFound, match=r"names of .* have changed"):
        action.check_unchanged(client)
    client.close()


def test_a_row_of_an_index_does_not_remove_its_other_platforms(node: Node) -> None:
    arm = Image([layer({"arm": b"a" * 100})], platform=ARM64)
    other = Image([layer({"other": b"o" * 100})], platform={"os": "linux", "architecture": "s390x"})
    layout = Layout(node.folder / "index")
    layout.add_index([other, arm], "docker.io/library/multi:1")
    node.add_layout(layout, "other", "--no-unpack")
    (outcome,) = node.session.outcomes("rm images in containerd:other where architecture = arm64")
    assert outcome["message"] == "multi:1 is also the image for linux/s390x, which the condition did not choose"
    assert node.names("other") == {"docker.io/library/multi:1"}
    node.session.do("rm images in containerd:other where tag = 1")
    assert node.names("other") == set()


def test_an_unreadable_image_is_only_removed_by_its_name(node: Node) -> None:
    node.add({"docker.io/library/broken:1": TWO}, "other")
    node.ctr("content", "rm", TWO.digest, namespace="other")
    (outcome,) = node.session.outcomes("rm images in containerd:other where not label.part = one")
    assert (outcome["target"], outcome["error"]) == ("broken:1 in containerd:other", "incomplete")
    assert node.names("other") == {"docker.io/library/broken:1"}
    node.session.do("rm broken:1 from containerd:other")
    assert node.names("other") == set()


def test_an_incomplete_image_is_removed_by_a_condition(node: Node) -> None:
    node.add({"docker.io/library/part:1": TWO}, "other", "--no-unpack")
    node.ctr("content", "rm", TWO.layers[1].digest, namespace="other")
    assert notes(node.session.do("rm images in containerd:other where not complete")) == [
        ("remove", "part:1", TWO.id, None)
    ]
    assert node.names("other") == set()


def test_a_condition_on_what_containerd_does_not_know_is_refused(node: Node) -> None:
    with pytest.raises(StatementError, match='"health" is unknown in containerd') as caught:
        node.session.rows(f"rm images in {HERE} where not any containers where health = healthy")
    assert caught.value.code == "unseen"


def test_prune_removes_images_without_a_tag_that_nothing_keeps(node: Node) -> None:
    node.ctr("images", "tag", B, f"ghcr.io/team/b@{TWO.digest}")
    node.ctr("images", "rm", B)
    node.add({f"quay.io/team/old@{ONE.digest}": ONE})
    node.ctr("containers", "create", f"ghcr.io/team/b@{TWO.digest}", "web", "serve")
    assert node.session.do(f"prune images in {HERE}") == []
    node.ctr("containers", "rm", "web")
    node.ctr("images", "label", f"ghcr.io/team/b@{TWO.digest}", "io.cri-containerd.pinned=pinned")
    assert node.session.do(f"prune images in {HERE}") == []
    node.ctr("images", "label", f"ghcr.io/team/b@{TWO.digest}", "io.cri-containerd.pinned=")
    (outcome,) = node.session.do(f"prune images in {HERE}")
    assert outcome["image"] == TWO.id
    assert f"{APP}:1" in node.names()


def test_untag_keeps_the_last_name_but_not_the_last_tag(node: Node) -> None:
    (outcome,) = node.session.outcomes(f"untag {B} from {HERE}")
    assert "last name" in str(outcome["message"])
    node.ctr("images", "tag", B, TWO.id)
    assert notes(node.session.do(f"untag {B} from {HERE}")) == [("untag", B, TWO.id, None)]
    assert node.names() == {f"{APP}:1", f"{APP}:latest", TWO.id}
    assert [row["id"] for row in node.rows(f"images in {HERE} where dangling select id")] == [TWO.id]


def test_tag_makes_a_name_in_the_long_form_with_the_labels(node: Node) -> None:
    node.ctr("images", "label", B, "team=a")
    assert notes(node.session.do(f"tag {B} as copy:1 from {HERE}")) == [("tag", "copy:1", TWO.id, None)]
    assert "docker.io/library/copy:1" in node.names()
    assert "team=a" in node.ctr("images", "ls", "name==docker.io/library/copy:1")


def test_tag_moves_a_name_and_says_so(node: Node) -> None:
    (planned,) = node.session.rows(f"tag {B} as app:1 from {HERE}", dry_run=True)
    assert planned["note"] == f"in {HERE}, moves from {ONE.digest.removeprefix('sha256:')[:12]}"
    node.session.do(f"tag {B} as app:1 from {HERE}")
    assert [row["id"] for row in node.rows(f"images in {HERE} where name = app:1 select id")] == [TWO.id]
    (outcome,) = node.session.do(f"tag {B} as app:1 from {HERE}")
    assert outcome["note"] == "it had the name already"


def test_tag_names_rows_by_a_template(node: Node) -> None:
    node.session.do(f'tag images in {HERE} where label.part = two as "mirror/{{{{.Label.part}}}}:{{{{.Tag}}}}"')
    assert "docker.io/mirror/two:2" in node.names()


def test_tag_moves_a_name_in_the_short_form(node: Node) -> None:
    node.ctr("images", "tag", f"{APP}:1", "short:1")
    node.session.do(f"tag {B} as short:1 from {HERE}")
    assert [row["id"] for row in node.rows(f"images in {HERE} where name = short:1 select id")] == [TWO.id]
    assert "docker.io/library/short:1" not in node.names()


def test_a_command_line_of_docker_says_which_container_uses_the_image(node: Node) -> None:
    from support.command import run_imq

    node.ctr("containers", "create", B, "web", "serve")
    environment = {"CONTAINERD_ADDRESS": node.engine.socket, "HOME": str(node.folder)}
    ran = run_imq(environment, "--source", HERE, "rmi", B)
    assert ran.code == 1
    assert f"unable to remove {B}: the container web uses the image" in ran.stderr
    ran = run_imq(environment, "--source", HERE, "rmi", "app:1")
    assert (ran.code, ran.stdout) == (0, "Untagged: app:1\n")


def test_rename_sets_the_new_name_and_removes_the_old_one(node: Node) -> None:
    statement = f"rename {B} as team/c:3 in {HERE}"
    planned = [(one["action"], one["target"]) for one in node.session.rows(statement, dry_run=True)]
    assert planned == [("tag", "team/c:3"), ("untag", B)]
    assert B in node.names()
    assert notes(node.session.do(statement)) == [("tag", "team/c:3", TWO.id, None), ("untag", B, TWO.id, None)]
    assert node.names() == {f"{APP}:1", f"{APP}:latest", "docker.io/team/c:3"}
    assert TWO.digest in node.ctr("content", "ls", "-q").split()
    outcomes = node.session.do(f'rename images in {HERE} where repository = app as "moved:{{{{.Tag}}}}"')
    assert [(one["action"], one["target"]) for one in outcomes] == [
        ("tag", "moved:1"), ("tag", "moved:latest"), ("untag", "app:1"), ("untag", "app:latest"),
    ]  # fmt: skip
    assert node.names() == {
        "docker.io/library/moved:1", "docker.io/library/moved:latest", "docker.io/team/c:3",
    }  # fmt: skip


def test_rename_to_a_name_of_another_image_moves_it(node: Node) -> None:
    outcomes = node.session.do(f"rename {B} as app:1 in {HERE}")
    assert [(one["action"], one["target"]) for one in outcomes] == [("tag", "app:1"), ("untag", B)]
    assert node.names() == {f"{APP}:1", f"{APP}:latest"}
    rows = node.session.rows(f"images in {HERE} order by name select name, id as json")
    assert [(row["name"], row["id"]) for row in rows] == [("app:1", TWO.id), ("app:latest", ONE.id)]
    with pytest.raises(StatementError, match="both"):
        node.session.rows(f"rename all images in {HERE} as one:1")
