"""What holds for every test."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
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
from support.recipe_store import recipe_root

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
    "recipe_root",
]

settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")  # no test depends on the speed of the machine

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # a shell without job control starts what runs in the background so; tests of Ctrl-C, and their processes, need it
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """With several worker processes, let one of them run all tests of a folder: they share engines and registries."""
    from xdist.scheduler import LoadScopeScheduling

    class FolderScheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return nodeid.partition("::")[0].removeprefix("tests/").partition("/")[0]

    return FolderScheduling(config, log)
