"""The system calls of a monitor that Python does not have: mount namespaces, mounts, and adopting processes."""

from __future__ import annotations

import ctypes
import os

from imq.engine.layers.user_namespace import is_user_namespace

_CLONE_NEWNS = 0x00020000
_MS_BIND, _MS_REC, _MS_SLAVE = 0x1000, 0x4000, 0x80000
_MNT_DETACH = 2
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NAME = 15
_PLAIN_OVERLAY = "index=off,metacopy=off,redirect_dir=off"
"""Options by which the upper folder of an overlay has whole files under their own names."""
_PLAIN_USER_OVERLAY = "index=off,userxattr"
"""The same in a user namespace, where the marks are other attributes, and nothing is redirected."""


def overlay_options() -> str:
    """Return the options of an overlay besides its folders."""
    return _PLAIN_USER_OVERLAY if is_user_namespace() else _PLAIN_OVERLAY


def _call(name: str, *arguments: object) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def unshare(flags: int) -> None:
    """Enter new namespaces. Raises `OSError` when the kernel does not allow it."""
    _call("unshare", flags)


def enter_mount_namespace() -> None:
    """Enter a new mount namespace: mounts made in it are not seen outside, and end with its last process.

    Raises `PermissionError` without the privileges for it.
    """
    unshare(_CLONE_NEWNS)
    _call("mount", b"none", b"/", None, ctypes.c_ulong(_MS_REC | _MS_SLAVE), None)


def mount_overlay(target: str, options: str) -> None:
    """Mount an overlay file system. Relative paths in the options start at the working directory."""
    _call("mount", b"overlay", os.fsencode(target), b"overlay", ctypes.c_ulong(0), os.fsencode(options))


def bind(source: str, target: str) -> None:
    """Show a file or folder at another place too."""
    _call("mount", os.fsencode(source), os.fsencode(target), None, ctypes.c_ulong(_MS_BIND), None)


def unmount(target: str) -> None:
    """Unmount a file system as soon as nothing uses it."""
    _call("umount2", os.fsencode(target), _MNT_DETACH)


def adopt_descendants(*, adopt: bool = True) -> None:
    """Become the parent of processes of this one whose own parent exits: then their exit codes arrive here.

    Without `adopt`, they are again those of the machine's first process.
    """
    _call("prctl", _PR_SET_CHILD_SUBREAPER, int(adopt), 0, 0, 0)


def set_process_name(name: str) -> None:
    """Set the name of this process in lists of processes; at most 15 bytes."""
    _call("prctl", _PR_SET_NAME, name.encode(), 0, 0, 0)
