"""Containers whose store is on a file system that overlayfs refuses: each has a copy of the files of its image."""

from __future__ import annotations

import errno
import json
import os
import pathlib
import subprocess
from typing import TYPE_CHECKING

import pytest
from imq.engine.layers import pack, pack_changes
from support.engines import mounts_under

from .conftest import Machine
from .test_lifecycle import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

CHANGES = (
    "echo new > /new; echo more >> /etc/passwd; rm /etc/group; mkdir -p /made/deep; echo x > /made/deep/file;"
    " chmod 700 /root; ln -s new /link; rm -rf /tmp; touch /tmp; mv /bin/yes /bin/no; mkdir /empty;"
    " rm /bin/wc; mkdir /bin/wc; ln /new /again"
)

FIELDS = "path, type, mode, uid, gid, size, link_target"


@pytest.fixture
def overlaid(archive: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A store on an overlay file system, which cannot be the upper one of another."""
    tmp_path = tmp_path_factory.mktemp("overlaid")
    for name in ("lower", "upper", "work", "merged"):
        (tmp_path / name).mkdir()
    options = f"lowerdir={tmp_path}/lower,upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, f"{tmp_path}/merged"], check=True)
    try:
        machine = Machine(tmp_path / "merged" / "store")
        machine.do(f'load "{archive}"')
        try:
            yield machine
            machine.clear()
        finally:
            machine.close()
    finally:
        # a monitor may still remove the files of a temporary container
        wait_for(lambda: subprocess.run(["umount", f"{tmp_path}/merged"], check=False).returncode == 0)
    assert mounts_under(str(tmp_path)) == []


def list_layer(machine: Machine, container: str) -> list[tuple[object, ...]]:
    """Return the entries of the layer that a commit of a container makes, without their times.

    Overlayfs makes each new folder opaque that replaces a file; that changes nothing.
    """
    machine.do(f"commit {container} as {container}:made")
    rows = machine.rows(f"all files of {container}:made where layer_index = 1 select {FIELDS}")
    return sorted(tuple(row.values()) for row in rows if row["type"] != "opaque")


def test_a_container_on_an_overlay_has_a_copy_of_its_image(overlaid: Machine) -> None:
    (outcome,) = overlaid.do('run box:1 sh -c "cat /data/seed; id -u app; echo $B > /out; cat /etc/mtab" as one1')
    assert outcome["error"] is None
    assert overlaid.container("one1")["driver"] == "vfs"
    code, output, errors = overlaid.line("inspect", "-f", "{{.Driver}} {{.GraphDriver.Data.MergedDir}}", "one1")
    folder = overlaid.folder("one1")
    assert (code, output) == (0, f"vfs {folder}/rootfs\n"), errors
    assert (folder / "rootfs" / "out").read_text() == "image\n"
    assert not (folder / "upper").exists()
    assert not [name for name in os.listdir(folder.parent.parent / "unpacked") if name.endswith(".json")]
    assert overlaid.rows("containers where name = one1 select size_rw") == [{"size_rw": len("image\n")}]
    done = overlaid.command("run", "--rm", "-u", "app", "-v", f"{overlaid.root}:/store:ro", "box:1", "id", "-un")
    assert (done.returncode, done.stdout) == (0, "app\n"), done.stderr
    done = overlaid.command("run", "--rm", "--read-only", "box:1", "sh", "-c", "cat /etc/hosts > /dev/null && touch /x")
    assert (done.returncode, "Read-only file system" in done.stderr) == (1, True), done.stderr
    assert [row["name"] for row in overlaid.rows("containers")] == ["one1"]


def test_changes_are_those_of_an_overlay(overlaid: Machine, machine: Machine) -> None:
    for each in (overlaid, machine):
        each.do(f'run box:1 sh -c "{CHANGES}" as one1')
        each.do("run box:1 true as same1")
    assert machine.container("one1")["driver"] == "overlay2"
    changes = list_layer(machine, "one1")
    assert len(changes) > 10
    assert list_layer(overlaid, "one1") == changes
    for each in (overlaid, machine):
        each.do("commit same1 as same:made")
        assert each.rows("layers of same:made select count() as n") == [{"n": 1}]
    query = "files of container one1 where status != unchanged order by path select path, status"
    assert overlaid.rows(query) == machine.rows(query) != []
    query = "changes of one1 select path, status, type, size, mode, link_target"
    assert overlaid.rows(query) == machine.rows(query) != []


def test_a_change_that_keeps_size_and_time_is_found(overlaid: Machine) -> None:
    overlaid.do(
        'run box:1 sh -c "touch -r /etc/group /tmp/time; echo R | busybox dd of=/etc/group bs=1 count=1 conv=notrunc;'
        " touch -r /tmp/time /etc/group;"
        ' rm /tmp/time" as one1'
    )
    paths = [row[0] for row in list_layer(overlaid, "one1")]
    assert "/etc/group" in paths
    assert "/etc/passwd" not in paths


def test_the_driver_is_that_of_the_creation(overlaid: Machine) -> None:
    overlaid.do("create one1 from box:1")
    document = json.loads((overlaid.folder("one1") / "container.json").read_text())
    assert document["Driver"] == "vfs"
    overlaid.do_all("start one1", "wait one1", "start one1", "wait one1")
    assert overlaid.container("one1")["exit_code"] == 0
    assert overlaid.failure_code('run box:1 true as two2 with user = "nobody-here"') is not None
    assert [row["name"] for row in overlaid.rows("containers")] == ["one1"]
    left = os.listdir(pathlib.Path(overlaid.root, "containers"))
    assert sorted(left) == sorted([overlaid.container("one1")["id"], "runtime"])


def test_a_full_disk_leaves_no_half_copy(overlaid: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pack_changes, "list_files", fail)
    assert overlaid.failure_code("create one1 from box:1") == "no-space"
    assert overlaid.rows("containers") == []
    assert os.listdir(pathlib.Path(overlaid.root, "containers")) == []


def test_the_changed_files_only_are_read(overlaid: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    overlaid.do('run box:1 sh -c "echo new > /etc/group" as one1')
    opened = []
    read = pack.TreePacker._pack_file

    def count(self: pack.TreePacker, path: str, name: str, status: os.stat_result) -> Iterator[bytes]:
        opened.append(name)
        return read(self, path, name, status)

    monkeypatch.setattr(pack.TreePacker, "_pack_file", count)
    overlaid.do("commit one1 as one:made")
    assert opened == ["etc/group"]
