"""A root file system of Debian 13, for engines of other versions than those of this machine."""

from __future__ import annotations

import os
import pathlib
import subprocess
import tempfile
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

_SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "build" / "make_engine_root.sh"
_ENTER = """
root=$1 shared=$2
shift 2
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --rbind /sys "$root/sys"
mount -t tmpfs tmpfs "$root/run"
for folder in $shared; do
    mkdir -p "$root$folder"
    mount --bind "$folder" "$root$folder"
done
exec chroot "$root" "$@"
"""
"""Mounts what an engine needs, and runs a command in a root, which is a mount point: `pivot_root` of runc needs it."""


class DebianRoot:
    """A root file system. Its mounts are in a mount namespace of each engine, and go with the engine's processes."""

    def __init__(self, path: str) -> None:
        self.path = path

    def command(self, words: Sequence[str], folder: str) -> list[str]:
        """Return a command as it is run in the root, where `folder` and the temporary folder are those of outside."""
        shared = tempfile.gettempdir()
        if os.path.commonpath([shared, folder]) != shared:
            shared += f" {folder}"
        return ["unshare", "--mount", "sh", "-ec", _ENTER, "sh", self.path, shared, *words]

    def join(self, pid: int) -> list[str]:
        """Return the beginning of a command that is run in the root and among the mounts of a process there."""
        process = f"/proc/{pid}"
        return ["nsenter", f"--mount={process}/ns/mnt", f"--root={process}/root", f"--wd={process}/root"]


def find_debian_root() -> DebianRoot:
    """Return the root, which is made once. Without it the test is skipped; failed if `IMQ_REQUIRE_SERVERS` is set."""
    words = ["bash", os.fspath(_SCRIPT)]
    if not os.environ.get("IMQ_REQUIRE_SERVERS"):
        words.append("--existing")
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    path = done.stdout.strip()
    if done.returncode == 0 and path:
        return DebianRoot(path)
    reason = f"no root file system of Debian 13: {done.stderr.strip()[-300:]}"
    if os.environ.get("IMQ_REQUIRE_SERVERS"):
        pytest.fail(reason)
    pytest.skip(reason)
