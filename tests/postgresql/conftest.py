"""A server of PostgreSQL, started once for each process of the tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.postgresql import PostgresqlServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresqlServer]:
    """The server."""
    started = PostgresqlServer()
    yield started
    started.stop()


@pytest.fixture
def database(server: PostgresqlServer) -> str:
    """An empty database."""
    return server.create_database()
