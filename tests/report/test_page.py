"""The page of a report: what it says, how it is written, and that no text of an image is markup."""

from __future__ import annotations

import hashlib
import html
import json
import os
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest
from report.conftest import HOSTILE, fill_store
from support.command import run_imq
from support.large_store import make_large_store
from test_architecture import CHECKOUT

if TYPE_CHECKING:
    import pathlib

FILES = CHECKOUT / "engine" / "render" / "report"


class Page(HTMLParser):
    """The elements of a page, with the text of each script and code element, and of each cell."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        self.texts.append((tag, ""))

    def handle_data(self, text: str) -> None:
        if self.texts:
            tag, before = self.texts[-1]
            self.texts[-1] = (tag, before + text)

    @property
    def data(self) -> dict[str, Any]:
        """What the script draws."""
        scripts = [text for tag, text in self.texts if tag == "script"]
        document: dict[str, Any] = json.loads(scripts[0])
        return document


def environment(store: pathlib.Path) -> dict[str, str]:
    return {"IMQ_ROOT": str(store), "HOME": str(store.parent), "TZ": "UTC"}


def write(store: pathlib.Path, target: pathlib.Path, words: str = "report") -> Page:
    done = run_imq(environment(store), f'{words} to "{target}"')
    assert done.code == 0, done.stderr
    return Page(target.read_text())


@pytest.fixture(scope="module")
def page(store: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> Page:
    return write(store, tmp_path_factory.mktemp("page") / "report.html")


def test_pictures_count_every_layer_once(page: Page, store: pathlib.Path) -> None:
    data = page.data
    layers = {digest: (size, images) for _, digest, size, _, images in data["layers"]}
    said = run_imq(environment(store), "layers group by diff_id select diff_id, max(size) as size as json")
    assert {one["diff_id"]: one["size"] for one in json.loads(said.stdout)} == {
        digest: size for digest, (size, _) in layers.items()
    }
    assert sorted(len(images) for _, images in layers.values()) == [1, 1, 1, 1, 5, 6]
    assert data["groups"][data["layers"][0][0]] == "several repositories"


def test_repositories_are_split_into_own_and_shared_bytes(page: Page) -> None:
    by_name = {one["name"]: one for one in page.data["repositories"]}
    assert by_name["team/app"]["own"] == 3 * 15_000 + 3
    assert by_name["team/app"]["shared"] == 1_000 + 40_000 + 30_000
    assert len(by_name["team/app"]["images"]) == 3
    assert by_name["images without a name"] == {
        "name": "images without a name",
        "own": 2_000,
        "shared": 0,
        "images": by_name["images without a name"]["images"],
        "condition": "repository is unknown",
    }


def test_images_are_nested_by_their_bases(page: Page) -> None:
    data = page.data

    def name(node: list[Any]) -> tuple[str, list[Any]]:
        return data["labels"][node[0]], sorted(map(name, node[1]))

    families = {name(root)[0]: name(root)[1] for root in data["lineage"]}
    python, same = sorted(families["debian:12"], key=lambda node: len(node[1]), reverse=True)
    assert {python[0], same[0]} == {"python:3", "team/python:3"}
    assert [one[0] for one in python[1]] == ["team/app:0", "team/app:1", "team/app:2"]


def test_ages_have_every_image_once_and_conditions_that_find_them(page: Page, store: pathlib.Path) -> None:
    data = page.data
    assert sorted(place for one in data["ages"] for place in one["images"]) == list(range(7))
    for one in data["ages"]:
        found = run_imq(environment(store), f"({data['prefix']}{one['condition']}) group by id select id count")
        assert found.stdout.split() == [str(len(one["images"]))], one


def test_every_sentence_on_the_page_runs(page: Page, store: pathlib.Path) -> None:
    sentences = [text for tag, text in page.texts if tag == "code" and re.match(r"\(?(images|layers|waste)\b.", text)]
    assert len(sentences) == 8  # the scope, and seven pictures
    for sentence in sentences:
        assert run_imq(environment(store), sentence).code == 0, sentence
    for one in page.data["repositories"]:
        assert run_imq(environment(store), page.data["prefix"] + one["condition"]).code == 0


def test_waste_is_what_upper_layers_hide(page: Page) -> None:
    wasted = {name: bytes_ for name, bytes_, *_ in page.data["waste"] if bytes_}
    assert wasted == {f"team/app:{tag}": 40_000 for tag in range(3)}


def test_images_with_equal_layers_are_duplicates(page: Page) -> None:
    assert ("td", "python:3, team/python:3") in page.texts


def test_text_of_images_is_never_markup(page: Page, store: pathlib.Path, tmp_path: pathlib.Path) -> None:
    assert [tag for tag, _ in page.tags if tag in ("img", "iframe", "object", "embed", "form")] == []
    assert [tag for tag, _ in page.tags].count("script") == 3
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    hostile = [step for *_, step, _ in page.data["layers"] if "onerror" in step]
    assert [step.replace("\u2028", "") for step in hostile] == [HOSTILE.replace("\u2028", "")]
    quoted = HOSTILE.replace('"', "'").replace("\u2028", " ")
    scoped = write(store, tmp_path / "scoped.html", f'report of images where label.x != "{quoted}"')
    assert [tag for tag, _ in scoped.tags].count("img") == 0
    assert scoped.tags.count(("script", {})) == 2


def test_the_page_allows_its_own_scripts_only(page: Page) -> None:
    (policy,) = (
        attributes["content"] or "" for tag, attributes in page.tags if attributes.get("http-equiv") is not None
    )
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert not re.search(r"unsafe-eval|https?:|script-src[^;]*unsafe", policy)
    loading = [(tag, name) for tag, attributes in page.tags for name in ("src", "srcset") if name in attributes]
    assert loading == []
    links = {attributes.get("href") for tag, attributes in page.tags if tag in ("a", "link")}
    assert all(link == "data:," or (link or "").startswith("#") for link in links)


def test_a_report_of_some_images(store: pathlib.Path, tmp_path: pathlib.Path) -> None:
    page = write(store, tmp_path / "some.html", "report of images where repository = team/app with no waste")
    assert len(page.data["labels"]) == 3
    assert page.data["prefix"] == "(images where repository = team/app) where "
    assert any(text.startswith("The contents of layers were not read") for _, text in page.texts)


def test_a_report_without_images(tmp_path: pathlib.Path, store: pathlib.Path) -> None:
    page = write(store, tmp_path / "none.html", "report of images where size > 1TB")
    assert page.data["labels"] == []


def test_a_dry_run_writes_nothing(store: pathlib.Path, tmp_path: pathlib.Path) -> None:
    done = run_imq(environment(store), f'dry run report to "{tmp_path}/report.html"')
    assert (done.code, os.listdir(tmp_path)) == (0, [])
    assert done.stdout.splitlines()[1].split()[::2] == ["report", "7"]


def test_an_existing_file_is_replaced_with_force_only(store: pathlib.Path, tmp_path: pathlib.Path) -> None:
    target = tmp_path / "report.html"
    target.write_text("mine")
    refused = run_imq(environment(store), f'report to "{target}"')
    assert (refused.code, target.read_text()) == (3, "mine"), refused
    assert "already exists" in refused.stderr
    assert run_imq(environment(store), f'report to "{target}" force').code == 0
    assert target.read_text().startswith("<!doctype html>")
    assert os.listdir(tmp_path) == ["report.html"]


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("report", "report needs a query"),
        ('report app:1 to "x.html"', "report needs a query"),
        ('report to "x.csv"', "report needs a query"),
        ('report to "missing/x.html"', "missing or is not a folder"),
        ('report to "."', "report needs a query"),
        ('report with waste with no waste to "x.html"', "cannot be combined"),
        ('report of layers with waste to "x.html"', "for reports of images to HTML files"),
    ],
)
def test_refused(store: pathlib.Path, statement: str, said: str) -> None:
    done = run_imq(environment(store), statement)
    assert done.code != 0
    assert said in done.stderr


@pytest.mark.parametrize("query", ["images as html", "layers", "images select name", "images count"])
def test_other_rows_are_tables(store: pathlib.Path, tmp_path: pathlib.Path, query: str) -> None:
    done = run_imq(environment(store), f'{query} to "{tmp_path}/x.html"')
    assert (done.code, "application/json" in (tmp_path / "x.html").read_text()) == (0, False)


def test_skip_existing_keeps_a_file(store: pathlib.Path, tmp_path: pathlib.Path) -> None:
    (tmp_path / "x.html").write_text("mine")
    assert run_imq(environment(store), f'images to "{tmp_path}/x.html" skip existing').code == 0
    assert (tmp_path / "x.html").read_text() == "mine"


def test_what_cannot_be_read_is_said(tmp_path: pathlib.Path) -> None:
    broken = tmp_path / "store"
    fill_store(broken)
    assert run_imq(environment(broken), "images select size").code == 0  # the sizes are known, the files are not
    index = json.loads((broken / "index.json").read_text())
    manifest = index["manifests"][0]["digest"].removeprefix("sha256:")
    layers = json.loads((broken / "blobs" / "sha256" / manifest).read_text())["layers"]
    (broken / "blobs" / "sha256" / layers[0]["digest"].removeprefix("sha256:")).write_bytes(b"broken")
    done = run_imq(environment(broken), f'report to "{tmp_path}/report.html"')
    assert done.code != 0
    page = (tmp_path / "report.html").read_text()
    assert "Incomplete" in page


def test_a_thousand_images_fit_in_two_megabytes(tmp_path: pathlib.Path) -> None:
    root = tmp_path / "store"
    make_large_store(str(root), 1_000)
    target = tmp_path / "report.html"
    done = run_imq(environment(root), f'report with no waste to "{target}"')
    assert done.code == 0, done.stderr
    assert target.stat().st_size < 2_000_000
    assert html.escape("images group by source") in target.read_text()


def test_the_chart_library_has_the_checksum_of_its_build() -> None:
    lines = (CHECKOUT / "build" / "charts" / "SHA256SUMS").read_text().splitlines()
    sums = {name: digest for digest, name in (line.split() for line in lines)}
    assert sums == {name: hashlib.sha256((FILES / name).read_bytes()).hexdigest() for name in sums}
    pinned = json.loads((CHECKOUT / "build" / "charts" / "package-lock.json").read_text())["packages"]
    version = pinned["node_modules/echarts"]["version"]
    assert f"Apache ECharts {version}," in (FILES / "echarts.min.js").read_text()[:200]
    assert all("integrity" in one for path, one in pinned.items() if path)
