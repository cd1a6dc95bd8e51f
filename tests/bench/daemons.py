"""Podman and Docker for comparison. They unpack into a graph driver, which is more work."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

from measure import Contender, tree_cpu

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness import Bench
    from pull_images import Image

START_TIMEOUT = 30.0


@contextlib.contextmanager
def open_daemon_pulls(bench: Bench, image: Image) -> Iterator[list[Contender]]:
    """Yield contenders for podman and docker, when `--daemons` is set and they are installed."""
    contenders = []
    with contextlib.ExitStack() as stack:
        if bench.daemons and shutil.which("podman"):
            podman = stack.enter_context(open_podman(os.path.join(bench.scratch, "podman")))
            contenders.append(_pull("podman pull", podman, ["pull", "--quiet", "--tls-verify=false", image.reference]))
        if bench.daemons and shutil.which("dockerd") and os.geteuid() == 0:
            folder = os.path.join(bench.scratch, "docker")
            docker = stack.enter_context(start_dockerd(folder))
            contenders.append(_pull("docker pull", docker, ["pull", "--quiet", image.reference]))
            with open(os.path.join(folder, "pid")) as file:
                contenders[-1].server_cpu = partial(tree_cpu, int(file.read()))
        yield contenders


def _pull(name: str, client: list[str], command: list[str]) -> Contender:
    def remove_image() -> None:
        subprocess.run([*client, "rmi", "--force", command[-1]], capture_output=True, check=False)

    return Contender(name, [*client, *command], before=remove_image, after=remove_image)


@contextlib.contextmanager
def open_podman(folder: str) -> Iterator[list[str]]:
    """Yield the first words of podman command lines with a temporary store."""
    client = ["podman", "--root", f"{folder}/root", "--runroot", f"{folder}/run", "--storage-driver", "overlay"]
    try:
        yield client
    finally:
        subprocess.run([*client, "system", "reset", "--force"], capture_output=True, check=False)
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def start_dockerd(folder: str) -> Iterator[list[str]]:
    """Start a separate dockerd without network; yield the first words of docker command lines for it.

    The file `wrapper` in the folder has the ID of the process whose descendants are all processes of dockerd.
    """
    os.makedirs(folder)
    socket = f"unix://{folder}/docker.sock"
    reap = os.path.join(os.path.dirname(os.path.abspath(__file__)), "reap.py")
    command = [
        sys.executable, "-I", "-S", reap, "dockerd", "--host", socket, "--data-root", f"{folder}/data",
        "--exec-root", f"{folder}/exec", "--pidfile", f"{folder}/pid", "--bridge=none", "--iptables=false",
        "--ip6tables=false",
    ]  # fmt: skip
    with open(os.path.join(folder, "log"), "wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    with open(os.path.join(folder, "wrapper"), "w") as file:
        file.write(str(process.pid))
    client = ["docker", "--host", socket]
    try:
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline and process.poll() is None:
            if subprocess.run([*client, "version"], capture_output=True, check=False).returncode == 0:
                break
            time.sleep(0.2)
        yield client
    finally:
        process.terminate()
        process.wait()
        network = f"{folder}/exec/netns/default"  # dockerd leaves the network of the host mounted
        subprocess.run(["umount", "--lazy", network], capture_output=True, check=False)
        shutil.rmtree(folder, ignore_errors=True)
