"""Removes folders whatever the modes in them are."""

from __future__ import annotations

import os
import stat


def remove_tree(directory: str) -> None:
    """Remove a folder with its content, even if the modes of its folders deny access to the owner."""
    from shutil import rmtree

    def grant_access(_call: object, path: str, _error: object) -> None:
        os.chmod(os.path.dirname(path), 0o700)
        if stat.S_ISDIR(os.lstat(path).st_mode):
            os.chmod(path, 0o700)
            rmtree(path)
        else:
            os.unlink(path)

    rmtree(directory, onerror=grant_access)
