"""Whiteouts: empty files whose names hide files of lower layers (OCI image specification, layer.md)."""

from __future__ import annotations

import os
from functools import cache

from imq.grammar.errors import Malformed

from .user_namespace import is_user_namespace

_PREFIX = ".wh."
OPAQUE_NAME = ".wh..wh..opq"
_AUFS_PREFIX = ".wh..wh."
"""Metadata of AUFS (`.wh..wh.aufs`, `.wh..wh.plnk/…`) in old layers, which is not part of the image."""

OPAQUE = ""
"""The result of `whiteout_target` for an opaque whiteout, which hides all files of lower layers in its folder."""
_OPAQUE_OF_ROOT = ("trusted.overlay.opaque",)
_OPAQUE_OF_USERS = ("user.overlay.opaque", "user.fuseoverlayfs.opaque")
OPAQUE_VALUE = b"y"
"""The attributes of a folder that hides the files of lower layers in it, and their value: those of overlayfs for root,
those of overlayfs and fuse-overlayfs in a user namespace.
"""
OPAQUE_FILES = (OPAQUE_NAME, ".wh..opq")
"""The names of the files that fuse-overlayfs makes in an opaque folder, besides its attribute."""
WHITEOUT_DEVICE = 0
"""The device number of a character device that hides a file in an overlay file system."""


def is_opaque(folder: int | str) -> bool:
    """Whether a folder of a layer, open or by its path, hides the files of lower layers in it."""
    for name in _opaque_attributes(os.getpid()):
        try:
            if os.getxattr(folder, name) == OPAQUE_VALUE:
                return True
        except OSError:
            pass
    return False


def opaque_attribute() -> str:
    """Return the attribute by which overlayfs knows an opaque folder in the user namespace of this process."""
    return _opaque_attributes(os.getpid())[0]


@cache
def _opaque_attributes(_pid: int) -> tuple[str, ...]:
    """Return the attributes that mark an opaque folder: only those that programs of a container cannot set.

    They are asked for after a worker has entered its user namespace, so a process has the same ones for good.
    """
    is_root = os.geteuid() == 0 and not is_user_namespace()
    return _OPAQUE_OF_ROOT if is_root else _OPAQUE_OF_USERS


def whiteout_name(path: str) -> str:
    """Return the path of the whiteout that hides a path."""
    parent, slash, name = path.rpartition("/")
    return f"{parent}{slash}{_PREFIX}{name}"


def whiteout_target(name: str) -> str | None:
    """Return the name that a whiteout hides, or `OPAQUE`; None when the name is not a whiteout."""
    if not name.startswith(_PREFIX):
        return None
    if name == OPAQUE_NAME:
        return OPAQUE
    hidden = name.removeprefix(_PREFIX)
    if hidden in ("", ".", ".."):
        raise Malformed(f"{name!r} is an invalid whiteout", code="whiteout")
    return hidden


def is_aufs_metadata(path: str) -> bool:
    """Whether an entry is metadata of AUFS. Raises `Malformed` for an entry in a whiteout."""
    parent, _, name = path.rpartition("/")
    if name.startswith(_AUFS_PREFIX) and name != OPAQUE_NAME:
        return True
    if _PREFIX in parent:
        for folder in parent.split("/"):
            if folder.startswith(_AUFS_PREFIX):
                return True
            if folder.startswith(_PREFIX):
                raise Malformed(f"{path!r} is inside of a whiteout", code="whiteout")
    return False
