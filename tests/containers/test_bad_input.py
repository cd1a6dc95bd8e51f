"""Statements about containers that are refused: a clear error, no half container, nothing mounted."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from imq.engine.containers import runtime, starting
from support.engines import mounts_under
from support.images import Image, docker_archive, layer
from support.ordinary_user import OrdinaryUser

from .conftest import Machine

if TYPE_CHECKING:
    from collections.abc import Iterator

REFUSED = {
    "run box:1 nothing-here": "runtime",
    "run box:1 /etc/passwd": "runtime",
    "run box:1 true with user = nobody": "no-such-user",
    'run box:1 true with user = "app:nobody"': "no-such-user",
    'run box:1 true with mount = "/nothing/here:/x"': "no-such-folder",
    'run box:1 true with mount = "da ta:/x"': "mount",
    'run box:1 true with mount = "tmp"': "mount",
    "run box:1 true with network_mode = bridge": "network",
    "run box:1 true with memory_limit = 1MB": "option",
    "run box:1 true with memory_limit = much": "option",
    "run box:1 true with cpu_limit = 10000": "option",
    "run box:1 true with nothing = 1": "unknown-name",
    "run box:1 true with stop_signal = FOO": "signal",
    "run box:1 true with read_only = perhaps": "option",
    "run box:1 true as x": "name",
    "run box:1 true with workdir = tmp": "option",
    'run box:1 true with env = "=x"': "option",
    'run box:1 true with mount = "one:/x", mount = "two:/x"': "mount",
    'run box:1 true with tmpfs = /x, mount = "two:/x/"': "mount",
    'run box:1 with entrypoint = ""': "no-command",
    "run nothing:1 true": "no-such-image",
    "create a1, b1 from box:1": "operand",
    "create a1": "operand",
    "start nothing": "no-such-container",
    "stop nothing": "no-such-container",
    "exec container nothing run true": "no-such-container",
    "rm container nothing": "no-such-container",
    "commit nothing as a:1": "no-such-container",
    "set runtime = /nothing/here; run box:1 true": "no-runtime",
}


@pytest.mark.parametrize("text", REFUSED)
def test_a_refused_statement_leaves_no_half_container(shared_machine: Machine, text: str) -> None:
    machine = shared_machine
    *before, last = text.split("; ")
    for statement in before:
        list(machine.session.run(statement))
    try:
        assert machine.failure_code(last) == REFUSED[text]
    finally:
        list(machine.session.run("set runtime = auto"))
    assert machine.rows("containers") == []
    containers, unpacked = (pathlib.Path(machine.root, name) for name in ("containers", "unpacked"))
    assert not containers.exists() or set(os.listdir(containers)) <= {"runtime", "last-used"}
    assert not unpacked.exists() or not [name for name in os.listdir(unpacked) if "partial" in name]


def test_an_image_of_another_platform_is_refused(machine: Machine, tmp_path: pathlib.Path) -> None:
    (tmp_path / "tree").mkdir()
    machine.do(f'import "{tmp_path}/tree" as other:1 platform linux/s390x change "CMD [\\"x\\"]"')
    if os.path.exists("/proc/sys/fs/binfmt_misc/qemu-s390x"):
        pytest.skip("this machine emulates s390x")
    assert machine.failure_code("run other:1") == "platform"


def test_a_runtime_that_hangs_is_killed(
    machine: Machine, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "hangs"
    program.write_text("#!/bin/sh\nexec sleep 1000\n")
    program.chmod(0o755)
    monkeypatch.setattr(starting, "TIMEOUT", 0.3)
    list(machine.session.run(f'set runtime = "{program}"'))
    assert machine.failure_code("run box:1 true") == "runtime-timeout"
    list(machine.session.run("set runtime = auto"))
    assert machine.rows("containers") == []


RUNTIMES = {
    "#!/bin/sh\nexit 0\n": "has started no process",
    "#!/bin/sh\necho garbage; exit 3\n": "exited with code 3",
    "#!/bin/sh\nkill -KILL $$\n": "exited with code 137",
    "no program": "cannot be executed",
}


@pytest.mark.parametrize("content", RUNTIMES)
def test_a_runtime_that_starts_nothing_leaves_nothing(machine: Machine, tmp_path: pathlib.Path, content: str) -> None:
    program = tmp_path / "runtime"
    program.write_text(content)
    program.chmod(0o755)
    list(machine.session.run(f'set runtime = "{program}"'))
    with pytest.raises(AssertionError, match=RUNTIMES[content]):
        machine.do("run box:1 true")
    list(machine.session.run("set runtime = auto"))
    assert machine.rows("containers") == []


def test_without_privileges_the_capability_is_named(machine: Machine) -> None:
    words = ("setpriv", "--bounding-set", "-sys_admin", *machine.prefix, "run", "--rm", "box:1", "true")
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, "CAP_SYS_ADMIN" in done.stderr) == (125, True), done.stderr
    assert machine.rows("containers") == []


def test_layers_that_somebody_removed_are_unpacked_again(machine: Machine) -> None:
    machine.do('create web from box:1 run sh -c "echo back; exit 3"')
    folder = pathlib.Path(machine.root, "unpacked")
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
    machine.do_all("start web", "wait web")
    assert [row["text"] for row in machine.rows("logs of web")] == ["back"]
    assert machine.container("web")["exit_code"] == 3


def test_an_image_of_more_layers_than_overlayfs_takes_runs(machine: Machine, tmp_path: pathlib.Path) -> None:
    layers = [layer({f"made/{number}": b"x"}) for number in range(180)]
    docker_archive(tmp_path / "many.tar", [(Image(layers), ["many:1"])])
    machine.do(f'load "{tmp_path}/many.tar"')
    words = ("run", "--name", "web", "-v", "/bin/busybox:/busybox:ro", "many:1", "/busybox", "ls", "/made")
    done = machine.command(*words)
    assert (done.returncode, len(done.stdout.split())) == (0, 180), done.stderr
    assert machine.container("web")["driver"] == "vfs"


def test_containers_of_another_user_are_refused(machine: Machine) -> None:
    machine.do("create one1 from box:1")
    with OrdinaryUser() as user:
        subprocess.run(["mount", "--bind", machine.root, user.home], check=True)
        try:
            for words in (["create two2 from box:1"], ["start one1"], ["rm", "-f", "one1"], ["commit one1 as a:1"]):
                done = user.run(sys.executable, "-m", "imq", "--root", str(user.home), "--yes", *words)
                assert done.returncode == 3, done.stderr
                assert "permission" in done.stderr, done.stderr
        finally:
            subprocess.run(["umount", user.home], check=True)
    assert [row["name"] for row in machine.rows("containers")] == ["one1"]


EXIT_CODES = {"nothing-here": 127, "/etc/passwd": 126, "/data": 126}


@pytest.mark.parametrize("program", EXIT_CODES)
def test_a_program_that_cannot_run_has_the_exit_code_of_docker(shared_machine: Machine, program: str) -> None:
    code, _, errors = shared_machine.line("run", "--rm", "box:1", program)
    assert (code, "cannot be started" in errors) == (EXIT_CODES[program], True), errors
    assert shared_machine.rows("containers") == []


WITHOUT_INTERPRETER = {
    "runc": "exec /bin/start: no such file or directory",
    "crun": "exec container process (missing dynamic library?) `/bin/start`: No such file or directory",
}


def test_a_script_without_its_interpreter_fails_as_with_docker(
    machine: Machine, tmp_path: pathlib.Path, capfd: pytest.CaptureFixture[str], each_runtime: str
) -> None:
    (tmp_path / "tree" / "bin").mkdir(parents=True)
    script = tmp_path / "tree" / "bin" / "start"
    script.write_text("#!/bin/missing\n")
    script.chmod(0o755)
    machine.do(f'import "{tmp_path}/tree" as script:1 change "ENTRYPOINT [\\"/bin/start\\"]"')
    assert machine.line("run", "--rm", "script:1")[0] == 1
    assert WITHOUT_INTERPRETER[each_runtime] in capfd.readouterr().err
    assert machine.rows("containers") == []


def test_a_mount_that_is_gone_keeps_a_container_from_starting(machine: Machine, tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    machine.do(f'create held from box:1 run cat /x/file with mount = "{folder}:/x"')
    folder.rmdir()
    assert machine.failure_code("start held") == "no-such-folder"
    assert machine.container("held")["status"] == "created"
    folder.mkdir()
    (folder / "file").write_text("there\n")
    machine.do_all("start held", "wait held")
    assert [row["text"] for row in machine.rows("logs of held")] == ["there"]


@pytest.fixture
def small_machine(archive: pathlib.Path, tmp_path: pathlib.Path) -> Iterator[Machine]:
    """A store with the image on a file system of 12 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "small", folder], check=True)
    machine = Machine(folder / "store")
    try:
        machine.do(f'load "{archive}"')
        yield machine
        machine.clear()
    finally:
        machine.close()
        subprocess.run(["umount", "--lazy", folder], check=True)
    assert mounts_under(str(tmp_path)) == []


def fill(folder: pathlib.Path, left: int) -> pathlib.Path:
    """Fill a file system except for some bytes; return the file."""
    path = folder / "filler"
    status = os.statvfs(folder)
    path.write_bytes(b"x" * max(0, status.f_bavail * status.f_frsize - left))
    return path


def test_a_full_disk_during_a_commit_leaves_no_half_image(small_machine: Machine) -> None:
    machine = small_machine
    machine.do('create writer from box:1 run sh -c "head -c 3000000 /dev/urandom > /big"')
    machine.do_all("start writer", "wait writer")
    assert machine.container("writer")["exit_code"] == 0
    before = sorted(os.listdir(pathlib.Path(machine.root, "blobs", "sha256")))
    filler = fill(pathlib.Path(machine.root).parent, 1_000_000)
    assert machine.failure_code("commit writer as big:1") == "no-space"
    assert [row["name"] for row in machine.rows("images select name")] == ["box:1"]
    assert sorted(os.listdir(pathlib.Path(machine.root, "blobs", "sha256"))) == before
    assert set(os.listdir(pathlib.Path(machine.root, "ingest"))) <= {"reserve", "sweep"}
    filler.unlink()
    machine.do_all("commit writer as big:1", "rm container writer")
    assert {row["error"] for row in machine.outcomes("verify all")} == {None}


def test_a_full_disk_during_the_creation_leaves_no_half_container(small_machine: Machine) -> None:
    machine = small_machine
    filler = fill(pathlib.Path(machine.root).parent, 500_000)
    assert machine.failure_code("run box:1 true") == "no-space"
    assert machine.rows("containers") == []
    unpacked = pathlib.Path(machine.root, "unpacked")
    assert [name for name in os.listdir(unpacked) if name not in ("base", "lock", "overlay")] == []
    filler.unlink()
    machine.do("run box:1 true with auto_remove = true")


def test_a_full_disk_during_a_run_loses_no_exit_code(small_machine: Machine) -> None:
    machine = small_machine
    machine.do('create noisy from box:1 run sh -c "yes ' + "x" * 1000 + ' | head -c 12000000; exit 3"')
    folder = machine.folder("noisy")
    machine.do("start noisy")
    deadline = time.monotonic() + 30
    while json.loads((folder / "state.json").read_text())["status"] != "exited":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert os.statvfs(folder).f_bavail < 30, "the log has filled the disk"
    (folder / "log").write_bytes(b"")
    row = machine.container("noisy")
    assert (row["status"], row["exit_code"]) == ("exited", 3)


def test_without_an_init_a_container_that_needs_one_does_not_start(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "_INITS", ("nothing-here",))
    assert machine.failure_code("run box:1 true with init = true") == "no-init"
    assert machine.rows("containers") == []


def test_a_container_with_very_deep_folders_is_removed(machine: Machine) -> None:
    machine.do('run box:1 sh -c "i=0; while [ $i -lt 1500 ]; do mkdir d; cd d; i=$((i+1)); done" as deep')
    machine.do("rm container deep")
    assert set(os.listdir(pathlib.Path(machine.root, "containers"))) <= {"runtime", "last-used"}
