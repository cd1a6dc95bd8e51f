"""Named volumes: created by the containers that mount them, listed, and removed by a statement of their own."""

from __future__ import annotations

import os
import pathlib
from typing import TYPE_CHECKING

from support.engines import mounts_under

if TYPE_CHECKING:
    from support.engines import Dockerd

    from .conftest import Machine

LISTING = "cd /data; stat -c '%n %u %g %a' . *; cat seed"


def test_a_volume_outlives_its_containers(machine: Machine) -> None:
    words = ("run", "--rm", "-v", "store:/keep", "box:1", "sh", "-c")
    assert machine.command(*words, "echo one > /keep/file").returncode == 0
    assert machine.command(*words, "cat /keep/file").stdout == "one\n"
    (row,) = machine.rows("volumes select *")
    assert (row["name"], row["size"], row["in_use"], row["containers"], row["source"]) == (
        "store", 4, False, "[]", "store",
    )  # fmt: skip
    assert pathlib.Path(str(row["path"]), "file").read_text() == "one\n"
    done = machine.command("run", "--rm", "-v", "store:/keep:ro", "box:1", "sh", "-c", "echo two > /keep/file")
    assert (done.returncode, "Read-only file system" in done.stderr) == (1, True), done.stderr


def test_a_new_volume_has_the_files_of_the_image(machine: Machine, dockerd: Dockerd) -> None:
    expected = dockerd.run("run", "--rm", "--network", "none", "-v", "fresh:/data", "box:1", "sh", "-c", LISTING)
    done = machine.command("run", "--rm", "-v", "fresh:/data", "box:1", "sh", "-c", LISTING)
    assert done.stdout == f"{expected}\n"
    machine.command("run", "--rm", "-v", "fresh:/data", "box:1", "sh", "-c", "echo mine > /data/seed")
    done = machine.command("run", "--rm", "-v", "fresh:/data", "box:1", "cat", "/data/seed")
    assert done.stdout == "mine\n", "files that are there are never replaced"
    mount = "type=volume,source=empty,target=/data,volume-nocopy"
    assert machine.command("run", "--rm", "--mount", mount, "box:1", "ls", "/data").stdout == ""
    assert machine.command("run", "--rm", "-v", "/data/deep", "box:1", "ls", "/data/deep").stdout == ""
    assert [row["name"] for row in machine.rows("volumes select name")] == ["empty", "fresh"]
    dockerd.run("volume", "rm", "fresh")


def test_used_volumes_stay(machine: Machine) -> None:
    machine.do_all(
        'create web from box:1 with mount = "used:/keep"',
        'run box:1 sh -c "echo x > /b/file" with mount = "unused:/b", auto_remove = true',
    )
    assert machine.container("web")["mounts"][0] == "used:/keep"
    query = "volumes where in_use select name, containers"
    assert machine.rows(query) == [{"name": "used", "containers": '["web"]'}]
    assert machine.failure_code("rm volume nothing") == "no-such-volume"
    assert machine.failure_code("rm volume used") == "in-use"
    usage = machine.rows("usage where type = 'Local Volumes' select total, active, size, reclaimable")
    assert usage == [{"total": 2, "active": 1, "size": 2, "reclaimable": 2}]
    planned = machine.do("dry run prune volumes")
    assert [(row["target"], row["size"]) for row in planned] == [("unused", 2)]
    machine.do("prune")
    assert len(machine.rows("volumes")) == 2, "prune of images leaves volumes alone"
    assert [row["size"] for row in machine.do("prune volumes")] == [2]
    machine.do("rm container web")
    assert [row["name"] for row in machine.rows("volumes select name")] == ["used"]
    machine.do("rm volumes where name = used")
    assert machine.rows("volumes") == []
    assert os.listdir(pathlib.Path(machine.root, "volumes")) == []


def test_the_volume_of_a_container_that_cannot_be_made_is_not_made(machine: Machine) -> None:
    assert machine.failure_code('create web from box:1 with mount = "new:/x", user = nobody-here') == "no-such-user"
    assert machine.failure_code('create web from box:1 with mount = "../x:/x"') == "no-such-folder"
    assert machine.failure_code('create web from box:1 with mount = "a b:/x"') == "mount"
    assert machine.rows("volumes") == []


def test_a_removal_that_was_killed_goes_on(machine: Machine) -> None:
    machine.do('run box:1 true with mount = "old:/x", auto_remove = true')
    folder = pathlib.Path(machine.root, "volumes")
    (folder / "old").rename(folder / "old.removing")
    assert machine.rows("volumes") == []
    machine.containers.recover()
    assert os.listdir(folder) == []


def test_command_lines_of_docker(machine: Machine) -> None:
    for name in ("first", "second"):
        assert machine.line("run", "--rm", "-v", f"{name}:/x", "box:1", "true")[0] == 0
    machine.line("create", "--name", "web", "-v", "first:/x", "box:1")
    assert machine.line("volume", "ls")[1] == "DRIVER    VOLUME NAME\nlocal     first\nlocal     second\n"
    assert machine.line("volume", "ls", "-q", "-f", "dangling=true")[1] == "second\n"
    assert machine.line("volume", "ls", "--format", "{{.Name}}={{.Driver}}")[1] == "first=local\nsecond=local\n"
    lines = machine.line("system", "df", "--format", "{{.Type}}:{{.TotalCount}}:{{.Active}}")[1].splitlines()
    assert lines[:4] == ["Images:1:1", "Containers:1:0", "Local Volumes:2:1", "Build Cache:0:0"]
    assert machine.line("ps", "-aq", "-f", "volume=first")[1].strip() == machine.container("web")["id"][:12]
    code, _, errors = machine.line("volume", "rm", "first")
    assert (code, "volume is in use" in errors) == (1, True), errors
    assert machine.line("volume", "prune", "-f")[1] == "Deleted Volumes:\nsecond\n\nTotal reclaimed space: 0B\n"
    machine.line("container", "rm", "web")
    assert machine.line("volume", "rm", "first")[:2] == (0, "first\n")
    assert mounts_under(machine.root) == []
