"""Small file systems for tests, mounted if the user may do so."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def file_system(folder: Path, options: str) -> Iterator[bool]:
    """Mount a small file system at a folder; yield whether that was possible.

    If `IMQ_REQUIRE_SERVERS` is set, the test fails when it is not possible.
    """
    folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False) if shutil.which("mount") else None
    mounted = done is not None and done.returncode == 0
    if not mounted and os.environ.get("IMQ_REQUIRE_SERVERS"):
        pytest.fail(f"no file system could be mounted, and one is required: {done.stderr if done else 'no mount'}")
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


@contextlib.contextmanager
def small_disk(folder: Path, options: str) -> Iterator[Path]:
    """Mount a small file system at a folder, or skip the test when that is not allowed."""
    with file_system(folder, options) as mounted:
        if not mounted:
            pytest.skip("a file system has to be mounted for this")
        yield folder


def fill_names(folder: Path) -> None:
    """Create files in a new folder until the disk has no inodes left."""
    with contextlib.suppress(OSError):
        folder.mkdir()
        for number in range(1_000_000):
            (folder / str(number)).touch()


def fill(path: Path, leave: int = 0) -> None:
    """Fill the disk with one file, except for about `leave` bytes."""
    about = os.statvfs(path.parent)
    with contextlib.suppress(OSError), open(path, "wb", buffering=0) as filler:
        left = about.f_bfree * about.f_frsize - leave
        while left > 0:
            left -= filler.write(bytes(min(left, 65536)))
        while not leave:
            filler.write(bytes(4096))
