"""Containers of the store: created, run, stopped, killed and removed, with the real runtimes."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
from imq.engine.containers.containers import Containers
from imq.engine.containers.folder import State
from imq.grammar.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Machine

FOREVER = "sh -c \"trap 'exit 5' TERM; echo ready; while true; do sleep 0.05; done\""
LIMIT = 30.0


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline, "the condition does not hold"
        time.sleep(0.02)


def start(machine: Machine, name: str, command: str = FOREVER) -> None:
    """Start a container in the background and wait until it has printed its first line."""
    machine.do(f"run box:1 {command} as {name} with detach = true")
    wait_for(lambda: machine.rows(f"logs of {name}"))


@pytest.mark.usefixtures("each_runtime")
def test_run_passes_on_the_output_and_the_exit_code(machine: Machine, capfd: pytest.CaptureFixture[str]) -> None:
    (outcome,) = machine.do('run box:1 sh -c "echo out; echo err >&2" as one')
    assert outcome["target"] == "one"
    assert capfd.readouterr() == ("out\n", "err\n")
    row = machine.container("one")
    assert (row["status"], row["exit_code"], row["image"], row["source"]) == ("exited", 0, "box:1", "store")
    assert row["started"] <= row["finished"]
    assert machine.failure_code('run box:1 sh -c "exit 3" as two') == "container-failed"
    assert machine.container("two")["exit_code"] == 3


@pytest.mark.usefixtures("each_runtime")
def test_the_environment_the_user_and_the_folder_are_those_of_the_image_and_the_options(
    machine: Machine, capfd: pytest.CaptureFixture[str]
) -> None:
    script = 'sh -c "id; pwd; hostname; echo $A $B $C; cat /proc/1/limits | head -1; cat /etc/hosts | wc -l"'
    machine.do(f'run box:1 {script} with env.B = given, env = "C=new", user = app, workdir = /tmp, hostname = host1')
    lines = capfd.readouterr().out.splitlines()
    assert lines[:4] == ["uid=1000(app) gid=1001(app) groups=1001(app),2000(extra)", "/tmp", "host1", "image given new"]


def test_every_field_that_the_store_can_know(machine: Machine, tmp_path: pathlib.Path) -> None:
    (tmp_path / "shared").mkdir()
    machine.do(
        "create full from box:1 run sleep 100 with env.X = 1, label.a = b, user = app, memory_limit = 64MB,"
        f' cpu_limit = 0.5, read_only = true, network_mode = host, mount = "{tmp_path}/shared:/shared:ro"'
    )
    row = machine.container("full")
    (image,) = machine.rows("images where tag = 1 select * as json")
    volume = f"{machine.folder('full')}/volumes/0:/data"
    expected = {
        "image_id": image["id"], "command": ["sleep", "100"], "env": {"A": "image", "B": "image", "X": "1"},
        "label": {"tier": "test", "a": "b"}, "status": "created", "exit_code": None, "oom_killed": False,
        "restart_count": 0, "started": None, "finished": None, "size_rw": 0, "log_size": None, "ports": ["80/tcp"],
        "mounts": [f"{tmp_path}/shared:/shared:ro", volume], "networks": ["host"], "memory_limit": 64_000_000,
        "cpu_limit": 0.5, "privileged": False, "network_mode": "host", "user": "app", "read_only": True,
        "kind": "container", "source": "store",
    }  # fmt: skip
    assert {name: row[name] for name in expected} == expected


@pytest.mark.usefixtures("each_runtime")
def test_limits_reach_the_kernel(machine: Machine, capfd: pytest.CaptureFixture[str]) -> None:
    start(machine, "small", 'sh -c "echo ready; sleep 100"')
    machine.do("stop small with timeout = 0")
    assert machine.failure_code('run box:1 sh -c "yes | head -c 64000000 > /dev/shm/x; cat /dev/shm/x > /tmp/y" '
                                "as oom with memory_limit = 8MB") == "container-failed"  # fmt: skip
    assert machine.container("oom")["oom_killed"]
    assert machine.failure_code('run box:1 sh -c "echo x > /file" with read_only = true') == "container-failed"
    assert "Read-only file system" in capfd.readouterr().err


@pytest.mark.usefixtures("each_runtime")
def test_stop_sends_the_stop_signal_and_kills_after_the_timeout(machine: Machine) -> None:
    start(machine, "gentle")
    (outcome,) = machine.do("stop gentle")
    assert outcome["note"] == "exit code 5"
    start(machine, "deaf", 'sh -c "trap : TERM; echo ready; while true; do sleep 0.05; done"')
    (outcome,) = machine.do("stop deaf with timeout = 0")
    assert outcome["note"] == "exit code 137"
    assert machine.container("deaf")["exit_code"] == 137
    start(machine, "hup", "sh -c \"trap 'exit 9' HUP; echo ready; while true; do sleep 0.05; done\"")
    machine.do("kill hup with signal = HUP")
    (outcome,) = machine.do("wait hup")
    assert outcome["note"] == "exit code 9"
    assert machine.failure_code("kill hup") == "not-running"
    (outcome,) = machine.do("start hup")
    (outcome,) = machine.do("start hup")
    assert outcome["note"] == "it runs already"
    machine.do("restart hup with timeout = 0")
    assert machine.container("hup")["status"] == "running"
    machine.do("kill hup")
    assert machine.container("hup")["exit_code"] == 137


@pytest.mark.usefixtures("each_runtime")
def test_pause_freezes_the_processes(machine: Machine) -> None:
    start(machine, "frozen", 'sh -c "while true; do echo x; sleep 0.01; done"')
    machine.do("pause frozen")
    assert machine.container("frozen")["status"] == "paused"
    count = len(machine.rows("logs of frozen"))
    time.sleep(0.1)
    assert len(machine.rows("logs of frozen")) == count
    assert machine.failure_code("pause frozen") == "not-running"
    assert machine.failure_code("exec container frozen run true") == "not-running"
    machine.do("unpause frozen")
    wait_for(lambda: len(machine.rows("logs of frozen")) > count)
    machine.do_all("pause frozen", "stop frozen with timeout = 0")
    assert machine.container("frozen")["status"] == "exited"


@pytest.mark.usefixtures("each_runtime")
def test_exec_runs_programs_in_the_container(machine: Machine, capfd: pytest.CaptureFixture[str]) -> None:
    start(machine, "host")
    machine.do('exec container host run sh -c "id -u; echo $X; pwd" with user = "7", env.X = y, workdir = /etc')
    assert capfd.readouterr().out == "7\ny\n/etc\n"
    assert machine.failure_code("exec container host run nothing-here") == "exec"
    assert machine.failure_code('exec container host run sh -c "exit 4"') == "exec"
    done = machine.command("exec", "-i", "host", "cat", input="through\n")
    assert (done.returncode, done.stdout) == (0, "through\n")


@pytest.mark.usefixtures("each_runtime")
def test_the_volumes_of_the_image_are_filled_once_and_removed(
    machine: Machine, capfd: pytest.CaptureFixture[str]
) -> None:
    machine.do('create vol from box:1 run sh -c "cat /data/*; stat -c %u:%g:%a /data /data/seed; echo more > /data/m"')
    machine.do_all("start vol", "wait vol", "start vol", "wait vol")
    lines = [row["text"] for row in machine.rows("logs of vol")]
    assert lines == ["seed", "1000:1001:755", "0:0:640", "more", "seed", "1000:1001:755", "0:0:640"]
    volume = machine.folder("vol") / "volumes" / "0"
    assert (volume / "m").read_text() == "more\n"
    machine.do("rm container vol")
    assert not volume.exists()
    assert capfd.readouterr().out == ""


@pytest.mark.usefixtures("each_runtime")
def test_a_removed_container_leaves_nothing(machine: Machine) -> None:
    machine.do("run box:1 true with auto_remove = true")
    assert machine.rows("containers") == []
    machine.do("run box:1 sleep 0.1 as gone with auto_remove = true, detach = true")
    wait_for(lambda: machine.rows("containers") == [])
    machine.do('run box:1 sh -c "echo data > /file" as kept')
    (outcome,) = machine.do("rm container kept")
    assert outcome["size"] == 5
    names = set(os.listdir(pathlib.Path(machine.root, "containers")))
    assert names <= {"runtime", "last-used"}


def test_a_time_limit_ends_the_container(machine: Machine) -> None:
    assert machine.failure_code("run box:1 sleep 100 as slow with timeout = 1s") == "container-failed"
    assert machine.container("slow")["exit_code"] == 137
    assert "time limit" in machine.state("slow")["error"]


def test_prune_removes_containers_without_processes(machine: Machine) -> None:
    start(machine, "alive")
    machine.do_all("run box:1 true as ended", "create new1 from box:1")
    assert {row["target"] for row in machine.do("prune containers where name = ended")} == {"ended"}
    assert {row["target"] for row in machine.do("prune containers")} == {"new1"}
    assert [row["name"] for row in machine.rows("containers")] == ["alive"]
    assert machine.failure_code("rm container alive") == "container-running"
    machine.do("rm containers where status = running force")
    assert machine.rows("containers") == []


def test_containers_are_found_by_id(machine: Machine) -> None:
    machine.do_all("create one1 from box:1", "create two2 from box:1")
    id_ = machine.container("one1")["id"]
    for condition in (
        f"id = {id_}",
        f"id = '{id_[:12]}'",
        f"id in ({id_})",
        f"id != {machine.container('two2')['id']}",
    ):
        assert machine.rows(f"containers where {condition} select name") == [{"name": "one1"}], condition
    machine.do(f"start {id_[:12]}")
    assert machine.command("ps", "-a", "-q", "--filter", f"id={id_[:12]}").stdout == f"{id_[:12]}\n"


# Processes that are killed


def test_a_container_outlives_the_imq_that_runs_it(machine: Machine) -> None:
    arguments = [sys.executable, "-m", "imq", "--root", machine.root, "run", "--name", "orphan", "box:1"]
    script = "echo ready; while ! test -e /stop; do sleep 0.02; done; exit 6"
    process = subprocess.Popen([*arguments, "sh", "-c", script], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.kill()
    process.wait()
    process.stdout.close()
    assert machine.container("orphan")["status"] == "running"
    machine.outcomes("exec container orphan run touch /stop")  # which may be killed with the container
    (outcome,) = machine.do("wait orphan")
    assert outcome["note"] == "exit code 6"
    assert [row["text"] for row in machine.rows("logs of orphan")] == ["ready"]


@pytest.mark.usefixtures("each_runtime")
def test_a_container_without_its_monitor_is_still_found_and_stopped(machine: Machine) -> None:
    start(machine, "lost")
    os.kill(machine.monitor_of("lost"), signal.SIGKILL)
    wait_for(lambda: not machine.containers.read_state(machine.container("lost")["id"]).is_watched)
    assert machine.container("lost")["status"] == "running"
    machine.do("restart lost with timeout = 0")
    assert machine.container("lost")["status"] == "running"
    os.kill(machine.monitor_of("lost"), signal.SIGKILL)
    machine.do("kill lost")
    row = machine.container("lost")
    assert (row["status"], row["exit_code"]) == ("exited", None)
    machine.do("rm container lost")


@pytest.mark.usefixtures("each_runtime")
def test_after_a_reboot_containers_are_stopped(machine: Machine) -> None:
    start(machine, "before")
    folder, state = machine.folder("before"), machine.state("before")
    monitor = machine.monitor_of("before")
    machine.do("kill before")
    wait_for(lambda: not os.path.exists(f"/proc/{monitor}"))
    running = {**state, "boot": "00000000-0000-0000-0000-000000000000"}
    (folder / "state.json").write_text(json.dumps(running))
    row = machine.container("before")
    assert (row["status"], row["exit_code"], row["finished"]) == ("exited", None, None)
    machine.do("start before")
    assert machine.container("before")["status"] == "running"


def test_two_processes_start_a_container_once(machine: Machine) -> None:
    machine.do(f"create once from box:1 run {FOREVER}")
    results: list[str] = []
    script = (
        "import os, sys; from imq.engine.store.store import Store; from imq.engine.containers.containers import *\n"
        "store = Store(sys.argv[1]); found = Containers(store, 'auto', os.environ); one = found.find('once')\n"
        "try:\n    found.start(one); print('started')\nexcept ImqError as error:\n    print(error.code)\n"
    )

    def run() -> None:
        done = subprocess.run([sys.executable, "-c", script, machine.root], capture_output=True, text=True, check=False)
        results.append(done.stdout.strip() or done.stderr)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["container-running"] * 3 + ["started"]


def test_a_container_that_another_process_starts_meanwhile(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.do("run box:1 sleep 100 as web with detach = true")
    pid = machine.state("web")["pid"]
    with monkeypatch.context() as patch:
        patch.setattr(Containers, "read_state", lambda *_: State("created"))  # what was true a moment ago
        machine.do("start web")
    assert machine.state("web")["pid"] == pid


def test_two_processes_create_one_name_once(machine: Machine) -> None:
    machine.do("create taken from box:1")
    assert machine.failure_code("create taken from box:1") == "name-taken"
    assert machine.failure_code("run box:1 true as taken") == "name-taken"
    assert len(machine.rows("containers")) == 1


def test_what_a_killed_process_left_is_removed_by_the_next(machine: Machine) -> None:
    machine.do("create one1 from box:1")
    folder = machine.folder("one1")
    half_removed = folder.with_name(f"{'a' * 64}.removing")
    half_created = folder.with_name(f"{'b' * 64}.creating")
    for path in (half_removed, half_created):
        path.mkdir()
        (path / "upper").mkdir()
        os.utime(path, (0, 0))
    partial = pathlib.Path(machine.root, "unpacked", "0123456789abcdef01234567.1.partial")
    partial.mkdir()
    assert [row["name"] for row in machine.rows("containers")] == ["one1"]
    machine.do_all("start one1", "rm container one1 force")
    assert not half_removed.exists()
    assert not half_created.exists()
    assert not partial.exists()


def test_create_is_a_statement_on_the_command_line_too(machine: Machine) -> None:
    assert machine.command("create", "web", "from", "box:1", "with", "env.A", "=", "line").returncode == 0
    assert machine.container("web")["env"]["A"] == "line"
    code, output, errors = machine.line("create", "--name", "other", "box:1", "from", "box:1")
    assert (code, errors) == (0, ""), output
    assert machine.container("other")["command"] == ["from", "box:1"]


def test_a_container_is_renamed(machine: Machine) -> None:
    machine.do_all("create web from box:1", "create other from box:1")
    (planned,) = machine.rows("dry run rename container web as front")
    assert (planned["action"], planned["target"], planned["note"]) == ("rename", "web", "to front")
    machine.do("rename container web as front")
    machine.do("run box:1 sh -c 'sleep 600' as busy with detach = true")
    assert machine.line("container", "rename", "busy", "worker") == (0, "", "")
    names = {row["name"]: row["status"] for row in machine.rows("containers select name, status")}
    assert names == {"front": "created", "other": "created", "worker": "running"}
    assert machine.failure_code("rename container front as other") == "name-taken"
    assert machine.failure_code("rename container front as '-x'") == "name"
    assert machine.failure_code("rename container nope as front") == "no-such-container"
    with pytest.raises(NotFound) as seen:
        machine.do("rename front as back")
    assert seen.value.hints[0] == "a container has this name; to rename it: rename container front as back"
    machine.do("stop worker with timeout = 0")
    machine.do("rm container front, other, worker")


def test_a_container_that_is_removed_while_it_is_opened_is_not_found(machine: Machine) -> None:
    machine.do("create web from box:1")
    container = machine.containers.find("web")
    with machine.containers.open_folder(container.id) as folder:
        machine.do("rm container web")
        with pytest.raises(NotFound):
            machine.containers.lock_stopped(folder, container)
