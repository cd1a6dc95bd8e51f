"""Sets the metadata of unpacked files: owner, mode, extended attributes and modification time.

Root sets the owners in the archive. For other users, as with `umoci --rootless`, they own the files, an empty file
replaces a device, and attributes outside of `user.` are skipped. So are the setuid and setgid bits of files, which
would give the user's own rights to others. Skipped metadata is counted.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from imq.grammar.errors import Malformed, StoreError
from imq.grammar.record import TYPE_CHECKING

from .user_namespace import OWNER_ATTRIBUTE, encode_owner, has_single_id

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
            self._set_owner(entry, descriptor)
        if entry.xattrs:
            self._set_xattrs(entry, lambda name, value: os.setxattr(descriptor, name, value))
        if not created or entry.mode & self._masked_bits:
            os.chmod(descriptor, self._mode_of(entry))
        os.utime(descriptor, ns=(entry.mtime, entry.mtime))

    def apply_at(self, folder: int, name: str, entry: TarEntry) -> None:
        """Set the metadata of a symbolic link, device or FIFO, which cannot be opened."""
        if self.privileged and (entry.uid, entry.gid) != self._process_owner:
            self._set_owner(entry, name, folder)
        if entry.type != "symlink" and (entry.mode & self._masked_bits or entry.mode & ~_PERMISSION_BITS):
            os.chmod(name, self._mode_of(entry), dir_fd=folder)
        if entry.xattrs:
            path = f"/proc/self/fd/{folder}/{name}"  # no system call takes a descriptor and a name
            self._set_xattrs(entry, lambda key, value: os.setxattr(path, key, value, follow_symlinks=False))
        os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=folder, follow_symlinks=False)

    def _set_owner(self, entry: TarEntry, file: int | str, folder: int | None = None) -> None:
        """Set the owner of a file. In a user namespace with a single ID an attribute keeps it.

        Raises `StoreError` (`user-namespace`) for an owner that the user namespace of this process does not have.
        """
        owner = owner_of(entry)
        try:
            os.chown(file, *owner, dir_fd=folder, follow_symlinks=folder is None)
        except OSError as problem:
            if problem.errno != errno.EINVAL:
                raise
            if not has_single_id():
                raise StoreError(
                    f"{entry.path!r} belongs to {owner[0]}:{owner[1]}, which this user has no ID for",
                    code="user-namespace",
                    hints=("/etc/subuid and /etc/subgid have the IDs of each user: give this one more",),
                ) from None
            self.count_skipped("owners, in a user namespace with a single ID")
            if isinstance(file, int):
                with suppress(OSError):  # a file system without extended attributes
                    os.setxattr(file, OWNER_ATTRIBUTE, encode_owner(*owner))

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
