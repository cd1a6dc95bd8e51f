"""A folder with a layout, and a session with a store that is not there yet."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from store.support.stores import StoreSession
from support import servers
from support.images import write_library

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support import servers
from support.images import Image


@pytest.fixture
def made(tmp_path: Path) -> dict[str, Image]:
    """The images of the library, in the layout `layout`."""
    return write_library(tmp_path / "layout")


@pytest.fixture
def session(tmp_path: Path) -> Iterator[StoreSession]:
    with StoreSession(tmp_path / "store", environment={"TMPDIR": str(tmp_path)}) as session:
        yield session


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Registry]:
    """A registry without authentication."""
    servers.require_programs(servers.PROGRAM)
    with servers.Registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
def describe_tree() -> Callable[[str | os.PathLike[str]], list[tuple[str, int, int, int]]]:
    """Describe every name below a path: its size, its time of change, and its inode."""

    def describe(path: str | os.PathLike[str]) -> list[tuple[str, int, int, int]]:
        found = [os.fspath(path)]
        for folder, folders, files in os.walk(path):
            found += [os.path.join(folder, name) for name in (*folders, *files)]
        described = ((name, os.lstat(name)) for name in sorted(found))
        return [(name, about.st_size, about.st_mtime_ns, about.st_ino) for name, about in described]

    return describe
