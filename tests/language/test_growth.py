"""The work of every statement of the corpus grows with the store, not with its square: SQLite's steps are counted.

IMQ_GROWTH_SIZES sets other numbers of images than those of the tests. Example: `1000,100000`.
"""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING

import pytest
from imq.engine.result import RowSet
from imq.grammar import ast, parser
from imq.grammar.errors import ImqError
from language.conftest import open_session
from language.test_corpus import CORPUS, HERE, VOCABULARY, read
from support.images import write_library
from support.large_store import make_large_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imq.engine.session.session import Session

SIZES = tuple(map(int, os.environ.get("IMQ_GROWTH_SIZES", "400,3300").split(",")))
BASES = 78
"""Images of the large store that the others are based on: they do not grow."""
GROWTH = (SIZES[1] - BASES) / (SIZES[0] - BASES)
MOST = 12
"""How many times the steps may grow when the images, or the rows of the result, grow ten times."""
INTERVAL = 100
"""Steps of SQLite's virtual machine between two counts."""
FEW = 200
"""Counts that the smaller store may take in any case: what is read once for each statement does not count as growth."""
READS_LAYERS = "files.imq"
"""The statements on the contents of layers: the images of a large store have no blobs."""
WRITES = (ast.Let, ast.View, ast.Include, ast.Set, ast.Use)
MEASURED = (ast.QueryStatement, ast.ActionStatement, ast.Assert, ast.DryRun)
PAIRS = ("on l.size > size / 2", "on other.id in (id, digest)")
"""Joins by a condition other than equality: they compare every pair of rows."""


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Session]]:
    """Sessions on the sample library with few and with many other images."""
    opened = []
    for size in SIZES:
        root = os.fspath(tmp_path_factory.mktemp("growth") / "store")
        write_library(root)
        make_large_store(root, size)
        opened.append(open_session(root))
    yield opened
    for session in opened:
        session.close()


@pytest.mark.parametrize("path", [path for path in CORPUS if not path.endswith(READS_LAYERS)], ids=os.path.basename)
def test_steps_grow_with_the_images(stores: list[Session], path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(os.path.join(HERE, "lists"))
    text = read(path)
    grown, measured = [], 0
    for tree in parser.parse(text, VOCABULARY, include_views=lambda _: ("large",)):
        assert tree.span is not None
        said = text[tree.span.start : tree.span.end]
        if any(pair in said for pair in PAIRS) or " - " in said:  # the latter reads standard input
            continue
        counts = [found for session in stores if (found := count_steps(session, tree)) is not None]
        if len(counts) < len(stores):
            continue
        (few, few_rows), (many, many_rows) = counts
        measured += 1
        if many > max(few, FEW) * MOST ** math.log10(max(GROWTH, many_rows / max(few_rows, 1))):
            grown.append(f"{many / few:.1f} times, {few:,} to {many:,}: {said}")
    assert not grown, "\n".join(grown)
    assert measured or path.endswith("scripts.imq")


def count_steps(session: Session, tree: ast.Statement) -> tuple[int, int] | None:
    """Return the hundreds of steps of a statement and the rows of its result; None for one that fails."""
    steps = 0

    def step() -> int:
        nonlocal steps
        steps += 1
        return 0

    if isinstance(tree, WRITES):
        session.execute(tree)
        return None
    if not isinstance(tree, MEASURED):
        return None
    connection = session.store.index.connection
    try:
        run(session, tree)  # what the first run prepares is not counted
        connection.set_progress_handler(step, INTERVAL)
        rows = run(session, tree)
    except ImqError:
        return None
    finally:
        connection.set_progress_handler(None, INTERVAL)
    return steps, rows


def run(session: Session, tree: ast.Statement) -> int:
    """Run a statement and return the number of rows of its result. Actions are only planned."""
    result = session.execute(tree, dry_run=True)
    return sum(1 for _ in result.rows) if isinstance(result, RowSet) else 0
