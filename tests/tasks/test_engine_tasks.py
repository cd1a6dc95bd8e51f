"""The tasks of engine_tasks.toml: statements about engines run against dockerd, with actions as dry runs."""

from __future__ import annotations

import pathlib
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
from imq.engine.catalog.json_values import to_json_value
from imq.engine.result import RowSet
from imq.engine.session.context import SessionContext
from imq.engine.session.session import Session
from imq.grammar.errors import ImqError
from imq.grammar.parser import parse
from imq.grammar.unparser import unparse
from registry.support.query import open_session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.prepared_engines import PreparedEngine

TASKS: list[dict[str, Any]] = tomllib.loads(
    (pathlib.Path(__file__).parent / "engine_tasks.toml").read_text(encoding="utf-8")
)["task"]
RUN = [task for task in TASKS if task.keys() & {"expected", "includes"}]
CHECKED = [task for task in TASKS if "checked" in task]
WAITING = [task for task in TASKS if "waits" in task]


def begins(row: list[Any], values: list[Any], host: str) -> bool:
    """Whether the first values of a row are these; of a name with a digest, the part before it."""
    named = [value.replace("registry.local:5000", host) if isinstance(value, str) else value for value in values]
    own = [value.partition("@")[0] if isinstance(value, str) else value for value in row]
    return own[: len(named)] == named


def ids(tasks: list[dict[str, Any]]) -> list[str]:
    return [str(task["id"]) for task in tasks]


@pytest.fixture
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """The current folder, with the lists that the statements read."""
    (tmp_path / "keep.txt").write_text("li*\n")
    (tmp_path / "registered.txt").write_text("7f3a\n")
    (tmp_path / "names.txt").write_text("wait:1\ngone:1\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def offline(folder: pathlib.Path) -> Iterator[Session]:
    """A session without any engine."""
    session = Session(SessionContext(str(folder / "store"), {"HOME": str(folder)}, lambda: 0))
    yield session
    session.close()


def test_every_task_has_a_statement_and_is_of_one_kind() -> None:
    assert len({task["id"] for task in TASKS}) == len(TASKS) == 40
    assert len(RUN) + len(CHECKED) + len(WAITING) == len(TASKS)


@pytest.mark.parametrize("task", RUN, ids=ids(RUN))
def test_engine_task(task: dict[str, Any], prepared_docker: PreparedEngine, folder: pathlib.Path) -> None:
    text = task["imq"].replace("registry.local:5000", prepared_docker.host).replace(*task.get("shorter", ("", "")))
    session = open_session(folder / "store", environment=prepared_docker.environment)
    statements = session.parse(text)
    assert parse("; ".join(map(unparse, statements)), session.vocabulary) == statements
    results = [result for result in session.run(text, dry_run=True) if isinstance(result, RowSet)]
    rows = [
        [to_json_value(column.type, value) for column, value in zip(result.columns, row, strict=True)]
        for result in results
        for row in result.rows
        if result is results[-1]
    ]
    session.close()
    assert all(not result.errors and result.exit_code == 0 for result in results)
    if "expected" in task:
        assert len(rows) == len(task["expected"])
    for expected in (*task.get("expected", ()), *task.get("includes", ())):
        assert any(begins(row, expected, prepared_docker.host) for row in rows), rows
    for excluded in task.get("excludes", ()):
        assert not any(begins(row, excluded, prepared_docker.host) for row in rows), rows


@pytest.mark.parametrize("task", CHECKED, ids=ids(CHECKED))
def test_task_of_another_engine_is_bound(task: dict[str, Any], offline: Session) -> None:
    statements = offline.parse(task["imq"])
    assert parse("; ".join(map(unparse, statements)), offline.vocabulary) == statements
    for statement in statements:
        offline.check(statement)


@pytest.mark.parametrize("task", WAITING, ids=ids(WAITING))
def test_a_waiting_task_is_refused(task: dict[str, Any], offline: Session) -> None:
    """A statement that works must be removed from this list."""
    with pytest.raises(ImqError) as caught:  # noqa: PT012 - parsing or binding refuses it
        for statement in offline.parse(task["imq"]):
            offline.check(statement)
    assert caught.value.code in ("unavailable", "unknown-name", "unknown-field", "unknown-form", "syntax", "operand")
