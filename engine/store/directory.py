"""Directories held open by descriptors; symbolic links in them are never followed. All files of a store are opened so.

A store may be in a folder that others can write to, and a layout may come from an archive. A name in it can be a link
to a file of the user, a FIFO that blocks, or a device. So every name is opened relative to the descriptor of its
directory, without following links, and only regular files are accepted. The path of the root itself is given by the
user: links in it are followed.
"""

from __future__ import annotations

import errno
import os
import stat

from imq.grammar.errors import StoreError
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""Non-blocking: opening a FIFO in place of a file returns at once; its type is checked and it is closed."""
_FILE_TYPES = (
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISREG, "a regular file"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class Directory:
    """A directory held open. `path` is for messages; the descriptor is closed with the object."""

    def __init__(self, path: str, descriptor: int, group_id: int | None = None) -> None:
        self.path = path
        self.descriptor = descriptor
        self._group_id = group_id
        """The group that may write here, and so to everything created here; None: only the user may."""

    @classmethod
    def open(cls, path: str) -> Directory:
        """Open the directory at a path given by the user. A group that may write to it may write to all below it."""
        descriptor = os.open(path, _DIRECTORY)
        status = os.fstat(descriptor)
        return cls(path, descriptor, status.st_gid if status.st_mode & stat.S_IWGRP else None)

    def __del__(self) -> None:
        """Close the descriptor."""
        os.close(self.descriptor)

    # Directories

    def open_directory(self, name: str) -> Directory:
        """Open a directory in this one. Raises `FileNotFoundError`, and `StoreError` when it is not a directory."""
        path = self.path_of(name)
        try:
            descriptor = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=self.descriptor)
        except OSError as problem:
            if problem.errno in (errno.ENOTDIR, errno.ELOOP):
                raise _wrong_file_type(path, self.status(name), "a directory") from None
            problem.filename = path
            raise
        return Directory(path, descriptor, self._group_id)

    def make_directory(self, name: str) -> Directory:
        """Open a directory in this one; create it when it is missing."""
        try:
            return self.open_directory(name)
        except FileNotFoundError:
            try:
                os.mkdir(name, 0o777, dir_fd=self.descriptor)
            except FileExistsError:
                return self.open_directory(name)
            except OSError as problem:
                problem.filename = self.path_of(name)
                raise
        directory = self.open_directory(name)
        self._match_group(directory.descriptor, stat.S_IRGRP | stat.S_IWGRP | stat.S_IXGRP)
        return directory

    def sync(self) -> None:
        """Make the names in this directory durable."""
        os.fsync(self.descriptor)

    # Names

    def path_of(self, name: str) -> str:
        """Return the path of a name in this directory, for messages."""
        return os.path.join(self.path, name)

    def status(self, name: str) -> os.stat_result | None:
        """Return the status of a name, without following links; None when it does not exist."""
        try:
            return os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as problem:
            problem.filename = self.path_of(name)
            raise

    def file_status(self, name: str) -> os.stat_result | None:
        """Return the status of a regular file; None when it does not exist. Raises `StoreError` for any other type."""
        status = self.status(name)
        if status is not None and not stat.S_ISREG(status.st_mode):
            raise _wrong_file_type(self.path_of(name), status, "a regular file")
        return status

    def has_file(self, name: str) -> bool:
        """Whether a regular file has this name. Raises `StoreError` for any other type."""
        return self.file_status(name) is not None

    def open_self(self) -> int:
        """Open this directory again: its lock and its offset are not those of other threads."""
        return os.open(".", _DIRECTORY, dir_fd=self.descriptor)

    def list_names(self) -> list[str]:
        """Return the names in this directory."""
        listing = self.open_self()
        try:
            return os.listdir(listing)
        finally:
            os.close(listing)

    def iter_files(self) -> Iterator[tuple[str, os.stat_result]]:
        """Yield the regular files in this directory, each with its status. Files removed meanwhile are skipped."""
        for name in self.list_names():
            status = self.status(name)
            if status is not None and stat.S_ISREG(status.st_mode):
                yield name, status

    def iter_directories(self) -> Iterator[tuple[str, Directory]]:
        """Yield the directories in this one; links are skipped."""
        for name in self.list_names():
            status = self.status(name)
            if status is not None and stat.S_ISDIR(status.st_mode):
                yield name, self.open_directory(name)

    # Files

    def open_file(self, name: str, flags: int = os.O_RDONLY) -> int:
        """Open a regular file. Raises `FileNotFoundError`, and `StoreError` for any other type."""
        path = self.path_of(name)
        try:
            descriptor = os.open(name, flags | _FILE, dir_fd=self.descriptor)
        except OSError as problem:
            if problem.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.ENODEV):  # ENXIO: a socket
                raise _wrong_file_type(path, self.status(name), "a regular file") from None
            problem.filename = path
            raise
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise _wrong_file_type(path, status, "a regular file")
        return descriptor

    def open_reader(self, name: str) -> BinaryIO:
        """Open a regular file to read its bytes."""
        return os.fdopen(self.open_file(name), "rb")

    def create_file(self, name: str) -> int:
        """Create a file for reading and writing. Raises `FileExistsError`."""
        try:
            descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | _FILE, 0o644, dir_fd=self.descriptor)
        except OSError as problem:
            problem.filename = self.path_of(name)
            raise
        try:
            self._match_group(descriptor, stat.S_IRGRP | stat.S_IWGRP)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def ensure_file(self, name: str) -> None:
        """Create an empty file unless it exists."""
        if not self.has_file(name):
            try:
                os.close(self.create_file(name))
            except FileExistsError:
                self.has_file(name)

    def remove_file(self, name: str) -> bool:
        """Remove a name; the target of a link stays. Return whether it existed."""
        try:
            os.unlink(name, dir_fd=self.descriptor)
        except FileNotFoundError:
            return False
        except OSError as problem:
            problem.filename = self.path_of(name)
            raise
        return True

    def rename(self, name: str, new: str, target: Directory | None = None) -> None:
        """Rename a file, optionally into another directory. A file with the new name is replaced."""
        target = target or self
        try:
            os.rename(name, new, src_dir_fd=self.descriptor, dst_dir_fd=target.descriptor)
        except OSError as problem:
            if problem.errno == errno.EISDIR:
                raise _wrong_file_type(target.path_of(new), target.status(new), "a regular file") from None
            problem.filename, problem.filename2 = target.path_of(new), None
            raise

    def _match_group(self, descriptor: int, bits: int) -> None:
        """Give the group that may write to the root access to a new file, whatever the umask is."""
        if self._group_id is None:
            return
        status = os.fstat(descriptor)
        if status.st_gid != self._group_id:  # the root does not have the setgid bit
            try:
                os.fchown(descriptor, -1, self._group_id)
            except PermissionError:
                return  # the user is not a member of this group
            status = os.fstat(descriptor)
        if status.st_mode & bits != bits:
            os.fchmod(descriptor, stat.S_IMODE(status.st_mode) | bits)


def _wrong_file_type(path: str, status: os.stat_result | None, expected: str) -> StoreError:
    actual = next(
        (kind for matches, kind in _FILE_TYPES if status is not None and matches(status.st_mode)), "of another type"
    )
    rule = "; imq follows no links inside a store" if actual == "a symbolic link" else ""
    return StoreError(
        f"{path} is {actual}, expected {expected}{rule}",
        code="unsafe-file",
        hints=("inspect and remove it, or choose another folder with --root",),
    )
