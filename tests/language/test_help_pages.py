"""Every example of a page of `help` runs on a store; pages fit the screen and are listed in the overview."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from imq.engine.help.help import format_help, list_topics
from imq.engine.help.topics import GET_STARTED, TOPICS
from imq.engine.render.formats import write_documents, write_rows
from imq.engine.render.template.functions import FUNCTIONS
from imq.engine.render.values import DisplayOptions
from imq.engine.result import Documents, Failure, RowSet
from imq.grammar.display_width import display_width
from language.conftest import NOW

if TYPE_CHECKING:
    from pathlib import Path

    from imq.engine.session.session import Session

EXAMPLES = [*GET_STARTED, *(example for topic in TOPICS.values() for example in topic.examples)]
REQUIRED = [
    *("docker", "dates", "like", "operators", "conditions", "templates", "tables", "files", "sources", "retention"),
    "scripts",
]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with the files that examples read."""
    (tmp_path / "keep.txt").write_text("redis:7\nteam/app:1\n")
    (tmp_path / "owners.csv").write_text("repository,team\nredis,cache\nteam/app,web\n")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("statement", [statement for statement, _ in EXAMPLES])
def test_an_example_runs(statement: str, session: Session) -> None:
    if statement == "sources":  # it asks the engines of this machine
        session.check(session.parse(statement)[0])
        return
    for result in session.run(statement, dry_run=True):
        assert not isinstance(result, Failure)
        if isinstance(result, RowSet):
            assert not result.errors
            assert list(write_rows(result, DisplayOptions(NOW, None))) is not None
        elif isinstance(result, Documents):
            assert list(write_documents(result))


def test_the_pages_that_users_look_for_exist() -> None:
    assert list(TOPICS) == REQUIRED
    assert set(REQUIRED) <= set(list_topics())


@pytest.mark.parametrize("name", TOPICS)
def test_a_page_fits_the_screen_and_is_in_the_overview(name: str) -> None:
    page = format_help((name,))
    assert page.startswith(f"{name}: {TOPICS[name].summary}\n")
    assert max(map(display_width, page.splitlines())) <= 80
    assert f"help {name} " in format_help(())
    for statement, _ in TOPICS[name].examples:
        assert statement in " ".join(page.split())


def test_the_overview_begins_with_what_to_do_first() -> None:
    lines = format_help(()).splitlines()
    assert lines[2] == "Get started:"
    assert len(GET_STARTED) == 5
    assert max(map(display_width, lines)) <= 80


def test_the_page_of_templates_names_every_function() -> None:
    words = format_help(("templates",)).replace(",", " ").replace(".", " ").split()
    assert set(FUNCTIONS) <= set(words)


def test_a_page_that_is_a_table_too_lists_its_fields() -> None:
    assert "link_target" in format_help(("files",))
    assert "reachable" in format_help(("sources",))
