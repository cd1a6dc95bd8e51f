"""`docker import --change` and `imq import --change`: the same configs and the same errors."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support.images import layer
from unit.test_dockerfile_changes import MAKES, REFUSES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NEWER = "STOPSIGNAL"
"""An instruction that docker 20.10 does not support."""


@pytest.fixture(scope="module")
def archive(docker: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("importing") / "rootfs.tar"
    path.write_bytes(layer({"file": b"abc"}).blob)
    yield path
    for words in (["rmi", "-f", "test:1"], ["image", "prune", "-f"]):
        subprocess.run([*docker, *words], stdout=subprocess.DEVNULL, check=True)


def run_import(program: list[str], changes: list[str], archive: Path) -> tuple[int, str]:
    """Import with these changes; return the exit code, and the config or the error."""
    environment = {**os.environ, "IMQ_ROOT": str(archive.parent / "store")}
    words = [word for change in changes for word in ("-c", change)]
    run = subprocess.run(
        [*program, "import", *words, str(archive), "test:1"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        return run.returncode, run.stderr.splitlines()[0].replace("Error response from daemon: ", "Error: ")
    inspected = subprocess.run(
        [*program, "inspect", "-f", "{{json .Config}}{{.Config.Image}}", "test:1"],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return 0, inspected.stdout


CHANGES = [changes for changes, _ in [*MAKES, *REFUSES] if changes and NEWER not in "".join(changes)]


@pytest.mark.parametrize("changes", CHANGES, ids=" ; ".join)
def test_imports_have_the_same_config_or_error(docker: list[str], archive: Path, changes: list[str]) -> None:
    assert run_import([sys.executable, "-m", "imq"], changes, archive) == run_import(docker, changes, archive)
