"""Podman and Docker beside imq: they unpack into a graph driver, so they do other work and set no target."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

from measure import Contender

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness import Bench
    from pull_images import Image

START_WITHIN = 30.0


@contextlib.contextmanager
def daemon_pulls(bench: Bench, image: Image) -> Iterator[list[Contender]]:
    """Yield the pulls by podman and docker, when they were asked for and are installed."""
    found = []
    with contextlib.ExitStack() as stack:
        if bench.daemons and shutil.which("podman"):
            podman = stack.enter_context(podman_store(os.path.join(bench.scratch, "podman")))
            found.append(_pull("podman pull", podman, ["pull", "--quiet", "--tls-verify=false", image.reference]))
        if bench.daemons and shutil.which("dockerd") and os.geteuid() == 0:
            docker = stack.enter_context(docker_engine(os.path.join(bench.scratch, "docker")))
            found.append(_pull("docker pull", docker, ["pull", "--quiet", image.reference]))
        yield found


def _pull(name: str, client: list[str], command: list[str]) -> Contender:
    def forget() -> None:
        subprocess.run([*client, "rmi", "--force", command[-1]], capture_output=True, check=False)

    return Contender(name, [*client, *command], before=forget, after=forget)


@contextlib.contextmanager
def podman_store(folder: str) -> Iterator[list[str]]:
    """Yield the beginning of every podman command over a store of its own, which goes in the end."""
    client = ["podman", "--root", f"{folder}/root", "--runroot", f"{folder}/run", "--storage-driver", "overlay"]
    try:
        yield client
    finally:
        subprocess.run([*client, "system", "reset", "--force"], capture_output=True, check=False)
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def docker_engine(folder: str) -> Iterator[list[str]]:
    """Start a dockerd of its own that touches no network and yield the beginning of every docker command to it."""
    os.makedirs(folder)
    socket = f"unix://{folder}/docker.sock"
    command = [
        "dockerd", "--host", socket, "--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec",
        "--pidfile", f"{folder}/pid", "--bridge=none", "--iptables=false", "--ip6tables=false",
    ]  # fmt: skip
    with open(os.path.join(folder, "log"), "wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    client = ["docker", "--host", socket]
    try:
        limit = time.monotonic() + START_WITHIN
        while time.monotonic() < limit and process.poll() is None:
            if subprocess.run([*client, "version"], capture_output=True, check=False).returncode == 0:
                break
            time.sleep(0.2)
        yield client
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)
