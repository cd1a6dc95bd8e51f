"""A separate docker daemon with a temporary folder. It uses no network and no other daemon."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.debian_root import find_debian_root
from support.engines import Dockerd
from support.servers import require_programs

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """The beginning of every docker command to a dockerd whose images are those of these tests alone."""
    require_programs("dockerd", "docker")
    with Dockerd(tmp_path_factory.mktemp("engine")) as running:
        yield running.client


@pytest.fixture(scope="session")
def containerd_docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """The same of Debian 13's dockerd, with the image store of containerd."""
    require_programs("docker")
    folder = tmp_path_factory.mktemp("engine")
    with Dockerd(folder, root=find_debian_root(), uses_containerd_images=True) as running:
        yield running.client
