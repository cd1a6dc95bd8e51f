"""Containers of the store, started by the executable: it runs itself as their monitor."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess

import pytest
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
