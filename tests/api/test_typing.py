"""Type checkers accept correct scripts and report mistakes."""

from __future__ import annotations

import os
import pathlib
import re
import runpy
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from test_architecture import CHECKOUT, installed

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = pathlib.Path(__file__).parent
SCRIPT = HERE / "user_script.py"
MISTAKEN = HERE / "typing_errors.py"


@pytest.fixture(scope="module")
def run_mypy(tmp_path_factory: pytest.TempPathFactory) -> Callable[[pathlib.Path], str]:
    """A function that returns the output of mypy for a script, with imq installed as by pip."""
    path = installed(tmp_path_factory.mktemp("typing"))

    def check(script: pathlib.Path) -> str:
        cache = CHECKOUT / ".cache" / "mypy-scripts"
        command = [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--config-file=",
            "--follow-imports=silent",
            f"--cache-dir={cache}",
            script.name,
        ]
        environment = {**os.environ, "MYPYPATH": path}
        run = subprocess.run(command, cwd=HERE, env=environment, capture_output=True, text=True, check=False)
        return run.stdout + run.stderr

    return check


def test_a_correct_script_passes_mypy(run_mypy: Callable[[pathlib.Path], str]) -> None:
    assert "Success: no issues found" in run_mypy(SCRIPT)


def test_mypy_reports_each_mistake(run_mypy: Callable[[pathlib.Path], str]) -> None:
    lines = MISTAKEN.read_text(encoding="utf-8").splitlines()
    expected = {number for number, line in enumerate(lines, 1) if line.endswith("# error")}
    output = run_mypy(MISTAKEN)
    assert {
        int(number) for number in re.findall(r"^typing_errors\.py:(\d+): error", output, re.MULTILINE)
    } == expected, output


def test_a_script_runs(library_root: str, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(SCRIPT))["main"](library_root)
    assert capsys.readouterr().out.splitlines()[0] == "20kB"
