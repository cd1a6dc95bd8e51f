"""The work of questions about lineage grows with the store, not with its square: SQLite's steps are counted."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from store.support.stores import StoreSession
from support.large_store import make_large_store

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZES = (400, 4000)
MOST = 13
"""How many times the steps may grow when the images grow ten times; the larger store has more images on each base."""


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[StoreSession]]:
    folder = tmp_path_factory.mktemp("growth")
    opened = []
    for size in SIZES:
        root = os.fspath(folder / str(size))
        make_large_store(root, size)
        opened.append(StoreSession(root))
    yield opened
    for session in opened:
        session.close()


@pytest.mark.parametrize(
    "text",
    [
        "images where any base where any children where dangling count",
        "images where any base where any children where name = absent:1 count",
        "images where any children where any base where dangling count",
        "images where any base where count(children) > 1 count",
        "images where no children count",
        "images where count(children) > 3 count",
        "images select name, base.name",
        "images group by base.name",
        "images where based on (images where layer_count < 3) count",
        "images where shares layers with (images where layer_count < 3) count",
        "images select diff_ids, chain_ids, base_chain_id",
        "reclaim of (images where dangling)",
    ],
)
def test_steps_grow_with_the_images(stores: list[StoreSession], text: str) -> None:
    few, many = (count_steps(session, text) for session in stores)
    assert many <= MOST * few, f"{few:,} steps for {SIZES[0]} images, {many:,} for {SIZES[1]}"


def count_steps(session: StoreSession, text: str) -> int:
    """Return the hundreds of virtual machine steps that the SQL of a statement takes."""
    session.rows(text)  # what the first run prepares is not counted
    steps = 0

    def step() -> int:
        nonlocal steps
        steps += 1
        return 0

    session.session.store.index.connection.set_progress_handler(step, 100)
    session.rows(text)
    return max(steps, 1)
