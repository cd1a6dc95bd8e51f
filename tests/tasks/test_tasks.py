"""The tasks of tasks.toml: each replaces a shell pipeline with one statement. Store tasks are run."""

from __future__ import annotations

import os
import pathlib
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
from imq.engine.session.context import SessionContext
from imq.engine.session.session import Session
from imq.grammar.errors import ImqError
from imq.grammar.parser import parse
from imq.grammar.unparser import unparse
from language.conftest import NOW
from support.images import Image, docker_archive, layer, write_library
from support.inside_images import make_inside_images
from support.statement_rows import check_rows, read_all_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

TASKS: list[dict[str, Any]] = tomllib.loads((pathlib.Path(__file__).parent / "tasks.toml").read_text(encoding="utf-8"))[
    "task"
]
HERE = [task for task in TASKS if not task.keys() & {"waits", "registry", "inside"}]
INSIDE = [task for task in TASKS if "inside" in task]
LATER = [task for task in TASKS if "waits" in task]
WAITED_FOR = {"registries"}


@pytest.fixture
def session(recipe_root: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    """A session in a folder with the lists and archives that the statements use."""
    (tmp_path / "there.txt").write_text("939d4e2e81fe\n")
    monkeypatch.chdir(tmp_path)
    opened = Session(SessionContext(recipe_root, {}, clock=lambda: NOW))
    docker_archive(tmp_path / "one.tar", [(Image([layer({"app": b"app"})]), ["redis:7"])])
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def inside_store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store that has images with files and packages too."""
    folder = tmp_path_factory.mktemp("inside")
    write_library(folder / "store")
    docker_archive(folder / "inside.tar", list(make_inside_images().values()))
    session = Session(SessionContext(os.fspath(folder / "store"), {}, clock=lambda: NOW))
    list(session.run(f'load "{folder}/inside.tar"'))
    session.close()
    return os.fspath(folder / "store")


@pytest.fixture
def inside_session(inside_store: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    monkeypatch.chdir(tmp_path)
    session = Session(SessionContext(inside_store, {}, clock=lambda: NOW))
    yield session
    session.close()


def test_every_task_has_a_statement() -> None:
    assert len(TASKS) == 98
    assert len({task["id"] for task in TASKS}) == 98
    assert {task["waits"] for task in LATER} == WAITED_FOR
    assert len(HERE) > 45


@pytest.mark.parametrize("task", HERE, ids=[str(task["id"]) for task in HERE])
def test_store_task(task: dict[str, Any], session: Session) -> None:
    statements = session.parse(task["imq"])
    assert parse("; ".join(map(unparse, statements)), session.vocabulary) == statements
    check_rows(task, read_all_rows(session, task["imq"], task.get("fails", ())))


@pytest.mark.parametrize("task", INSIDE, ids=[str(task["id"]) for task in INSIDE])
def test_task_about_the_insides_of_images(task: dict[str, Any], inside_session: Session) -> None:
    statements = inside_session.parse(task["imq"])
    assert parse("; ".join(map(unparse, statements)), inside_session.vocabulary) == statements
    check_rows(task, read_all_rows(inside_session, task["imq"]))


@pytest.mark.parametrize("task", LATER, ids=[str(task["id"]) for task in LATER])
def test_unavailable_tasks_are_refused(task: dict[str, Any], session: Session) -> None:
    """A statement that works must be removed from this list."""
    with pytest.raises(ImqError) as caught:
        list(session.run(task["imq"], dry_run=True))
    assert caught.value.code in ("unavailable", "unknown-name", "unknown-field", "syntax", "no-such-image", "operand")
