"""A rooted file system: no path leads out of the root, whatever links are on the way.

Folders are identified by resolved paths: names of real folders, separated by slashes; "" is the root. A path in an
archive is resolved by following links as in a chroot: a link that climbs above the root leads to the root, as `/..` is
`/`. Folders are opened relative to the root or to an open folder, never through a link, and all operations on a name
use the descriptor of its folder. So a link that is changed meanwhile cannot redirect them.
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
"""The default limit of names in a path when layers are unpacked and packed."""
_MAX_OPEN = 256
MAX_LINKS = 40
"""The maximum number of links on the way to one folder, as in Linux."""


class TooManyLinks(Exception):
    """A path leads through more links than Linux follows."""


class _Absent(Exception):
    """A folder on the way of a path does not exist."""


def follow_links(path: str, visit: Callable[[str, str], str | None]) -> str:
    """Return the resolved path to which a path leads in a root, as in a chroot.

    `visit` takes the resolved path of a folder and a name in it; it returns the target of a link, and None for what is
    no link. A link that climbs above the root leads to the root. Raises `TooManyLinks`.
    """
    pending = path.split("/")[::-1]
    resolved: list[str] = []
    links = 0
    while pending:
        name = pending.pop()
        if name in ("", "."):
            continue
        if name == "..":
            if resolved:  # otherwise it is the root, which is its own parent
                resolved.pop()
            continue
        target = visit("/".join(resolved), name)
        if target is None:
            resolved.append(name)
            continue
        links += 1
        if links > MAX_LINKS:
            raise TooManyLinks
        if target.startswith("/"):
            resolved.clear()
        pending += target.split("/")[::-1]
    return "/".join(resolved)


class DirectoryTree:
    """An abstract tree of folders, files and links, in which paths can be resolved."""

    def __init__(self, max_depth: int) -> None:
        self._max_depth = max_depth

    def require_directory(self, directory: str) -> None:
        """Raise `FileNotFoundError` or `NotADirectoryError` when the folder does not exist."""
        raise NotImplementedError

    def mode_of(self, directory: str, name: str) -> int | None:
        """Return the mode of a name in a folder; None when it does not exist."""
        raise NotImplementedError

    def list_names(self, directory: str) -> list[str]:
        """Return the names in a folder."""
        raise NotImplementedError

    def make_directory(self, directory: str, name: str) -> None:
        """Create a folder."""
        raise NotImplementedError

    def read_link(self, directory: str, name: str) -> str:
        """Return the target of a link."""
        raise NotImplementedError

    def remove(self, directory: str, name: str, on_removed: Callable[[str], None]) -> None:
        """Remove a file, or a folder with its content; `on_removed` is called for each folder."""
        raise NotImplementedError

    def resolve(self, path: str, on_created: Callable[[str], None] | None = None) -> str | None:
        """Return the resolved path of the folder at `path`, a clean path; None when it does not exist.

        With `on_created`, missing folders are created and passed to it, and a file on the way raises `Malformed`.
        """
        try:
            self.require_directory(path)
        except (FileNotFoundError, NotADirectoryError):
            return self._follow_links(path, on_created)
        return path

    def _follow_links(self, path: str, on_created: Callable[[str], None] | None) -> str | None:
        def visit(directory: str, name: str) -> str | None:
            mode = self.mode_of(directory, name)
            if mode is not None and stat.S_ISLNK(mode):
                return self.read_link(directory, name)
            if mode is None or not stat.S_ISDIR(mode):
                if on_created is None:
                    raise _Absent
                if mode is not None:
                    raise Malformed(f"the parent of {path!r} is a file", code="path-parent")
                self.make_directory(directory, name)
                on_created(f"{directory}/{name}" if directory else name)
            if directory.count("/") + bool(directory) >= self._max_depth:
                raise too_deep_error(path, self._max_depth)
            return None

        try:
            return follow_links(path, visit)
        except _Absent:
            return None
        except TooManyLinks:
            raise Malformed(f"too many links on the way to {path!r}", code="path-parent") from None


class RootedDirectory(DirectoryTree):
    """The tree of the existing folder `root`. A resolved path may have `max_depth` names, at most 200.

    With `use_openat2` the kernel opens deep paths, where openat2 is available; otherwise they are opened name by name.
    Missing parents are created with mode 0700. Raises `Malformed` (codes: path-escape, path-depth, path-parent).
    """

    def __init__(self, root: str, max_depth: int, *, use_openat2: bool = True) -> None:
        super().__init__(max_depth)
        self._root_descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._descriptors: dict[str, int] = {}  # by resolved path, the most recently used last
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
        """Return the descriptor of a folder; it stays open while at least the next 50 folders are opened.

        Raises `FileNotFoundError`, or `NotADirectoryError` when the path has a link or a file.
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
        """Raise `FileNotFoundError` or `NotADirectoryError` when the folder does not exist."""
        self.open_directory(directory)

    def make_directory(self, directory: str, name: str) -> None:
        """Create a folder."""
        os.mkdir(name, 0o700, dir_fd=self.open_directory(directory))

    def read_link(self, directory: str, name: str) -> str:
        """Return the target of a link."""
        return os.readlink(name, dir_fd=self.open_directory(directory))

    def mode_of(self, directory: str, name: str) -> int | None:
        """Return the mode of a name in a folder; None when it does not exist."""
        try:
            return os.stat(name, dir_fd=self.open_directory(directory), follow_symlinks=False).st_mode
        except FileNotFoundError:
            return None

    def create_file(self, directory: str, name: str, mode: int) -> int:
        """Create a file and return its descriptor. Raises `FileExistsError`."""
        return os.open(name, _CREATE_FLAGS, mode, dir_fd=self.open_directory(directory))

    def list_names(self, directory: str) -> list[str]:
        """Return the names in a folder."""
        return os.listdir(self.open_directory(directory))

    def remove(self, directory: str, name: str, on_removed: Callable[[str], None]) -> None:
        """Remove a file, or a folder with its content; `on_removed` is called for each folder."""
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
    """Return a path of an archive without empty names, `.` and `..`; "" is the root.

    A leading slash is ignored, as in docker. A path that climbs above the root raises `Malformed`; with `clamp` it
    stops at the root.
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
    """Return the error for a path with too many names."""
    return Malformed(f"{_quote_path(path)} is more than {max_depth} folders deep", code="path-depth")


def _quote_path(path: str) -> str:
    return repr(path if len(path) <= 120 else f"{path[:117]}…")
