"""Removing many blobs in parallel."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from imq.engine.oci.digest import Digest
from imq.engine.store.bulk_unlink import remove_blobs
from imq.engine.store.layout import Layout

if TYPE_CHECKING:
    from pathlib import Path


def stored(root: Path, count: int) -> tuple[Layout, list[Digest]]:
    """A layout with blobs of 0, 1, 2 … bytes."""
    layout = Layout(str(root))
    layout.create()
    digests = [Digest.of(str(number).encode()) for number in range(count)]
    for number, digest in enumerate(digests):
        (root / "blobs" / "sha256" / digest.encoded).write_bytes(bytes(number))
    return layout, digests


@pytest.mark.parametrize("count", [3, 300])
def test_blobs_are_removed_and_their_sizes_returned(tmp_path: Path, count: int) -> None:
    layout, digests = stored(tmp_path / "store", count)
    os.unlink(tmp_path / "store" / "blobs" / "sha256" / digests[1].encoded)
    assert remove_blobs(layout, digests) == [None if n == 1 else n for n in range(count)]
    assert not os.listdir(tmp_path / "store" / "blobs" / "sha256")


@pytest.mark.parametrize("count", [3, 300])
def test_an_error_is_raised_after_all_other_blobs_are_removed(tmp_path: Path, count: int) -> None:
    layout, digests = stored(tmp_path / "store", count)
    blocked = tmp_path / "store" / "blobs" / "sha256" / digests[0].encoded
    blocked.unlink()
    blocked.mkdir()
    with pytest.raises(OSError, match=digests[0].encoded):
        remove_blobs(layout, digests)
    assert os.listdir(tmp_path / "store" / "blobs" / "sha256") == [digests[0].encoded]
