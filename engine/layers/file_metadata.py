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

    from .tar_walker import Entry

HOST_ATTRIBUTES = ("security.selinux", "security.nfs4_acl", "system.nfs4_acl", "trusted.overlay.", "user.overlay.")
"""What belongs to the host that the layer was made on, or would tell this host's overlay file system what to do."""
_LARGEST_ID = (1 << 32) - 2  # one more means, to the kernel, that nothing is to be changed
_PLAIN = 0o777
_LENDING = stat.S_ISUID | stat.S_ISGID


class Inodes:
    """Dresses what has been made in a folder as archives say. `allowed` are the mode bits that survive creation."""

    def __init__(self, *, privileged: bool, allowed: int) -> None:
        self.privileged = privileged
        self.left_out: dict[str, int] = {}
        self._own = (os.geteuid(), os.getegid())
        self._unlike = ~allowed

    def leave_out(self, what: str) -> None:
        """Count something that cannot be made or set here."""
        self.left_out[what] = self.left_out.get(what, 0) + 1

    def dress(self, descriptor: int, entry: Entry, *, created: bool) -> None:
        """Give an open file or folder all that its entry says; `created`: it was made with the mode of the entry."""
        # owners first: changing them takes away setuid bits and capabilities; modes last: they may forbid attributes
        if self.privileged and (not created or (entry.uid, entry.gid) != self._own):
            os.chown(descriptor, *owner_of(entry))
        if entry.xattrs:
            self._set_attributes(entry, lambda name, value: os.setxattr(descriptor, name, value))
        if not created or entry.mode & self._unlike:
            os.chmod(descriptor, self._mode(entry))
        os.utime(descriptor, ns=(entry.mtime, entry.mtime))

    def dress_name(self, folder: int, name: str, entry: Entry) -> None:
        """Give a link, device or FIFO, which cannot be opened, all that its entry says."""
        if self.privileged and (entry.uid, entry.gid) != self._own:
            os.chown(name, *owner_of(entry), dir_fd=folder, follow_symlinks=False)
        if entry.type != "symlink" and (entry.mode & self._unlike or entry.mode & ~_PLAIN):
            os.chmod(name, self._mode(entry), dir_fd=folder)
        if entry.xattrs:
            path = f"/proc/self/fd/{folder}/{name}"  # there is no call that takes a folder and a name
            self._set_attributes(entry, lambda key, value: os.setxattr(path, key, value, follow_symlinks=False))
        os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=folder, follow_symlinks=False)

    def _mode(self, entry: Entry) -> int:
        """Return the mode that an entry gets: for a user without the bits that lend rights."""
        if self.privileged or entry.type == "directory" or not entry.mode & _LENDING:
            return entry.mode
        self.leave_out("setuid or setgid files, without these bits")
        return entry.mode & ~_LENDING

    def _set_attributes(self, entry: Entry, put: Callable[[str, bytes], None]) -> None:
        for name, value in entry.xattrs:
            if name.startswith(HOST_ATTRIBUTES):
                continue
            if not (self.privileged or name.startswith("user.")):
                self.leave_out("attributes that only root may set")
                continue
            try:
                put(name, value)
            except OSError as error:
                if error.errno not in (errno.ENOTSUP, errno.EPERM):
                    raise
                self.leave_out("attributes that cannot be set here")


def owner_of(entry: Entry) -> tuple[int, int]:
    """Return user and group of an entry as numbers that are some user's."""
    for number in (entry.uid, entry.gid):
        if not 0 <= number <= _LARGEST_ID:
            raise Malformed(f"{entry.path!r} belongs to nobody: {number} is no user or group", code="owner")
    return entry.uid, entry.gid
