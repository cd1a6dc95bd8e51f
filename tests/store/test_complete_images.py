"""The field `complete`: whether the folder of the store still has every blob of an image."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from imq.grammar.errors import StatementError
from store.support.stores import StoreSession
from support.images import digest_of, write_library
from support.warned import Warned

if TYPE_CHECKING:
    from pathlib import Path

    from support.images import Image

PINNED = "the store does not report pinned: it is unknown for all its images"


@pytest.fixture
def library(tmp_path: Path) -> dict[str, Image]:
    """The images of a store in which blobs may be missing at the end of a test."""
    return write_library(tmp_path / "store")


def list_incomplete(session: StoreSession) -> set[str]:
    return {row["name"] for row in session.rows("images where not complete select name as json")}


@pytest.mark.parametrize("part", ["layer", "config", "manifest"])
@pytest.mark.parametrize("damage", ["removed", "truncated"])
def test_an_image_without_a_blob_is_not_complete(
    tmp_path: Path, library: dict[str, Image], part: str, damage: str
) -> None:
    image = library["redis:7"]
    digests = {"layer": digest_of(image.layers[-1].blob), "config": image.id, "manifest": image.digest}
    blob = tmp_path / "store/blobs/sha256" / digests[part].removeprefix("sha256:")
    with StoreSession(tmp_path / "store") as session:
        assert list_incomplete(session) == set()
        content = blob.read_bytes()
        if damage == "removed":
            blob.unlink()
        else:
            os.truncate(blob, 3)
        incomplete = list_incomplete(session)
        assert "redis:7" in incomplete
        assert "team/app:1" not in incomplete
        blob.write_bytes(content)
        assert list_incomplete(session) == set()


def test_the_path_is_that_of_the_manifest(tmp_path: Path, library: dict[str, Image]) -> None:
    with StoreSession(tmp_path / "store") as session:
        (row,) = session.rows("images where name = redis:7 select store_path as json")
    assert (tmp_path / "store" / row["store_path"]).read_bytes() == library["redis:7"].manifest


@pytest.mark.usefixtures("library")
def test_the_store_pins_no_image_and_says_so(tmp_path: Path) -> None:
    warned = Warned()
    with StoreSession(tmp_path / "store", progress=warned) as session:
        assert session.rows("images where pinned") == []
        assert warned.texts == [PINNED]
        with pytest.raises(StatementError, match='"pinned" is unknown in the store, so rm cannot use it'):
            session.outcomes("rm images where not pinned", dry_run=True)
