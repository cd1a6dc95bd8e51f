"""A report in a browser: drawn, clicked and used by keys, without a console message and without a request."""

from __future__ import annotations

import shutil
import struct
from typing import TYPE_CHECKING, Any

import pytest
from report.conftest import fill_store
from support.browser import start_browser
from support.command import run_imq
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.browser import Browser

pytestmark = pytest.mark.skipif(
    shutil.which("chromedriver") is None or shutil.which("chromium") is None, reason="needs chromium and chromedriver"
)

_SHOWN = (
    "return [...document.querySelectorAll('#table tbody tr')].filter(row => !row.hidden)"
    ".map(row => row.cells[{}].innerText)"
)
_SHAPES = "return document.querySelectorAll('#chart-' + arguments[0] + ' svg path').length"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with start_browser() as browser:
        browser.set_window(1280, 900)
        yield browser


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("browser")
    fill_store(folder / "store")
    target = folder / "report.html"
    environment = {"IMQ_ROOT": str(folder / "store"), "HOME": str(folder), "TZ": "UTC"}
    done = run_imq(environment, f'report to "{target}"')
    assert done.code == 0, done.stderr
    return str(target)


@pytest.fixture
def page(browser: Browser, path: str) -> Iterator[Browser]:
    """The open page. Afterwards: nothing was requested, refused or thrown, and no text of an image was run."""
    browser.set_window(1280, 900)
    browser.read_requests()
    browser.open(path)
    yield browser
    assert browser.read_console() == []
    assert browser.read_requests() == [f"file://{path}"]
    assert browser.run("return window.attacked === undefined && document.querySelector('img') === null")


def list_names(page: Browser) -> list[str]:
    shown: list[str] = page.run(_SHOWN.format(0))
    return shown


def read_text(page: Browser, selector: str) -> Any:
    return page.run("return document.querySelector(arguments[0]).innerText", selector)


def click_shape(page: Browser, chart: str, text: str) -> None:
    """Click on the middle of the text of a shape."""
    page.run("document.querySelector('#chart-' + arguments[0]).scrollIntoView({block: 'center'})", chart)
    x, y = page.run(
        "const label = [...document.querySelectorAll('#chart-' + arguments[0] + ' text')]"
        ".find(one => one.textContent.includes(arguments[1]));"
        "const box = label.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]",
        chart,
        text,
    )
    page.click_at(round(x), round(y))


@pytest.mark.parametrize("chart", ["layers", "lineage", "repositories", "ages", "waste"])
def test_drawn(page: Browser, chart: str) -> None:
    assert page.run("return document.documentElement.dataset.ready") == "true"
    assert page.run(_SHAPES, chart) > 4


def test_a_layer_filters_the_images(page: Browser) -> None:
    click_shape(page, "layers", "41kB")
    assert sorted(list_names(page)) == [
        "debian:12",
        "python:3",
        "team/app:0\nteam/app:old",
        "team/app:1",
        "team/app:2",
        "team/python:3",
    ]
    assert read_text(page, "#shown").startswith("6 of 7 images: with the layer ")
    assert read_text(page, "#images .sentence code").startswith("images where has layer sha256:")
    page.click("#clear")
    assert len(list_names(page)) == 7
    assert read_text(page, "#images .sentence code").startswith("images order by size desc select name")


def test_one_repository_of_the_treemap(page: Browser) -> None:
    before = page.run(_SHAPES, "layers")
    page.run(
        "const group = document.querySelector('#group');"
        "group.value = [...group.options].find(one => one.textContent === 'team/app').value;"
        "group.dispatchEvent(new Event('change'))"
    )
    wait_until(lambda: page.run(_SHAPES, "layers") < before)


def test_lineage_opens_and_closes(page: Browser) -> None:
    count = "return document.querySelectorAll('#chart-lineage text').length"
    before = page.run(count)
    click_shape(page, "lineage", "debian:12")
    assert page.run(count) < before
    click_shape(page, "lineage", "debian:12")
    assert page.run(count) == before


def test_words_filter_the_images(page: Browser) -> None:
    page.type("#filter", "TEAM store app")
    assert sorted(list_names(page)) == ["team/app:0\nteam/app:old", "team/app:1", "team/app:2"]
    assert read_text(page, "#shown") == "3 of 7 images"


def test_columns_sort(page: Browser) -> None:
    page.click("#table th:nth-child(1) button")
    names = list_names(page)
    assert names == sorted(names)
    page.click("#table th:nth-child(1) button")
    assert list_names(page) == names[::-1]
    page.click("#table th:nth-child(3) button")
    created = page.run(_SHOWN.format(2))
    assert (created[-1], created[-2]) == ("unknown", page.run(_SHOWN.format(2))[-2])
    assert page.run("return document.querySelector('#table th:nth-child(3)').ariaSort") == "descending"


def test_keys_reach_everything(page: Browser) -> None:
    page.press("Tab")
    assert page.run("return document.activeElement.className") == "skip"
    page.run("document.querySelector('#ages summary').focus()")
    page.press("Enter")
    page.press("Tab")
    assert page.run("return document.activeElement.dataset.choose") == "ages"
    page.run("document.querySelector('#ages tr:nth-child(8) button').focus()")
    page.press("Enter")
    assert list_names(page) != []
    page.press("Tab")
    assert page.run("return document.activeElement !== document.body")


def test_a_sentence_is_copied(page: Browser) -> None:
    page.click("#ages .copy")
    wait_until(lambda: read_text(page, "#status") == "Copied")


@pytest.mark.parametrize("width", [1280, 390])
def test_light_and_dark(page: Browser, width: int) -> None:
    colors = []
    for dark in (False, True):
        page.set_window(width, 900, dark=dark)
        wait_until(lambda: page.run("return innerWidth") == width)
        colors.append(page.run("return getComputedStyle(document.body).backgroundColor"))
        picture = page.take_screenshot()
        assert struct.unpack(">II", picture[16:24]) == (width, 900)
        wait_until(lambda: page.run("return document.documentElement.scrollWidth") == width)  # charts are drawn again
    page.click("#theme")
    colors.append(page.run("return getComputedStyle(document.body).backgroundColor"))
    assert (colors[0] != colors[1], colors[2]) == (True, colors[0])
