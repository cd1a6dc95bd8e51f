"""Fixtures: stores with images, and a registry to pull from."""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING, Any

import pytest
from store.support.stores import StoreSession, check_store
from support import servers
from support.images import write_library

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.images import Image

DROP_FROM_BOUNDING_SET, MAY_OVERRIDE = 24, (1, 2)  # of prctl, and the capabilities that override permissions
LIBC = ctypes.CDLL(None, use_errno=True)


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """The path of a test's store; at the end the store must be consistent."""
    root = tmp_path / "store"
    yield root
    check_store(root)


@pytest.fixture
def opened() -> Iterator[Callable[..., StoreSession]]:
    """A function that opens stores; they are closed at the end."""
    held: list[StoreSession] = []

    def at(root: object, **world: object) -> StoreSession:
        held.append(StoreSession(root, **world))
        return held[-1]

    yield at
    for one in held:
        one.close()


@pytest.fixture
def store(root: Path, opened: Callable[..., StoreSession]) -> StoreSession:
    """A store that does not exist yet."""
    return opened(root)


@pytest.fixture
def made(root: Path) -> dict[str, Image]:
    """The images of the library, written to the store of `store`."""
    return write_library(root)


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Registry]:
    """A registry without authentication."""
    servers.require_programs(servers.PROGRAM)
    with servers.Registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
def unprivileged() -> dict[str, Any]:
    """Options for a process without root's right to override file permissions."""
    return {"preexec_fn": _drop_capabilities} if os.geteuid() == 0 else {}


def _drop_capabilities() -> None:
    """Drop root's right to override file permissions."""
    for capability in MAY_OVERRIDE:
        assert LIBC.prctl(DROP_FROM_BOUNDING_SET, capability, 0, 0, 0) == 0
