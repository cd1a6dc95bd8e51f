"""A docker daemon of its own, over a folder that goes with it; it touches no network and no other daemon."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from support.servers import needed

if TYPE_CHECKING:
    from collections.abc import Iterator

_START_LIMIT = 60.0


@pytest.fixture(scope="session")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """The beginning of every docker command to a dockerd that runs as long as the tests do."""
    needed("dockerd", "docker")
    if os.geteuid() != 0 and not os.environ.get("IMQ_REQUIRE_SERVERS"):
        pytest.skip("dockerd needs root")
    folder = str(tmp_path_factory.mktemp("engine"))
    socket = f"unix://{folder}/docker.sock"
    command = [
        "dockerd", "--host", socket, "--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec",
        "--pidfile", f"{folder}/pid", "--bridge=none", "--iptables=false", "--ip6tables=false",
    ]  # fmt: skip
    client = ["docker", "--host", socket]
    with open(f"{folder}/log", "wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        limit = time.monotonic() + _START_LIMIT
        while subprocess.run([*client, "version"], capture_output=True, check=False).returncode:
            if process.poll() is not None or time.monotonic() > limit:
                with open(f"{folder}/log", errors="replace") as log_text:
                    pytest.skip(f"dockerd does not start here: {log_text.read()[-300:]}")
            time.sleep(0.1)
        yield client
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)
