"""The files of containers of containerd, read from the folders of their snapshots, and images made of them."""

from __future__ import annotations

import os
import pathlib
from typing import TYPE_CHECKING

import pytest
from containerd.conftest import K8S, TWO
from imq.grammar.errors import ImqError, NotFound, StatementError

if TYPE_CHECKING:
    from containerd.conftest import Node

B = "ghcr.io/team/b:2"
HERE = f"containerd:{K8S}"


@pytest.fixture
def changed(node: Node) -> Node:
    """A namespace with the containers `web`, which added, changed and deleted files, and `made`, which did not."""
    node.ctr("containers", "create", B, "web", "serve")
    node.ctr("containers", "create", B, "made", "serve")
    upper = find_upper(node, "web")
    (upper / "new").mkdir()
    (upper / "new" / "one").write_text("1")
    name = next(row["path"] for row in list_files(node, B) if row["type"] == "file")
    os.mknod(upper / name.lstrip("/"), 0o600 | 0o020000, os.makedev(0, 0))
    return node


def find_upper(node: Node, container: str) -> pathlib.Path:
    mounts = node.ctr("snapshots", "mounts", "/target", container)
    return pathlib.Path(mounts.partition("upperdir=")[2].split(",")[0].split()[0])


def list_files(node: Node, target: str, where: str = "") -> list[dict[str, str]]:
    rows: list[dict[str, str]] = node.rows(f"files of {target} in {HERE} {where} select path, type, status")
    return rows


def test_every_path_has_a_status(changed: Node) -> None:
    of_image = {row["path"] for row in list_files(changed, B)}
    rows = {row["path"]: row["status"] for row in list_files(changed, "container web")}
    deleted = {path for path, status in rows.items() if status == "deleted"}
    assert len(deleted) == 1
    assert deleted < of_image
    assert {path for path, status in rows.items() if status == "added"} == {"/new", "/new/one"}
    assert {path for path, status in rows.items() if status == "unchanged"} == of_image - deleted
    assert {row["status"] for row in list_files(changed, "container made")} == {"unchanged"}
    found = changed.rows(f"containers in {HERE} where any files where path = /new/one select name")
    assert found == [{"name": "web"}]


def test_diff_compares_with_the_image(changed: Node) -> None:
    rows = changed.session.rows(f"diff container web in {HERE} as json")
    assert {(row["change"], row["key"]) for row in rows} > {("added", "/new"), ("added", "/new/one")}
    assert sum(row["change"] == "removed" for row in rows) == 1
    with pytest.raises(NotFound, match="No such container: nope"):
        changed.session.rows(f"diff container nope in {HERE}")


def test_commit_adds_the_changes_to_the_image(changed: Node) -> None:
    statement = f'commit web from {HERE} as team/made:1 change "ENV A=b" message "why" with author = Ann'
    (planned,) = changed.session.rows(statement, dry_run=True)
    assert (planned["action"], planned["target"], planned["note"]) == (
        "commit", "team/made:1", f"of the container web in {HERE}",
    )  # fmt: skip
    assert "docker.io/team/made:1" not in changed.names()
    (outcome,) = changed.session.do(statement)
    (image,) = changed.rows(f"images in {HERE} where name = team/made:1 select id, env, author, complete, layer_count")
    assert (image["id"], image["author"], image["complete"]) == (outcome["image"], "Ann", True)
    assert image["layer_count"] == len(TWO.layers) + 1
    of_image = {row["path"] for row in list_files(changed, "team/made:1")}
    of_container = {row["path"] for row in list_files(changed, "container web", "where status != deleted")}
    assert of_image == of_container
    (step,) = changed.rows(f"history of team/made:1 in {HERE} order by index desc limit 1 select comment, created_by")
    assert (step["comment"], step["created_by"]) == ("why", "serve")


def test_commit_of_a_query_names_each_image(changed: Node) -> None:
    outcomes = changed.session.do(f'commit containers in {HERE} where name like "*" as "backup/{{{{.Name}}}}:1"')
    assert sorted(str(one["target"]) for one in outcomes) == ["backup/made:1", "backup/web:1"]
    assert {"docker.io/backup/made:1", "docker.io/backup/web:1"} <= changed.names()
    with pytest.raises(StatementError, match="several containers would be committed"):
        changed.session.rows(f'commit containers in {HERE} where name like "*" as backup/all:1')
    with pytest.raises(StatementError, match="needs a name"):
        changed.session.rows(f"commit web from {HERE}")
    with pytest.raises(NotFound, match="No such container: nope"):
        changed.session.rows(f"commit nope from {HERE} as a:1")


def test_a_container_whose_image_is_gone(changed: Node) -> None:
    changed.ctr("images", "rm", "--sync", B)
    with pytest.raises(ImqError, match="the files of the container web are unknown: its image was removed"):
        changed.session.rows(f"files of container web in {HERE}")
