"""`images as tree`: images under their bases, with what only they have and what they share."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

import pytest
from imq.cli.options import Options
from imq.cli.output import Console
from imq.engine.render.formats import write_rows
from imq.engine.render.values import DisplayOptions
from imq.engine.result import RowSet
from store.support.stores import NOW, StoreSession
from support.images import Image, Layout, layer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OS, RUNTIME, APP, OTHER = (
    layer({name: b"x" * size}) for name, size in {"os": 5000, "runtime": 700, "app": 60, "other": 3}.items()
)
IMAGES = {
    "debian:12": ("2024-01-01", OS),
    "python:3": ("2024-02-01", OS, RUNTIME),
    "app:1": ("2024-03-01", OS, RUNTIME, APP),
    "tool:1": ("2024-04-01", OS, OTHER),
    "other:1": ("2024-05-01", OTHER),
}


@pytest.fixture
def session(tmp_path: Path) -> Iterator[StoreSession]:
    layout = Layout(tmp_path / "store")
    for name, (day, *layers) in IMAGES.items():
        names = (name, f"{name}.1") if name == "app:1" else (name,)
        layout.add(Image(layers, f"{day}T00:00:00Z", labels={"name": name}), *names)
    layout.add(Image([OS], "2023-01-01T00:00:00Z", labels={"name": "labelled"}), "debian:labelled")
    with StoreSession(tmp_path / "store") as session:
        yield session


BARS = ["█", "UNIQUE", "░", "SHARED"]


def draw(session: StoreSession, text: str, **options: bool) -> list[str]:
    """Return the lines of a result without the IDs of images."""
    (result,) = session.session.run(text)
    assert isinstance(result, RowSet)
    written = "".join(write_rows(result, DisplayOptions(NOW, None, **options), "table"))
    return [re.sub(r" +[0-9a-f]{12}\b", "", line) for line in written.splitlines()]


def test_bases_are_above_their_images(session: StoreSession) -> None:
    lines = draw(session, "images as tree")
    assert [line.split() for line in lines] == [
        ["IMAGE", "IMAGE", "ID", "SIZE", "UNIQUE", "SHARED", *BARS, "NOTE"],
        ["other:1", "3B", "0B", "3B", "░"],
        ["debian:12", "5kB", "0B", "5kB", "░░░░░░░░░"],
        ["├──", "tool:1", "5kB", "0B", "5kB", "░░░░░░░░░"],
        ["└──", "python:3", "5.7kB", "0B", "5.7kB", "░░░░░░░░░░"],
        ["└──", "app:1,", "app:1.1", "5.76kB", "60B", "5.7kB", "█░░░░░░░░░"],
        ["debian:labelled", "5kB", "0B", "5kB", "░░░░░░░░░", "the", "layers", "of", "debian:12"],
    ]
    assert [line.index(name) for line in lines for name in ("tool:1", "python:3", "app:1,") if name in line] == [
        4,
        4,
        8,
    ]


def test_ascii(session: StoreSession) -> None:
    lines = draw(session, "images where repository in (debian, tool, python, app) as tree", ascii=True)
    assert [line.split("  ")[0] for line in lines[1:] if line.startswith("|")] == ["|-- tool:1"]
    assert [line.split(" ")[0] for line in lines[1:] if line.startswith("`")] == ["`--"]
    assert all(line.isascii() for line in lines)
    assert lines[0].endswith("# UNIQUE - SHARED   NOTE")
    assert next(line for line in lines if "app:1" in line).endswith(" #---------")


@pytest.mark.parametrize(
    ("environment", "is_ascii"),
    [
        ({}, False), ({"LANG": "de_DE.UTF-8"}, False), ({"LANG": "C"}, True), ({"LANG": "C.UTF-8"}, False),
        ({"LANG": "de_DE.UTF-8", "LC_ALL": "POSIX"}, True), ({"LC_CTYPE": "C.UTF-8", "LANG": "C"}, False),
    ],
)  # fmt: skip
def test_the_locale_chooses_the_characters(environment: dict[str, str], is_ascii: bool) -> None:
    console = Console(io.StringIO(), io.StringIO(), io.StringIO(), environment)
    assert console.display_options(Options({}, frozenset(), ())).ascii is is_ascii


def test_the_nearest_base_among_the_rows(session: StoreSession) -> None:
    lines = draw(session, "images where name in (debian:12, app:1) as tree")
    assert [line.split()[:2] for line in lines[1:]] == [["debian:12", "5kB"], ["└──", "app:1"]]
    assert draw(session, "images where name = absent:1 as tree") == []


def test_sizes_that_no_row_knows_are_left_out(session: StoreSession, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "packed")
    packed = [layer({name: b"x" * 100}, "gzip") for name in ("a", "b")]
    layout.add(Image(packed[:1]), "base:1")
    layout.add(Image(packed), "top:1")
    place = f"oci:{tmp_path / 'packed'}"
    lines = draw(session, f'images in "{place}" as tree')
    assert [line.split()[0] for line in lines] == ["IMAGE", "base:1", "└──"]
    assert lines[0].split() == ["IMAGE", "IMAGE", "ID"]
    both = draw(session, f'images in store, "{place}" where name in (base:1, top:1, python:3, app:1) as tree')
    assert [line.split() for line in both] == [
        ["IMAGE", "IMAGE", "ID", "SIZE", "UNIQUE", "SHARED", *BARS],
        ["store"],
        ["└──", "python:3", "5.7kB", "0B", "5.7kB", "░░░░░░░░░░"],
        ["└──", "app:1", "5.76kB", "60B", "5.7kB", "█░░░░░░░░░"],
        [place],
        ["└──", "base:1"],
        ["└──", "top:1"],
    ]


def test_other_columns_are_grouped_as_before(session: StoreSession) -> None:
    lines = draw(session, "images where repository = debian select repository, tag as tree")
    assert lines == ["debian", "├── 12", "└── labelled"]
