"""Queries of a very large store use SQL indexes, and the generated store is a valid one."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
from imq.engine.query.sqlite_executor import SqliteExecutor
from store.support.stores import StoreSession, link_blobs
from support.large_store import DANGLING_EVERY, make_large_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from imq.engine.catalog.schema import Raw
    from imq.engine.query.sql.statements import Sql

COUNT = 400
MEASURED = {"size", "shared_size", "unique_size"}
"""What only unpacking tells: the layers of that store have no blobs."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many") / "store"
    make_large_store(os.fspath(folder), COUNT, documents=True)
    return folder


@pytest.fixture
def many(folder: Path) -> Iterator[StoreSession]:
    with StoreSession(folder) as held:
        yield held


@pytest.fixture
def plan_of(many: StoreSession, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Return SQLite's plan of the last SQL query of a statement, with its parameters, which affect the plan."""
    asked: list[Sql] = []
    run = SqliteExecutor.run

    def watched(self: SqliteExecutor, sql: Sql) -> Iterator[tuple[Raw, ...]]:
        asked.append(sql)
        return run(self, sql)

    monkeypatch.setattr(SqliteExecutor, "run", watched)

    def plan_of(text: str) -> str:
        many.rows(text)
        connection = many.session.store.index.connection
        explained = connection.execute(f"EXPLAIN QUERY PLAN {asked[-1].text}", asked[-1].parameters)
        return "\n".join(row[3] for row in explained)

    return plan_of


def said(store: StoreSession) -> dict[str, list[tuple[object, ...]]]:
    """Return the rows of every view, without keys and measures."""
    connection = store.session.store.index.connection
    answers = {}
    for view in ("images", "layers", "history"):
        cursor = connection.execute(f"SELECT * FROM {view}")
        kept = [
            place
            for place, (name, *_) in enumerate(cursor.description)
            if not name.startswith("_") and name not in MEASURED
        ]
        answers[view] = sorted((tuple(row[place] for place in kept) for row in cursor), key=repr)
    answers["reach"] = sorted(connection.execute("SELECT root, digest, size FROM reach"))
    return answers


def test_the_generated_index_matches_its_documents(folder: Path, opened: Callable[..., StoreSession]) -> None:
    made = opened(folder)
    assert made.session.store.index.is_current, "opening it reads nothing again"
    before = said(made)
    assert [len(before[view]) for view in ("images", "layers")] == [COUNT, 1213]
    assert made.rows("images where dangling count")[0]["count"] > COUNT // DANGLING_EVERY // 2
    copy = folder.with_name("copy")
    copy.mkdir()
    link_blobs(folder, copy)
    for name in ("oci-layout", "index.json"):
        shutil.copy(folder / name, copy / name)
    assert said(opened(copy)) == before


@pytest.mark.parametrize(
    ("question", "way"),
    [
        ("images where created < 2024-01-31", "SEARCH entry USING COVERING INDEX entry_created (created<?)"),
        ("images where created before debian:9", "SEARCH entry USING COVERING INDEX entry_created (created<?)"),
        ("images where older than 2 years", "SEARCH entry USING COVERING INDEX entry_created (created<?)"),
        ("images where created is unknown", "SEARCH entry USING COVERING INDEX entry_created (created=?)"),
        ("images limit 5", "SCAN entry USING COVERING INDEX entry_created"),
        ("images where size > 1GB", "SCAN entry USING COVERING INDEX entry_created"),
        ("images where user = nobody", "SCAN entry USING COVERING INDEX entry_created"),
        ("images order by size desc limit 5", "SCAN entry USING INDEX entry_size"),
        ("images where id = 0123456789ab", "SEARCH entry USING INDEX entry_id (id>? AND id<?)"),
        ("images where name = debian:9", "SEARCH entry USING INDEX entry_name (name=?)"),
        ("images where repository = debian", "SEARCH entry USING COVERING INDEX entry_repository (repository=?)"),
        ("images group by repository", "SCAN entry USING COVERING INDEX entry_repository"),
        ("layers limit 5", "SCAN image USING COVERING INDEX image_id"),
        ("history limit 5", "SCAN image USING COVERING INDEX image_id"),
    ],
)
def test_queries_use_a_sql_index(plan_of: Callable[[str], str], question: str, way: str) -> None:
    plan = plan_of(question)
    assert way in plan
    if question.endswith("limit 5"):
        assert "USE TEMP B-TREE FOR ORDER BY" not in plan, "the walk ends with the limit"


def test_all_but_the_newest_images_are_read_without_sorting(plan_of: Callable[[str], str]) -> None:
    plan = plan_of("images except newest 3 per repository")
    assert "SCAN entry USING COVERING INDEX entry_repository" in plan, "the images to keep"
    assert "SCAN entry USING COVERING INDEX entry_created" in plan, "the others"
    assert "USE TEMP B-TREE" not in plan
    assert "USE TEMP B-TREE" not in plan_of("images where size > 1GB")


@pytest.mark.parametrize("clause", ["3 per repository", "0 per repository", "40", "2 per repository, os by size"])
def test_a_whole_table_has_the_rows_of_one_with_a_condition(many: StoreSession, clause: str) -> None:
    rows = many.rows(f"images except newest {clause} select name, id, created")
    condition = "where name is known or name is unknown"
    assert rows == many.rows(f"images {condition} except newest {clause} select name, id, created")
    assert 0 < len(rows) < COUNT


def test_checking_for_unmeasured_layers_scans_nothing(many: StoreSession) -> None:
    connection = many.session.store.index.connection
    asked: list[str] = []
    connection.set_trace_callback(asked.append)
    assert many.session.store.list_unmeasured_layers() == []
    connection.set_trace_callback(None)
    (first, *_) = connection.execute(f"EXPLAIN QUERY PLAN {asked[-1]}").fetchall()
    assert "SEARCH image USING INDEX image_unsummed" in first[3]


def test_errors_of_missing_layers_keep_no_buffers(folder: Path, tmp_path: Path) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(folder, copied)
    (copied / "index.db").unlink()
    with StoreSession(copied) as held:
        problems = held.session.store.measure_layers(jobs=2)
    assert len(problems) > 100
    assert {problem.code for problem in problems} == {"blob-missing"}
    assert not any(problem.__traceback__ or problem.__context__ or problem.__cause__ for problem in problems)


def test_large_layers_are_found_by_the_index_of_sizes(plan_of: Callable[[str], str]) -> None:
    """Few layers are large; with a limit the rows are read in the order of the images instead."""
    plan = plan_of("layers where size > 120MB")
    assert plan.splitlines()[0] == "SEARCH descriptor USING INDEX descriptor_unpacked_size (unpacked_size>?)"
    assert "SCAN image" in plan_of("layers where size > 1kB limit 20")


def test_a_condition_on_sizes_reads_no_row_of_labelled_images(many: StoreSession) -> None:
    (columns,) = many.session.store.index.connection.execute(
        "SELECT group_concat(name) FROM pragma_index_info('entry_image')"
    ).fetchall()
    assert columns == ("image,tag,size",)


def test_no_layer_is_counted_as_left_out_when_all_are_measured(many: StoreSession) -> None:
    connection = many.session.store.index.connection
    asked: list[str] = []
    connection.set_trace_callback(asked.append)
    many.rows("layers where size > 120MB")
    connection.set_trace_callback(None)
    assert [text for text in asked if "count(" in text.lower() and "FROM layers" in text] == []


def test_the_sizes_of_entries_follow_those_of_images(many: StoreSession) -> None:
    connection = many.session.store.index.connection
    (key, size, shared) = connection.execute(
        "SELECT image.key, image.size, image.shared_size FROM image JOIN entry ON entry.image = image.key LIMIT 1"
    ).fetchone()
    connection.execute("SAVEPOINT test")
    try:
        connection.execute("UPDATE image SET size = ? WHERE key = ?", (size + 1, key))
        connection.execute("UPDATE image SET shared_size = ? WHERE key = ?", (shared + 2, key))
        rows = connection.execute("SELECT size, shared_size FROM entry WHERE image = ?", (key,)).fetchall()
        assert set(rows) == {(size + 1, shared + 2)}
    finally:
        connection.execute("ROLLBACK TO test")
        connection.execute("RELEASE test")
