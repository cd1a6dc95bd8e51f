"""Containers of the store, started by the executable: it runs itself as their monitor."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess

import pytest
from support.ordinary_user import OrdinaryUser
from support.servers import require_programs

EXECUTABLE = os.environ.get("IMQ_EXECUTABLE", "")


def test_the_executable_is_its_own_monitor(tmp_path: pathlib.Path) -> None:
    require_programs("runc", "busybox")
    if not EXECUTABLE or os.geteuid() != 0:
        pytest.skip("needs the executable and root")

    def run(*words: str) -> str:
        arguments = [EXECUTABLE, "--root", str(tmp_path / "store"), "--yes", *words]
        return subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=60).stdout

    (tmp_path / "tree").mkdir()
    shutil.copy("/bin/busybox", tmp_path / "tree" / "busybox")
    run(f'import "{tmp_path}/tree" as box:1 change "ENTRYPOINT [\\"/busybox\\"]"')
    assert run("run", "--rm", "box:1", "echo", "from the container") == "from the container\n"
    run("run", "-d", "--name", "later", "box:1", "sh", "-c", "/busybox sleep 0.2; exit 4")
    assert run("wait", "later") == "4\n"
    assert run("containers select name, status, exit_code as csv").splitlines()[1] == "later,exited,4"
    run("container", "rm", "later")


def test_the_executable_is_its_own_worker(tmp_path: pathlib.Path) -> None:
    require_programs("runc", "busybox", "newuidmap")
    if not EXECUTABLE or os.geteuid() != 0:
        pytest.skip("needs the executable and root")
    (tmp_path / "tree").mkdir()
    shutil.copy("/bin/busybox", tmp_path / "tree" / "busybox")
    with OrdinaryUser() as user:
        program = str(shutil.copy(EXECUTABLE, user.folder / "imq"))
        subprocess.run(["cp", "-r", tmp_path / "tree", user.folder / "tree"], check=True)

        def run(*words: str) -> str:
            done = user.run(program, "--root", user.root, *words)
            assert done.returncode == 0, done.stderr
            return done.stdout

        run(f'import "{user.folder}/tree" as box:1 change "ENTRYPOINT [\\"/busybox\\"]"')
        script = "/busybox echo made > /made; /busybox id -u"
        assert run("run", "--name", "web", "box:1", "sh", "-c", script) == "0\n"
        assert run("changes of web where type = file select path as csv").splitlines()[1:] == ["/made"]
        run("container", "rm", "web")
