"""Other people's tools, asked what they make of the same."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import pathlib

DOCKER = shutil.which("docker")
needs_docker = pytest.mark.skipif(DOCKER is None, reason="needs docker's command line; no daemon")


def docker_template(home: pathlib.Path, text: str) -> tuple[int, str]:
    """Return docker's exit code and what its own engine writes for a template and one row.

    The row has Name, Description, DockerEndpoint, Current and Error. Docker expands `\\t` and `\\n` in actions too.
    """
    assert DOCKER is not None
    command = [DOCKER, "context", "ls", "--format", text]
    environment = {"HOME": str(home), "PATH": os.environ["PATH"]}
    run = subprocess.run(command, env=environment, capture_output=True, check=False)
    return run.returncode, run.stdout.decode(errors="surrogateescape")
