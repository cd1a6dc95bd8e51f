"""Removes folders whatever the modes in them are, and however deep they are.

`shutil.rmtree` stops at a depth of 1,000, which a container can exceed, and its import loads libraries for archives.
"""

from __future__ import annotations

import errno
import os
import stat

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_OPEN = 100
"""The maximum number of folders that are open at once; deeper ones are moved up."""


def remove_tree(directory: str) -> None:
    """Remove a folder with its content, even if the modes of its folders deny access to the owner.

    Links are removed and never followed. A file is removed too. Raises `OSError`; what is left can be removed later.
    """
    try:
        top = _Folder(directory, None)
    except OSError as problem:
        if problem.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
        os.unlink(directory)
        return
    folders = [top]  # those that are open, the outermost first
    try:
        while folders:
            folder = folders[-1]
            if not folder.children:
                folders.pop().close()
                parent = folders[-1].descriptor if folders else None
                os.rmdir(folder.name, dir_fd=parent)
            elif len(folders) < _MAX_OPEN:
                folders.append(_Folder(folder.children.pop(), folder.descriptor))
            else:
                name = os.urandom(16).hex()
                child = folder.children.pop()
                os.chmod(child, 0o700, dir_fd=folder.descriptor)  # to be moved it must be writable
                os.rename(child, name, src_dir_fd=folder.descriptor, dst_dir_fd=top.descriptor)
                top.children.append(name)
    finally:
        for folder in folders:
            folder.close()


class _Folder:
    """A folder that is open, and has only folders left in it, its `children`."""

    def __init__(self, name: str, parent: int | None) -> None:
        self.name = name
        try:
            self.descriptor = os.open(name, _FLAGS, dir_fd=parent)
        except PermissionError:
            if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                raise
            os.chmod(name, 0o700, dir_fd=parent)
            self.descriptor = os.open(name, _FLAGS, dir_fd=parent)
        try:
            self.children = self._remove_files()
        except BaseException:
            self.close()
            raise

    def _remove_files(self) -> list[str]:
        """Remove what is no folder, make the folder writable if it has any content, and return its folders."""
        with os.scandir(self.descriptor) as entries:
            listed = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        if listed and os.geteuid() != 0:
            os.fchmod(self.descriptor, 0o700)
        for name, is_folder in listed:
            if not is_folder:
                os.unlink(name, dir_fd=self.descriptor)
        return [name for name, is_folder in listed if is_folder]

    def close(self) -> None:
        os.close(self.descriptor)
