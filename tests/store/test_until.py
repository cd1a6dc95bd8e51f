"""`until total size <= N` removes the same rows as removing them one by one until the store is small enough."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
from store.support.stores import StoreSession
from support.images import write_library

if TYPE_CHECKING:
    import pathlib

ORDERS = ["order by created", "order by size desc, name", "order by name"]


def total(store: StoreSession) -> int:
    (size,) = (row["size"] for row in store.rows("usage where type = Images"))
    return int(size)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("most", [0, 100_000, 200_000, 350_000, 420_000, 451_000, 10_000_000])
def test_until_removes_the_same_images_as_single_removals(order: str, most: int, tmp_path: pathlib.Path) -> None:
    write_library(tmp_path / "at-once")
    shutil.copytree(tmp_path / "at-once", tmp_path / "by-hand")
    with StoreSession(tmp_path / "at-once") as at_once, StoreSession(tmp_path / "by-hand") as by_hand:
        before = total(at_once)
        at_once.do(f"rm images where tag is known {order} until total size <= {most}B")
        for name in [row["name"] for row in by_hand.rows(f"images where tag is known {order} select name")]:
            if total(by_hand) <= most:
                break
            by_hand.do(f"rm {name}")
        assert at_once.names() == by_hand.names()
        assert total(at_once) == total(by_hand)
        assert (total(at_once) < before) == (most < before)
        for store in (tmp_path / "at-once", tmp_path / "by-hand"):  # what the index says, the disk says
            blobs = store / "blobs" / "sha256"
            assert sum(os.path.getsize(blobs / name) for name in os.listdir(blobs)) == total(at_once)
