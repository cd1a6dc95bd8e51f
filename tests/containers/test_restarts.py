"""What the machine does to containers: it stops, gives their process IDs to others, and runs two starts at once."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from imq.engine.containers.folder import read_ticks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Machine

LIMIT = 30.0


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has nothing to do with containers, but gets the process ID of one."""
    with subprocess.Popen(["sleep", "300"]) as process:
        yield process
        process.kill()


def lose(machine: Machine, name: str, **changed: object) -> None:
    """End a running container and its monitor as a power failure does, and change what the state says."""
    state, monitor = machine.state(name), machine.monitor_of(name)
    folder = machine.folder(name)
    os.kill(monitor, signal.SIGKILL)
    os.kill(state["pid"], signal.SIGKILL)
    deadline = time.monotonic() + LIMIT
    while read_ticks(state["pid"]) == state["ticks"] or os.path.exists(f"/proc/{monitor}"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    (folder / "state.json").write_text(json.dumps(state | changed))


@pytest.mark.parametrize("case", ["another boot", "another process", "no process"])
def test_after_a_restart_of_the_machine_containers_are_stopped(
    machine: Machine, bystander: subprocess.Popen[bytes], case: str
) -> None:
    machine.do_all(
        'run box:1 sh -c "echo run; sleep 100" as web with detach = true',
        'create done from box:1 run sh -c "exit 3"',
        "start done",
        "wait done",
        "run box:1 sleep 100 as gone with detach = true, auto_remove = true",
    )
    ticks = read_ticks(bystander.pid)
    changed: dict[str, object] = {
        "another boot": {"boot": "00000000-0000-0000-0000-000000000000", "pid": bystander.pid, "ticks": ticks},
        "another process": {"pid": bystander.pid, "ticks": ticks - 1},
        "no process": {},
    }[case]
    ids = {name: machine.container(name)["id"] for name in ("web", "gone")}
    for name in ids:
        lose(machine, name, **changed)
    done = machine.folder("done") / "state.json"
    done.write_text(json.dumps(json.loads(done.read_text()) | {"boot": "another"}))
    row = machine.container("web")
    assert (row["status"], row["exit_code"]) == ("exited", None)
    assert (machine.container("done")["status"], machine.container("done")["exit_code"]) == ("exited", 3)
    for statement in ("kill web", "pause web", "exec container web run true"):
        assert machine.failure_code(statement) == "not-running"
    machine.do("stop web")
    assert bystander.poll() is None, "a process with the ID of the container is not touched"

    assert machine.command("ps", "-a").returncode == 0
    machine.containers.recover()
    assert {row["name"] for row in machine.rows("containers")} == {"web", "done"}
    for id_ in ids.values():
        assert not os.path.exists(pathlib.Path(machine.root, "containers", "runtime", id_))
        assert [root for root, folders, _ in os.walk("/sys/fs/cgroup") if id_ in folders] == []
    machine.do("start web")
    assert machine.container("web")["status"] == "running"
    assert machine.container("web")["exit_code"] is None
    machine.do("stop web with timeout = 0")
    assert machine.container("web")["exit_code"] == 137
    assert (machine.folder("web") / "log").read_text().count("run\\n") == 2
    assert bystander.poll() is None


def run_at_once(machine: Machine, *words: str, count: int = 3) -> list[tuple[int, str]]:
    """Run a command line in several processes at once; return their exit codes and errors."""
    command = [sys.executable, "-m", "imq", "--root", machine.root, *words]
    processes = [
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    outputs = [process.communicate(timeout=LIMIT * 2) for process in processes]
    return [(process.returncode, output[1]) for process, output in zip(processes, outputs, strict=True)]


def test_one_of_several_starts_starts_a_container(machine: Machine) -> None:
    machine.do('create web from box:1 run sh -c "echo run; sleep 100"')
    ended = run_at_once(machine, "start", "web")
    assert 0 in [code for code, _ in ended]
    assert all(code == 0 or "running already" in errors for code, errors in ended), ended
    row = machine.container("web")
    assert (row["status"], row["restart_count"]) == ("running", 0)
    monitors = [name for name in os.listdir("/proc") if name.isdecimal() and _name_of(name) == f"imq {row['id'][:10]}"]
    assert monitors == [str(machine.monitor_of("web"))]
    machine.do("stop web with timeout = 0")
    assert (machine.folder("web") / "log").read_text().count("run\\n") == 1


def _name_of(pid: str) -> str:
    try:
        return pathlib.Path("/proc", pid, "comm").read_text().strip()
    except OSError:
        return ""


def test_one_of_several_creations_gets_the_name(machine: Machine) -> None:
    ended = run_at_once(machine, "run", "-d", "--name", "web", "box:1", "sleep", "100")
    assert sorted(code for code, _ in ended) == [0, 125, 125], ended
    assert all(code == 0 or "already in use" in errors for code, errors in ended), ended
    assert [row["status"] for row in machine.rows("containers select status")] == ["running"]
    left = [name for name in os.listdir(pathlib.Path(machine.root, "containers")) if "." in name]
    assert left == []
