"""The OCI runtimes: which one starts a container, that it does all further work on it, and what they are given."""

from __future__ import annotations

import base64
import json
import os
import pathlib
import shutil
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest
from imq.engine.containers import containers as module
from imq.engine.containers import runtime, seccomp_filters
from support.servers import require_programs

from .test_lifecycle import wait_for

if TYPE_CHECKING:
    from .conftest import Machine

INSTRUCTION = 8
"""Bytes of an instruction of a filter."""
LONG = 'sh -c "echo ready; sleep 100"'
REFUSES = """#!/bin/sh
while test $# -gt 0; do test "$1" = --log && log=$2; shift; done
echo "cgroups in hybrid mode not supported, drop all controllers from cgroupv2" | tee -a "$log" >&2
exit 1
"""
"""A crun that starts nothing, as on a machine with cgroups of both versions."""


@pytest.fixture(autouse=True)
def _both() -> None:
    require_programs("crun", "runc")


def runtime_of(machine: Machine, name: str) -> str:
    """Return the name of the runtime that has started a container."""
    return os.path.basename(os.readlink(machine.folder(name) / "runtime"))


def use(machine: Machine, name: str) -> None:
    list(machine.session.run(f'set runtime = "{name}"'))


def write_program(path: pathlib.Path, content: str) -> pathlib.Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    path.chmod(0o755)
    return path


def read_program(pid: int) -> str:
    """Return the command line of a process; "" when it has ended, whether its parent knows that or not."""
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def list_mounts() -> list[str]:
    """Return the mounts of cgroups that this process sees."""
    return [line for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines() if "/sys/fs/cgroup" in line]


def test_crun_runs_containers(machine: Machine, capfd: pytest.CaptureFixture[str]) -> None:
    use(machine, "crun")
    mounts = list_mounts()
    machine.do_all(
        'run box:1 sh -c "echo out; cat /proc/self/status" with auto_remove = true',
        f"run box:1 {LONG} as held with detach = true, memory_limit = 64MB, pids_limit = 50, cpu_limit = 0.5",
        'exec container held run sh -c "echo inside; cat /proc/self/cgroup"',
    )
    lines = capfd.readouterr().out.splitlines()
    for expected in ("out", "CapEff:\t00000000a80425fb", "Seccomp:\t2", "inside"):
        assert expected in lines
    id_, pid = machine.container("held")["id"], machine.state("held")["pid"]
    groups = pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    assert {line.rpartition(":")[2] for line in groups} == {f"/imq/{id_}"}  # of version 2 too
    machine.do_all("pause held", "unpause held", "commit held as from-crun:1", "stop held with timeout = 0")
    assert machine.container("held")["exit_code"] == 137
    machine.do_all("start held", "rm container held force")
    assert machine.rows("containers") == []
    assert list_mounts() == mounts


@pytest.mark.parametrize(("first", "second"), [("runc", "crun"), ("crun", "runc")])
def test_the_runtime_that_started_a_container_does_the_rest(machine: Machine, first: str, second: str) -> None:
    for name in ("web", "other"):
        use(machine, first)
        machine.do(f"run box:1 {LONG} as {name} with detach = true")
        assert runtime_of(machine, name) == first
        use(machine, second)
        if name == "other":  # of a version that wrote no link, or the program has another place now
            (machine.folder(name) / "runtime").unlink()
        machine.do_all(f"exec container {name} run true", f"pause {name}", f"unpause {name}", f"commit {name} as c:1")
    os.kill(machine.monitor_of("other"), 9)
    machine.do("kill other")
    assert machine.container("other")["status"] == "exited"
    machine.do("restart web with timeout = 0")
    assert runtime_of(machine, "web") == second
    machine.do_all("rm container web force", "rm container other")


def test_what_a_run_left_of_a_removed_container_is_ended_by_its_runtime(machine: Machine) -> None:
    for name in ("runc", "crun"):
        use(machine, name)
        machine.do(f"run box:1 {LONG} as web with detach = true")
        folder, state = machine.folder("web"), machine.state("web")
        os.kill(machine.monitor_of("web"), 9)
        shutil.rmtree(folder)
        use(machine, "auto")
        machine.containers.recover()
        wait_for(lambda pid=state["pid"]: not read_program(pid))
        assert os.listdir(folder.parent / "runtime") == []


def test_runc_starts_what_crun_cannot(
    machine: Machine, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    program = write_program(tmp_path / "first" / "crun", REFUSES)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    assert machine.line("run", "--name", "web", "box:1", "echo", "ready")[0] == 0
    assert runtime_of(machine, "web") == "runc"
    assert capfd.readouterr() == ("ready\n", ""), "without what crun wrote"
    assert [row["text"] for row in machine.rows("logs of web")] == ["ready"]
    code, _, errors = machine.line("run", "--rm", "box:1", "missing")
    assert (code, 'exec: "missing": executable file not found in $PATH' in errors) == (127, True)
    assert [row["name"] for row in machine.rows("containers")] == ["web"]


def test_the_reason_of_crun_stands_where_runc_has_none(
    machine: Machine, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = write_program(tmp_path / "first" / "crun", REFUSES)
    text = '{"level": "error", "msg": "unable to store init state: %!w(<nil>)"}'
    write_program(tmp_path / "first" / "runc", f"#!/bin/sh\n[ $7 = run ] && echo '{text}' >$4\nexit 1\n")
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    code, _, errors = machine.line("run", "--rm", "box:1", "true")
    assert (code, "hybrid mode" in errors, "nil" in errors) == (125, True, False), errors


def test_a_refusal_of_crun_says_what_helps(machine: Machine, tmp_path: pathlib.Path) -> None:
    program = write_program(tmp_path / "first" / "crun", REFUSES)
    done = machine.command(f'set runtime = "{program}"; run box:1 true')
    assert done.returncode != 0
    assert "cgroups in hybrid mode not supported" in done.stderr
    assert "set runtime = runc" in done.stderr
    assert machine.rows("containers") == []


@pytest.mark.parametrize(
    ("program", "code", "hint"),
    [
        ("missing", 127, "in no folder of the container's PATH"),
        ("/missing", 127, "is not in the image"),
        ("/etc/passwd", 126, ""),
        ("/etc", 126, ""),
    ],
)
def test_programs_that_cannot_be_executed_have_dockers_exit_codes(
    shared_machine: Machine, each_runtime: str, program: str, code: int, hint: str
) -> None:
    found, output, errors = shared_machine.line("run", "--rm", "box:1", program)
    assert (found, output, hint in " ".join(errors.split())) == (code, "", True), (each_runtime, errors)
    assert shared_machine.rows("containers") == []


def test_a_program_that_cannot_be_executed_in_a_container_has_dockers_exit_code(
    shared_machine: Machine, each_runtime: str, capfd: pytest.CaptureFixture[str]
) -> None:
    machine = shared_machine
    machine.do(f"run box:1 {LONG} as web with detach = true")
    for program, code in (("missing", 127), ("/missing", 127), ("/etc/passwd", 126), ("/etc", 126)):
        assert machine.line("exec", "web", program)[0] == code, (each_runtime, program)
        (line,) = capfd.readouterr().err.splitlines()  # of the runtime
        assert program in line or "open executable" in line
    assert machine.line("exec", "web", "sh", "-c", "exit 255")[0] == 255
    assert capfd.readouterr() == ("", "")
    machine.do("rm container web force")


def test_a_pause_lasts_until_the_processes_are_frozen(
    shared_machine: Machine, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel says so in the cgroup: of version 1, of version 2, or in one that is elsewhere."""
    monkeypatch.setattr(runtime, "_CGROUPS", str(tmp_path))
    assert runtime.wait_until_frozen("none")
    old, new = tmp_path / "freezer" / "imq" / "old", tmp_path / "imq" / "new"
    for folder, file, states in (
        (old, "freezer.state", ("FREEZING\n", "FROZEN\n")),
        (new, "cgroup.events", ("populated 1\nfrozen 0\n", "populated 1\nfrozen 1\n")),
    ):
        folder.mkdir(parents=True)
        (folder / file).write_text(states[0])
        assert not runtime.wait_until_frozen(folder.name, 0.01)
        timer = threading.Timer(0.05, (folder / file).write_text, (states[1],))
        timer.start()
        assert runtime.wait_until_frozen(folder.name)
        timer.join()
    monkeypatch.undo()
    monkeypatch.setattr(module, "wait_until_frozen", lambda _: False)
    shared_machine.do(f"run box:1 {LONG} as web with detach = true")
    assert shared_machine.failure_code("pause web") == "runtime-timeout"
    assert shared_machine.container("web")["status"] == "running"
    assert shared_machine.failure_code("commit web as made:1") == "runtime-timeout"
    shared_machine.do_all("exec container web run true", "rm container web force")


# Compiled filters


def read_filters(machine: Machine) -> dict[str, bytes]:
    """Return the filters that are kept, by their profiles."""
    found = {}
    for path in pathlib.Path(machine.root, "unpacked").glob("*.filter"):
        document = json.loads(path.read_text())
        found[document["profile"]] = base64.b64decode(document["filter"])
    return found


def run_annotated(machine: Machine, *flags: str) -> bool:
    """Run a container whose calls are filtered; return whether crun was given the filter."""
    words = ("run", "--name", "web", *flags, "box:1", "sh", "-c", "grep -q 'Seccomp:.2' /proc/self/status")
    assert machine.line(*words)[0] == 0
    bundle = json.loads((machine.folder("web") / "config.json").read_text())
    assert bundle["linux"]["seccomp"]["syscalls"]  # what another runtime uses
    machine.do("rm container web")
    return "run.oci.seccomp_bpf_data" in bundle.get("annotations", {})


def test_a_profile_is_compiled_once(machine: Machine, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin" / "crun"
    program.parent.mkdir()
    shutil.copy(shutil.which("crun") or "", program)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    assert [run_annotated(machine) for _ in range(3)] == [False, True, True]
    (content,) = read_filters(machine).values()
    assert len(content) % INSTRUCTION == 0
    assert [run_annotated(machine, "--cap-add", "SYS_ADMIN") for _ in range(2)] == [False, True]
    assert len(read_filters(machine)) == 2
    os.utime(program, (1, 1))  # another version is installed
    assert [run_annotated(machine) for _ in range(2)] == [False, True]
    for path in pathlib.Path(machine.root, "unpacked").glob("*.filter"):
        path.write_bytes(path.read_bytes()[:-10])
    assert [run_annotated(machine) for _ in range(2)] == [False, True]
    machine.do("rm images where tag = 1 force")
    assert read_filters(machine) == {}


def test_a_compiled_filter_is_read_only_if_it_belongs_to_this_user(machine: Machine) -> None:
    folder, profile = os.path.join(machine.root, "unpacked"), {"syscalls": [{"names": ["read"]}]}
    state = pathlib.Path(machine.root, "state")
    for place in (pathlib.Path(folder), state):
        place.mkdir()
    for content, is_kept in ((b"", False), (b"x" * 9, False), (b"x" * 8 * 4097, False), (b"x" * 8 * 4096, True)):
        (state / "seccomp.bpf").write_bytes(content)
        seccomp_filters.keep_filter(folder, profile, "/bin/sh", str(state))
        assert seccomp_filters.find_filter(folder, profile, "/bin/sh") == (
            base64.b64encode(content).decode() if is_kept else ""
        )
    assert seccomp_filters.find_filter(folder, profile, "/bin/true") == ""
    assert seccomp_filters.find_filter(folder, {**profile, "defaultErrnoRet": 1}, "/bin/sh") == ""
    os.chown(folder, 1000, 1000)
    assert seccomp_filters.find_filter(folder, profile, "/bin/sh") == ""
    os.chown(folder, os.geteuid(), os.getegid())
    for name in ("flags", "listenerPath"):
        special = {**profile, name: ["x"]}
        seccomp_filters.keep_filter(folder, special, "/bin/sh", str(state))
        assert seccomp_filters.find_filter(folder, special, "/bin/sh") == ""


WITHOUT_PID = """#!/bin/sh
{crun} "$@"
code=$?
while test $# -gt 0; do test "$1" = --pid-file && rm -f "$2" && {then}; shift; done
exit $code
"""
"""A crun whose file with the process ID is lost after a container was started."""


@pytest.mark.parametrize(
    ("then", "reason"),
    [("true", "has started no process"), ("kill -9 $$", "exited with code 137")],
    ids=["succeeds", "is-killed"],
)
def test_a_program_is_not_started_twice(
    machine: Machine, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, then: str, reason: str
) -> None:
    """The runtime has started the program, and what it then does is no reason to let another one start it again."""
    (tmp_path / "shared").mkdir()
    program = write_program(tmp_path / "first" / "crun", WITHOUT_PID.format(crun=shutil.which("crun"), then=then))
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    words = ("--name", "web", "-v", f"{tmp_path}/shared:/shared", "box:1", "sh", "-c", "echo x >> /shared/started")
    code, _, errors = machine.line("run", *words)
    assert (code, reason in errors) == (125, True), errors
    started = tmp_path / "shared" / "started"
    assert not started.exists() or started.read_text() == "x\n"
    assert machine.rows("containers") == []
    assert os.listdir(pathlib.Path(machine.root, "containers", "runtime")) == []


def test_a_terminal_that_is_not_sent_ends_the_program(
    machine: Machine, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"""#!/bin/sh
run=
for word; do test "$word" = run && run=1; done
test "$run" || exec {shutil.which("crun")} "$@"
exit 0
"""
    write_program(tmp_path / "first" / "crun", text)
    monkeypatch.setenv("PATH", f"{tmp_path}/first:{os.environ['PATH']}")
    code, _, errors = machine.line("run", "-t", "--rm", "box:1", "true")
    assert code == 125
    assert "has started no process" in errors


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("echo crun version 1.8.1", True),
        ("echo runc version 1.1.5", False),
        ("echo youki version 0.3.3", False),
        ("exit 1", False),
        ("exec sleep 100", False),
    ],
)
def test_a_runtime_with_a_name_of_its_own_is_asked_which_it_is(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, answer: str, *, expected: bool
) -> None:
    monkeypatch.setattr(runtime, "_VERSION_TIMEOUT", 0.5)
    path = write_program(tmp_path / "oci-runtime", f'#!/bin/sh\ntest "$*" = --version && {answer}\n')
    assert runtime.is_crun(str(path)) is expected
    assert runtime.is_crun(str(tmp_path / "absent")) is False


@pytest.mark.parametrize("name", ["crun", "runc"])
def test_a_copy_of_a_runtime_with_another_name_starts_containers(
    machine: Machine, tmp_path: pathlib.Path, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    path = tmp_path / "oci-runtime"
    path.symlink_to(str(shutil.which(name)))
    use(machine, str(path))
    machine.do("run box:1 echo ready with auto_remove = true")
    assert capfd.readouterr().out == "ready\n"
    machine.do(f"run box:1 {LONG} as web with detach = true")
    machine.do_all("pause web", "unpause web", "rm container web force")


VERSION_2 = """
umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup || exit 9
exec "$@"
"""


@pytest.mark.parametrize("name", ["auto", "runc"])
def test_containers_run_where_cgroups_have_version_2_alone(machine: Machine, name: str) -> None:
    def run(*words: str) -> tuple[int, str, str]:
        options = ("--set", f"runtime={name}", *words)
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", VERSION_2, "sh", *machine.prefix, *options],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr

    assert run("run", "--rm", "box:1", "echo", "ready") == (0, "ready\n", "")
    assert run("run", "-d", "--name", "web", "box:1", "sleep", "100")[::2] == (0, "")
    assert run("exec", "web", "echo", "inside") == (0, "inside\n", "")
    assert run("pause", "web") == (0, "web\n", "")
    assert machine.container("web")["status"] == "paused"
    assert run("unpause", "web") == (0, "web\n", "")
    assert run("commit", "web", "made:1")[::2] == (0, "")
    assert run("rm", "-f", "web") == (0, "web\n", "")
    code, _, errors = run("run", "--rm", "--pids-limit", "9", "box:1", "echo", "ready")
    if code:  # another hierarchy of this machine has the controller
        assert (code, "may lack a controller" in " ".join(errors.split())) == (125, True), errors
    assert machine.rows("containers") == []
