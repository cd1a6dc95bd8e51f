"""Images made of containers and of images: commit, change, append and flatten."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
from support.engines import Dockerd

if TYPE_CHECKING:
    from .conftest import Machine

SCRIPT = """
echo new > /new; ln /new /hard; ln -s new /soft; mkdir -p /dir/inner; echo a > /dir/inner/file
chmod 2750 /dir; chown 1000:1001 /dir/inner; rm /bin/yes; rm -rf /tmp; mkdir /tmp; echo t > /tmp/t
chmod 4755 /bin/busybox; echo more >> /etc/passwd; mv /bin/wc /bin/count; chown 5:6 /root; echo v > /data/in-volume
touch -d '2020-01-02 03:04:05' /new
""".strip().replace("\n", "; ")
"""Changes of all kinds: new, changed, renamed, removed and replaced files and folders, links, modes and owners."""


def read_layer(path: pathlib.Path) -> dict[str, tuple[object, ...]]:
    """Return what a layer says of each path, but for times of now."""
    entries: dict[str, tuple[object, ...]] = {}
    with tarfile.open(path) as archive:
        for one in archive:
            content = archive.extractfile(one) if one.isfile() else None
            name = one.name.strip("/")
            time = one.mtime if one.mtime < 1_600_000_000 and not name.endswith(".wh..wh..opq") else None
            kind = "whiteout" if ".wh." in name else one.type
            links = sorted((name, one.linkname)) if one.islnk() else one.linkname
            entries[name] = (
                kind, one.mode & 0o7777, one.uid, one.gid, str(links), content.read() if content else b"", time,
                tuple(sorted(key for key in one.pax_headers if key.startswith("SCHILY"))),
            )  # fmt: skip
    return entries


def find_layer(machine: Machine, name: str, index: int) -> pathlib.Path:
    (row,) = machine.rows(f"layers of {name} where .index = {index} select digest")
    return pathlib.Path(machine.root, "blobs", *row["digest"].split(":"))


def config_of(machine: Machine, name: str) -> dict[str, Any]:
    (row,) = machine.rows(f"images where name = {name} select id")
    path = pathlib.Path(machine.root, "blobs", *row["id"].split(":"))
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def test_commit_makes_the_layer_of_docker_commit(machine: Machine, dockerd: Dockerd, tmp_path: pathlib.Path) -> None:
    done = machine.command("run", "--name", "ours", "box:1", "sh", "-c", SCRIPT)
    assert done.returncode == 0, done.stderr
    machine.do('commit ours as made:1 change "LABEL a=b", "CMD [\\"ls\\"]" message "why" with author = me')
    dockerd.run("run", "--network=none", "--name", "theirs", "box:1", "sh", "-c", SCRIPT)
    dockerd.run("commit", "-a", "me", "-m", "why", "-c", "LABEL a=b", "-c", 'CMD ["ls"]', "theirs", "made:1")
    dockerd.run("save", "-o", str(tmp_path / "theirs.tar"), "made:1")
    with tarfile.open(tmp_path / "theirs.tar") as saved:
        (manifest,) = json.load(saved.extractfile("manifest.json"))  # type: ignore[arg-type]
        config = json.load(saved.extractfile(manifest["Config"]))  # type: ignore[arg-type]
        layer = saved.extractfile(manifest["Layers"][-1])
        assert layer is not None
        (tmp_path / "layer.tar").write_bytes(layer.read())
    ours, theirs = read_layer(find_layer(machine, "made:1", 1)), read_layer(tmp_path / "layer.tar")
    assert sorted(ours) == sorted(theirs)
    assert ours == theirs
    own = config_of(machine, "made:1")
    for key in ("Env", "Cmd", "Labels", "Volumes", "ExposedPorts"):
        assert own["config"].get(key) == config["config"].get(key), key
    assert own["author"] == config["author"] == "me"
    last, other = own["history"][-1], config["history"][-1]
    assert {key: last[key] for key in ("comment", "author", "created_by")} == {
        key: other[key] for key in ("comment", "author", "created_by")
    }
    assert own["rootfs"]["diff_ids"][0] == config["rootfs"]["diff_ids"][0], "the lower layer is shared"


def test_a_committed_image_runs_in_docker_and_here(machine: Machine, dockerd: Dockerd, tmp_path: pathlib.Path) -> None:
    machine.command("run", "--name", "ours", "box:1", "sh", "-c", SCRIPT)
    machine.do("commit ours as shown:1")
    machine.do(f'save shown:1 to "{tmp_path}/ours.tar"')
    dockerd.run("load", "-i", str(tmp_path / "ours.tar"))
    script = "stat -c '%n %a %u:%g' /new /dir /dir/inner /bin/count /root /tmp/t; cat /hard; ls -1 /bin /tmp"
    theirs = dockerd.run("run", "--rm", "--network=none", "shown:1", "sh", "-c", script)
    ours = machine.command("run", "--rm", "shown:1", "sh", "-c", script)
    assert ours.stdout.strip() == theirs
    assert "yes" not in theirs.split()


def test_the_same_changes_give_the_same_image(machine: Machine) -> None:
    for name in ("one1", "two2"):
        machine.do(f'run box:1 sh -c "mkdir /z /a; echo x > /z/y; touch -d @1000 /z/y /z /a /" as {name}')
        machine.do(f"commit {name} as same:{name}")
    (first,), (second,) = (
        machine.rows(f"layers of same:{name} where .index = 1 select diff_id") for name in ("one1", "two2")
    )
    assert first["diff_id"] == second["diff_id"]


def test_commit_of_a_running_container_pauses_it(machine: Machine) -> None:
    from .test_lifecycle import start

    start(machine, "busy", 'sh -c "echo ready; while true; do echo x >> /log; done"')
    machine.do("commit busy as snap:1")
    assert machine.container("busy")["status"] == "running"
    machine.do('exec container busy run sh -c "echo y > /later"')
    assert "log" in read_layer(find_layer(machine, "snap:1", 1))
    machine.do_all("pause busy", "commit busy as snap:2")
    assert machine.container("busy")["status"] == "paused", "a paused container stays paused"
    assert set(read_layer(find_layer(machine, "snap:2", 1))) >= {"log", "later"}


def test_commit_without_changes_adds_no_layer(machine: Machine) -> None:
    machine.do_all("create idle from box:1", "commit idle as idle:1")
    assert len(machine.rows("layers of idle:1")) == 1
    assert config_of(machine, "idle:1")["history"][-1]["empty_layer"] is True
    assert machine.rows("images where name = idle:1 select base.name") == [{"base.name": None}]


def test_a_query_commits_each_container_under_its_name(machine: Machine) -> None:
    machine.do_all('run box:1 sh -c "echo a > /a" as aa', 'run box:1 sh -c "echo b > /b" as bb')
    machine.do('commit containers where status = exited as "saved/{{.Name}}:1"')
    assert {row["name"] for row in machine.rows("images where repository like saved/* select name")} == {
        "saved/aa:1",
        "saved/bb:1",
    }
    assert machine.failure_code("commit containers where status = exited as one:1") == "operand"


def test_change_edits_the_configuration_alone(machine: Machine) -> None:
    machine.do('change box:1 "LABEL env=prod", "ENV C=d" as box:2')
    before, after = config_of(machine, "box:1"), config_of(machine, "box:2")
    assert after["rootfs"] == before["rootfs"]
    assert after["created"] == before["created"]
    assert after["config"]["Labels"] == {"tier": "test", "env": "prod"}
    assert [entry.get("created_by") for entry in after["history"][-2:]] == ["LABEL env=prod", "ENV C=d"]
    (first,) = machine.rows("images where name = box:2 select id")
    machine.do('change box:1 "LABEL env=prod", "ENV C=d" as box:3')
    assert machine.rows("images where name = box:3 select id") == [first], "the same change gives the same image"
    assert machine.failure_code('change box:1 "RUN make" as box:4') == "instruction"
    assert machine.failure_code('change box:1 "LABEL a=b"') == "operand"


def test_append_adds_a_layer(machine: Machine, tmp_path: pathlib.Path) -> None:
    (tmp_path / "tree" / "srv").mkdir(parents=True)
    (tmp_path / "tree" / "srv" / "page").write_text("hello\n")
    machine.do(f'append "{tmp_path}/tree" to box:1 as box:2 change "CMD [\\"cat\\", \\"/srv/page\\"]"')
    assert len(machine.rows("layers of box:2")) == 2
    done = machine.command("run", "--rm", "box:2")
    assert (done.returncode, done.stdout) == (0, "hello\n")
    subprocess.run(["tar", "-C", str(tmp_path / "tree"), "-cf", str(tmp_path / "tree.tar"), "srv"], check=True)
    machine.do(f'append "{tmp_path}/tree.tar" to box:1 as box:3')
    assert set(read_layer(find_layer(machine, "box:3", 1))) == {"srv", "srv/page"}
    assert machine.failure_code('append "/nothing/here" to box:1 as box:4') == "path"


def test_flatten_merges_the_layers(machine: Machine) -> None:
    machine.do('run box:1 sh -c "rm /bin/yes; echo x > /x" as gone')
    machine.do_all("commit gone as box:2", "flatten box:2 as flat:1")
    assert len(machine.rows("layers of flat:1")) == 1
    names = read_layer(find_layer(machine, "flat:1", 0))
    assert "x" in names
    assert "bin/yes" not in names
    assert config_of(machine, "flat:1")["config"] == config_of(machine, "box:2")["config"]
    done = machine.command("run", "--rm", "flat:1", "cat", "/x")
    assert done.stdout == "x\n"


def test_a_full_disk_during_commit_leaves_no_half_image(archive: pathlib.Path, tmp_path: pathlib.Path) -> None:
    from store.support.small_filesystem import small_disk

    from .conftest import Machine

    with small_disk(tmp_path / "disk", "size=24m") as disk, Machine(disk / "store") as machine:
        machine.do(f'load "{archive}"')
        done = machine.command("run", "--name", "big", "box:1", "sh", "-c", "head -c 12000000 /dev/urandom > /big")
        if "overlay" in done.stderr:
            pytest.skip("this kernel has no overlay on a tmpfs")
        assert done.returncode == 0, done.stderr
        assert machine.failure_code("commit big as big:1") == "no-space"
        assert [row["name"] for row in machine.rows("images select name")] == ["box:1"]
        assert not [name for name in os.listdir(disk / "store" / "ingest") if "." in name]
        machine.do("rm container big")
