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


class Disk:
    """The file system of a store: what is not free is used, and the blobs of the store are part of it."""

    block = 1

    def __init__(self, store: pathlib.Path, size: int, others: int) -> None:
        self.blobs = store / "blobs" / "sha256"
        self.size, self.others = size, others

    def used(self) -> int:
        return self.others + sum(os.path.getsize(self.blobs / name) for name in os.listdir(self.blobs))

    def statvfs(self, _path: object) -> os.statvfs_result:
        free = self.size - self.used()
        return os.statvfs_result((1, self.block, self.size, free, free, 0, 0, 0, 0, 255))


SIZE = 1_000_000


@pytest.fixture
def disk(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    """A disk of a million bytes that the library fills to the half."""
    write_library(tmp_path / "store")
    made = Disk(tmp_path / "store", SIZE, 0)
    made.others = SIZE // 2 - made.used()
    monkeypatch.setattr(os, "statvfs", made.statvfs)
    return made


@pytest.mark.parametrize(
    ("until", "most"),
    [
        ("disk use <= 49%", 490_000),
        ("disk use <= 40%", 400_000),
        ("disk use < 40%", 399_999),
        ("disk use <= 50%", 500_000),
        ("disk use <= 90.5%", 905_000),
        ("free >= 550kB", 450_000),
        ("free > 500kB", 499_999),
        ("free >= 2MB", -1),
        ("free >= 60%", 400_000),
    ],
)
def test_until_removes_until_the_disk_has_the_space(until: str, most: int, disk: Disk, tmp_path: pathlib.Path) -> None:
    """As many images are removed one by one until the disk has the space, and no more."""
    shutil.copytree(tmp_path / "store", tmp_path / "by-hand")
    with StoreSession(tmp_path / "store") as at_once, StoreSession(tmp_path / "by-hand") as by_hand:
        at_once.do(f"rm images where tag is known order by size desc, name until {until}")
        by_hand_disk = Disk(tmp_path / "by-hand", SIZE, disk.others)
        for name in [
            row["name"] for row in by_hand.rows("images where tag is known order by size desc, name select name")
        ]:
            if by_hand_disk.used() <= most:
                break
            by_hand.do(f"rm {name}")
        assert at_once.names() == by_hand.names()
        assert disk.used() == by_hand_disk.used()


@pytest.mark.parametrize(
    ("when", "is_full"),
    [
        ("disk use > 49%", True),
        ("disk use > 50%", False),
        ("disk use >= 50%", True),
        ("free < 500kB", False),
        ("free <= 500kB", True),
        ("free < 51%", True),
    ],
)
@pytest.mark.usefixtures("disk")
def test_when_selects_rows_of_a_full_disk_only(when: str, is_full: bool, tmp_path: pathlib.Path) -> None:
    with StoreSession(tmp_path / "store") as store:
        names = store.names()
        assert bool(store.rows(f"images when {when}")) == is_full
        store.do(f"rm images where tag is known when {when}")
        assert (store.names() != names) == is_full
