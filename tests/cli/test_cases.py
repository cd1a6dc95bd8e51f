"""The command line, case by case: each in a fresh copy of the library, in this process and as a process of its own.

The process is `python -m imq`, or the executable that IMQ_EXECUTABLE names. A case is a table of tests/cases/*.toml:
`args`, optional `stdin`, `code` (0 when absent), `stdout` (whole) or `stdout_has`, `stderr_has` (parts), `quiet`
(nothing on standard error).
"""

from __future__ import annotations

import io
import os
import pathlib
import shutil
import subprocess
import sys
import tomllib
from typing import Any

import pytest
from imq.cli.main import Cli
from support.images import write_library

HERE = pathlib.Path(__file__).parents[1] / "cases"
EXECUTABLE = os.environ.get("IMQ_EXECUTABLE")
COMMAND = [EXECUTABLE] if EXECUTABLE else [sys.executable, "-m", "imq"]


def cases() -> list[Any]:
    """Return every case as a parameter."""
    found = []
    for path in sorted(HERE.glob("*.toml")):
        for name, case in tomllib.loads(path.read_text(encoding="utf-8")).items():
            found.append(pytest.param(case, id=f"{path.stem}:{name}"))
    return found


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The library that every case gets a copy of."""
    root = tmp_path_factory.mktemp("cases") / "store"
    write_library(root)
    return root


@pytest.fixture
def root(original: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    """A copy of the library."""
    return pathlib.Path(shutil.copytree(original, tmp_path / "store"))


def make_environment(root: pathlib.Path) -> dict[str, str]:
    """Return an environment without settings of the user."""
    kept = {name: os.environ[name] for name in ("PATH", "TMPDIR", "LD_LIBRARY_PATH") if name in os.environ}
    unpacked = str(HERE.parent.parent / ".cache")  # not once for each case
    return {**kept, "HOME": str(root.parent), "IMQ_ROOT": str(root), "IMQ_CACHE": unpacked, "TZ": "UTC"}


def check(case: dict[str, Any], code: int, stdout: str, stderr: str) -> None:
    assert code == case.get("code", 0), stderr
    if "stdout" in case:
        assert stdout == case["stdout"]
    for part in case.get("stdout_has", ()):
        assert part in stdout
    for part in case.get("stderr_has", ()):
        assert part in stderr
    if case.get("quiet"):
        assert stderr == ""
    assert "Traceback" not in stdout + stderr


def test_there_are_cases() -> None:
    assert len(cases()) > 40


@pytest.mark.parametrize("case", cases())
def test_in_a_new_process(case: dict[str, Any], root: pathlib.Path) -> None:
    run = subprocess.run(
        [*COMMAND, *case["args"]],
        input=case.get("stdin", "").encode(),
        env=make_environment(root),
        cwd=root.parent,
        capture_output=True,
        check=False,
    )
    check(case, run.returncode, run.stdout.decode(), run.stderr.decode())


@pytest.mark.parametrize("case", cases())
def test_in_this_process(case: dict[str, Any], root: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root.parent)
    stdin, stdout, stderr = io.StringIO(case.get("stdin", "")), io.StringIO(), io.StringIO()
    code = Cli(stdin, stdout, stderr, make_environment(root)).main(case["args"])
    check(case, code, stdout.getvalue(), stderr.getvalue())


def test_a_closed_pipe_is_no_error(root: pathlib.Path) -> None:
    line = f"{' '.join(COMMAND)} images as json | head -c 1"
    run = subprocess.run(["sh", "-c", line], env=make_environment(root), capture_output=True, check=False)
    assert run.stdout == b"["
    assert b"Traceback" not in run.stderr


@pytest.mark.parametrize("stdin", [b"\x00\xff\xfe", b"images where tag = '\xff'", b"\xef\xbb\xbfimages count\r\n"])
def test_any_bytes_return_a_result_or_an_error(stdin: bytes, root: pathlib.Path) -> None:
    run = subprocess.run(COMMAND, input=stdin, env=make_environment(root), capture_output=True, check=False)
    assert run.returncode in (0, 2)
    assert run.stderr.startswith(b"error[") == (run.returncode == 2)
    assert b"Traceback" not in run.stderr


def test_a_script_runs_by_its_shebang(root: pathlib.Path) -> None:
    script = root.parent / "script.imq"
    script.write_text("#!/usr/bin/env -S imq -f\n# the names\nimages where dangling count\nimages count\n")
    run = subprocess.run(
        [*COMMAND, "-f", str(script)], env=make_environment(root), capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout) == (0, "2\n11\n")


def test_without_home_the_store_is_found(root: pathlib.Path) -> None:
    environment = {k: v for k, v in make_environment(root).items() if k != "HOME"}
    run = subprocess.run([*COMMAND, "images", "count"], env=environment, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "11\n")
