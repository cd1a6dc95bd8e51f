"""The page about sources: its sessions with engines print what the page shows."""

from __future__ import annotations

import os
import pathlib
import re
import shlex
from typing import TYPE_CHECKING

import pytest
from engines.conftest import archive  # noqa: F401 - a fixture
from support.command import run_imq
from support.engine_images import clear

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.engines import Dockerd, PodmanService

PAGE = (pathlib.Path(__file__).resolve().parents[2] / "dsl" / "docs" / "SOURCES.md").read_text(encoding="utf-8")
FENCED = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
BLOCKS = [block for language, block in FENCED if not language and block.startswith("$ imq")]
STEPS = [
    (command, shown)
    for block in BLOCKS
    for command, _, shown in (part.partition("\n") for part in re.split(r"^\$ imq ", block, flags=re.MULTILINE)[1:])
]
CONFIGURATION = [block for language, block in FENCED if language == "toml"]
ADDRESSES = {"unix:///var/run/docker.sock": "docker", "unix:///run/podman/podman.sock": "podman"}


@pytest.fixture(scope="module")
def environment(
    dockerd: Dockerd,
    podman_service: PodmanService,
    archive: bytes,  # noqa: F811 - the fixture
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, str]]:
    """The environment of the page: two engines with the same images, one container in docker, and the groups."""
    home = tmp_path_factory.mktemp("home")
    (home / "config.toml").write_text("\n".join(CONFIGURATION))
    for engine in (dockerd, podman_service):
        clear(engine)
        engine.run("load", stdin=archive)
    dockerd.run("create", "--network", "none", "--name", "web", "localhost/app:1", "x")
    yield {
        "HOME": str(home),
        "PATH": os.environ["PATH"],
        "IMQ_CONFIG": str(home / "config.toml"),
        "DOCKER_HOST": dockerd.address,
        "CONTAINER_HOST": podman_service.address,
    }
    for engine in (dockerd, podman_service):
        clear(engine)


def normalize(text: str) -> list[list[str]]:
    """Return the words of each line; other places of the machine are left out."""
    return [line.split() for line in text.splitlines() if "containers-storage" not in line and "containerd" not in line]


def test_the_page_has_sessions() -> None:
    assert len(STEPS) > 8
    assert len(CONFIGURATION) == 1


@pytest.mark.parametrize(("command", "shown"), STEPS)
def test_a_command_prints_what_the_page_shows(environment: dict[str, str], command: str, shown: str) -> None:
    ran = run_imq(environment, *shlex.split(command))
    assert ran.code == (3 if "error[" in shown else 0)
    text = ran.stdout + ran.stderr if "error[" in shown else ran.stderr + ran.stdout
    for address, name in ADDRESSES.items():
        text = text.replace(environment["DOCKER_HOST" if name == "docker" else "CONTAINER_HOST"], address)
    assert normalize(text) == normalize(shown)


def test_names_of_engines_are_on_the_page() -> None:
    for name in ("docker", "podman", "docker:CONTEXT", "podman:CONNECTION", "DOCKER_HOST", "CONTAINER_HOST"):
        assert name in PAGE


def test_clients_of_engines_are_not_needed(environment: dict[str, str], tmp_path: pathlib.Path) -> None:
    assert run_imq({**environment, "PATH": str(tmp_path)}, "images in prod count") == (0, "6\n", "")
