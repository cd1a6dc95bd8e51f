"""Whiteouts: empty files whose names hide files of lower layers (OCI image specification, layer.md)."""

from __future__ import annotations

import os

from imq.grammar.errors import Malformed

from .user_namespace import is_user_namespace

_PREFIX = ".wh."
OPAQUE_NAME = ".wh..wh..opq"
_AUFS_PREFIX = ".wh..wh."
"""Metadata of AUFS (`.wh..wh.aufs`, `.wh..wh.plnk/…`) in old layers, which is not part of the image."""

OPAQUE = ""
"""The result of `whiteout_target` for an opaque whiteout, which hides all files of lower layers in its folder."""
OPAQUE_ATTRIBUTES, OPAQUE_VALUE = ("trusted.overlay.opaque", "user.overlay.opaque", "user.fuseoverlayfs.opaque"), b"y"
"""The attributes of a folder in an overlay file system that hide the files of lower layers in it.

They are those of root, of user namespaces, and of fuse-overlayfs.
"""
OPAQUE_FILES = (OPAQUE_NAME, ".wh..opq")
"""The names of the files that fuse-overlayfs makes in an opaque folder, besides its attribute."""
WHITEOUT_DEVICE = 0
"""The device number of a character device that hides a file in an overlay file system."""


def is_opaque(folder: int | str) -> bool:
    """Whether a folder of a layer, open or by its path, hides the files of lower layers in it."""
    for name in OPAQUE_ATTRIBUTES:
        try:
            if os.getxattr(folder, name) == OPAQUE_VALUE:
                return True
        except OSError:
            pass
    return False


def opaque_attribute() -> str:
    """Return the attribute that marks an opaque folder in the user namespace of this process."""
    return OPAQUE_ATTRIBUTES[is_user_namespace()]


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
