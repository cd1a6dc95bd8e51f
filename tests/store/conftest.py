"""Stores with something in them, and a registry to pull from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import servers
from images import library
from store.stores import Held, check_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from images import Image


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
