"""The files of a container as its processes see them, read from the layers without mounting them."""

from __future__ import annotations

import os
import stat

from imq.engine.layers.rooted_fs import MAX_DEPTH, DirectoryTree, RootedDirectory, clean_path
from imq.engine.layers.whiteout import WHITEOUT_DEVICE, is_opaque
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Self

_MAX_FILE = 16 << 20
"""The maximum size in bytes of a file that is read whole, such as /etc/passwd."""


def is_whiteout(status: os.stat_result) -> bool:
    """Whether a file of a layer hides a file of lower layers."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == WHITEOUT_DEVICE


class OverlayView(DirectoryTree):
    """The merged tree of layers, given as folders, the highest first. Links are resolved as in a chroot."""

    def __init__(self, layers: Sequence[str]) -> None:
        super().__init__(MAX_DEPTH)
        # without openat2: the paths are short, and it loads ctypes
        self._layers = [RootedDirectory(layer, MAX_DEPTH, use_openat2=False) for layer in layers]
        self._folders: dict[str, list[tuple[RootedDirectory, str]]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_raised: object) -> None:
        for layer in self._layers:
            layer.close()

    def _list_parts(self, directory: str) -> list[tuple[RootedDirectory, str]]:
        """Return the folders of layers that a folder consists of, the highest first."""
        if directory in self._folders:
            return self._folders[directory]
        if not directory:
            parts = [(layer, "") for layer in self._layers]
        else:
            parent, _, name = directory.rpartition("/")
            parts = []
            for layer, _ in self._list_parts(parent):
                status = _status(layer, parent, name)
                if status is None:
                    continue
                if not stat.S_ISDIR(status.st_mode):
                    break
                parts.append((layer, directory))
                if is_opaque(layer.open_directory(directory)):
                    break
        self._folders[directory] = parts
        return parts

    def _find(self, directory: str, name: str) -> tuple[RootedDirectory, os.stat_result] | None:
        for layer, folder in self._list_parts(directory):
            status = _status(layer, folder, name)
            if status is not None:
                return None if is_whiteout(status) else (layer, status)
        return None

    def require_directory(self, directory: str) -> None:
        """Raise `FileNotFoundError` when the folder does not exist; a link on the way counts as missing."""
        if directory and not self._list_parts(directory):
            raise FileNotFoundError(directory)

    def mode_of(self, directory: str, name: str) -> int | None:
        """Return the mode of a name in a folder; None when it does not exist."""
        found = self._find(directory, name)
        return None if found is None else found[1].st_mode

    def read_link(self, directory: str, name: str) -> str:
        """Return the target of a link."""
        found = self._find(directory, name)
        if found is None:
            raise FileNotFoundError(name)
        return found[0].read_link(directory, name)

    def list_names(self, directory: str) -> list[str]:
        """Return the names in a folder."""
        names = {name for layer, folder in self._list_parts(directory) for name in layer.list_names(folder)}
        return sorted(name for name in names if self._find(directory, name) is not None)

    def make_directory(self, directory: str, name: str) -> None:
        """Refuse: the view is only read."""
        raise PermissionError(f"{directory}/{name}")

    def remove(self, directory: str, name: str, on_removed: Callable[[str], None]) -> None:  # noqa: ARG002
        """Refuse: the view is only read."""
        raise PermissionError(f"{directory}/{name}")

    def status_of(self, path: str) -> os.stat_result | None:
        """Return the status of a resolved path, without following a link at its end; None when it does not exist."""
        parent, _, name = path.rpartition("/")
        try:
            found = self._find(parent, name)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return None if found is None else found[1]

    def read_file(self, path: str) -> bytes | None:
        """Return the content of a regular file, following links; None when there is none."""
        links = 0
        path = clean_path(path, MAX_DEPTH, clamp=True)
        while True:
            parent_path, _, name = path.rpartition("/")
            parent = self.resolve(parent_path)
            found = None if parent is None or not name else self._find(parent, name)
            if parent is None or found is None:
                return None
            layer, status = found
            if stat.S_ISLNK(status.st_mode):
                links += 1
                target = layer.read_link(parent, name)
                path = clean_path(target if target.startswith("/") else f"{parent}/{target}", MAX_DEPTH, clamp=True)
                if links > 40:
                    return None
                continue
            if not stat.S_ISREG(status.st_mode):
                return None
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            with os.fdopen(os.open(name, flags, dir_fd=layer.open_directory(parent)), "rb") as file:
                return file.read(_MAX_FILE)


def _status(layer: RootedDirectory, directory: str, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=layer.open_directory(directory), follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return None
