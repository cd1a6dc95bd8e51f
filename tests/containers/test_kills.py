"""Processes are killed at any point of their work on containers: the next one finds whole containers, and cleans up."""

from __future__ import annotations

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
