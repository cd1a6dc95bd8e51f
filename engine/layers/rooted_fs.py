"""A folder that nothing leaves: every path is meant beneath it, whatever it says and whatever links lie on the way.

A place is a true path: names of real folders with slashes between them, "" being the root. What an archive calls a
folder becomes a place by following links as they would be followed with the root as `/`. A link that climbs above the
root leads to the root, as `/..` is `/`. Folders are opened from the root or from a folder that is open already, never
through a link, and what is done to a name is done to it in the descriptor of its folder: so no change of a link in
between leads elsewhere.
"""

from __future__ import annotations

import errno
import os
import stat

from imq.grammar.errors import Malformed
from imq.grammar.record import TYPE_CHECKING

from .openat2 import load_openat2

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

_DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
MAX_DEPTH = 128
"""Names in a path that are unpacked, and so packed, unless a limit says otherwise."""
_MAX_OPEN = 256
_MAX_LINKS = 40
"""Links on the way to one folder, as in Linux."""


class DirectoryTree:
    """Folders, files and links by their places, as far as finding a way among them goes."""

    def __init__(self, max_depth: int) -> None:
        self._max_depth = max_depth

    def require_directory(self, directory: str) -> None:
        """Raise `FileNotFoundError` or `NotADirectoryError` when there is no folder at a place."""
        raise NotImplementedError

    def mode_of(self, directory: str, name: str) -> int | None:
        """Return the mode of what has this name in the folder at `place`; None when nothing has."""
        raise NotImplementedError

    def list_names(self, directory: str) -> list[str]:
        """Return the names in a folder."""
        raise NotImplementedError

    def make_directory(self, directory: str, name: str) -> None:
        """Make a folder."""
        raise NotImplementedError

    def read_link(self, directory: str, name: str) -> str:
        """Return where a link leads."""
        raise NotImplementedError

    def remove(self, directory: str, name: str, on_removed: Callable[[str], None]) -> None:
        """Remove what has this name, with all that is in it when it is a folder; `gone` is told of each folder."""
        raise NotImplementedError

    def resolve(self, path: str, on_created: Callable[[str], None] | None = None) -> str | None:
        """Return the place of the folder at `path`, a cleaned path; None when there is none.

        With `make` what is missing is made, and `make` told its place; then a file on the way is refused.
        """
        try:
            self.require_directory(path)
        except (FileNotFoundError, NotADirectoryError):
            return self._follow_links(path, on_created)
        return path

    def _follow_links(self, path: str, on_created: Callable[[str], None] | None) -> str | None:
        pending = path.split("/")[::-1]
        resolved: list[str] = []
        links = 0
        while pending:
            name = pending.pop()
            if name in ("", "."):
                continue
            if name == "..":
                if resolved:  # else it is the root, whose parent is itself
                    resolved.pop()
                continue
            mode = self.mode_of("/".join(resolved), name)
            if mode is None or not (stat.S_ISDIR(mode) or stat.S_ISLNK(mode)):
                if on_created is None:
                    return None
                if mode is not None:
                    raise Malformed(f"the folder of {path!r} is a file", code="path-parent")
                self.make_directory("/".join(resolved), name)
                on_created("/".join((*resolved, name)))
            elif stat.S_ISLNK(mode):
                links += 1
                if links > _MAX_LINKS:
                    raise Malformed(f"links lead in a circle on the way to {path!r}", code="path-parent")
                target = self.read_link("/".join(resolved), name)
                if target.startswith("/"):
                    resolved.clear()
                pending += target.split("/")[::-1]
                continue
            resolved.append(name)
            if len(resolved) > self._max_depth:
                raise too_deep_error(path, self._max_depth)
        return "/".join(resolved)


class RootedDirectory(DirectoryTree):
    """The folder `root`, which is there. `most_depth` is how many names a place may have, at most 200.

    With `kernel` openat2 is used where there is one; without it descriptors alone lead down. Folders that are made on
    the way have mode 0700. Refusals are `Malformed(code="path-escape" | "path-depth" | "path-parent")`.
    """

    def __init__(self, root: str, max_depth: int, *, use_openat2: bool = True) -> None:
        super().__init__(max_depth)
        self._root_descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._descriptors: dict[str, int] = {}  # folders by their places, the one that was used last behind the others
        self._openat2 = load_openat2() if use_openat2 else None

    def close(self) -> None:
        """Close every descriptor."""
        for descriptor in self._descriptors.values():
            os.close(descriptor)
        self._descriptors.clear()
        os.close(self._root_descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        self.close()

    def open_directory(self, directory: str) -> int:
        """Return the descriptor of the folder at a place; it stays open for at least the next 50 that are opened.

        Raises `FileNotFoundError`, or `NotADirectoryError` when a link or a file is on the way.
        """
        if not directory:
            return self._root_descriptor
        cached = self._descriptors.pop(directory, None)
        if cached is not None:
            self._descriptors[directory] = cached
            return cached
        parent, _, name = directory.rpartition("/")
        if parent and self._openat2 is not None and parent not in self._descriptors:
            try:
                descriptor = self._openat2.open(self._root_descriptor, directory)
            except OSError as error:
                if error.errno == errno.ELOOP:
                    raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), directory) from None
                raise
        else:
            descriptor = os.open(name, _DIRECTORY_FLAGS, dir_fd=self.open_directory(parent))
        if len(self._descriptors) >= _MAX_OPEN:
            os.close(self._descriptors.pop(next(iter(self._descriptors))))
        self._descriptors[directory] = descriptor
        return descriptor

    def require_directory(self, directory: str) -> None:
        """Raise `FileNotFoundError` or `NotADirectoryError` when there is no folder at a place."""
        self.open_directory(directory)

    def make_directory(self, directory: str, name: str) -> None:
        """Make a folder."""
        os.mkdir(name, 0o700, dir_fd=self.open_directory(directory))

    def read_link(self, directory: str, name: str) -> str:
        """Return where a link leads."""
        return os.readlink(name, dir_fd=self.open_directory(directory))

    def mode_of(self, directory: str, name: str) -> int | None:
        """Return the mode of what has this name in the folder at `place`; None when nothing has."""
        try:
            return os.stat(name, dir_fd=self.open_directory(directory), follow_symlinks=False).st_mode
        except FileNotFoundError:
            return None

    def create_file(self, directory: str, name: str, mode: int) -> int:
        """Make a file and return its descriptor; raises `FileExistsError`."""
        return os.open(name, _CREATE_FLAGS, mode, dir_fd=self.open_directory(directory))

    def list_names(self, directory: str) -> list[str]:
        """Return the names in a folder."""
        return os.listdir(self.open_directory(directory))

    def remove(self, directory: str, name: str, on_removed: Callable[[str], None]) -> None:
        """Remove what has this name, with all that is in it when it is a folder; `gone` is told of each folder."""
        try:
            os.unlink(name, dir_fd=self.open_directory(directory))
        except (IsADirectoryError, PermissionError):
            path = f"{directory}/{name}" if directory else name
            for child in self.list_names(path):
                self.remove(path, child, on_removed)
            cached = self._descriptors.pop(path, None)
            if cached is not None:
                os.close(cached)
            os.rmdir(name, dir_fd=self.open_directory(directory))
            on_removed(path)


def clean_path(path: str, max_depth: int, *, clamp: bool = False) -> str:
    """Return a path of an archive without what says nothing ("", "."), and with `..` taken back; "" is the root.

    A slash at the beginning is the root's, as for docker. What climbs above the root is refused, or `clamped` to it.
    """
    path = path.removeprefix("./")
    if "/." not in f"/{path}" and "//" not in f"/{path}":
        names = path.split("/") if path.count("/") >= max_depth else ()
    else:
        names = []
        for name in path.split("/"):
            if name == "..":
                if names:
                    names.pop()
                elif not clamp:
                    raise _escape_error(path)
            elif name not in ("", "."):
                names.append(name)
        path = "/".join(names)
    if len(names) > max_depth:
        raise too_deep_error(path, max_depth)
    return path


def _escape_error(path: str) -> Malformed:
    return Malformed(f"{_quote_path(path)} leads out of the image", code="path-escape")


def too_deep_error(path: str, max_depth: int) -> Malformed:
    """Return the error for a path of too many names."""
    return Malformed(f"{_quote_path(path)} is more than {max_depth} folders deep", code="path-depth")


def _quote_path(path: str) -> str:
    return repr(path if len(path) <= 120 else f"{path[:117]}…")
