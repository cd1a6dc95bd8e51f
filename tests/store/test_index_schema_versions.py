"""Stores with an index of an earlier or later version of imq: it is rebuilt, whatever its tables are."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from imq.engine.store.index_schema import SCHEMA, VERSION
from store.support.stores import StoreSession, imq
from support.images import Image, write_library

EARLIER = sorted(Path(__file__).with_name("schemas").glob("*.sql"), key=lambda path: int(path.stem))
"""The schemas of all earlier versions, as they were."""


def signature_of(root: Path) -> str:
    about = os.stat(root / "index.json")
    return f"{about.st_ino}:{about.st_size}:{about.st_mtime_ns}"


def replace_index(root: Path, schema: str, version: int) -> None:
    """Replace the index by an empty one of another version, with the current signature."""
    for name in ("index.db", "index.db-wal", "index.db-shm"):
        (root / name).unlink(missing_ok=True)
    with sqlite3.connect(root / "index.db") as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.executescript(schema)
        other.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('signature', ?)", (signature_of(root),))
        other.execute(f"PRAGMA user_version = {version}")
    other.close()


def test_the_schema_version_differs_from_all_earlier_ones() -> None:
    assert [int(path.stem) for path in EARLIER] == [1, 2, 3, 4], "later versions are checksums of their schema"
    assert VERSION > 4


@pytest.mark.parametrize("path", EARLIER, ids=lambda path: path.stem)
def test_an_index_of_an_earlier_version_is_rebuilt(
    store: StoreSession, root: Path, made: dict[str, Image], path: Path
) -> None:
    before = store.dump_tables()
    assert made
    store.close()
    replace_index(root, path.read_text(), int(path.stem))
    assert store.dump_tables() == before
    store.do("tag redis:7 as other:1")


def test_an_index_of_a_later_version_is_rebuilt(store: StoreSession, root: Path, made: dict[str, Image]) -> None:
    before = store.dump_tables()
    assert made
    store.close()
    later = SCHEMA.replace("CREATE TABLE image (", "CREATE TABLE image (brightness INTEGER NOT NULL,")
    replace_index(
        root, later + "; CREATE TABLE mood (of INTEGER, is_good); CREATE VIEW moods AS SELECT * FROM mood", 99
    )
    assert store.dump_tables() == before
    store.do("tag redis:7 as other:1")


@pytest.mark.parametrize("path", EARLIER, ids=lambda path: path.stem)
def test_in_a_read_only_store_an_earlier_index_is_ignored(
    tmp_path: Path, path: Path, unprivileged: dict[str, Any]
) -> None:
    root = tmp_path / "fixed"
    write_library(root)
    before = imq(root, "images", "as", "json").stdout
    replace_index(root, path.read_text(), int(path.stem))
    folders = [folder for folder, _, _ in os.walk(root)]
    for folder in folders:
        os.chmod(folder, 0o555)
    try:
        assert imq(root, "images", "as", "json", **unprivileged).stdout == before
    finally:
        for folder in folders:
            os.chmod(folder, 0o755)
