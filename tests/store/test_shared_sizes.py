"""Chain IDs, bases and shared layers, as images are added and removed."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING

from support.images import AMD64, Image, Layout, digest_of, layer

if TYPE_CHECKING:
    from pathlib import Path

    from store.support.stores import StoreSession
    from support.images import Layer

A, B, C, D = (layer({name: name.encode() * size}) for name, size in {"a": 1000, "b": 200, "c": 30, "d": 4}.items())


def chain(*layers: Layer) -> str:
    """Compute the chain ID as the image specification defines it, from the top down."""
    if len(layers) == 1:
        return layers[0].diff_id
    return digest_of(f"{chain(*layers[:-1])} {layers[-1].diff_id}".encode())


def image(*layers: Layer, name: str = "") -> Image:
    return Image(layers, labels={"name": name})


def shares(store: StoreSession) -> dict[str, tuple[int, int]]:
    """Return the shared and the unique bytes of each named image."""
    return {
        row["name"]: (row["shared_size"], row["unique_size"])
        for row in store.rows("images where name is known select name, shared_size, unique_size")
    }


def bases(store: StoreSession) -> dict[str, str | None]:
    """Return the name of the image that each named image is based on."""
    return {row["name"]: row["base"] for row in store.rows("images where name is known select name, base.name as base")}


def children(store: StoreSession) -> dict[str, set[str]]:
    """Return the names of the images that are based on each named image."""
    rows = store.rows("images where name is known select name, (list(children.name)) as children")
    return {row["name"]: set(json.loads(row["children"])) for row in rows}


def test_chain_ids_are_those_of_the_specification(store: StoreSession, root: Path) -> None:
    layout = Layout(root)
    layout.add(image(A, B, A), "three:1")
    layout.add(image(C), "one:1")
    layout.add(image(), "none:1")
    rows = store.rows("layers of three:1 select index, chain_id")
    assert [row["chain_id"] for row in rows] == [chain(A), chain(A, B), chain(A, B, A)]
    found = {row["name"]: row["chain_id"] for row in store.rows("images select name, chain_id")}
    assert found == {"three:1": chain(A, B, A), "one:1": C.diff_id, "none:1": None}


def test_the_base_is_the_image_with_the_most_of_the_lower_layers(store: StoreSession, root: Path) -> None:
    layout = Layout(root)
    for name, layers in {
        "none:1": (), "os:1": (A,), "runtime:1": (A, B), "app:1": (A, B, C, D), "again:1": (A, B, C, D),
        "other:1": (B, A), "more:1": (A, B, C, D, A),
    }.items():  # fmt: skip
        layout.add(image(*layers, name=name), name)
    assert bases(store) == {
        "none:1": None, "os:1": None, "runtime:1": "os:1", "app:1": "runtime:1", "again:1": "runtime:1",
        "other:1": None, "more:1": "again:1",
    }  # fmt: skip
    assert children(store) == {
        "none:1": set(), "os:1": {"runtime:1"}, "runtime:1": {"app:1", "again:1"}, "app:1": {"more:1"},
        "again:1": {"more:1"}, "other:1": set(), "more:1": set(),
    }  # fmt: skip
    store.do("rm runtime:1")
    assert bases(store)["app:1"] == "os:1"
    store.do("rm again:1")
    assert bases(store)["more:1"] == "app:1"


def test_a_layer_is_shared_while_two_images_have_it(store: StoreSession, root: Path) -> None:
    layout = Layout(root)
    layout.add(image(A, A, B), "one:1")  # a layer twice in one image is not shared
    assert shares(store) == {"one:1": (0, 2200)}
    layout.add(image(A, C), "two:1")
    assert shares(store) == {"one:1": (2000, 200), "two:1": (1000, 30)}
    layout.add(image(A, name="three"), "three:1")
    assert shares(store) == {"one:1": (2000, 200), "two:1": (1000, 30), "three:1": (1000, 0)}
    assert {row["images"] for row in store.rows("layers of one:1 select images where index < 2")} == {3}
    store.do("rm one:1")
    assert shares(store) == {"two:1": (1000, 30), "three:1": (1000, 0)}
    store.do("rm two:1")
    assert shares(store) == {"three:1": (0, 1000)}
    assert [row["images"] for row in store.rows("layers select images")] == [1]


def test_incremental_counts_match_a_full_recount(store: StoreSession, root: Path) -> None:
    layout = Layout(root)
    chance = random.Random(20)
    for n in range(30):
        layers = chance.choices((A, B, C, D), k=chance.randrange(5))
        layout.add(image(*layers, name=str(n)), *(f"app:{n}.{tag}" for tag in range(chance.randrange(1, 3))))
        if n % 3 == 2:
            gone = sorted(name for name in store.names() if name)
            store.do(f"rm {', '.join(chance.sample(gone, 3))}")
            layout.entries = [entry for entry in layout.entries if _name(entry) in store.names()]
        kept = store.dump_tables()
        store.do("reindex")
        assert store.dump_tables() == kept


def test_late_measured_sizes_are_shared_too(store: StoreSession, root: Path) -> None:
    layout = Layout(root)
    layout.add(image(A, B), "one:1")
    layout.add(Image((A, C), platform=AMD64), "two:1")
    store.names()
    index = store.session.store.index.connection
    assert index.execute("SELECT DISTINCT size, shared_size, unique_size FROM images").fetchall() == [(None,) * 3]
    assert shares(store) == {"one:1": (1000, 200), "two:1": (1000, 30)}
    assert index.execute(
        "SELECT count(*) FROM entry JOIN image ON image.key = image"
        " WHERE entry.size = image.size AND entry.shared_size = image.shared_size"
    ).fetchone() == (2,)


def _name(entry: dict[str, object]) -> str:
    annotations = entry["annotations"]
    assert isinstance(annotations, dict)
    return str(annotations["org.opencontainers.image.ref.name"])
