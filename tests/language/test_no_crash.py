"""Any statement returns a result or an error in time, and never an internal error."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as tried
from hypothesis import strategies as st
from imq.engine.catalog.tables import TABLES, TargetKind
from imq.engine.render.formats import write_documents, write_rows
from imq.engine.render.values import DisplayOptions
from imq.engine.result import Documents, RowSet
from imq.grammar.errors import ImqError, format_error
from imq.grammar.unparser import unparse
from language import strategies
from language.conftest import NOW, open_session
from language.test_corpus import CORPUS, HERE, REFUSED, read, read_refused
from support.waiting import deadline

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imq.engine.result import Result
    from imq.engine.session.session import Session
    from imq.grammar import ast

FAULTS = ("index", "internal", "error")
"""Codes of internal errors."""


@pytest.fixture(autouse=True)
def lists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(os.path.join(HERE, "lists"))


@pytest.fixture(scope="module")
def running(library_root: str) -> Iterator[Session]:
    opened = open_session(library_root)
    opened.store.measure_layers(jobs=2)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def untouched(library_root: str) -> Iterator[Session]:
    """A session without earlier statements: `use`, `set` and `let` affect later ones."""
    opened = open_session(library_root)
    yield opened
    opened.close()


def format_result(result: Result) -> str:
    manner = DisplayOptions(NOW, None)
    if isinstance(result, RowSet):
        return "".join(write_rows(result, manner))
    if isinstance(result, Documents):
        return "".join(write_documents(result, "json"))
    return ""


def run_statement(session: Session, text: str) -> str:
    """Run a text and return its results or its error as text."""
    problem = None
    with deadline():
        try:
            answer = "".join(format_result(result) for result in session.run(text, dry_run=True))
        except ImqError as error:
            problem, answer = error, format_error(error)
    assert problem is None or problem.code not in FAULTS, answer
    assert not session.runner.connection.in_transaction, "what follows would be done within it"
    return answer


@given(strategies.statements())
@tried(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_statement_returns_a_result_or_an_error(running: Session, tree: ast.Statement) -> None:
    run_statement(running, unparse(tree))


FIELDS = sorted({name for table in TABLES.values() for field in table.fields for name in (field.name, *field.aliases)})
PIECES = sorted({
    word
    for path in (*CORPUS, *REFUSED)
    for text in ([read(path)] if path.endswith(".imq") else read_refused(path))
    for word in text.split()
})  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=25))
@tried(max_examples=600, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_words_return_a_result_or_an_error(running: Session, words: list[str]) -> None:
    run_statement(running, " ".join(words))


STATEMENTS = [text for path in REFUSED for text in read_refused(path)]
STATEMENTS += [line for path in CORPUS for line in read(path).splitlines() if line and not line.startswith("#")]


@given(st.sampled_from(STATEMENTS), st.data())
@tried(max_examples=600, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_statement_with_one_changed_word_returns_a_result_or_an_error(
    running: Session, statement: str, data: st.DataObject
) -> None:
    words = statement.split()
    place = data.draw(st.integers(0, len(words) - 1))
    words[place : place + data.draw(st.integers(0, 2))] = data.draw(
        st.lists(st.sampled_from([*FIELDS, *PIECES]), max_size=2)
    )
    run_statement(running, " ".join(words))


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_can_be_selected_and_sorted_by(untouched: Session, field: str) -> None:
    for table in TABLES.values():
        if table.find_field(field) is not None and untouched.sources.find_uses(table.name)[0].source in (
            "store",
            "local",
        ):
            asked = f'{table.name} of "keep.txt"' if table.target is TargetKind.FILE else table.name
            if table.name == "differences":
                asked = "differences of redis:7, redis:latest"
            answer = run_statement(untouched, f"{asked} order by {field} limit 3 select {field}")
            assert not answer.startswith("error["), answer


MANY = 10_000


@pytest.mark.parametrize(
    "text",
    [
        "images where id in " + "(images where id in " * MANY + "(images)" + ")" * MANY,
        "images where no " + "(images where no " * MANY + "layers" + ")" * MANY,
        "(" * MANY + "images" + ")" * MANY,
        "images where size > " + "(images where size > " * 60 + "1 select max(size)" + ")" * 60,
        "images where id in " + "(images where id in " * 60 + "(images)" + ")" * 60,
        "images union " * 300 + "images",
        "images" + " except images where tag = x by id" * 300,
        "images where " + "not (dangling and (" * 90 + "dangling" + "))" * 90,
        "images where " + " and ".join(["tag in (images where size > 1kB select tag)"] * 300),
        "images where repository matches '" + "(a*)*" * 200 + "b'",
        "images where repository matches '" + "(" * MANY + "'",
        "images where path_match(name, '" + "*a" * 2000 + "b')",
        "images where name like '" + "*a" * 2000 + "b'",
        "images select " + ", ".join(f"size as s{at}" for at in range(3000)),
        "images group by " + ", ".join(["repository"] * 100),
        "let x = 1; " + "let x = $x + $x; " * 40 + "images limit $x",
        "view v as images; " + "view v as v where dangling; " * 120 + "v",
    ],
    ids=lambda text: f"{text[:30]}…",
)
def test_very_large_statements_return_a_result_or_an_error(text: str, library_root: str) -> None:
    session = open_session(library_root)
    try:
        session.store.measure_layers(jobs=2)
        run_statement(session, text)
    finally:
        session.close()


@pytest.mark.parametrize(
    "after", ["lines of stdin", "use localhost:1", "rows of nothing.json", "tags of localhost:1/a"]
)
def test_prune_always_applies_to_the_store(library_root: str, after: str) -> None:
    session = open_session(library_root)
    try:
        alone = run_statement(session, "prune")
        assert alone.count("remove") == 2
        run_statement(session, after)
        assert run_statement(session, "prune") == alone
    finally:
        session.close()
