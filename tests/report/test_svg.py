"""`as svg`: a picture of images and of the layers that they share."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.dom import minidom

import pytest
from support.command import run_imq
from support.images import Image, Layout, layer

if TYPE_CHECKING:
    import pathlib

FIRST, SECOND = (layer({f"lib/{name}": b"x" * 1_000}) for name in "ab")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("graph")
    store = Layout(folder / "store")
    store.add(Image([FIRST]), "docker.io/library/base:1")
    for name in ("one", "two"):  # on two layers that no image consists of
        store.add(Image([FIRST, SECOND, layer({name: b"y" * 500})]), f"docker.io/team/{name}:1")
    store.add(Image([layer({"alone": b"z" * 2_500})]))
    return {"IMQ_ROOT": str(folder / "store"), "HOME": str(folder)}


def test_svg_has_bars_of_shared_and_unique_bytes(environment: dict[str, str]) -> None:
    done = run_imq(environment, "images as svg")
    document = minidom.parseString(done.stdout)
    texts = [node.firstChild.nodeValue for node in document.getElementsByTagName("text")]  # type: ignore[union-attr]
    assert texts[:2] == ["base:1", "1kB, 0B of its own"]
    assert sorted(texts[2:]) == sorted(
        [
            "2 shared layers",
            *["2.5kB, 500B of its own"] * 2,
            "team/one:1",
            "team/two:1",
            "<none>",
            "2.5kB, 2.5kB of its own",
        ]
    )
    widths = [
        (bar.getAttribute("class"), float(bar.getAttribute("width")))
        for bar in document.getElementsByTagName("rect")
        if bar.getAttribute("class") in ("shared", "unique")
    ]
    assert sorted(widths) == sorted(
        [("shared", 64), ("unique", 0), *[("shared", 160), ("unique", 32)] * 2, ("shared", 160), ("unique", 160)]
    )


def test_without_images_the_picture_is_empty(environment: dict[str, str]) -> None:
    done = run_imq(environment, "images where size > 1TB as svg")
    assert minidom.parseString(done.stdout).getElementsByTagName("text") == []


@pytest.mark.parametrize("statement", ["layers as svg", "images select name as svg", "images count as svg"])
def test_other_rows_are_refused(environment: dict[str, str], statement: str) -> None:
    done = run_imq(environment, statement)
    assert (done.code, "draws whole images" in done.stderr) == (2, True)


@pytest.mark.parametrize(("end", "first"), [("dot", "digraph"), ("svg", "<svg")])
def test_the_end_of_a_path_chooses_the_graph(
    environment: dict[str, str], tmp_path: pathlib.Path, end: str, first: str
) -> None:
    assert run_imq(environment, f'images to "{tmp_path}/x.{end}"').code == 0
    assert (tmp_path / f"x.{end}").read_text().startswith(first)
