"""What holds for every test."""

from __future__ import annotations

import os
import signal

import pytest
from support.engines import (
    containerd,
    debian_containerd,
    debian_dockerd,
    debian_podman,
    dockerd,
    podman_service,
)
from support.prepared_engines import (
    prepared,
    prepared_containerd_docker,
    prepared_debian_podman,
    prepared_docker,
    prepared_podman,
)

__all__ = [
    "containerd",
    "debian_containerd",
    "debian_dockerd",
    "debian_podman",
    "dockerd",
    "podman_service",
    "prepared",
    "prepared_containerd_docker",
    "prepared_debian_podman",
    "prepared_docker",
    "prepared_podman",
]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # a shell without job control starts what runs in the background so; tests of Ctrl-C, and their processes, need it
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)  # before the hook of pytest-xdist that reads the marks
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let one worker process run all tests of a folder: they share engines and registries."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        tests = config.rootpath / "tests"
        for item in items:
            item.add_marker(pytest.mark.xdist_group(item.path.relative_to(tests).parts[0]))
