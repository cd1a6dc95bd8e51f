"""What a file has beside its name and content, owner, mode, attributes and times, as an archive says it.

Root gives files the owners of the archive. Anybody else keeps what is made, as `umoci --rootless` does: an empty file
takes the place of a device, and attributes outside of `user.` are left out. So are the setuid and setgid bits of files,
which would lend the user's own rights to others. What is left out is counted.
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
"""What belongs to the host that the layer was made on, or would tell this host's overlay file system what to do."""
_MAX_ID = (1 << 32) - 2  # one more means, to the kernel, that nothing is to be changed
_PERMISSION_BITS = 0o777
_SETID_BITS = stat.S_ISUID | stat.S_ISGID


class MetadataWriter:
    """Dresses what has been made in a folder as archives say. `allowed` are the mode bits that survive creation."""

    def __init__(self, *, privileged: bool, creation_mask: int) -> None:
        self.privileged = privileged
        self.skipped: dict[str, int] = {}
        self._process_owner = (os.geteuid(), os.getegid())
        self._masked_bits = ~creation_mask

    def count_skipped(self, reason: str) -> None:
        """Count something that cannot be made or set here."""
        self.skipped[reason] = self.skipped.get(reason, 0) + 1

    def apply(self, descriptor: int, entry: TarEntry, *, created: bool) -> None:
        """Give an open file or folder all that its entry says; `created`: it was made with the mode of the entry."""
        # owners first: changing them takes away setuid bits and capabilities; modes last: they may forbid attributes
        if self.privileged and (not created or (entry.uid, entry.gid) != self._process_owner):
            os.chown(descriptor, *owner_of(entry))
        if entry.xattrs:
            self._set_xattrs(entry, lambda name, value: os.setxattr(descriptor, name, value))
        if not created or entry.mode & self._masked_bits:
            os.chmod(descriptor, self._mode_of(entry))
        os.utime(descriptor, ns=(entry.mtime, entry.mtime))

    def apply_at(self, folder: int, name: str, entry: TarEntry) -> None:
        """Give a link, device or FIFO, which cannot be opened, all that its entry says."""
        if self.privileged and (entry.uid, entry.gid) != self._process_owner:
            os.chown(name, *owner_of(entry), dir_fd=folder, follow_symlinks=False)
        if entry.type != "symlink" and (entry.mode & self._masked_bits or entry.mode & ~_PERMISSION_BITS):
            os.chmod(name, self._mode_of(entry), dir_fd=folder)
        if entry.xattrs:
            path = f"/proc/self/fd/{folder}/{name}"  # there is no call that takes a folder and a name
            self._set_xattrs(entry, lambda key, value: os.setxattr(path, key, value, follow_symlinks=False))
        os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=folder, follow_symlinks=False)

    def _mode_of(self, entry: TarEntry) -> int:
        """Return the mode that an entry gets: for a user without the bits that lend rights."""
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
    """Return user and group of an entry as numbers that are some user's."""
    for number in (entry.uid, entry.gid):
        if not 0 <= number <= _MAX_ID:
            raise Malformed(f"{entry.path!r} belongs to nobody: {number} is no user or group", code="owner")
    return entry.uid, entry.gid
