"""An ordinary user of this machine: the processes of a mount namespace in which it has an account and a home."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Any, Self

from .engines import mounts_under

if TYPE_CHECKING:
    from collections.abc import Sequence

USER_ID = 7001
FIRST_ID, ID_COUNT = 500_000, 65_536
"""The IDs that /etc/subuid and /etc/subgid give the user."""
_SETUP = """
set -e
mount --make-rprivate /
folder=$1; shift
mount --bind "$folder/passwd" /etc/passwd
for name in subuid subgid; do
    if [ -e /etc/$name ]; then mount --bind "$folder/ids" /etc/$name; fi
done
while [ "$1" != -- ]; do
    mkdir -p "$folder/open$2"
    mount --rbind "$2" "$folder/open$2"
    closed="$closed $1"
    shift 2
done
shift
for name in $closed; do mount --rbind "$folder/open$name" "$name"; done
if [ -e "$folder/fuse" ]; then mount --bind "$folder/fuse" /dev/fuse; fi
cd "$folder/home"
exec "$@"
"""


class OrdinaryUser:
    """A user whose processes can read this checkout and its interpreter; a context manager.

    `has_ranges`: it has further IDs in /etc/subuid and /etc/subgid. `prefix` are words of a program that runs the
    others, as root before the user is changed. With `fuse` it may use /dev/fuse.
    """

    def __init__(self, *, has_ranges: bool = True, fuse: bool = False, prefix: Sequence[str] = ()) -> None:
        self._prefix = tuple(prefix)
        self.folder = pathlib.Path(tempfile.mkdtemp(dir="/tmp"))
        self.folder.chmod(0o755)
        self.home = self.folder / "home"
        self.home.mkdir()
        os.chown(self.home, USER_ID, USER_ID)
        account = f"ordinary:x:{USER_ID}:{USER_ID}::{self.home}:/bin/sh\n"
        (self.folder / "passwd").write_text(pathlib.Path("/etc/passwd").read_text() + account)
        (self.folder / "ids").write_text(f"ordinary:{FIRST_ID}:{ID_COUNT}\n" if has_ranges else "")
        if fuse:
            os.mknod(self.folder / "fuse", 0o020666, os.makedev(10, 229))
            (self.folder / "fuse").chmod(0o666)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        assert mounts_under(str(self.folder)) == []
        shutil.rmtree(self.folder)

    @property
    def root(self) -> str:
        """The folder of the user's store."""
        return str(self.home / "store")

    def run(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a program as the user, with its home as the working folder."""
        return subprocess.run(self._command(words), capture_output=True, text=True, check=False, timeout=60, **options)

    def imq(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command line of imq on the user's store."""
        return self.run(*self._imq, *words, **options)

    def imq_command(self, *words: str) -> list[str]:
        """Return the whole command line of `imq`."""
        return self._command([*self._imq, *words])

    @property
    def _imq(self) -> tuple[str, ...]:
        return (sys.executable, "-m", "imq", "--root", self.root)

    def _command(self, words: Sequence[str]) -> list[str]:
        needed = (sys.base_prefix, sys.prefix, str(pathlib.Path(__file__).parents[2]))
        closed = [word for path in needed for word in _find_closed(path)]
        drop = ("setpriv", "--reuid", str(USER_ID), "--regid", str(USER_ID), "--clear-groups")
        home = ("env", f"HOME={self.home}", "--unset=XDG_RUNTIME_DIR", "--unset=XDG_DATA_HOME")
        setup = ("unshare", "--mount", "sh", "-c", _SETUP, "sh", str(self.folder), *closed, "--")
        return [*setup, *self._prefix, *drop, *home, *words]


def _find_closed(path: str) -> list[str]:
    """Return the first folder above a path that others cannot enter, and the path itself; nothing when they can."""
    real = os.path.realpath(path)
    for parent in reversed(pathlib.Path(real).parents):
        if not parent.stat().st_mode & 0o001:
            return [str(parent), real]
    return []
