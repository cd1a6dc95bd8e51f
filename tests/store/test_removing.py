"""Removing many files at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from imq.engine.store.removing import remove_files

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("count", [3, 300])
def test_files_go_and_their_bytes_are_told(tmp_path: Path, count: int) -> None:
    paths = [tmp_path / str(n) for n in range(count)]
    for number, path in enumerate(paths):
        if number != 1:
            path.write_bytes(bytes(number))
    assert remove_files([str(path) for path in paths]) == [None if n == 1 else n for n in range(count)]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("count", [3, 300])
def test_what_cannot_be_removed_is_told_when_the_others_are_gone(tmp_path: Path, count: int) -> None:
    paths = [tmp_path / str(n) for n in range(count)]
    for path in paths[1:]:
        path.write_bytes(b"")
    paths[0].mkdir()
    with pytest.raises(OSError, match="0"):
        remove_files([str(path) for path in paths])
    assert list(tmp_path.iterdir()) == [paths[0]]
