"""The cache of registry documents: a corrupt file is recreated, a locked one is not."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest
from imq.engine.store.layout import Layout
from imq.engine.store.registry_cache import DATABASE, RegistryCache

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None, timeout=0, uri=True)
    yield connection
    connection.close()


def get_cache_path(connection: sqlite3.Connection) -> str:
    return {str(name): str(path) for _, name, path in connection.execute("PRAGMA database_list")}["cache"]


@pytest.mark.parametrize("content", [b"no database at all\n" * 1000, b"", b"SQLite format 3\0" + bytes(5000)])
def test_a_corrupt_cache_is_recreated(connection: sqlite3.Connection, tmp_path: Path, content: bytes) -> None:
    (tmp_path / DATABASE).write_bytes(content)
    assert RegistryCache(connection, Layout(str(tmp_path))).count_documents() == (0, 0)
    assert get_cache_path(connection) == str(tmp_path / DATABASE)


def test_a_cache_locked_by_another_process_is_kept(connection: sqlite3.Connection, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / DATABASE, isolation_level=None)
    try:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("BEGIN IMMEDIATE")
        other.execute("CREATE TABLE theirs (a)")
        assert RegistryCache(connection, Layout(str(tmp_path))).count_documents() == (0, 0)
        assert get_cache_path(connection) == ""
        other.execute("COMMIT")
    finally:
        other.close()
    with sqlite3.connect(tmp_path / DATABASE) as again:
        assert again.execute("SELECT name FROM sqlite_master").fetchall() == [("theirs",)]
