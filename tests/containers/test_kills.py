"""Processes are killed at any point of their work on containers: the next one finds whole containers, and cleans up."""

from __future__ import annotations

import contextlib
import glob
import os
import pathlib
import random
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from imq.engine.containers.folder import State

    from .conftest import Machine

STEPS = (
    ("create", "--name", "aa", "box:1", "sleep", "100"),
    ("start", "aa"),
    ("run", "-d", "--name", "bb", "box:1", "sh", "-c", "echo x > /x; sleep 100"),
    ("run", "--rm", "box:1", "true"),
    ("commit", "bb", "made:1"),
    ("stop", "-t", "0", "aa"),
    ("rm", "-f", "aa"),
    ("rm", "-f", "bb"),
)
LIMIT = 30.0


def kill_after(machine: Machine, words: tuple[str, ...], seconds: float) -> None:
    """Run a command line, and kill its process, but not the monitors that it started, after some time."""
    arguments = [sys.executable, "-m", "imq", "--root", machine.root, *words]
    process = subprocess.Popen(
        arguments, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    process.wait()


def check(machine: Machine) -> None:
    """Check that each container is whole: it has a state, and what a container needs can be done with it."""
    deadline = time.monotonic() + LIMIT
    folder = pathlib.Path(machine.root, "containers")
    rows = machine.rows("containers select id, name, status, exit_code")
    while any(name.endswith(".removing") for name in os.listdir(folder)) and time.monotonic() < deadline:
        machine.containers.recover()  # what a monitor removes at this moment is left to it
        time.sleep(0.02)
    assert {row["status"] for row in rows} <= {"created", "running", "exited"}
    for row in rows:
        container = machine.containers.read(row["id"])
        state = machine.containers.read_state(row["id"])
        assert not state.is_running or os.path.exists(f"/proc/{state.pid}"), (container.name, state)
    assert [name for name in os.listdir(folder) if name.endswith(".removing")] == []
    for row in machine.outcomes("verify all"):
        assert row["error"] is None, row
    names = {row["name"] for row in machine.rows("images where name is known select name")}
    assert names <= {"box:1", "made:1"}


@pytest.mark.parametrize("seed", range(2))
def test_a_kill_at_any_point_leaves_whole_containers(machine: Machine, seed: int) -> None:
    chance = random.Random(seed)
    machine.do("create first from box:1")
    for step in STEPS:
        if chance.random() < 0.7:
            kill_after(machine, step, chance.uniform(0.05, 0.6))
        else:
            machine.command(*step)
        check(machine)
    machine.do("rm container first")
    machine.clear()
    assert machine.rows("containers") == []
    machine.do("run box:1 true with auto_remove = true")


def find_processes(machine: Machine) -> list[int]:
    """Return the processes that have the path of the store in their command lines."""
    found = []
    for name in os.listdir("/proc"):
        try:
            content = pathlib.Path("/proc", name, "cmdline").read_bytes()
        except OSError:
            continue
        if name.isdecimal() and machine.root.encode() in content and int(name) != os.getpid():
            found.append(int(name))
    return found


@pytest.mark.usefixtures("each_runtime")
@pytest.mark.parametrize("seed", range(2))
def test_any_process_may_be_killed_during_a_start(machine: Machine, seed: int) -> None:
    chance = random.Random(seed)
    ids: set[str] = set()
    for number in range(4):
        arguments = [sys.executable, "-m", "imq", "--root", machine.root, "run", "-d", "--name", f"one{number}"]
        with subprocess.Popen(
            [*arguments, "box:1", "sleep", "100"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            time.sleep(chance.uniform(0.1, 0.7))
            ids |= {path.name for path in pathlib.Path(machine.root, "containers").glob("*/") if len(path.name) == 64}
            if victims := find_processes(machine):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(chance.choice(victims), signal.SIGKILL)
            process.wait(LIMIT)
    deadline = time.monotonic() + LIMIT
    while True:
        machine.containers.recover()
        rows = machine.rows("containers select id, status")
        running = {row["id"] for row in rows if row["status"] == "running"}
        runtime = pathlib.Path(machine.root, "containers", "runtime")
        if not runtime.exists() or set(os.listdir(runtime)) == running:
            break
        assert time.monotonic() < deadline, (rows, os.listdir(runtime))
        time.sleep(0.05)
    machine.clear()
    assert set(os.listdir(pathlib.Path(machine.root, "containers"))) <= {"runtime", "last-used"}
    assert not runtime.exists() or os.listdir(runtime) == []
    assert ids
    assert [id_ for id_ in ids if glob.glob(f"/sys/fs/cgroup/*/imq/{id_}")] == []


@pytest.mark.usefixtures("each_runtime")
def test_a_commit_that_was_killed_leaves_no_container_paused(machine: Machine) -> None:
    """It freezes the container for a moment; what a user has paused stays paused."""
    for name in ("web", "still"):
        machine.do(f"run box:1 sleep 100 as {name} with detach = true")
    machine.do("pause still")
    container = machine.containers.find("web")
    child = os.fork()
    if not child:
        with machine.containers.open_changes(container):
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    deadline = time.monotonic() + 20
    while machine.containers.read_state(container.id).status != "running":  # without another command
        assert time.monotonic() < deadline
        time.sleep(0.01)
    machine.do("exec container web run true")
    child = os.fork()
    if not child:
        machine.containers.pause(container, only_now=True)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert machine.containers.read_state(container.id).status == "paused"
    machine.containers.recover()
    assert machine.containers.read_state(container.id).status == "running"
    assert machine.container("still")["status"] == "paused"
    machine.do("exec container web run true")


def test_a_container_that_a_monitor_starts_meanwhile_is_removed_by_force(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.do("create web from box:1 run sleep 100")
    container = machine.containers.find("web")
    containers = machine.containers
    read, calls = containers.read_state, []

    def read_late(id_: str) -> State:
        calls.append(read(id_))
        if len(calls) == 1:
            machine.command("start", "web")
        return calls[-1]

    monkeypatch.setattr(containers, "read_state", read_late)
    containers.remove(container, force=True)
    assert [state.status for state in calls[:2]] == ["created", "running"]
    assert machine.rows("containers") == []
