"""What the tasks about lineage and common layers return."""

from __future__ import annotations

import os
import pathlib
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
from store.support.stores import StoreSession
from support.images import write_library

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = pathlib.Path(__file__).parent
STATEMENTS: dict[int, str] = {
    task["id"]: task["imq"] for task in tomllib.loads((HERE / "tasks.toml").read_text(encoding="utf-8"))["task"]
}


@pytest.fixture
def session(tmp_path: pathlib.Path) -> Iterator[StoreSession]:
    write_library(os.fspath(tmp_path / "store"))
    with StoreSession(tmp_path / "store") as session:
        yield session


def results(session: StoreSession, task: int, old: str = "", new: str = "") -> list[list[dict[str, Any]]]:
    """Return the rows of each statement of a task; `old` is replaced by `new` in its text."""
    text = STATEMENTS[task]
    assert old in text
    lines = [line for line in text.replace(old, new).strip().splitlines() if line]
    return [session.rows(line) for line in lines]


def names(rows: list[dict[str, Any]]) -> set[tuple[str | None, str | None]]:
    return {(row["repository"], row["tag"]) for row in rows}


def test_images_on_top_of_an_image(session: StoreSession) -> None:
    (rows,) = results(session, 29, " select name")
    assert names(rows) == {
        ("redis", "7"), ("redis", "latest"), (None, None), ("team/app", "1"), ("registry.local:5000/team/app", "1"),
        ("team/app", "2"), ("team/app", "3"), ("quay.io/team/tool", None),
    }  # fmt: skip
    (rows,) = results(session, 29, "reproducible:1 select name", "redis:7")
    assert rows == []


def test_common_layers_and_the_first_that_differs(session: StoreSession) -> None:
    common, (first,) = results(session, 53)
    assert [row["index"] for row in common] == [0, 1]
    stored = session.rows("layers of team/app:1 select index, diff_id, created_by")
    assert first == stored[2]
    assert first["created_by"] == "COPY layer 2 /"


def test_images_with_a_layer(session: StoreSession) -> None:
    (_, runtime, _) = session.rows("layers of team/app:1 select digest, diff_id")
    (statement,) = [line for line in STATEMENTS[85].splitlines() if line]
    for digest in (runtime["digest"], runtime["diff_id"]):
        rows = session.rows(f"{statement.partition(' layer ')[0]} layer {digest}")
        assert names(rows) == {
            ("plain", "1"), ("team/app", "1"), ("registry.local:5000/team/app", "1"), ("team/app", "2"),
            ("team/app", "3"),
        }  # fmt: skip


def test_layers_by_the_images_that_share_them(session: StoreSession) -> None:
    (rows,) = results(session, 137)
    base = len("ID=debian\nVERSION_ID=12\n") + 20_000
    assert [(row["images"], row["saved"]) for row in rows[:2]] == [(8, 7 * base), (4, 3 * 100_000)]


def test_what_the_layers_of_an_image_add_to_its_base(session: StoreSession) -> None:
    (rows,) = results(session, 187)
    own = {row["name"]: row["own"] for row in rows}
    assert own["redis:7"] == 40_000
    assert "reproducible:1" not in own
