"""Lineage across sources: images of one place compared with those of another, and unions of places."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from imq.engine.result import Message
from imq.grammar.errors import ImqError, Refused, StatementError, StoreError
from store.support.stores import StoreSession
from support.images import Image, Layout, layer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OS, RUNTIME, APP, OTHER = (layer({name: name.encode() * 100}) for name in ("os", "runtime", "app", "other"))


@pytest.fixture
def session(tmp_path: Path) -> Iterator[StoreSession]:
    """A store with `debian:12` and `store/app:1`, and a layout with three images, one of them on `debian:12`."""
    stored, place = Layout(tmp_path / "store"), Layout(tmp_path / "place")
    stored.add(Image([OS]), "debian:12")
    stored.add(Image([OS, OTHER]), "store/app:1")
    place.add(Image([OS, RUNTIME]), "runtime:1")
    place.add(Image([OS, RUNTIME, APP]), "app:1")
    place.add(Image([OTHER]), "other:1")
    with StoreSession(tmp_path / "store") as session:
        yield session


@pytest.fixture
def place(tmp_path: Path) -> str:
    return f"oci:{tmp_path / 'place'}"


def names(session: StoreSession, text: str) -> set[str]:
    return {row["name"] for row in session.rows(f"{text} select name")}


def test_images_of_one_source_on_those_of_another(session: StoreSession, place: str) -> None:
    assert names(session, f'images in "{place}" where based on (images in store where name = debian:12)') == {
        "runtime:1",
        "app:1",
    }
    assert names(session, f'images in store where based on (images in "{place}" all)') == set()
    assert names(session, f'images in store where shares layers with (images in "{place}" where tag = 1)') == {
        "debian:12",
        "store/app:1",
    }
    assert names(
        session, f'images in "{place}" where shares layers with (images in store where name like "store/*")'
    ) == {
        "runtime:1",
        "app:1",
        "other:1",
    }
    assert names(session, f'images in "{place}" where not based on (images in store all)') == {"other:1"}


def test_an_image_shares_no_layer_with_itself_in_another_source(session: StoreSession, place: str) -> None:
    session.do(f'load "{place}"')
    assert names(session, f'images in store where shares layers with (images in "{place}" where name = other:1)') == {
        "store/app:1"
    }
    assert (
        names(session, f'images in "{place}" where shares layers with (images in store where name = other:1)') == set()
    )


def test_a_union_of_sources_keeps_lineage_within_each(session: StoreSession, place: str) -> None:
    rows = session.rows(
        f'images in store, "{place}" select name, source, base.name as base, list(children.name) as below'
    )
    found = {row["name"]: (row["base"], json.loads(row["below"])) for row in rows}
    assert found == {
        "debian:12": (None, ["store/app:1"]),
        "store/app:1": ("debian:12", []),
        "runtime:1": (None, ["app:1"]),
        "app:1": ("runtime:1", []),
        "other:1": (None, []),
    }
    assert names(session, f'images in store, "{place}" where base is known') == {"store/app:1", "app:1"}
    assert names(session, f'images in store, "{place}" where any children') == {"debian:12", "runtime:1"}
    based = f'images in store, "{place}" where based on (images in store where name = debian:12)'
    assert names(session, based) == {"store/app:1", "runtime:1", "app:1"}


def test_a_bases_condition_decides_after_the_base_is_found(session: StoreSession, place: str) -> None:
    """The base is the image with the most layers, also when a condition holds for another one only."""
    assert names(session, f'images in "{place}" where any base where layer_count = 1') == set()
    assert names(session, f'images in "{place}" where name = app:1 and any base where layer_count = 2') == {"app:1"}


def test_explain_says_what_a_base_takes(session: StoreSession, place: str) -> None:
    (result,) = session.session.run(f'explain images in "{place}" select name, base.name')
    assert isinstance(result, Message)
    assert "the layers of all images of the place" in result.text


def test_what_is_compared_must_be_images(session: StoreSession, place: str) -> None:
    for condition in ("based on (layers all)", "based on (images select name)", "shares layers with (images count)"):
        with pytest.raises(StatementError, match="expects an image, or a query of images"):
            session.rows(f"images where {condition}")
    with pytest.raises(StatementError, match="is a condition on images"):
        session.rows("layers where based on (images all)")
    with pytest.raises(ImqError, match="No such image: debian:12"):
        session.rows(f'images in "{place}" where based on debian:12')


def test_a_removal_leaves_images_with_unknown_layers(tmp_path: Path) -> None:
    """An image that cannot be read may be based on any other."""
    layout = Layout(tmp_path / "store")
    layout.add(Image([OS]), "debian:12")
    layout.add(Image([]), "empty:1")
    broken = Image([OTHER])
    layout.add(broken, "broken:1")
    (tmp_path / "store" / "blobs" / "sha256" / broken.id.partition(":")[2]).write_bytes(b"{")
    with StoreSession(tmp_path / "store") as session:
        planned = session.outcomes("rm images where not based on debian:12", dry_run=True)
        outcomes = {row["target"]: row["action"] for row in planned}
        assert outcomes["empty:1"] == outcomes["debian:12"] == "remove"
        assert outcomes["broken:1"] != "remove"
        with pytest.raises(StoreError, match="broken:1 cannot be read"):
            session.outcomes("rm images where not based on (images where name = debian:12)", dry_run=True)


def test_a_removal_refuses_a_base_with_unknown_layers(session: StoreSession, tmp_path: Path) -> None:
    """An image without layers has no chain ID: every image would be based on something else."""
    Layout(tmp_path / "empty").add(Image([]), "empty:1")
    empty = f"oci:{tmp_path / 'empty'}"
    with pytest.raises(Refused, match="chain_id is unknown in some images after not based on"):
        session.do(f'rm images where not based on (images in "{empty}" all)')
    assert names(session, "images") == {"debian:12", "store/app:1"}
