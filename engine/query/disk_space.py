"""The space of the disks that hold images."""

from __future__ import annotations

import os

from imq.grammar.record import Record


class DiskSpace(Record):
    """The space of the disk that holds the images of a source, in bytes, as `df` shows it: used, and available."""

    used: int
    available: int


def measure_folder(path: str) -> DiskSpace:
    """Return the space of the disk that holds a folder, or will hold it. Raises `OSError`."""
    while path and not os.path.lexists(path):
        path = os.path.dirname(path)
    status = os.statvfs(path or os.curdir)
    return DiskSpace((status.f_blocks - status.f_bfree) * status.f_frsize, status.f_bavail * status.f_frsize)
