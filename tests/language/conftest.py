"""Sessions on a copy of the library, at a fixed time."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import hypothesis
import pytest
from imq.engine.session.context import SessionContext
from imq.engine.session.session import Session
from imq.grammar.errors import ImqError
from support.images import library

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = int(datetime(2024, 8, 1, 12, tzinfo=UTC).timestamp()) * 1_000_000_000

# without a folder of examples beside the sources; the time of one example says nothing on a busy machine
hypothesis.settings.register_profile("imq", database=None, deadline=None)
hypothesis.settings.load_profile("imq")


def no_network() -> None:
    """Refuse to ask a registry: what is said here is about the library alone."""
    raise ImqError("there is no network here", code="no-network")


def on_library(root: str) -> Session:
    """Return a session on a store that is there already."""
    environment = {"STAGE": "prod", "HOME": "/home/user"}
    return Session(SessionContext(root, environment, clock=lambda: NOW, zone=UTC, on_network=no_network))


@pytest.fixture(scope="session")
def library_root(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store with the library, for tests that change nothing."""
    root = os.fspath(tmp_path_factory.mktemp("language") / "store")
    library(root)
    return root


@pytest.fixture
def session(library_root: str) -> Iterator[Session]:
    """A session on the library."""
    opened = on_library(library_root)
    yield opened
    opened.close()
