"""Sets the metadata of unpacked files: owner, mode, extended attributes and modification time.

Root sets the owners in the archive. For other users, as with `umoci --rootless`, they own the files, an empty file
replaces a device, and attributes outside of `user.` are skipped. So are the setuid and setgid bits of files, which
would give the user's own rights to others. Skipped metadata is counted.
"""

from __future__ import annotations

import errno
import os
import stat

from imq.grammar.errors import Malformed
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from .tar_entry import TarEntry

HOST_XATTRS = ("security.selinux", "security.nfs4_acl", "system.nfs4_acl", "trusted.overlay.", "user.overlay.")
"""Attributes that belong to the host where the layer was made, or that control an overlay file system."""
_MAX_ID = (1 << 32) - 2  # the next number tells chown to leave the owner unchanged
_PERMISSION_BITS = 0o777
_SETID_BITS = stat.S_ISUID | stat.S_ISGID


class MetadataWriter:
    """Sets the metadata of files. `creation_mask` has the mode bits that a file keeps when it is created."""

    def __init__(self, *, privileged: bool, creation_mask: int) -> None:
        self.privileged = privileged
        self.skipped: dict[str, int] = {}
        self._process_owner = (os.geteuid(), os.getegid())
        self._masked_bits = ~creation_mask

    def count_skipped(self, reason: str) -> None:
        """Count metadata that cannot be set here."""
        self.skipped[reason] = self.skipped.get(reason, 0) + 1

    def apply(self, descriptor: int, entry: TarEntry, *, created: bool) -> None:
        """Set the metadata of an open file or folder. `created`: it was created with the mode of its entry."""
        # owner first: changing it clears setuid bits and capabilities; mode last: it may forbid setting attributes
        if self.privileged and (not created or (entry.uid, entry.gid) != self._process_owner):
            os.chown(descriptor, *owner_of(entry))
        if entry.xattrs:
            self._set_xattrs(entry, lambda name, value: os.setxattr(descriptor, name, value))
        if not created or entry.mode & self._masked_bits:
            os.chmod(descriptor, self._mode_of(entry))
        os.utime(descriptor, ns=(entry.mtime, entry.mtime))

    def apply_at(self, folder: int, name: str, entry: TarEntry) -> None:
        """Set the metadata of a symbolic link, device or FIFO, which cannot be opened."""
        if self.privileged and (entry.uid, entry.gid) != self._process_owner:
            os.chown(name, *owner_of(entry), dir_fd=folder, follow_symlinks=False)
        if entry.type != "symlink" and (entry.mode & self._masked_bits or entry.mode & ~_PERMISSION_BITS):
            os.chmod(name, self._mode_of(entry), dir_fd=folder)
        if entry.xattrs:
            path = f"/proc/self/fd/{folder}/{name}"  # no system call takes a descriptor and a name
            self._set_xattrs(entry, lambda key, value: os.setxattr(path, key, value, follow_symlinks=False))
        os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=folder, follow_symlinks=False)

    def _mode_of(self, entry: TarEntry) -> int:
        """Return the mode to set: without the setuid and setgid bits for users other than root."""
        if self.privileged or entry.type == "directory" or not entry.mode & _SETID_BITS:
            return entry.mode
        self.count_skipped("setuid or setgid files, without these bits")
        return entry.mode & ~_SETID_BITS

    def _set_xattrs(self, entry: TarEntry, set_xattr: Callable[[str, bytes], None]) -> None:
        for name, value in entry.xattrs:
            if name.startswith(HOST_XATTRS):
                continue
            if not (self.privileged or name.startswith("user.")):
                self.count_skipped("attributes that only root may set")
                continue
            try:
                set_xattr(name, value)
            except OSError as error:
                if error.errno not in (errno.ENOTSUP, errno.EPERM):
                    raise
                self.count_skipped("attributes that cannot be set here")


def owner_of(entry: TarEntry) -> tuple[int, int]:
    """Return the user and group ID of an entry. Raises `Malformed` for numbers out of range."""
    for number in (entry.uid, entry.gid):
        if not 0 <= number <= _MAX_ID:
            raise Malformed(f"{entry.path!r} has an invalid owner: {number} is not a user or group ID", code="owner")
    return entry.uid, entry.gid
