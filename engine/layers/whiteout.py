"""Whiteouts: empty files whose names hide files of lower layers (OCI image specification, layer.md)."""

from __future__ import annotations

from imq.grammar.errors import Malformed

_PREFIX = ".wh."
_OPAQUE = ".wh..wh..opq"
_AUFS_PREFIX = ".wh..wh."
"""Metadata of AUFS (`.wh..wh.aufs`, `.wh..wh.plnk/…`) in old layers, which is not part of the image."""

OPAQUE = ""
"""The result of `whiteout_target` for an opaque whiteout, which hides all files of lower layers in its folder."""


def whiteout_target(name: str) -> str | None:
    """Return the name that a whiteout hides, or `OPAQUE`; None when the name is not a whiteout."""
    if not name.startswith(_PREFIX):
        return None
    if name == _OPAQUE:
        return OPAQUE
    hidden = name.removeprefix(_PREFIX)
    if hidden in ("", ".", ".."):
        raise Malformed(f"{name!r} is an invalid whiteout", code="whiteout")
    return hidden


def is_aufs_metadata(path: str) -> bool:
    """Whether an entry is metadata of AUFS. Raises `Malformed` for an entry in a whiteout."""
    parent, _, name = path.rpartition("/")
    if name.startswith(_AUFS_PREFIX) and name != _OPAQUE:
        return True
    if _PREFIX in parent:
        for folder in parent.split("/"):
            if folder.startswith(_AUFS_PREFIX):
                return True
            if folder.startswith(_PREFIX):
                raise Malformed(f"{path!r} is inside of a whiteout", code="whiteout")
    return False
