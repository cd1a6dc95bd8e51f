"""Connections on a copy of the library."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import hypothesis
import imq
import pytest
from support.images import write_library

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

hypothesis.settings.register_profile("imq", database=None, deadline=None)
hypothesis.settings.load_profile("imq")


@pytest.fixture(scope="session")
def library_root(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The root of a store with the library, for tests that do not change it."""
    root = os.fspath(tmp_path_factory.mktemp("python") / "store")
    write_library(root)
    return root


@pytest.fixture
def session(library_root: str) -> Iterator[imq.Connection]:
    """A connection to the shared library, for tests that do not change it."""
    with imq.connect(root=library_root, environment={}) as opened:
        yield opened


@pytest.fixture
def own(tmp_path: pathlib.Path) -> Iterator[imq.Connection]:
    """A connection to a copy of the library for one test."""
    write_library(tmp_path / "store")
    with imq.connect(root=tmp_path / "store", environment={}) as opened:
        yield opened
