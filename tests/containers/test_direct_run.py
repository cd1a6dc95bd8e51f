"""`imq run` without a session: the same containers as with one, and what a session must do is left to it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pathlib
import re
import shutil
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest
from imq.docker import direct_run
from imq.docker import run as session_run

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Machine

LIMIT = 30.0
LINES = (
    (),
    ("--rm",),
    ("-e", "MODE=fast", "-e", "C", "-l", "tier=web", "-w", "/data", "-u", "app:extra", "--entrypoint", "echo"),
    ("--network=host", "--memory", "64m", "--cpus", "0.5", "--pids-limit", "50", "--shm-size", "1m", "--init"),
    ("-v", "/tmp:/mnt:ro", "-v", "named:/named", "--tmpfs", "/scratch:size=1m", "--read-only", "--cap-drop", "ALL"),
    ("--stop-signal", "INT", "--stop-timeout", "3", "--timeout", "9", "--restart", "on-failure:2", "--privileged"),
    ("--health-cmd", "true", "--health-interval", "1s", "--hostname", "box", "--add-host", "a:1.2.3.4", "-i"),
)
"""Flags of command lines that a container can be run with."""


@pytest.fixture
def direct(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine on which command lines open no session for their containers."""
    machine.line("run", "--rm", "box:1", "true")  # the layers are unpacked by a session

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a session was opened")

    monkeypatch.setattr(session_run, "open_session", refuse)
    return machine


def read_document(machine: Machine, name: str) -> dict[str, Any]:
    """Return the document of a container without what differs in each of them."""
    for folder in pathlib.Path(machine.root, "containers").iterdir():
        path = folder / "container.json"
        if path.exists() and json.loads(path.read_text())["Name"] == name:
            text = path.read_text().replace(folder.name, "ID").replace(folder.name[:12], "SHORT")
            document: dict[str, Any] = json.loads(text)
            return {key: value for key, value in document.items() if key not in ("Created", "Name")}
    raise AssertionError(name)


@pytest.mark.parametrize("flags", LINES)
def test_the_container_is_that_of_a_session(
    machine: Machine, flags: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.line("run", "--rm", "box:1", "true")
    made = {}
    for name in ("direct", "session"):
        if name == "session":
            monkeypatch.setattr(direct_run, "run_directly", lambda *_: None)
        line = ("run", "-d", "--name", name, *flags, "box:1", "sleep", "20")
        code, output, errors = machine.line(*line)
        assert (code, errors) == (0, "")
        assert re.fullmatch(r"[0-9a-f]{64}\n", output)
        made[name] = read_document(machine, name)
    assert made["direct"] == made["session"]


def test_no_session_is_opened_and_the_index_is_not_touched(direct: Machine) -> None:
    direct.close()
    index = pathlib.Path(direct.root, "index.db")
    before = index.read_bytes(), index.stat().st_mtime_ns
    assert direct.line("run", "--rm", "box:1", "sh", "-c", "exit 7") == (7, "", "")
    assert direct.line("container", "run", "--name", "kept", "box:1", "true") == (0, "", "")
    code, _, errors = direct.line("run", "--name", "kept", "box:1", "true")
    assert code == 125
    assert errors.startswith('Error: The container name "/kept" is already in use by container "')
    code, _, errors = direct.line("run", "--rm", "box:1", "missing")
    assert code == 127
    assert '"missing": executable file not found in $PATH' in errors
    assert (index.read_bytes(), index.stat().st_mtime_ns) == before
    assert sorted(path.name for path in pathlib.Path(direct.root).glob("index.db*")) == ["index.db"]


@pytest.mark.parametrize(
    "words",
    [
        ("--output", "json", "run", "--rm", "box:1", "true"),
        ("run", "--dry-run", "box:1", "true"),
        ("run", "--pull", "never", "--rm", "box:1", "true"),
        ("run", "--rm", "none:1", "true"),
        ("run", "--rm", "--memory", "much", "box:1", "true"),
        ("run", "--rm", "-p", "1:1", "box:1", "true"),
        ("run", "--rm", "images", "true"),
        ("--source", "store", "run", "--rm", "box:1", "true"),
        ("--set", "runtime=runc", "run", "--rm", "box:1", "true"),
    ],
)
def test_what_is_left_to_a_session(machine: Machine, words: tuple[str, ...]) -> None:
    from imq.cli.output import Console

    machine.line("run", "--rm", "box:1", "true")
    console = Console(io.StringIO(), io.StringIO(), io.StringIO(), dict(os.environ))
    assert direct_run.run_directly(console, ["--root", machine.root, *words]) is None
    assert machine.rows("containers") == []


def forget_nothing(machine: Machine) -> None:
    """Leave the store as it is."""


def rename_the_image(machine: Machine) -> None:
    machine.do_all('change box:1 "ENV A=new" as other:1', "tag other:1 as box:1")


def use_a_copy(machine: Machine) -> None:
    """Replace the store by a copy in which files have other inodes, with the times of the old ones."""
    machine.close()
    wait_until(lambda: not list(pathlib.Path(machine.root, "containers").glob("*.removing")))
    shutil.copytree(machine.root, f"{machine.root}.copy", symlinks=True)
    shutil.rmtree(machine.root)
    os.rename(f"{machine.root}.copy", machine.root)


def damage(machine: Machine) -> None:
    path = pathlib.Path(machine.root, "unpacked", "box:1.image")
    path.write_bytes(path.read_bytes()[:-10])


def give_away(machine: Machine) -> None:
    os.chown(pathlib.Path(machine.root, "unpacked"), 1000, 1000)


@pytest.mark.parametrize(
    ("change", "is_known"),
    [(forget_nothing, True), (rename_the_image, False), (use_a_copy, False), (damage, False), (give_away, False)],
)
def test_an_image_is_known_until_the_store_changes(
    machine: Machine, change: Callable[[Machine], None], is_known: bool
) -> None:
    from imq.engine.containers.known_images import find_known

    for _ in range(2):  # the first one unpacks the layers
        machine.line("run", "--rm", "box:1", "true")
    change(machine)
    layout = machine.session.store.layout
    assert (find_known(layout, "box:1") is not None) is is_known
    assert find_known(layout, "box:2") is None
    if change is give_away:
        os.chown(pathlib.Path(machine.root, "unpacked"), os.geteuid(), os.getegid())
    if change is rename_the_image:
        machine.line("run", "--name", "new", "box:1", "true")
        assert "A=new" in read_document(machine, "new")["Config"]["Env"]


def test_a_removed_image_is_forgotten(machine: Machine) -> None:
    for _ in range(2):
        machine.line("run", "--rm", "box:1", "true")
    assert pathlib.Path(machine.root, "unpacked", "box:1.image").exists()
    machine.do("rm images where name = box:1")
    code, _, errors = machine.line("run", "--rm", "box:1", "true")
    assert (code, "No such image: box:1" in errors) == (125, True)
    machine.do("prune")
    assert not pathlib.Path(machine.root, "unpacked", "box:1.image").exists()


# Processes


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_removed_container_is_gone_at_once_and_its_files_soon(machine: Machine) -> None:
    machine.command("run", "--rm", "box:1", "true")
    folder = pathlib.Path(machine.root, "containers")
    for _ in range(5):
        done = machine.command("run", "--rm", "box:1", "sh", "-c", "echo out; echo err >&2; exit 3")
        assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")
        assert machine.line("ps", "-a", "-q") == (0, "", "")
    wait_until(lambda: set(os.listdir(folder)) == {"last-used", "runtime"})
    assert machine.rows("images where last_used is known select name") == [{"name": "box:1"}]


def test_a_killed_command_leaves_its_container(machine: Machine) -> None:
    """The monitor is a child of the command, but in a session of its own, and has nothing of it open."""
    machine.command("run", "--rm", "box:1", "true")
    with (
        subprocess.Popen(
            [
                *machine.prefix,
                "run",
                "--name",
                "web",
                "box:1",
                "sh",
                "-c",
                "trap 'exit 5' TERM; while true; do sleep 0.02; done",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process,
        contextlib.ExitStack() as stack,
    ):
        stack.callback(process.kill)  # the end of Popen waits for it
        folder = pathlib.Path(machine.root, "containers")
        wait_until(lambda: list(folder.glob("*/state.json")))
        monitor = machine.monitor_of("web")
        assert os.getsid(monitor) == monitor
        opened = [os.readlink(path) for path in pathlib.Path(f"/proc/{monitor}/fd").iterdir()]
        assert [path for path in opened if "index.db" in path or path.endswith("unpacked/lock")] == []
        assert [os.readlink(f"/proc/{monitor}/fd/{number}") for number in range(3)] == [os.devnull] * 3
        process.kill()
        process.wait()
    assert machine.container("web")["status"] == "running"
    machine.line("stop", "web")
    assert machine.line("wait", "web")[1] == "5\n"


def test_the_files_of_a_temporary_container_are_not_synced(machine: Machine) -> None:
    for flags, is_volatile in ((("--rm",), True), ((), False)):
        code, _, errors = machine.line("run", "-d", "--name", "web", *flags, "box:1", "sleep", "60")
        assert (code, errors) == (0, "")
        mounts = pathlib.Path(f"/proc/{machine.monitor_of('web')}/mountinfo").read_text().splitlines()
        (options,) = [line.rpartition(" ")[2] for line in mounts if " - overlay " in line and machine.root in line]
        assert ({"volatile", "fsync=volatile"}.isdisjoint(options.split(","))) is not is_volatile
        machine.containers.remove(machine.containers.find("web"), force=True)


def test_a_temporary_container_that_did_not_start_can_be_started(machine: Machine) -> None:
    """The kernel refuses to mount an overlay again that was not synced."""
    machine.line("create", "--rm", "--name", "web", "-v", "/tmp:/mnt", "box:1", "missing")
    for _ in range(2):
        code, _, errors = machine.line("start", "-a", "web")
        assert "executable file not found" in errors
        assert "cannot be mounted" not in errors
        assert code


@pytest.mark.parametrize(("flags", "is_child"), [(("-itd",), False), (("--detach",), False), ((), True)])
def test_a_container_in_the_background_has_a_monitor_of_the_launcher(
    machine: Machine, flags: tuple[str, ...], is_child: bool
) -> None:
    """It stays for long, so it has none of the memory of the command."""
    machine.command("run", "--rm", "box:1", "true")
    with subprocess.Popen(
        [*machine.prefix, "run", "--name", "web", *flags, "box:1", "sleep", "60"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    ) as process:
        wait_until(lambda: machine.rows("containers where name = web and status = running"))
        content = pathlib.Path(f"/proc/{machine.monitor_of('web')}/status").read_text()
        parent = int(next(line.split()[1] for line in content.splitlines() if line.startswith("PPid")))
        machine.line("kill", "web")
    assert (parent == process.pid) is is_child
