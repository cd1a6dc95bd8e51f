"""Plans of many removals are made in bulk, and say what plans of few say."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from imq.engine.actions import operands, rm
from store.support.stores import StoreSession
from support.large_store import make_large_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EVERYTHING = "rm all images"
SEARCHES, READS_ALL = 0, 10**9
"""Values of `rm._SHARE`: the index is searched for each removed image, or read whole."""
REMOVALS = (
    EVERYTHING,
    "rm images except newest 3 per repository",
    "rm images where repository like 'team-0*' force",
    "rm images order by created until total size < 1GB",
    "rm images order by size desc until total size < 1GB",
    "rm images where tag = copy",
    "prune",
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreSession]:
    """300 images; some have a second name in their repository, others in another one."""
    folder = os.fspath(tmp_path_factory.mktemp("many") / "store")
    make_large_store(folder, 300, documents=True)
    with StoreSession(folder) as held:
        names = [name for name in held.names() if name and "@" not in name]
        for name in names[::7]:
            held.do(f'tag "{name}" as "{name.rpartition(":")[0]}:copy"')
        for name in names[::11]:
            held.do(f'tag "{name}" as "other/{name.rpartition("/")[2]}"')
        yield held


def plan(store: StoreSession, monkeypatch: pytest.MonkeyPatch, text: str, share: int) -> list[object]:
    monkeypatch.setattr(rm, "_SHARE", share)
    return [tuple(sorted(row.items(), key=repr)) for row in store.rows(text, dry_run=True)]


@pytest.mark.parametrize("text", REMOVALS)
def test_plans_of_many_are_plans_of_few(store: StoreSession, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    few = plan(store, monkeypatch, text, SEARCHES)
    assert few
    assert plan(store, monkeypatch, text, READS_ALL) == few


@pytest.mark.parametrize("text", [text for text in REMOVALS if "until" in text])
def test_what_a_query_counts_as_freed_is_what_its_removal_frees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    folder = os.fspath(tmp_path / "store")
    make_large_store(folder, 200, documents=True)
    searches: list[int] = []
    search = rm._is_large_part
    monkeypatch.setattr(rm, "_is_large_part", lambda *given: searches.append(1) or search(*given))
    with StoreSession(folder) as held:
        counted = held.rows(text, dry_run=True)
        assert len(searches) == 1  # for names: what is freed was not searched again
        assert any(row["size"] for row in counted)
        monkeypatch.setattr(operands, "list_hidden_columns", lambda _: ("_root", "name"))
        assert held.rows(text, dry_run=True) == counted
        assert len(searches) == 3


def test_every_blob_is_freed_with_its_last_image(store: StoreSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rm, "_SHARE", READS_ALL)
    connection = store.session.store.index.connection
    (total,) = connection.execute("SELECT sum(size) FROM (SELECT DISTINCT digest, size FROM reach)").fetchone()
    assert sum(row["size"] for row in store.rows(EVERYTHING, dry_run=True) if row["action"] == "remove") == total


@pytest.mark.parametrize("share", [READS_ALL, SEARCHES])
def test_a_digest_with_two_descriptors_is_one_blob(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: int) -> None:
    """Another image has the same layer by another media type: it is not freed, and its size is counted once."""
    folder = os.fspath(tmp_path / "store")
    make_large_store(folder, 200)
    monkeypatch.setattr(rm, "_SHARE", share)
    with StoreSession(folder) as held:
        connection = held.session.store.index.connection
        before = held.rows("rm images except newest 3 per repository", dry_run=True)
        removed = {row["image"] for row in before}
        owned = (
            "SELECT root.digest, root.key, blob.size, blob.digest, blob.key FROM reaching"
            " JOIN descriptor AS root ON root.key = reaching.root JOIN descriptor AS blob ON blob.key = reaching.blob"
            " WHERE blob.images = 1 AND 1 = (SELECT count(*) FROM reaching AS every WHERE every.blob = blob.key)"
        )
        ids = dict(connection.execute("SELECT root, id FROM entry"))
        rows = connection.execute(owned).fetchall()
        size, digest = next(row[2:4] for row in rows if ids[row[0]] in removed)
        kept = next(row[1] for row in rows if ids[row[0]] not in removed)
        (total,) = connection.execute("SELECT sum(size) FROM (SELECT DISTINCT digest, size FROM reach)").fetchone()
        connection.execute(
            "INSERT INTO descriptor (key, size, digest, media_type) VALUES (10000000, ?, ?, 'another')", (size, digest)
        )
        connection.execute("INSERT INTO reaching VALUES (?, 10000000)", (kept,))
        after = held.rows("rm images except newest 3 per repository", dry_run=True)
        assert sum(row["size"] for row in after) == sum(row["size"] for row in before) - size
        assert [row["image"] for row in after] == [row["image"] for row in before]
        everything = f"rm images order by created until total size < {total + 1}B"
        assert held.rows(everything, dry_run=True) == []
        assert len(held.rows(f"rm images order by created until total size < {total}B", dry_run=True)) >= 1
