"""Whiteouts: empty files whose names hide files of lower layers (OCI image specification, layer.md)."""

from __future__ import annotations

from imq.grammar.errors import Malformed

_PREFIX = ".wh."
OPAQUE_NAME = ".wh..wh..opq"
_AUFS_PREFIX = ".wh..wh."
"""Metadata of AUFS (`.wh..wh.aufs`, `.wh..wh.plnk/…`) in old layers, which is not part of the image."""

OPAQUE = ""
"""The result of `whiteout_target` for an opaque whiteout, which hides all files of lower layers in its folder."""
OPAQUE_ATTRIBUTE, OPAQUE_VALUE = "trusted.overlay.opaque", b"y"
"""The attribute of a folder in an overlay file system that hides the files of lower layers in it."""
WHITEOUT_DEVICE = 0
"""The device number of a character device that hides a file in an overlay file system."""


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
