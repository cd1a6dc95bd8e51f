"""What holds for every test."""

from __future__ import annotations

import signal

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
