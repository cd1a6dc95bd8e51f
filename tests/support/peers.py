"""Other tools, for comparison of their results with those of imq."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import pathlib

_RECENT = 28
"""The first version of docker's command line whose templates behave as in current Go."""


def _recent_docker() -> str | None:
    """Return the path of docker; None if it is missing or older than `_RECENT`."""
    program = shutil.which("docker")
    if program is None:
        return None
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    version = re.search(r"version (\d+)", said)
    return program if version is not None and int(version[1]) >= _RECENT else None


DOCKER = _recent_docker()
needs_docker = pytest.mark.skipif(DOCKER is None, reason=f"needs docker's command line, {_RECENT} or later; no daemon")


def render_docker_template(home: pathlib.Path, text: str) -> tuple[int, str]:
    """Return the exit code and the output of docker for a template and one row.

    The row has Name, Description, DockerEndpoint, Current and Error. Docker expands `\\t` and `\\n` in actions too.
    """
    assert DOCKER is not None
    command = [DOCKER, "context", "ls", "--format", text]
    environment = {"HOME": str(home), "PATH": os.environ["PATH"]}
    run = subprocess.run(command, env=environment, capture_output=True, check=False)
    return run.returncode, run.stdout.decode(errors="surrogateescape")
