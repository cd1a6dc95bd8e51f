"""`reclaim` says what `rm` frees: for every selection of names, the bytes by which the blobs of the store shrink."""

from __future__ import annotations

import os
import random
import shutil
from typing import TYPE_CHECKING

import pytest
from store.support.stores import StoreSession
from support.images import AMD64, ARM64, Image, Layout, layer

if TYPE_CHECKING:
    from pathlib import Path

LAYERS = [layer({f"file-{n}": bytes([n]) * (1000 * (n + 1))}) for n in range(5)]


def write_random_store(root: Path, chance: random.Random) -> None:
    """Write images of random layers: some with several names, with a digest as a name, without one, in an index."""
    layout = Layout(root)
    for number in range(8):
        layers = chance.sample(LAYERS, chance.randrange(1, 4))
        image = Image(layers, labels={"n": str(chance.randrange(6))})
        name = f"app{number % 5}:{number}"
        kind = chance.randrange(6)
        if kind == 0:
            layout.add(image)
        elif kind == 1:
            layout.add(image, name, f"app{number % 5}:again-{number}", f"other/app:{number}")
        elif kind == 2:
            layout.add(image, name, f"app{number % 5}@{image.digest}")
        elif kind == 3:
            other = Image([chance.choice(LAYERS)], platform=ARM64, labels={"n": str(number)})
            layout.add_index([Image(layers, platform=AMD64, labels={"n": str(number)}), other], name)
        else:
            layout.add(image, name)


def count_bytes(root: Path) -> int:
    return sum(entry.stat().st_size for entry in os.scandir(root / "blobs" / "sha256"))


@pytest.mark.parametrize("seed", range(12))
def test_the_sum_is_what_rm_frees(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    root = tmp_path / "store"
    write_random_store(root, chance)
    with StoreSession(root) as session:
        session.rows("reindex")
        rows = session.rows("images where name is known select name, id")
        chosen = chance.sample(sorted({row["name"] for row in rows}), 4)
        unnamed = " or dangling" if chance.randrange(2) else ""
        query = f"images where name in ({', '.join(chosen)}){unnamed}"
        foreseen = session.rows(f"reclaim of ({query})")
        total = session.rows(f"reclaim of ({query}) select sum(size) as size")[0]["size"] or 0
        planned = session.outcomes(f"rm {query}", dry_run=True)
        assert total == sum(row["size"] for row in foreseen) == sum(row["size"] or 0 for row in planned)
        for row in foreseen:
            own = f"name = {row['name']}" if row["name"] else "name is unknown"
            alone = f"images where id = {row['id']} and {own}"
            (only, *others) = session.rows(f"reclaim of ({alone})")
            assert others or row["alone"] == only["size"] == only["alone"]
        before = count_bytes(root)
        session.outcomes(f"rm {query}")
        assert before - count_bytes(root) == total


def test_rows_and_notes(tmp_path: Path) -> None:
    root = tmp_path / "store"
    layout = Layout(root)
    base, app = Image(LAYERS[:1]), Image(LAYERS[:2])
    layout.add(base, "base:1", "base:latest")
    layout.add(app, "app:1")
    with StoreSession(root) as session:
        own = len(app.config) + len(app.manifest) + len(LAYERS[1].blob)
        assert session.rows("reclaim of app:1 select * as json") == [
            {
                "id": app.id, "name": "app:1", "removes": 1, "size": own, "alone": own, "blobs": 3, "note": None,
                "source": "store",
            }
        ]  # fmt: skip
        (kept,) = session.rows("reclaim of base:1")
        assert (kept["size"], kept["alone"], kept["note"]) == (0, 0, "another name keeps the image")
        first, last = session.rows("reclaim of base:1, base:latest select name, size, alone, removes, note")
        documents = len(base.config) + len(base.manifest)
        assert first == {"name": "base:1", "size": 0, "alone": 0, "removes": 0, "note": None}
        assert last == {"name": "base:latest", "size": documents, "alone": 0, "removes": 1, "note": None}
        rows = session.rows("reclaim of (images all order by repository) select name, size, blobs where size > 0")
        assert [row["name"] for row in rows] == ["app:1", "base:latest"]
        assert sum(row["size"] for row in session.rows("reclaim")) == count_bytes(root)
        assert session.rows("reclaim of (images where name = absent:1)") == []
        assert session.failure_code("reclaim of absent:1") == "no-such-image"


def test_an_index_frees_nothing_until_all_its_images_are_selected(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "store")
    layout.add_index([Image(LAYERS[:1], platform=AMD64), Image(LAYERS[1:2], platform=ARM64)], "multi:1")
    with StoreSession(tmp_path / "store") as session:
        one = session.rows("reclaim of (images where platform = linux/amd64) select size, removes")
        assert [(row["size"], row["removes"]) for row in one] == [(0, 0)]
        both = session.rows("reclaim of (images where name = multi:1)")
        assert sum(row["size"] for row in both) == count_bytes(tmp_path / "store")


def test_nothing_is_freed_while_an_image_cannot_be_read(tmp_path: Path) -> None:
    root = tmp_path / "store"
    layout = Layout(root)
    layout.add(Image(LAYERS[:1]), "app:1")
    broken = layout.add(Image(LAYERS[1:2]), "broken:1")
    os.unlink(layout.path(broken.digest))
    shutil.rmtree(root / "index.db", ignore_errors=True)
    with StoreSession(root) as session:
        (row,) = session.rows("reclaim of (images where name = app:1)")
        assert (row["size"], row["note"]) == (0, "no blob is removed while broken:1 cannot be read")


def test_what_reclaim_takes(tmp_path: Path) -> None:
    Layout(tmp_path / "store").add(Image(LAYERS[:1]), "app:1")
    place = Layout(tmp_path / "place")
    place.add(Image(LAYERS[:1]), "app:1")
    with StoreSession(tmp_path / "store") as session:
        assert session.failure_code("reclaim of (layers all)") == "target"
        assert session.failure_code("reclaim of (images select name)") == "target"
        assert session.failure_code(f'reclaim of (images in "oci:{tmp_path / "place"}")') == "place"
        assert session.failure_code(f'reclaim in "oci:{tmp_path / "place"}"') == "place"
