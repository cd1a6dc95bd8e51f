"""The table `changes` of the store: the paths that `docker diff` lists for the same changes, and their metadata."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from imq.grammar.errors import NotFound

if TYPE_CHECKING:
    from pathlib import Path

    from support.engines import Dockerd

    from .conftest import Machine

SCRIPT = (
    "echo new > /etc/group; rm /bin/yes; mkdir -p /made/deep; echo 1 > /made/one; ln -s one /made/link;"
    " chmod 4755 /made/one; touch /data/seed; rm -r /tmp; mkdir /opt; rm /bin/wc; mkdir /bin/wc"
)
KINDS = {"A": "added", "C": "changed", "D": "deleted"}


def test_changes_are_those_of_docker(machine: Machine, dockerd: Dockerd) -> None:
    machine.do_all(f'run box:1 sh -c "{SCRIPT}" as web', "create made from box:1")
    dockerd.run("run", "--name", "web", "--network", "none", "box:1", "sh", "-c", SCRIPT)
    lines = (line.split(" ", 1) for line in dockerd.run("diff", "web").splitlines())
    expected = {(KINDS[kind], path) for kind, path in lines}
    dockerd.run("rm", "web")
    rows = machine.rows("changes of web select *")
    assert {(row["status"], row["path"]) for row in rows} == expected
    by_path = {row["path"]: row for row in rows}
    one, link, gone = (by_path[path] for path in ("/made/one", "/made/link", "/bin/yes"))
    assert (one["type"], one["size"], one["mode"], one["directory"], one["name"]) == (
        "file", 2, "4755", "/made", "one",
    )  # fmt: skip
    assert (one["container"], one["container_id"], one["image"], one["source"]) == (
        "web", machine.container("web")["id"], "box:1", "store",
    )  # fmt: skip
    assert (link["type"], link["link_target"]) == ("symlink", "one")
    assert (gone["type"], gone["size"], gone["mtime"]) == (None, None, None)
    assert machine.rows("changes of made") == []


def test_changes_are_rows(machine: Machine) -> None:
    machine.do_all('run box:1 sh -c "echo 1 > /one" as web', "create made from box:1")
    assert [row["name"] for row in machine.rows("containers where any changes select name")] == ["web"]
    assert [row["name"] for row in machine.rows("containers where any logs select name")] == []
    query = "changes of (containers where status = exited) where type = file select container, path"
    assert [tuple(row.values()) for row in machine.rows(query)] == [("web", "/one")]
    assert machine.rows("changes in store where status = deleted") == []
    assert machine.failure_code("changes of nope") == NotFound("", code="no-such-container").code
    assert machine.rows("changes where path = /one select mode") == [{"mode": "0644"}]


def test_files_that_a_new_folder_hides_are_deleted(machine: Machine) -> None:
    machine.do('run box:1 sh -c "rm -r /etc; mkdir /etc; echo x > /etc/group" as web')
    found = {(row["status"], row["path"]) for row in machine.rows("changes of web")}
    assert {("changed", "/etc"), ("changed", "/etc/group"), ("deleted", "/etc/passwd")} <= found


def test_mounts_are_those_of_docker(machine: Machine, dockerd: Dockerd, tmp_path: Path) -> None:
    """The store has volumes without names alone, so the sources of volumes differ."""
    flags = ("-v", f"{tmp_path}:/host:ro", "--tmpfs", "/scratch")
    dockerd.run("create", "--name", "web", "--network", "none", *flags, "box:1")
    machine.do(f"create web from box:1 with mount = '{tmp_path}:/host:ro', tmpfs = '/scratch'")
    columns = "type, target, read_only, if(type = volume, '', source_path) as origin"
    rows = [
        [tuple(row.values()) for row in machine.rows(f'mounts of web in "{place}" select {columns}')]
        for place in (dockerd.address, "store")
    ]
    dockerd.run("rm", "-v", "web")
    expected = [("volume", "/data", 0, ""), ("bind", "/host", 1, str(tmp_path)), ("tmpfs", "/scratch", 0, None)]
    assert rows == [expected, expected]
    of_memory = machine.rows("containers where any mounts where type = tmpfs select name")
    assert [row["name"] for row in of_memory] == ["web"]
    assert machine.failure_code("mounts of nope") == NotFound("", code="no-such-container").code


def test_a_container_cannot_mark_its_folders_itself(machine: Machine) -> None:
    """Attributes of overlayfs in user namespaces mean nothing to that of root, and so to its changes."""
    machine.do('run box:1 sh -c "touch /etc/group" as web')
    os.setxattr(machine.folder("web") / "upper" / "etc", "user.overlay.opaque", b"y")
    assert {row["path"] for row in machine.rows("changes of web")} == {"/etc", "/etc/group"}
    machine.do("commit web as web:1")
    assert machine.rows("files of web:1 where path = /etc/passwd select path") == [{"path": "/etc/passwd"}]
