"""The paths that a container changed, as `docker diff` lists them: found by metadata, without reading any content."""

from __future__ import annotations

import os
import stat

from imq.engine.layers.pack import OverlayPacker
from imq.engine.layers.whiteout import is_opaque
from imq.grammar.record import TYPE_CHECKING, Record

from .overlay_view import OverlayView, is_whiteout

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

ADDED, CHANGED, DELETED = "added", "changed", "deleted"
_TYPES = {
    stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink", stat.S_IFCHR: "char",
    stat.S_IFBLK: "block", stat.S_IFIFO: "fifo", stat.S_IFSOCK: "socket",
}  # fmt: skip


class Change(Record):
    """A path with what happened to it. A deleted path has no further values; only a file has a size.

    `size` is in bytes, `modified` in nanoseconds since the epoch.
    """

    path: str
    status: str
    type: str | None = None
    size: int | None = None
    mode: int | None = None
    modified: int | None = None
    link_target: str | None = None


def list_overlay_changes(upper: str, lower: Sequence[str]) -> Iterator[Change]:
    """Yield what the writable layer `upper` changes in the layers below it, the highest first.

    In a folder that was replaced, the files of lower layers that it does not have are deleted. Raises `ImqError` for
    files that cannot be read.
    """
    with OverlayView(lower) as view:
        for path, name, status in OverlayPacker(upper, None).iter_entries():
            if is_whiteout(status):
                yield Change(f"/{name}", DELETED)
                continue
            old = view.status_of(name)
            yield _describe(path, name, status, ADDED if old is None else CHANGED)
            if old is not None and stat.S_ISDIR(old.st_mode) and is_opaque(path):
                for child in view.list_names(name):
                    if not os.path.lexists(os.path.join(path, child)):
                        yield Change(f"/{name}/{child}", DELETED)


def list_copy_changes(root: str, listing: Iterable[bytes]) -> Iterator[Change]:
    """Yield what changed in a tree since it was listed, as `pack_changes` packs it. Raises `ImqError`."""
    from imq.engine.layers.pack_changes import iter_changes

    for name, is_old, status in iter_changes(root, listing):
        if status is None:
            yield Change(f"/{name}", DELETED)
        else:
            yield _describe(os.path.join(root, name), name, status, CHANGED if is_old else ADDED)


def _describe(path: str, name: str, status: os.stat_result, kind: str) -> Change:
    type_ = _TYPES.get(stat.S_IFMT(status.st_mode))
    size = status.st_size if type_ == "file" else 0
    target = os.readlink(path) if type_ == "symlink" else None
    return Change(f"/{name}", kind, type_, size, stat.S_IMODE(status.st_mode), status.st_mtime_ns, target)
