"""Containers with crun: in a namespace with cgroups of one version only, and refused with the reason elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support.servers import require_programs

if TYPE_CHECKING:
    from .conftest import Machine

UNIFIED = "/sys/fs/cgroup/unified"
STATEMENTS = """
set runtime = crun;
run box:1 sh -c "echo out; cat /proc/self/status" with auto_remove = true;
run box:1 sh -c "echo ready; sleep 100" as held with detach = true, memory_limit = 64MB, pids_limit = 50;
exec container held run sh -c "echo inside; cat /proc/self/cgroup | grep -c imq";
pause held;
unpause held;
commit held as from-crun:1;
stop held with timeout = 0;
containers where name = held select status, exit_code as csv;
start held;
rm container held force;
containers select name as csv;
"""


def test_crun_runs_containers(machine: Machine) -> None:
    require_programs("crun")
    hybrid = os.path.ismount(UNIFIED)
    words = [sys.executable, "-m", "imq", "--root", machine.root, "--yes", "-f", "-"]
    script = f'umount {UNIFIED}; exec "$@"' if hybrid else 'exec "$@"'
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers") and hybrid:
        pytest.skip("this machine has cgroups of both versions at one place")
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", *words],
        input=STATEMENTS, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    for expected in ("out", "CapEff:\t00000000a80425fb", "Seccomp:\t2", "inside", "exited,137"):
        assert expected in lines, done.stdout + done.stderr
    assert lines[-1].upper() == "NAME"


def test_a_refusal_of_crun_says_what_helps(machine: Machine) -> None:
    require_programs("crun")
    if not os.path.ismount(UNIFIED):
        pytest.skip("crun runs on this machine as it is")
    done = machine.command("set runtime = crun; run box:1 true")
    assert done.returncode != 0
    assert "set runtime = runc" in done.stderr
    assert machine.rows("containers") == []
