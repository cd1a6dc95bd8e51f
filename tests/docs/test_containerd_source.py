"""The page about sources: its session with containerd prints what the page shows."""

from __future__ import annotations

import os
import pathlib
import re
import shlex
from typing import TYPE_CHECKING

import pytest
from containerd.conftest import K8S, NAMES
from support.command import run_imq
from support.images import Layout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.engines import Containerd

PAGE = (pathlib.Path(__file__).resolve().parents[2] / "dsl" / "docs" / "SOURCES.md").read_text(encoding="utf-8")
(BLOCK,) = re.findall(r"^```console\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
STEPS = [
    (command, shown)
    for command, _, shown in (part.partition("\n") for part in re.split(r"^\$ imq ", BLOCK, flags=re.MULTILINE)[1:])
]
POD = {
    "io.kubernetes.container.name": "app",
    "io.kubernetes.pod.name": "web-1",
    "io.kubernetes.pod.namespace": "prod",
}


@pytest.fixture(scope="module")
def environment(containerd: Containerd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of the page: a node with two images and the container of a pod."""
    folder = tmp_path_factory.mktemp("node")
    layout = Layout(folder / "layout")
    for name, image in NAMES.items():
        layout.add(image, name)
    os.system(f"tar -C {folder}/layout -cf {folder}/images.tar .")
    containerd.clear()
    containerd.run("-n", K8S, "images", "import", f"{folder}/images.tar")
    labels = [word for name, value in POD.items() for word in ("--label", f"{name}={value}")]
    containerd.run("-n", K8S, "containers", "create", *labels, "ghcr.io/team/b:2", "web", "serve")
    yield {"HOME": str(folder), "PATH": os.environ["PATH"], "CONTAINERD_ADDRESS": containerd.socket}
    containerd.clear()


@pytest.mark.parametrize(("command", "shown"), STEPS)
def test_a_command_prints_what_the_page_shows(environment: dict[str, str], command: str, shown: str) -> None:
    ran = run_imq(environment, *shlex.split(command))
    assert (ran.code, ran.stderr) == (0, "")
    assert [line.split() for line in ran.stdout.splitlines()] == [line.split() for line in shown.splitlines()]
