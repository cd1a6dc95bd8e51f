"""The page about containers: its session prints what the page shows."""

from __future__ import annotations

import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support.servers import require_programs

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = (pathlib.Path(__file__).resolve().parents[2] / "dsl" / "docs" / "CONTAINERS.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```\n(\$ imq .*?)^```", PAGE, re.MULTILINE | re.DOTALL)
STEPS = [
    (command, shown)
    for block in BLOCKS
    for command, _, shown in (part.partition("\n") for part in re.split(r"^\$ imq ", block, flags=re.MULTILINE)[1:])
]
APPLETS = ("cat", "echo", "sh", "sleep")


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A folder with the files of the page, in which its store is made."""
    require_programs("busybox", "runc")
    if os.geteuid() != 0:
        pytest.skip("the page shows a run as root")
    (tmp_path / "box" / "bin").mkdir(parents=True)
    shutil.copy("/bin/busybox", tmp_path / "box" / "bin" / "busybox")
    for applet in APPLETS:
        (tmp_path / "box" / "bin" / applet).symlink_to("busybox")
    yield tmp_path
    run_imq(tmp_path, "rm", "-f", "web")


def run_imq(folder: pathlib.Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "IMQ_ROOT": str(folder / "store")}
    return subprocess.run(
        [sys.executable, "-m", "imq", *words], cwd=folder, env=environment, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def normalize(text: str) -> list[list[str]]:
    """Return the words of each line without what differs between runs: IDs, and the size of busybox."""
    text = re.sub(r"\b[0-9a-f]{64}\b|\b[0-9a-f]{12}\b", "ID", text)
    return [line.split() for line in re.sub(r"\b\d\.\d\dMB", "SIZE", text).splitlines() if line]


def test_the_session_prints_what_the_page_shows(folder: pathlib.Path) -> None:
    assert len(STEPS) == 14
    for command, shown in STEPS:
        done = run_imq(folder, *shlex.split(command))
        assert done.returncode == (3 if shown.startswith("error") else 0), done.stderr
        assert normalize(done.stdout + done.stderr) == normalize(shown), command
