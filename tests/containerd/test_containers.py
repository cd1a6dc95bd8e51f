"""Removal of containers of containerd, and what containerd cannot make of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from containerd.conftest import K8S, make_program
from imq.engine.containerd_client.client import ContainerdClient
from imq.engine.sources.containerd.remove_containers import RemoveContainer
from imq.grammar.errors import Conflict, ImqError, NotFound, Refused, StatementError
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from containerd.conftest import Node

B = "ghcr.io/team/b:2"
WAIT = "docker.io/library/wait:1"
HERE = f"containerd:{K8S}"


def containers(node: Node) -> list[str]:
    return sorted(node.ctr("containers", "ls", "-q").split())


def snapshots(node: Node) -> set[str]:
    """Return the keys of the active snapshots: those of containers."""
    lines = (line.split() for line in node.ctr("snapshots", "ls").splitlines()[1:])
    return {words[0] for words in lines if words[-1] == "Active"}


def run(node: Node, name: str, *words: str) -> None:
    node.add({WAIT: make_program()})
    node.ctr("run", "-d", WAIT, name, "/wait", *words)


def test_a_container_without_a_process(node: Node) -> None:
    node.ctr("containers", "create", B, "web", "serve")
    node.ctr("containers", "create", B, "other", "serve")
    (planned,) = node.session.outcomes(f"rm containers in {HERE} where name = web", dry_run=True)
    assert containers(node) == ["other", "web"]
    (outcome,) = node.session.outcomes(f"rm containers in {HERE} where name = web")
    assert outcome["action"] == planned["action"] == "remove"
    assert outcome["note"] == planned["note"] == f"created container in {HERE}"
    assert containers(node) == ["other"]


def test_an_ended_process_and_the_snapshot_go_too(node: Node) -> None:
    run(node, "ended", "3")
    wait_until(lambda: "STOPPED" in node.ctr("tasks", "ls"))
    assert snapshots(node) == {"ended"}
    (outcome,) = node.session.outcomes(f"rm containers in {HERE} where status = exited and exit_code = 3")
    assert (outcome["target"], outcome.get("error")) == ("ended", None)
    assert containers(node) == []
    assert snapshots(node) == set()
    assert node.ctr("tasks", "ls", "-q") == ""


def test_a_running_container_needs_force(node: Node) -> None:
    run(node, "runs")
    (outcome,) = node.session.outcomes(f"rm containers in {HERE} where name = runs")
    assert outcome["message"] == "unable to remove the container runs: it is running"
    assert containers(node) == ["runs"]
    (outcome,) = node.session.outcomes(f"rm containers in {HERE} where name = runs force")
    assert outcome["note"] == f"running container in {HERE}, its processes are killed"
    assert containers(node) == []
    assert snapshots(node) == set()


def test_a_container_of_the_kubelet_needs_force(node: Node) -> None:
    node.ctr("containers", "create", "--label", "io.cri-containerd.kind=container", B, "member", "serve")
    (outcome,) = node.session.outcomes(f"rm containers in {HERE} where name = member")
    assert outcome["message"] == "unable to remove the container member: the kubelet manages it"
    assert containers(node) == ["member"]
    node.session.do(f"rm containers in {HERE} where name = member force")
    assert containers(node) == []


def test_a_container_that_was_started_or_replaced_since_the_plan_stays(node: Node) -> None:
    """The action carries what was planned."""
    run(node, "runs")
    client = ContainerdClient(node.engine.socket)
    (record,) = client.list_containers(K8S)
    planned = RemoveContainer(HERE, K8S, "runs", "exited", record.created_at, record.snapshotter, record.snapshot_key)
    context = make_execution_context(client)
    with pytest.raises(Conflict, match="was started since this was planned"):
        list(planned.execute(context))
    with pytest.raises(NotFound, match="was removed since this was planned"):
        list(planned.replace(created_at=1).execute(context))
    with pytest.raises(NotFound, match="was removed since this was planned"):
        list(planned.replace(id="gone").execute(context))
    assert containers(node) == ["runs"]
    client.close()


def make_execution_context(client: ContainerdClient) -> Any:
    """Return as much of the context of an action as a removal reads."""
    return SimpleNamespace(get_shared=lambda _: SimpleNamespace(get=lambda: client))


def test_all_containers_need_all(node: Node) -> None:
    node.ctr("containers", "create", B, "web", "serve")
    with pytest.raises(Refused, match="rm containers would apply to all containers"):
        node.session.do(f"rm containers in {HERE}")
    node.session.do(f"rm all containers in {HERE}")
    assert containers(node) == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f'import "files.tar" to {HERE}', "needs a name"),
    ],
)
def test_what_containerd_cannot_do_is_refused_with_the_reason(node: Node, text: str, reason: str) -> None:
    with pytest.raises(StatementError, match=reason) as caught:
        node.session.do(text)
    assert caught.value.hints


@pytest.mark.parametrize(("option", "during"), [("", "paused"), (" with pause = false", "running")])
def test_a_running_container_is_paused_while_its_changes_are_read(
    node: Node, monkeypatch: pytest.MonkeyPatch, option: str, during: str
) -> None:
    from imq.engine.sources.containerd import container_layer

    run(node, "runs")
    seen = []
    pack = container_layer.pack_overlay_layer

    def pack_and_look(folder: str) -> Iterator[bytes]:
        seen.append(get_status())
        yield from pack(folder)

    def get_status() -> str:
        line = next(line for line in node.ctr("tasks", "ls").splitlines() if line.startswith("runs "))
        return line.split()[-1].lower()

    monkeypatch.setattr(container_layer, "pack_overlay_layer", pack_and_look)
    (row,) = node.session.do(f"commit runs from {HERE} as team/made:1{option}")
    assert row["error"] is None
    assert seen == [during]
    assert get_status() == "running"
    monkeypatch.setattr(container_layer, "pack_overlay_layer", _fail)
    (row,) = node.session.outcomes(f"commit runs from {HERE} as team/made:2{option}")
    assert row["error"] == "broken"
    assert get_status() == "running", "it goes on after a failure"


def _fail(_folder: str) -> Iterator[bytes]:
    raise ImqError("the disk is broken", code="broken")


class TestUsage:
    def rows(self, node: Node) -> dict[str, dict[str, Any]]:
        return {row["type"]: row for row in node.session.rows(f"usage in {HERE} select * as json")}

    def test_images_are_not_unpacked(self, node: Node) -> None:
        usage, blobs = self.rows(node), node.session.rows(f"blobs in {HERE} select * as json")
        assert set(usage) == {"Images", "Containers", "Content"}
        images = usage["Images"]
        assert (images["total"], images["active"]) == (2, 0)
        total = sum(blob["size"] for blob in blobs)
        content = usage["Content"]
        assert (content["total"], content["active"]) == (len(blobs), 0)
        assert (content["size"], content["reclaimable"]) == (total, total)
        assert all(row["source"] == HERE for row in usage.values())

    def test_an_image_of_a_container_is_active(self, node: Node) -> None:
        run(node, "runs")
        usage = self.rows(node)
        assert (usage["Images"]["total"], usage["Images"]["active"]) == (3, 1)
        assert (usage["Containers"]["total"], usage["Containers"]["active"]) == (1, 1)
        (container,) = node.session.rows(f"containers in {HERE} select size_rw")
        assert (usage["Containers"]["size"], usage["Containers"]["reclaimable"]) == (container["size_rw"], 0)
        needed = node.session.rows(f"blobs in {HERE} where referenced_by has wait:1 select * as json")
        content = usage["Content"]
        assert content["active"] == len(needed)
        assert content["size"] - content["reclaimable"] == sum(blob["size"] for blob in needed)
        (image,) = node.session.rows(f"images in {HERE} where name = wait:1 select size")
        assert usage["Images"]["size"] - usage["Images"]["reclaimable"] == image["size"] > 0
