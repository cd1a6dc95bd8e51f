"""How a container gets its root file system, by docker's names: `overlay2`, `fuse-overlayfs` or `vfs`.

Overlayfs does not work everywhere. Another overlayfs below it, as in a container of docker without a volume, prevents
it; so do file systems without whiteouts or extended attributes. For ordinary users it needs Linux 5.11. Elsewhere,
fuse-overlayfs mounts the same layers, if it is installed. Otherwise each container has a copy of all files of its
image: `vfs`.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from imq.engine.layers.user_namespace import is_user_namespace
from imq.grammar.record import TYPE_CHECKING

from .folder import COPY, FUSE, OVERLAY, read_json, write_json
from .unpacked import PARTIAL, TESTED

if TYPE_CHECKING:
    from imq.engine.store.directory import Directory

_FUSE_OVERLAYS = ("/usr/bin/fuse-overlayfs", "/usr/local/bin/fuse-overlayfs")
_FUSE_LIMIT = 20.0
"""The maximum seconds that a mount takes."""


def choose_driver(folder: Directory) -> str:
    """Return the driver of a new container whose layers are in this folder. Raises `OSError` for a full disk.

    Whether overlayfs works is tested once for each file system and kernel.
    """
    facts = {"device": os.fstat(folder.descriptor).st_dev, "kernel": os.uname().release}
    if read_json(folder.descriptor, TESTED) == facts:
        return OVERLAY
    if (driver := _try_drivers(folder)) != OVERLAY:
        return driver  # and test again next time: the kernel may get the module
    write_json(folder.descriptor, TESTED, facts, durable=False)
    return OVERLAY


def _try_drivers(folder: Directory) -> str:
    """Return the first driver that works in a folder; the first one when this process may not mount at all."""
    from threading import Thread

    from imq.engine.layers.remove_tree import remove_tree
    from imq.engine.layers.whiteout import OPAQUE_VALUE, WHITEOUT_DEVICE, opaque_attribute
    from imq.engine.store.atomic_files import is_disk_full

    path = folder.path_of(f"{TESTED}.{os.getpid()}{PARTIAL}")
    os.mkdir(path, 0o700)
    try:
        for name in ("lower", "lower/folder", "upper", "work", "merged"):
            os.mkdir(os.path.join(path, name))
        device = os.makedev(WHITEOUT_DEVICE, WHITEOUT_DEVICE)
        os.mknod(os.path.join(path, "lower", "whiteout"), stat.S_IFCHR, device)
        os.setxattr(os.path.join(path, "lower", "folder"), opaque_attribute(), OPAQUE_VALUE)
    except OSError as problem:
        remove_tree(path)
        if is_disk_full(problem):
            raise
        return COPY
    results: list[bool] = []
    try:
        for driver in (OVERLAY, FUSE):
            thread = Thread(target=lambda: results.append(_mounts(driver, path)))  # noqa: B023 - it is joined
            thread.start()
            thread.join()
            if results[-1:] == [True]:
                return driver
    finally:
        remove_tree(path)
    return COPY


def _mounts(driver: str, path: str) -> bool:
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
        mount_overlay(driver, "merged", "lowerdir=lower,upperdir=upper,workdir=work")
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


def mount_overlay(driver: str, target: str, options: str, *, temporary: bool = False) -> None:
    """Mount an overlay by a driver. Relative paths in the options start at the working directory. Raises `OSError`.

    A `temporary` overlay is removed when it is unmounted, and is not synced: a sync waits until the file system below
    has written everything.
    """
    from . import system_calls
    from .runtime import spawn, wait_for

    if driver == OVERLAY:
        options = f"{options},{system_calls.overlay_options()}"
        if temporary:
            with suppress(OSError):  # before Linux 5.10, or it was mounted before
                system_calls.mount_overlay(target, f"{options},volatile")
                return
        system_calls.mount_overlay(target, options)
        return
    program = next((path for path in _FUSE_OVERLAYS if os.access(path, os.X_OK)), None)
    if program is None or not is_user_namespace():
        raise OSError(errno.ENODEV, "fuse-overlayfs is not installed")
    # it goes on in the background, and ends when it is unmounted
    if wait_for(spawn([program, "-o", options, target]), _FUSE_LIMIT) != 0:
        raise OSError(errno.ENODEV, "fuse-overlayfs failed")
