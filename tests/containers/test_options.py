"""Options of containers: what their processes see of them, and which are refused by name."""

from __future__ import annotations

import json
import os
import pathlib
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Machine

LIMIT = 30.0
SEEN = {
    "--cap-add NET_ADMIN --cap-drop all": ("grep CapBnd /proc/self/status", "CapBnd:\t0000000000001000"),
    "--cap-drop CHOWN": ("chown 1 /tmp", "chown: /tmp: Operation not permitted"),
    "--security-opt no-new-privileges": ("grep NoNewPrivs /proc/self/status", "NoNewPrivs:\t1"),
    "--security-opt seccomp=unconfined": ("grep Seccomp: /proc/self/status", "Seccomp:\t0"),
    "": ("grep Seccomp: /proc/self/status", "Seccomp:\t2"),
    "--privileged": ("grep Seccomp: /proc/self/status; echo > /dev/kmsg && echo made", "Seccomp:\t0\nmade"),
    "--ulimit nofile=77:99": ("ulimit -n; ulimit -Hn", "77\n99"),
    "--tmpfs /run:size=1m,mode=1777": ("grep ' /run ' /proc/mounts | grep -o 'size=[0-9]*k'", "size=1024k"),
    "--mount type=tmpfs,dst=/x,tmpfs-size=2m": ("grep ' /x ' /proc/mounts | grep -o 'size=[0-9]*k'", "size=2048k"),
    "--mount type=bind,src={folder},dst=/x,readonly": ("cat /x/given; touch /x/new 2>&1 | grep -o 'Read-only.*'",
                                                       "text\nRead-only file system"),
    "--shm-size 3m": ("grep ' /dev/shm ' /proc/mounts | grep -o 'size=[0-9]*k'", "size=3072k"),
    "--add-host db:10.9.8.7": ("grep db /etc/hosts", "10.9.8.7\tdb"),
    "--dns 10.1.1.1 --dns-search a.example": ("cat /etc/resolv.conf", "nameserver 10.1.1.1\nsearch a.example"),
    "--group-add extra --group-add 77": ("id -G", "0 77 2000"),
    "--env-file {folder}/variables -e B=2": ("echo $A $B $C", "from-file 2 of-process"),
    "--hostname given --read-only": ("hostname; touch /x 2>&1 | grep -o 'Read-only.*'", "given\nRead-only file system"),
    "--uts host": ("hostname", os.uname().nodename),
    "--device /dev/kmsg:/dev/other:r": ("stat -c %t:%T /dev/other; echo > /dev/other || true",
                                        "1:b\nsh: can't create /dev/other: Operation not permitted"),
    "--sysctl kernel.msgmax=7777": ("cat /proc/sys/kernel/msgmax", "7777"),
    "--oom-score-adj 123": ("cat /proc/self/oom_score_adj", "123"),
    "-w /tmp -u app --entrypoint sh": ("pwd; id -un", "/tmp\napp"),
}  # fmt: skip
"""Flags, with a command in the container and what it prints."""


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    """A folder with files for options."""
    (tmp_path / "given").write_text("text\n")
    (tmp_path / "variables").write_text("# comment\n\nA=from-file\nB=1\nC\nNOT_SET_ANYWHERE\n")
    (tmp_path / "labels").write_text("tier=file\nplain\n")
    return tmp_path


@pytest.mark.usefixtures("each_runtime")
@pytest.mark.parametrize("flags", SEEN)
def test_processes_see_the_options(
    shared_machine: Machine, folder: pathlib.Path, flags: str, capfd: pytest.CaptureFixture[str]
) -> None:
    command, expected = SEEN[flags]
    words = flags.replace("{folder}", str(folder)).split()
    program = ["-c", command] if "--entrypoint" in flags else ["sh", "-c", command]
    shared_machine.line("run", "--rm", *words, "box:1", *program)
    lines = "".join(capfd.readouterr()).splitlines()
    assert [line for line in lines if line in expected.splitlines()] == expected.splitlines(), lines


REFUSED = {
    "-p 80:80": "--network host",
    "--publish-all": "--network host",
    "--network bridge": "network_mode = host",
    "--restart always:3": "is invalid",
    "--rm --restart always": "exclude each other",
    "--restart sometimes": "policies: no, on-failure[:COUNT], always, unless-stopped",
    "--rm --restart on-failure": "exclude each other",
    "--restart no:1": "is invalid",
    "--cap-add NOTHING": "invalid capability",
    "--security-opt apparmor=mine": "is not supported",
    "--security-opt seccomp=/nothing/here": "cannot be read",
    "--security-opt seccomp=/etc/passwd": "is not a seccomp profile",
    "--ulimit nofile=9:1": "invalid ulimit",
    "--ulimit some=1": "invalid ulimit",
    "--device /dev/nothing-here": "does not exist",
    "--device null": "invalid device",
    "--add-host db": "invalid IP address",
    "--dns name": "is not an ip address",
    "--tmpfs run": "invalid tmpfs",
    "--mount type=bind,src=/nothing/here,dst=/x": "does not exist",
    "--mount type=npipe,src=/a,dst=/x": "mount",
    "--mount type=bind,dst=/x": "invalid mount",
    "--mount type=bind,src=/etc,dst=/x,volume-nocopy": "invalid mount",
    "-v da@ta:/x": "invalid characters for the name of a volume",
    "-v data": "invalid mount",
    "--mount type=bind,src=/etc,dst=/x,volume-subpath=a": "is not supported",
    "-v /etc:/x:strange": "invalid mount",
    "--pid container:x": "is not supported",
    "--userns host": "does not support",
    "--memory-swap 64m": "needs memory_limit",
    "-m 64m --memory-swap 32m": "less than memory_limit",
    "--cpuset-cpus x": "invalid value",
    "--oom-score-adj 2000": "invalid value",
    "--env-file /nothing/here": "cannot be read",
    "--expose 99999": "invalid value",
    "--pull sometimes": "invalid pull option",
    "--health-cmd true --health-interval soon": "invalid value",
    "--health-cmd true --health-timeout 1us": "invalid value",
    "--health-retries few": "invalid",
    "--gpus all": "--device",
    "--detach-keys ctrl-": "invalid detach keys",
}


@pytest.mark.parametrize("flags", REFUSED)
def test_what_is_not_supported_is_refused_by_name(shared_machine: Machine, flags: str) -> None:
    code, _, errors = shared_machine.line("run", *flags.split(), "box:1", "true")
    assert code in (2, 125), errors
    assert REFUSED[flags] in " ".join(errors.split())
    assert shared_machine.rows("containers") == []


def test_the_file_for_the_id_is_written_once(machine: Machine, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "id"
    _, output, _ = machine.line(
        "create", "--cidfile", str(path), "--label-file", "/dev/null", "--name", "one1", "box:1"
    )
    assert path.read_text() == output.strip() == machine.container("one1")["id"]
    code, _, errors = machine.line("run", "--cidfile", str(path), "box:1", "true")
    assert (code, "container ID file found" in errors) == (125, True)
    _, _, errors = machine.line("create", "--cidfile", str(tmp_path / "no" / "id"), "--name", "two2", "box:1")
    assert "cannot be written" in errors
    assert [row["name"] for row in machine.rows("containers")] == ["one1"]


def test_fields_have_the_options(machine: Machine, folder: pathlib.Path) -> None:
    words = ("--pid", "host", "--restart", "on-failure:3", "--privileged", "--expose", "53/udp", "--label-file")
    machine.line("create", "--name", "whole", *words, str(folder / "labels"), "box:1")
    row = machine.container("whole")
    assert (row["pid_mode"], row["restart_policy"], row["privileged"]) == ("host", "on-failure", True)
    assert (row["ports"], row["label"]) == (["53/udp", "80/tcp"], {"tier": "file", "plain": ""})
    _, output, errors = machine.line("container", "inspect", "-f", "{{json .HostConfig.RestartPolicy}}", "whole")
    assert errors == ""
    assert json.loads(output) == {"Name": "on-failure", "MaximumRetryCount": 3}


@pytest.mark.usefixtures("each_runtime")
def test_a_container_that_fails_is_restarted(machine: Machine) -> None:
    machine.line("run", "-d", "--name", "twice", "--restart", "on-failure:2", "box:1", "sh", "-c", "echo x; exit 3")
    deadline = time.monotonic() + LIMIT
    while (row := machine.container("twice"))["status"] != "exited" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (row["exit_code"], row["restart_count"]) == (3, 2)
    assert [line["text"] for line in machine.rows("logs of twice")] == ["x"] * 3


@pytest.mark.parametrize("policy", ["always", "unless-stopped"])
def test_a_container_that_ends_is_restarted_until_it_is_stopped(machine: Machine, policy: str) -> None:
    machine.line("run", "-d", "--name", "again", "--restart", policy, "box:1", "sh", "-c", "echo x; sleep 0.05")
    deadline = time.monotonic() + LIMIT
    while machine.container("again")["restart_count"] < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    row = machine.container("again")
    assert row["restart_count"] >= 2
    assert row["restart_policy"] == policy
    machine.do("stop again")
    row = machine.container("again")
    assert row["status"] == "exited"
    count = len(machine.rows("logs of again"))
    machine.containers.recover()
    assert (machine.container("again"), len(machine.rows("logs of again"))) == (row, count)


def test_a_container_that_is_stopped_is_not_restarted(machine: Machine) -> None:
    script = "trap 'exit 4' TERM; echo ready; while true; do sleep 0.02; done"
    machine.line("run", "-d", "--name", "stopped", "--restart", "on-failure", "box:1", "sh", "-c", script)
    deadline = time.monotonic() + LIMIT
    while not machine.rows("logs of stopped") and time.monotonic() < deadline:
        time.sleep(0.02)
    machine.do("stop stopped")
    row = machine.container("stopped")
    assert (row["status"], row["exit_code"], row["restart_count"]) == ("exited", 4, 0)
    machine.do('create failing from box:1 run sh -c "exit 5" with restart = on-failure')
    machine.do("start failing")
    while machine.container("failing")["restart_count"] < 1 and time.monotonic() < deadline:
        time.sleep(0.02)
    machine.do("stop failing")
    assert machine.container("failing")["status"] == "exited"
