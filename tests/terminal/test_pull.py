"""A pull on a real terminal: progress bars, Ctrl-C, and a second pull that resumes in the same session."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from registry.support.fault_proxy import Fault, FaultProxy, send_slowly
from support.images import Image, Layout, layer
from support.servers import PROGRAM, Registry, require_programs

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    from conftest import TerminalLab

WEIGHT = 2_000_000
TOTAL = re.compile(r"^127\.0\.0\.1:.*MB.* \d+(?:\.\d+)?[kM]B/s +0:0\d left$", re.MULTILINE)
"""The line of the whole transfer, while it runs."""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry with an image of two layers, one of them large and incompressible."""
    require_programs(PROGRAM, "tmux")
    folder = tmp_path_factory.mktemp("registry")
    with Registry(folder) as served:
        large = layer({"large": random.Random(6).randbytes(WEIGHT)})
        Layout(folder / "store").add(Image([layer({"small": b"1"}), large], "2024-01-01T00:00:00Z"), "team/app:1")
        subprocess.run(
            [sys.executable, "-m", "imq", "--root", folder / "store", f"push team/app:1 to {served.host}/team/app:1"],
            check=True,
            capture_output=True,
        )
        yield served


def test_an_interrupted_pull_resumes_in_the_same_session(lab: TerminalLab, registry: Registry) -> None:
    with FaultProxy(registry.host, Fault("GET .*/blobs/", change=send_slowly(20_000, 0.05))) as proxy:
        terminal = lab.imq("--no-config", PAGER="cat")
        terminal.wait_for_prompt()
        terminal.enter(f"pull {proxy.host}/team/app:1")
        terminal.wait(lambda screen: TOTAL.search(screen) is not None)
        screen = terminal.wait(lambda screen: re.search(r": Downloading +\[=+>", screen) is not None)
        assert len(TOTAL.findall(screen)) == 1
        terminal.resize(50, 12)
        terminal.wait(lambda screen: re.search(r": Downloading +\d.*MB\n", screen) is not None)  # too narrow for bars
        terminal.resize(80, 24)
        screen = terminal.wait(lambda screen: re.search(r": Downloading +\[=+>", screen) is not None)
        assert screen.count("Downloading") == 1  # nothing remains of the other sizes
        terminal.press("C-c")
        terminal.wait("error[interrupted]")
        proxy.faults.clear()
        terminal.wait_for_prompt()
        terminal.enter("images where name like 127.* count")
        terminal.wait("\n0\n")
        terminal.wait_for_prompt()
        terminal.enter(f"pull {proxy.host}/team/app:1")
        screen = terminal.wait("downloaded new").rpartition("imq> pull")[2]
        assert screen.count(": Already exists") == 1  # the small layer was complete
        assert screen.count(": Pull complete") == 1
        terminal.wait_for_prompt()
        terminal.enter("images where name like 127.* count")
        terminal.wait("\n1\n")


def test_progress_is_not_part_of_the_result(lab: TerminalLab, registry: Registry, tmp_path: pathlib.Path) -> None:
    output = tmp_path / "output"
    name = f"{registry.host}/team/app:1"
    command = f"{sys.executable} -m imq --no-config --root {lab.store} 'pull {name}' > {output}"
    terminal = lab.start(["sh", "-c", command], 80, 24, {})
    screen = terminal.wait_for_exit()
    assert screen.count(": Pull complete") == 2
    assert screen.count("/2.02MB") == 1
    assert re.fullmatch(rf"ACTION .*\npull +{name} .*\n", output.read_text())
    for word in ("Mounted from team/app", "Layer already exists"):
        pushed = lab.imq("--no-config", f"push {name} to {registry.host}/team/other:1")
        screen = pushed.wait_for_exit()
        assert screen.count(f": {word}\n") == 2
        assert re.search(r"team/other:1  \[=+\] ", screen)  # the bar is full, though nothing was transferred


def test_without_a_terminal_progress_is_one_line_per_step(lab: TerminalLab, registry: Registry) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "imq", "--no-config", "--root", lab.store, f"pull {registry.host}/team/app:1"],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "HOME": str(lab.home)},
    )
    lines = run.stderr.splitlines()
    assert lines[0].startswith(f"{registry.host}/team/app:1: 2")
    assert sum(line.endswith(": Pull complete") for line in lines) == 2
    assert lines[-1].startswith("total: 2")
    assert "\x1b" not in run.stderr
    assert "\r" not in run.stderr


def test_names_in_a_known_registry_are_completed(lab: TerminalLab, registry: Registry) -> None:
    with FaultProxy(registry.host) as slow:
        terminal = lab.imq("--no-config", f"tag redis:7 as {slow.host}/mine:1")
        terminal.wait_for_exit()  # now the store knows its host
        terminal = lab.imq("--no-config")
        terminal.wait_for_prompt()
        terminal.type(f"tags of {slow.host}/")
        terminal.wait(lambda screen: re.search(r"\n +127\S+/team/app +repository", screen) is not None)
        terminal.press("C-u")
        slow.faults.append(Fault("GET .*/tags/list", change=send_slowly(1, 0.3)))
        terminal.type(f"pull {slow.host}/team/app:")
        terminal.wait("/team/app:")
        terminal.type("1")  # typing does not wait for a slow registry
        terminal.wait("/team/app:1\n")
        terminal.press("BSpace")
        slow.faults.clear()
        terminal.press("C-u")
        terminal.enter("images count")  # a statement invalidates the cached values
        terminal.wait_for_prompt()
        terminal.type(f"pull {slow.host}/team/app:")
        terminal.wait(lambda screen: re.search(r"\n +127\S+/team/app:1 +reference", screen) is not None)
