"""Whiteouts: empty files whose names say what of the lower layers is hidden (OCI image specification, layer.md)."""

from __future__ import annotations

from imq.grammar.errors import Malformed

_PREFIX = ".wh."
_OPAQUE = ".wh..wh..opq"
_AUFS_PREFIX = ".wh..wh."
"""What AUFS notes for itself (`.wh..wh.aufs`, `.wh..wh.plnk/…`) and old layers still hold: no part of an image."""

OPAQUE = ""
"""What `hidden_by` returns for the whiteout of all that lower layers have in its folder."""


def whiteout_target(name: str) -> str | None:
    """Return the name that the whiteout of this name hides, `OPAQUE`, or None when it is no whiteout."""
    if not name.startswith(_PREFIX):
        return None
    if name == _OPAQUE:
        return OPAQUE
    hidden = name.removeprefix(_PREFIX)
    if hidden in ("", ".", ".."):
        raise Malformed(f"{name!r} is a whiteout of {hidden or 'nothing'!r}", code="whiteout")
    return hidden


def is_aufs_metadata(path: str) -> bool:
    """Whether an entry is AUFS's own and to be passed over; raises when a whiteout is taken for a folder."""
    parent, _, name = path.rpartition("/")
    if name.startswith(_AUFS_PREFIX) and name != _OPAQUE:
        return True
    if _PREFIX in parent:
        for folder in parent.split("/"):
            if folder.startswith(_AUFS_PREFIX):
                return True
            if folder.startswith(_PREFIX):
                raise Malformed(f"{path!r} lies in a whiteout", code="whiteout")
    return False
