"""The types of the entries of layers, as numbers: the index has a row for each path."""

from __future__ import annotations

FILE, DIRECTORY, SYMLINK, HARD_LINK, CHAR, BLOCK, FIFO, WHITEOUT, OPAQUE, IMPLIED = range(10)
"""`IMPLIED`: a folder without an entry of its own, which another path of the layer needs."""

NAMES = ("file", "directory", "symlink", "hardlink", "char", "block", "fifo", "whiteout", "opaque", "directory")
"""The names of the types, by number."""

FROM_TAR = {
    "file": FILE,
    "directory": DIRECTORY,
    "symlink": SYMLINK,
    "link": HARD_LINK,
    "char": CHAR,
    "block": BLOCK,
    "fifo": FIFO,
}
"""The types of `TarEntry`."""

OVERWRITTEN, DELETED = 1, 2
"""Why an image does not show an entry of one of its layers."""
