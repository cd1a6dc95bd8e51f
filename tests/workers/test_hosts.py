"""A registry, a bucket, a scheduler, workers and the statement, each in a network namespace as on a host of its own."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest
from support.servers import require_programs

SCRIPT = pathlib.Path(__file__).parent.parent / "bench" / "layer_workers_chaos.py"
NO_NAMESPACES = 77


def test_each_layer_is_scanned_once_and_answers_are_those_of_one_process() -> None:
    """The script ends one process of them too, and compares the answers."""
    require_programs("docker-registry")
    run = subprocess.run(
        [sys.executable, str(SCRIPT), "1", "3", "--images", "12", "--layers", "6", "--bucket", "--namespaces"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if run.returncode == NO_NAMESPACES:
        pytest.skip(run.stderr.strip())
    assert run.returncode == 0, run.stdout + run.stderr
    lines = run.stdout.splitlines()
    assert lines[1].startswith("the cluster: 6 scans")
    assert lines[2].startswith("all cached: no scan")
    assert lines[-1] == "1 runs: every answer is that of one process"
