"""The table and the relation `mounts` of containerd, from the specifications of containers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from containerd.conftest import K8S
from imq.engine.sources.containerd.specification import list_mounts
from imq.grammar.errors import Conflict, EngineError, NotFound, StatementError

if TYPE_CHECKING:
    from containerd.conftest import Node

APP = "docker.io/library/app:1"
HERE = f"containerd:{K8S}"
FIELDS = "type, source_path, target, read_only, propagation"


def create(node: Node, name: str, *words: str) -> None:
    node.ctr("containers", "create", *words, APP, name, "serve")


@pytest.fixture
def mounted(node: Node) -> Node:
    """A namespace with the container `web`, which has mounts, and `plain`, which has those of every container."""
    binds = ("type=bind,src=/tmp,dst=/data,options=rbind:ro", "type=bind,src=/srv,dst=/srv,options=bind:rshared:rw")
    mounts = (*binds, "type=tmpfs,dst=/scratch,options=size=64k:ro")
    create(node, "web", *(word for mount in mounts for word in ("--mount", mount)), "--label", "nerdctl/name=shop")
    create(node, "plain")
    return node


def test_the_mounts_of_a_container_without_those_that_every_container_has(mounted: Node) -> None:
    rows = mounted.rows(f"mounts in {HERE} select container, container_id, image, {FIELDS}, source")
    assert [tuple(row.values()) for row in rows] == [
        ("shop", "web", "app:1", "bind", "/tmp", "/data", True, None, HERE),
        ("shop", "web", "app:1", "tmpfs", None, "/scratch", True, None, HERE),
        ("shop", "web", "app:1", "bind", "/srv", "/srv", False, "rshared", HERE),
    ]
    (row,) = mounted.rows(f"containers in {HERE} where name = shop select mounts")
    assert row["mounts"] == ["/tmp:/data:ro", "/srv:/srv"]
    assert len(mounted.rows("mounts in containerd:* select target")) == 3


@pytest.mark.parametrize("target", ["web", "we", "shop", f"(containers in {HERE} where name = shop select id)"])
def test_a_container_is_named_by_its_id_the_beginning_of_it_or_its_name(mounted: Node, target: str) -> None:
    assert len(mounted.rows(f"mounts of {target} in {HERE} select target")) == 3


def test_a_container_that_is_not_there_or_not_the_only_one(mounted: Node) -> None:
    with pytest.raises(NotFound, match="No such container: gone"):
        mounted.rows(f"mounts of gone in {HERE} select target")
    create(mounted, "worker")
    with pytest.raises(Conflict, match='"w" is the beginning of several IDs'):
        mounted.rows(f"mounts of w in {HERE} select target")
    create(mounted, "other", "--label", "nerdctl/name=shop")
    with pytest.raises(Conflict, match='"shop" is the name of several containers'):
        mounted.rows(f"mounts of shop in {HERE} select target")


def test_conditions_about_mounts_select_containers(mounted: Node) -> None:
    chosen = mounted.rows(f"containers in {HERE} where any mounts where source_path like '/tmp*' select id")
    assert [row["id"] for row in chosen] == ["web"]
    assert [row["id"] for row in mounted.rows(f"containers in {HERE} where no mounts select id")] == ["plain"]
    (planned,) = mounted.session.outcomes(f"rm containers in {HERE} where no mounts", dry_run=True)
    assert planned["target"] == "plain"


@pytest.mark.parametrize("field", ["volume", "driver"])
def test_what_only_clients_know_cannot_choose_what_is_removed(mounted: Node, field: str) -> None:
    with pytest.raises(StatementError, match=f'"{field}" is unknown in a? ?containerd'):
        mounted.session.do(f"rm containers in {HERE} where no mounts where {field} = data")


def test_a_container_without_a_record_has_unknown_mounts(mounted: Node) -> None:
    """A snapshot that can be written to is the container of a client that keeps its records elsewhere."""
    parent = mounted.ctr("snapshots", "info", "web")
    mounted.ctr("snapshots", "prepare", "elsewhere", json.loads(parent)["Parent"])
    (row,) = mounted.rows(f"containers in {HERE} where status = storage select id, mounts")
    assert row == {"id": "elsewhere", "mounts": None}
    with pytest.raises(EngineError, match="the mounts of elsewhere are unknown: containerd has no spec") as caught:
        mounted.session.outcomes(f"rm containers in {HERE} where no mounts", dry_run=True)
    assert "status != storage" in caught.value.hints[0]
    (planned,) = mounted.session.outcomes(
        f"rm containers in {HERE} where status != storage and no mounts", dry_run=True
    )
    assert planned["target"] == "plain"
    (result,) = mounted.session.session.run(f"mounts in {HERE} select target")
    assert len(list(result.rows)) == 3  # type: ignore[union-attr]
    assert [problem.message for problem in result.errors] == [
        "the mounts of elsewhere are unknown: containerd has no specification of it"
    ]
    mounted.ctr("snapshots", "rm", "elsewhere")


DEFAULT_RUN = ["nosuid", "strictatime", "mode=755", "size=65536k"]


@pytest.mark.parametrize(
    ("mounts", "expected"),
    [
        (None, []),
        ("text", []),
        ([1, {}, {"destination": 1, "type": "bind"}, {"destination": "/x", "options": 1}], []),
        ([{"destination": "/sys/fs/cgroup", "type": "cgroup", "options": ["ro"]}], []),
        ([{"destination": "/dev/shm/", "type": "tmpfs", "source": "shm"}], []),
        ([{"destination": "/run", "type": "tmpfs", "source": "tmpfs", "options": DEFAULT_RUN}], []),
        (
            [{"destination": "/run", "type": "tmpfs", "source": "tmpfs", "options": ["size=1m"]}],
            [("tmpfs", None, "/run", False, None)],
        ),
        (
            [{"destination": "/dev/shm", "type": "bind", "source": "/run/pod/shm", "options": ["rbind", "ro", "rw"]}],
            [("bind", "/run/pod/shm", "/dev/shm", False, None)],
        ),
        (
            [{"destination": "/a", "type": "none", "source": "/b", "options": ["bind", "rro", "rslave"]}],
            [("bind", "/b", "/a", True, "rslave")],
        ),
        (
            [
                {"destination": "/run", "type": "tmpfs", "options": DEFAULT_RUN},
                {"destination": "/run", "type": "bind", "source": "/srv", "options": ["rbind"]},
            ],
            [("bind", "/srv", "/run", False, None)],
        ),
        (
            [{"destination": "/disk", "type": "ext4", "source": "/dev/vdb", "options": ["ro"]}],
            [("ext4", "/dev/vdb", "/disk", True, None)],
        ),
    ],
)
def test_mounts_of_a_specification(mounts: Any, expected: list[tuple[Any, ...]]) -> None:
    found = list_mounts({"mounts": mounts})
    assert [(one.type, one.source, one.target, one.read_only, one.propagation) for one in found] == expected
