"""Stores with something in them, and a registry to pull from."""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING, Any

import pytest
from store.support.stores import Held, check_store
from support import servers
from support.images import library

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.images import Image

DROP_FROM_BOUNDING_SET, MAY_OVERRIDE = 24, (1, 2)  # prctl's, and the capabilities to pass over permissions
LIBC = ctypes.CDLL(None, use_errno=True)


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """Where a test's store is to be; at the end it must be in order."""
    root = tmp_path / "store"
    yield root
    check_store(root)


@pytest.fixture
def opened() -> Iterator[Callable[..., Held]]:
    """Open stores, and close them at the end."""
    held: list[Held] = []

    def at(root: object, **world: object) -> Held:
        held.append(Held(root, **world))
        return held[-1]

    yield at
    for one in held:
        one.close()


@pytest.fixture
def store(root: Path, opened: Callable[..., Held]) -> Held:
    """A store that is not there yet."""
    return opened(root)


@pytest.fixture
def made(root: Path) -> dict[str, Image]:
    """The images of the library, which is written into the store of `store`."""
    return library(root)


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Registry]:
    """A registry that lets everyone in."""
    servers.needed(servers.PROGRAM)
    with servers.Registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
def unprivileged() -> dict[str, Any]:
    """Options for a process that may not write what others own."""
    return {"preexec_fn": _be_nobody_special} if os.geteuid() == 0 else {}


def _be_nobody_special() -> None:
    """Give up root's power over other people's files."""
    for capability in MAY_OVERRIDE:
        assert LIBC.prctl(DROP_FROM_BOUNDING_SET, capability, 0, 0, 0) == 0
