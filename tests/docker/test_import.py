"""`docker import --change` and `imq import --change`: the same configs of the same instructions, the same refusals."""

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

OURS = "STOPSIGNAL"
"""What newer daemons take, and not yet 20.10."""


@pytest.fixture(scope="module")
def archive(docker: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("importing") / "rootfs.tar"
    path.write_bytes(layer({"file": b"abc"}).blob)
    yield path
    for words in (["rmi", "-f", "made:1"], ["image", "prune", "-f"]):
        subprocess.run([*docker, *words], stdout=subprocess.DEVNULL, check=True)


def imported(program: list[str], changes: list[str], archive: Path) -> tuple[int, str]:
    """Import with these changes; return the config, or the complaint."""
    environment = {**os.environ, "IMQ_ROOT": str(archive.parent / "store")}
    words = [word for change in changes for word in ("-c", change)]
    done = subprocess.run(
        [*program, "import", *words, str(archive), "made:1"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        return done.returncode, done.stderr.splitlines()[0].replace("Error response from daemon: ", "Error: ")
    shown = subprocess.run(
        [*program, "inspect", "-f", "{{json .Config}}{{.Config.Image}}", "made:1"],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return 0, shown.stdout


CHANGES = [changes for changes, _ in [*MAKES, *REFUSES] if changes and OURS not in "".join(changes)]


@pytest.mark.parametrize("changes", CHANGES, ids=" ; ".join)
def test_import(docker: list[str], archive: Path, changes: list[str]) -> None:
    assert imported([sys.executable, "-m", "imq"], changes, archive) == imported(docker, changes, archive)
