"""The documentation site: built strictly, complete, searchable, and without anything that a browser would load."""

from __future__ import annotations

import html
import http.server
import json
import re
import runpy
import shutil
import subprocess
import sys
import threading
import tomllib
from functools import partial
from typing import TYPE_CHECKING

import pytest
from support.browser import start_browser
from support.servers import require_programs
from support.waiting import wait_until
from test_architecture import CHECKOUT

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    from support.browser import Browser

SITE = runpy.run_path(str(CHECKOUT / "build" / "site" / "make_site.py"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("site") / "site"
    program = [sys.executable, str(CHECKOUT / "build" / "site" / "make_site.py"), str(folder)]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    require_programs("chromium", "chromedriver")
    with start_browser() as started:
        started.set_window(1280, 900)
        yield started


@pytest.fixture(scope="module")
def address(site: pathlib.Path) -> Iterator[str]:
    """The site on a server: its search reads the index by a request."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_every_page_is_on_the_site_and_in_its_menu(site: pathlib.Path) -> None:
    names = {name.removesuffix(".md") for name in SITE["list_pages"]().values()}
    assert names <= {path.stem for path in site.glob("*.html")}
    menu = tomllib.loads((CHECKOUT / "build" / "site" / "zensical.toml").read_text())["project"]["nav"]
    assert names == {name.removesuffix(".md") for name in re.findall(r"[\w-]+\.md", str(menu))}


def test_every_task_of_the_cookbook_is_found(site: pathlib.Path) -> None:
    """Each task is an entry of the search, with its statements in the text."""
    index = json.loads((site / "search.json").read_text())["items"]
    found = {html.unescape(entry["title"]): html.unescape(entry["text"]) for entry in index}
    paths = sorted((CHECKOUT / "tests" / "tasks").glob("*.toml"))
    tasks = [task for path in paths for task in tomllib.loads(path.read_text())["task"]]
    assert len(tasks) == 139
    for task in tasks:
        assert " ".join(task["imq"].split()) in " ".join(found[task["task"].removesuffix(".")].split())


def search(browser: Browser, words: str, task: str) -> str:
    """Type words into the search of the open page, and return the address of a task when it is among the best three.

    The results change with each letter.
    """
    browser.click(".md-search__button")
    results = "[role=option]"
    wait_until(lambda: browser.run("return document.activeElement.shadowRoot !== null"))
    browser.type_keys(words)
    script = "return [...document.activeElement.shadowRoot.querySelectorAll(arguments[0])].map(link => link.href)"

    def find() -> list[str]:
        return [link for link in browser.run(script, results)[:3] if f"#{task}" in link]

    wait_until(find)
    return find()[0]


@pytest.mark.parametrize(
    ("words", "task"),
    [
        ("newest digests each repository", "in-each-repository-of-a-registry-keep-the-5-newest-distinct-digests"),
        ("setuid files", "find-all-setuid-and-setgid-files"),
        ("memory limit containers", "count-per-image-the-running-containers-that-have-no-memory-limit"),
    ],
)
def test_a_browser_finds_tasks(browser: Browser, address: str, words: str, task: str) -> None:
    browser.read_console()
    browser.visit(f"{address}/index.html")
    link = search(browser, words, task)
    assert browser.read_console() == []
    browser.visit(link)
    assert browser.run("return document.querySelector(':target').tagName") == "H3"
    browser.read_console()  # that a page with a fragment sets no focus


def test_pages_load_nothing_from_elsewhere(site: pathlib.Path) -> None:
    address = r"\"?(https?:[^\"\s>]+)"
    for path in site.glob("*.html"):
        text = path.read_text()
        loaded = re.findall(rf"<(?:script|img|iframe)\b[^>]*\bsrc={address}", text)
        loaded += re.findall(rf"<link\b[^>]*rel=\"?(?:stylesheet|preconnect|preload)[^>]*href={address}", text)
        assert loaded == [], path.name


@pytest.mark.parametrize("link", ["STORE.md#nowhere", "NOWHERE.md"])
def test_the_build_refuses_a_broken_link(tmp_path: pathlib.Path, link: str) -> None:
    shutil.copy(CHECKOUT / "build" / "site" / "zensical.toml", tmp_path)
    (tmp_path / "pages").mkdir()
    for name in SITE["list_pages"]().values():
        (tmp_path / "pages" / name).write_text(f"# {name}\n" + (f"[link]({link})\n" if name == "index.md" else ""))
    done = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "does not exist" in done.stdout + done.stderr


def test_a_link_to_a_missing_page_is_refused() -> None:
    pages = SITE["list_pages"]()
    assert SITE["rewrite"]("[a](dsl/docs/STORE.md#layout)", "README.md", pages) == "[a](STORE.md#layout)"
    assert SITE["rewrite"]("[a](../../README.md)", "dsl/docs/STORE.md", pages) == "[a](index.md)"
    with pytest.raises(SystemExit, match=r"links to missing\.md"):
        SITE["rewrite"]("[a](missing.md)", "README.md", pages)
