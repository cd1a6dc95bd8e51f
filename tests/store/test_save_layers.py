"""`save layers`: each layer in a file of its own, verified; and what `inspect` shows of the layers."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest
from imq.grammar.errors import ImqError
from store.support.stores import StoreSession
from support.images import Image, Layout, digest_of, layer, pack

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

LAYERS = [
    layer({"a": b"a" * 1000, "b": b"b" * 500}, "gzip"), layer({"a": b"A" * 1000}, "zstd"), layer({"b": b"c" * 500}),
]  # fmt: skip
IMAGE = Image(LAYERS)


@pytest.fixture
def session(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StoreSession]:
    Layout(tmp_path / "store").add(IMAGE, "app:1")
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    with StoreSession(tmp_path / "store") as opened:
        yield opened


def read_all(folder: pathlib.Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "out").iterdir()}


def test_layers_are_saved_as_they_are_stored(session: StoreSession, tmp_path: pathlib.Path) -> None:
    outcomes = session.rows('save layers of app:1 to "layer-{{.Index}}"')
    assert [one["target"].rpartition("/")[2] for one in outcomes] == ["layer-0", "layer-1", "layer-2"]
    assert read_all(tmp_path) == {f"layer-{at}": one.blob for at, one in enumerate(LAYERS)}


def test_the_end_of_the_path_tells_the_compression(session: StoreSession, tmp_path: pathlib.Path) -> None:
    session.rows('save layers of app:1 to "{{.Index}}.tar"')
    assert [digest_of(read_all(tmp_path)[f"{at}.tar"]) for at in range(3)] == [one.diff_id for one in LAYERS]
    session.rows('save layers of app:1 where index = 1 to "{{.Index}}.tar.gz"')
    assert digest_of(gzip.decompress(read_all(tmp_path)["1.tar.gz"])) == LAYERS[1].diff_id
    session.rows('save layers of app:1 where index = 0 to "same.tar.gz"')
    assert read_all(tmp_path)["same.tar.gz"] == LAYERS[0].blob


def test_several_layers_need_a_path_each(session: StoreSession, tmp_path: pathlib.Path) -> None:
    with pytest.raises(ImqError, match=r"layers\.tar is the path of several layers"):
        session.rows('save layers of app:1 to "layers.tar"')
    assert read_all(tmp_path) == {}


def test_a_damaged_layer_leaves_no_file(session: StoreSession, tmp_path: pathlib.Path) -> None:
    blob = tmp_path / "store" / "blobs" / "sha256" / LAYERS[1].digest.partition(":")[2]
    blob.write_bytes(pack(bytes(2048), "zstd"))
    outcomes = session.rows('save layers of app:1 where diff_id is known to "{{.Index}}.tar"')
    assert [bool(one["error"]) for one in outcomes] == [False, True, False]
    assert sorted(read_all(tmp_path)) == ["0.tar", "2.tar"]


def test_inspect_shows_the_waste_of_indexed_images(session: StoreSession) -> None:
    (document,) = session.rows("inspect app:1")
    assert "Waste" not in document
    (document,) = session.rows("inspect app:1 with waste")
    (row,) = session.rows("waste of app:1 select efficiency, wasted_size")
    assert (document["Waste"]["Efficiency"], document["Waste"]["WastedSize"]) == tuple(row.values()) == (0.5, 1500)
    assert [one["Size"] for one in document["Waste"]["LargestLayers"]] == [1500, 1000, 500]
    (again,) = session.rows("inspect app:1")
    assert again["Waste"] == document["Waste"]
