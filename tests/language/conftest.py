"""Sessions on the sample library, at a fixed time."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import hypothesis
import pytest
from imq.engine.session.context import SessionContext
from imq.engine.session.session import Session
from imq.grammar.errors import ImqError
from support.images import write_library

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

NOW = int(datetime(2024, 8, 1, 12, tzinfo=UTC).timestamp()) * 1_000_000_000

# no folder of examples next to the sources, and no deadline: a busy machine can be slow
hypothesis.settings.register_profile("imq", database=None, deadline=None)
hypothesis.settings.load_profile("imq")


def refuse_network() -> None:
    """Refuse network access: these tests use only the library."""
    raise ImqError("network access is not allowed in this test", code="no-network")


def open_session(root: str) -> Session:
    """Return a session on an existing store."""
    environment = {"STAGE": "prod", "HOME": "/home/user"}
    return Session(SessionContext(root, environment, clock=lambda: NOW, zone=UTC, on_network=refuse_network))


@pytest.fixture(scope="session")
def library_root(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store with the library, for tests that do not change it."""
    root = os.fspath(tmp_path_factory.mktemp("language") / "store")
    write_library(root)
    return root


@pytest.fixture
def unused_session(tmp_path: pathlib.Path) -> Iterator[Session]:
    """A session on a library of its own, which no other test has queried: it has no index of files."""
    root = os.fspath(tmp_path / "store")
    write_library(root)
    opened = open_session(root)
    yield opened
    opened.close()


@pytest.fixture
def session(library_root: str) -> Iterator[Session]:
    """A session on the library."""
    opened = open_session(library_root)
    yield opened
    opened.close()
