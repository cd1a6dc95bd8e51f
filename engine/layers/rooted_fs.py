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

from .openat2 import openat2

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
DEEPEST = 128
"""Names in a path that are unpacked, and so packed, unless a limit says otherwise."""
_MOST_OPEN = 256
_MOST_LINKS = 40
"""Links on the way to one folder, as in Linux."""


class Places:
    """Folders, files and links by their places, as far as finding a way among them goes."""

    def __init__(self, most_depth: int) -> None:
        self._depth = most_depth

    def enter(self, place: str) -> None:
        """Raise `FileNotFoundError` or `NotADirectoryError` when there is no folder at a place."""
        raise NotImplementedError

    def look(self, place: str, name: str) -> int | None:
        """Return the mode of what has this name in the folder at `place`; None when nothing has."""
        raise NotImplementedError

    def names(self, place: str) -> list[str]:
        """Return the names in a folder."""
        raise NotImplementedError

    def make_folder(self, place: str, name: str) -> None:
        """Make a folder."""
        raise NotImplementedError

    def read_link(self, place: str, name: str) -> str:
        """Return where a link leads."""
        raise NotImplementedError

    def remove(self, place: str, name: str, gone: Callable[[str], None]) -> None:
        """Remove what has this name, with all that is in it when it is a folder; `gone` is told of each folder."""
        raise NotImplementedError

    def find(self, path: str, make: Callable[[str], None] | None = None) -> str | None:
        """Return the place of the folder at `path`, a cleaned path; None when there is none.

        With `make` what is missing is made, and `make` told its place; then a file on the way is refused.
        """
        try:
            self.enter(path)
        except (FileNotFoundError, NotADirectoryError):
            return self._walk(path, make)
        return path

    def _walk(self, path: str, make: Callable[[str], None] | None) -> str | None:
        waiting = path.split("/")[::-1]
        place: list[str] = []
        links = 0
        behind_link = 0  # names that wait behind the target of a link
        while waiting:
            name = waiting.pop()
            linked = links > 0 and len(waiting) >= behind_link
            if name in ("", "."):
                continue
            if name == "..":
                if place:  # else it is the root, whose parent is itself
                    place.pop()
                continue
            found = self.look("/".join(place), name)
            if found is None or not (stat.S_ISDIR(found) or stat.S_ISLNK(found)):
                if make is None:
                    return None
                if found is not None:
                    raise Malformed(f"the folder of {path!r} is a file", code="path-parent")
                if linked:
                    raise Malformed(f"the folder of {path!r} is a link that leads nowhere", code="path-parent")
                self.make_folder("/".join(place), name)
                make("/".join((*place, name)))
            elif stat.S_ISLNK(found):
                links += 1
                if links > _MOST_LINKS:
                    raise Malformed(f"links lead in a circle on the way to {path!r}", code="path-parent")
                target = self.read_link("/".join(place), name)
                if not linked:
                    behind_link = len(waiting)
                if target.startswith("/"):
                    place.clear()
                waiting += target.split("/")[::-1]
                continue
            place.append(name)
            if len(place) > self._depth:
                raise too_deep(path, self._depth)
        return "/".join(place)


class Beneath(Places):
    """The folder `root`, which is there. `most_depth` is how many names a place may have, at most 200.

    With `kernel` openat2 is used where there is one; without it descriptors alone lead down. Folders that are made on
    the way have mode 0700. Refusals are `Malformed(code="path-escape" | "path-depth" | "path-parent")`.
    """

    def __init__(self, root: str, most_depth: int, *, kernel: bool = True) -> None:
        super().__init__(most_depth)
        self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._open: dict[str, int] = {}  # folders by their places, the one that was used last behind the others
        self._beneath = openat2() if kernel else None

    def close(self) -> None:
        """Close every descriptor."""
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()
        os.close(self._root)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        self.close()

    def descriptor(self, place: str) -> int:
        """Return the descriptor of the folder at a place; it stays open for at least the next 50 that are opened.

        Raises `FileNotFoundError`, or `NotADirectoryError` when a link or a file is on the way.
        """
        if not place:
            return self._root
        known = self._open.pop(place, None)
        if known is not None:
            self._open[place] = known
            return known
        above, _, name = place.rpartition("/")
        if above and self._beneath is not None and above not in self._open:
            try:
                opened = self._beneath.open(self._root, place)
            except OSError as error:
                if error.errno == errno.ELOOP:
                    raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), place) from None
                raise
        else:
            opened = os.open(name, _FOLDER, dir_fd=self.descriptor(above))
        if len(self._open) >= _MOST_OPEN:
            os.close(self._open.pop(next(iter(self._open))))
        self._open[place] = opened
        return opened

    def enter(self, place: str) -> None:
        """Raise `FileNotFoundError` or `NotADirectoryError` when there is no folder at a place."""
        self.descriptor(place)

    def make_folder(self, place: str, name: str) -> None:
        """Make a folder."""
        os.mkdir(name, 0o700, dir_fd=self.descriptor(place))

    def read_link(self, place: str, name: str) -> str:
        """Return where a link leads."""
        return os.readlink(name, dir_fd=self.descriptor(place))

    def look(self, place: str, name: str) -> int | None:
        """Return the mode of what has this name in the folder at `place`; None when nothing has."""
        try:
            return os.stat(name, dir_fd=self.descriptor(place), follow_symlinks=False).st_mode
        except FileNotFoundError:
            return None

    def create(self, place: str, name: str, mode: int) -> int:
        """Make a file and return its descriptor; raises `FileExistsError`."""
        return os.open(name, _NEW, mode, dir_fd=self.descriptor(place))

    def names(self, place: str) -> list[str]:
        """Return the names in a folder."""
        return os.listdir(self.descriptor(place))

    def remove(self, place: str, name: str, gone: Callable[[str], None]) -> None:
        """Remove what has this name, with all that is in it when it is a folder; `gone` is told of each folder."""
        try:
            os.unlink(name, dir_fd=self.descriptor(place))
        except (IsADirectoryError, PermissionError):
            whole = f"{place}/{name}" if place else name
            for inner in self.names(whole):
                self.remove(whole, inner, gone)
            known = self._open.pop(whole, None)
            if known is not None:
                os.close(known)
            os.rmdir(name, dir_fd=self.descriptor(place))
            gone(whole)


def cleaned(path: str, most_depth: int, *, clamped: bool = False) -> str:
    """Return a path of an archive without what says nothing ("", "."), and with `..` taken back; "" is the root.

    A slash at the beginning is the root's, as for docker. What climbs above the root is refused, or `clamped` to it.
    """
    path = path.removeprefix("./")
    if "/." not in f"/{path}" and "//" not in f"/{path}":
        names = path.split("/") if path.count("/") >= most_depth else ()
    else:
        names = []
        for name in path.split("/"):
            if name == "..":
                if names:
                    names.pop()
                elif not clamped:
                    raise _escape(path)
            elif name not in ("", "."):
                names.append(name)
        path = "/".join(names)
    if len(names) > most_depth:
        raise too_deep(path, most_depth)
    return path


def _escape(path: str) -> Malformed:
    return Malformed(f"{_shown(path)} leads out of the image", code="path-escape")


def too_deep(path: str, most: int) -> Malformed:
    """Return the error for a path of too many names."""
    return Malformed(f"{_shown(path)} is more than {most} folders deep", code="path-depth")


def _shown(path: str) -> str:
    return repr(path if len(path) <= 120 else f"{path[:117]}…")
