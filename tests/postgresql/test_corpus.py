"""Every query of the corpus of the language has the same answer in PostgreSQL as in SQLite."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from imq.engine.session import catalogue_answers
from imq.engine.session.catalogue_answers import Unsupported
from imq.grammar import ast
from language.conftest import open_session
from language.test_corpus import CORPUS, HERE, read, run_corpus
from support.images import write_library

if TYPE_CHECKING:
    import pathlib

    from imq.engine.session.session import Session
    from support.postgresql import PostgresqlServer

FALLBACKS: dict[str, int] = {}
"""The answers that SQLite computes, by what PostgreSQL lacks. Most statements have two: a table and JSON."""


@pytest.fixture
def root(tmp_path: pathlib.Path) -> str:
    folder = os.fspath(tmp_path / "store")
    write_library(folder)
    return folder


@pytest.fixture
def reasons(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """The answers by what PostgreSQL lacks for them; "" for those that it computes."""
    found: Counter[str] = Counter()
    answer = catalogue_answers.answer

    def count(*arguments: Any) -> Any:
        try:
            rows = answer(*arguments)
        except Unsupported as reason:
            found[str(reason)] += 1
            raise
        found[""] += 1
        return rows

    monkeypatch.setattr(catalogue_answers, "answer", count)
    return found


def _names_the_database(tree: ast.Statement) -> bool:
    """Whether the result of a statement depends on the database by design: a plan, and the settings."""
    inner = tree.statement if isinstance(tree, ast.DryRun) else tree
    return isinstance(inner, ast.Explain | ast.Set)


def _check_file(path: str, session: Session) -> None:
    """Compare the answers of a file with the golden file, block by block."""
    golden = read(path.removesuffix(".imq") + ".txt")
    session.store.measure_layers(jobs=2)
    position, is_exact = 0, True
    for tree, block in run_corpus(session, path):
        if _names_the_database(tree):
            is_exact = False
            continue
        if is_exact:
            assert golden[position:].startswith(block), block
        else:
            position = golden.find(block, position)
            assert position >= 0, block
        position, is_exact = position + len(block) + 1, True


def test_answers_equal_the_golden_files(
    root: str, server: PostgresqlServer, reasons: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One test for all files, because it counts the answers that SQLite computes."""
    monkeypatch.chdir(os.path.join(HERE, "lists"))
    monkeypatch.setenv("TZ", "UTC")
    url = server.url(server.create_database())
    for path in CORPUS:
        session = open_session(root)
        session.define("catalogue", url)
        try:
            _check_file(path, session)
        finally:
            session.close()
    computed = reasons.pop("")
    assert dict(reasons) == FALLBACKS
    assert computed > 500
