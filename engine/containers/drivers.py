"""How a container gets its root file system, by docker's names: `overlay2`, and `vfs` where overlayfs does not work.

With `vfs` each container has a copy of all files of its image. Overlayfs does not work on another overlayfs, as in a
container of docker without a volume, nor on file systems without whiteouts or extended attributes.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from imq.grammar.record import TYPE_CHECKING

from .folder import COPY, OVERLAY, read_json, write_json
from .unpacked import PARTIAL, TESTED

if TYPE_CHECKING:
    from imq.engine.store.directory import Directory


def choose_driver(folder: Directory) -> str:
    """Return the driver of a new container whose layers are in this folder. Raises `OSError` for a full disk.

    Whether overlayfs works is tested once for each file system and kernel.
    """
    facts = {"device": os.fstat(folder.descriptor).st_dev, "kernel": os.uname().release}
    if read_json(folder.descriptor, TESTED) == facts:
        return OVERLAY
    if not _takes_overlay(folder):
        return COPY  # and test again next time: the kernel may get the module
    write_json(folder.descriptor, TESTED, facts, durable=False)
    return OVERLAY


def _takes_overlay(folder: Directory) -> bool:
    """Whether layers can be unpacked and mounted in a folder. True when this process may not mount at all."""
    from threading import Thread

    from imq.engine.layers.remove_tree import remove_tree
    from imq.engine.layers.whiteout import OPAQUE_ATTRIBUTE, OPAQUE_VALUE, WHITEOUT_DEVICE
    from imq.engine.store.atomic_files import is_disk_full

    path = folder.path_of(f"{TESTED}.{os.getpid()}{PARTIAL}")
    os.mkdir(path, 0o700)
    try:
        for name in ("lower", "lower/folder", "upper", "work", "merged"):
            os.mkdir(os.path.join(path, name))
        device = os.makedev(WHITEOUT_DEVICE, WHITEOUT_DEVICE)
        os.mknod(os.path.join(path, "lower", "whiteout"), stat.S_IFCHR, device)
        os.setxattr(os.path.join(path, "lower", "folder"), OPAQUE_ATTRIBUTE, OPAQUE_VALUE)
    except OSError as problem:
        remove_tree(path)
        if is_disk_full(problem):
            raise
        return False
    results: list[bool] = []
    try:
        thread = Thread(target=lambda: results.append(_mounts_overlay(path)))
        thread.start()
        thread.join()
    finally:
        remove_tree(path)
    return results == [True]


def _mounts_overlay(path: str) -> bool:
    """Mount an overlay in a folder, and remove a folder in it.

    The calling thread gets a mount namespace and a working directory of its own, which end with it.
    """
    from . import system_calls

    try:
        system_calls.enter_mount_namespace()
    except OSError:
        return True  # a start says why
    try:
        os.chdir(path)
        system_calls.mount_overlay("merged", f"lowerdir=lower,upperdir=upper,workdir=work,{system_calls.PLAIN_OVERLAY}")
    except OSError:
        return False
    try:
        os.rmdir("merged/folder")
    except OSError:
        return False
    finally:
        with suppress(OSError):
            system_calls.unmount("merged")
    return True
