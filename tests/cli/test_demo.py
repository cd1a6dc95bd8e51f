"""`imq demo`: a sample store of its own, removed at the end; and the pages of `COMMAND --help`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HOME": str(folder), "TMPDIR": str(folder), "IMQ_ROOT": str(folder / "other")}
    command = [sys.executable, "-m", "imq", *words]
    return subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


def test_a_statement_runs_on_the_sample(tmp_path: Path) -> None:
    done = run(tmp_path, "demo", "images where dangling or label.team = ops select name, created within 30d as csv")
    assert done.stderr == ""
    assert done.stdout.splitlines()[1:] == ["tools/backup:2,true", ",false"]
    assert list(tmp_path.iterdir()) == [], "the sample is removed"


def test_the_sample_has_what_the_examples_need(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        "demo",
        "images count; packages of base/alpine:3.20 count; differences of shop/web:1.1, shop/web:1.2 where kind = label"
        " count; images where based on base/alpine:3.20 count; dry run rm images where older than 30d except newest 1"
        " per repository format {{.Target}}",
    )
    assert done.stdout.split() == ["9", "3", "1", "8", "shop/web:1.0"]


def test_without_a_terminal_the_sample_stays(tmp_path: Path) -> None:
    done = run(tmp_path, "demo")
    root = Path(done.stdout.strip())
    assert root.parent.parent == tmp_path
    assert f"imq --root {root} images" in done.stderr
    assert run(tmp_path, "--root", str(root), "images count").stdout == "9\n"
    shutil.rmtree(root.parent)


@pytest.mark.parametrize(
    ("words", "begins", "has"),
    [
        (["tags", "--help"], "tags: ", "signed"),
        (["copy", "--help"], "copy: ", "options:"),
        (["rm", "images", "where", "dangling", "--help"], "rm: ", "Example:"),
        (["pull", "--help"], "Usage:  imq pull", "In statements of the language: imq help pull"),
        (["images", "--help"], "Usage:  imq images", "In statements of the language: imq help images"),
        (["--help"], "imq queries container images", "imq demo"),
        (["nonsense", "--help"], "imq queries container images", "usage:"),
    ],
)
def test_the_help_of_a_command_is_its_page(tmp_path: Path, words: list[str], begins: str, has: str) -> None:
    done = run(tmp_path, *words)
    assert done.returncode == 0
    assert done.stdout.startswith(begins)
    assert has in done.stdout
