"""Packs what changed in a tree since it was listed: the files that are new or different, and whiteouts of others.

A listing has the metadata of each file, as git's index has it. The kernel sets the time of the last status change, and
programs cannot, so a file whose metadata is the same is the same, and is not read.
"""

from __future__ import annotations

import json
import os
import stat

from imq.grammar.errors import ImqError
from imq.grammar.record import TYPE_CHECKING

from .pack import TreePacker, join_parts
from .tar_writer import TarHeader
from .whiteout import whiteout_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .pack import Part

_WHITEOUT_MODE = 0o600


def list_files(root: str) -> Iterator[bytes]:
    """Yield a line of JSON for each file below `root`: its name, its mode, and its other metadata.

    Raises the errors of `pack_tree`.
    """
    for _, name, status in TreePacker(root, None).iter_entries():
        yield json.dumps((name, *_describe(status)), separators=(",", ":")).encode() + b"\n"


def pack_changes(root: str, listing: Iterable[bytes]) -> Iterator[memoryview]:
    """Yield a layer with the changes of a tree since `list_files` listed it; no bytes at all without changes.

    Folders with changes in them are entries too, as with overlayfs. Raises the errors of `pack_tree`.
    """
    parts = _ChangePacker(root, None).iter_changed_parts(listing)
    yield from join_parts(parts)


def measure_changes(root: str, listing: Iterable[bytes]) -> int | None:
    """Return the bytes of the new and different regular files, each counted once; None when one cannot be read."""
    total = 0
    seen: set[tuple[int, int]] = set()
    try:
        for _, _, status in iter_changes(root, listing):
            if status is not None and stat.S_ISREG(status.st_mode) and (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                total += status.st_size
    except ImqError:
        return None
    return total


def iter_changes(root: str, listing: Iterable[bytes]) -> Iterator[tuple[str, bool, os.stat_result | None]]:
    """Yield each changed name of a tree, whether it was listed, and its status, None for a removed one.

    Folders come before the changes in them. Raises the errors of `pack_tree`.
    """
    return _ChangePacker(root, None).iter_changes(listing)


def _describe(status: os.stat_result) -> tuple[int, ...]:
    """Return the metadata by which a changed file differs; the inode may be another after a restart of the machine."""
    size = 0 if stat.S_ISDIR(status.st_mode) else status.st_size
    return (
        status.st_mode, status.st_uid, status.st_gid, size, status.st_mtime_ns, status.st_ctime_ns, status.st_rdev
    )  # fmt: skip


def _sort_key(name: str) -> list[bytes]:
    """Return the key by which a listing and a walk of a tree are in the same order."""
    return os.fsencode(name).split(b"/")


class _ChangePacker(TreePacker):
    """One pass over a tree and its listing."""

    def iter_changed_parts(self, listing: Iterable[bytes]) -> Iterator[Part]:
        """Yield headers, contents and padding of what changed."""
        for name, _, status in self.iter_changes(listing):
            if status is None:
                yield self._encode_whiteout(name)
            else:
                yield from self.pack_entry(os.path.join(self.root, name), name, status)

    def iter_changes(self, listing: Iterable[bytes]) -> Iterator[tuple[str, bool, os.stat_result | None]]:
        """Yield what `iter_changes` of this module yields."""
        folders: list[tuple[str, bool, os.stat_result]] = []  # above the current name, not yielded yet
        for name, old, status in self._iter_pairs(listing):
            while folders and not name.startswith(f"{folders[-1][0]}/"):
                folders.pop()
            if status is not None and old == [*_describe(status)]:
                if stat.S_ISDIR(status.st_mode):
                    folders.append((name, True, status))
                continue
            yield from folders
            folders.clear()
            yield name, old is not None, status

    def _iter_pairs(self, listing: Iterable[bytes]) -> Iterator[tuple[str, list[int] | None, os.stat_result | None]]:
        """Yield each name with its metadata in the listing and its status now, each None without it.

        What was in a folder that is no folder any more is left out.
        """
        listed = map(json.loads, listing)
        found = self.iter_entries()
        old, new = next(listed, None), next(found, None)
        hidden = ""  # what the names in a removed or replaced folder begin with
        while old is not None or new is not None:
            if old is not None and hidden and old[0].startswith(hidden):
                old = next(listed, None)
                continue
            old_key = None if old is None else _sort_key(old[0])
            new_key = None if new is None else _sort_key(new[1])
            is_old = new_key is None or (old_key is not None and old_key <= new_key)
            is_new = old_key is None or (new_key is not None and new_key <= old_key)
            name, facts, status = "", None, None
            if is_old and old is not None:
                name, *facts = old
                old = next(listed, None)
            if is_new and new is not None:
                _, name, status = new
            if facts is not None and stat.S_ISDIR(facts[0]) and (status is None or not stat.S_ISDIR(status.st_mode)):
                hidden = f"{name}/"
            yield name, facts, status
            if is_new:
                new = next(found, None)  # after the caller has seen the folder whose names come next

    def _encode_whiteout(self, name: str) -> bytes:
        """Return the whiteout of a removed file, with the owner and the time of its folder."""
        header = TarHeader(whiteout_name(name))
        self.set_common_fields(header, os.lstat(os.path.join(self.root, os.path.dirname(name))))
        header.mode = _WHITEOUT_MODE
        return header.encode()
