"""The documentation site: built strictly, complete, searchable, and without anything that a browser would load."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from test_architecture import CHECKOUT

if TYPE_CHECKING:
    import pathlib

SITE = runpy.run_path(str(CHECKOUT / "build" / "site" / "make_site.py"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    pytest.importorskip("mkdocs")
    folder = tmp_path_factory.mktemp("site") / "site"
    program = [sys.executable, str(CHECKOUT / "build" / "site" / "make_site.py"), str(folder)]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    return folder


def test_every_page_is_on_the_site_and_in_its_menu(site: pathlib.Path) -> None:
    names = {name.removesuffix(".md") for name in SITE["list_pages"]().values()}
    assert names <= {path.stem for path in site.glob("*.html")}
    menu = (CHECKOUT / "build" / "site" / "mkdocs.yml").read_text().partition("\nnav:")[2]
    assert names == {name.removesuffix(".md") for name in re.findall(r"[\w-]+\.md", menu)}


def test_every_task_of_the_cookbook_is_found(site: pathlib.Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text())
    found = " ".join(page["text"] for page in index["docs"] if page["location"].startswith("COOKBOOK"))
    page = (CHECKOUT / "dsl/docs/COOKBOOK.md").read_text()
    tasks = [text.replace("\n", " ") for text in re.findall(r"\n\n([A-Z][^`#]+?)\n\n```\n", page)]
    assert len(tasks) >= 98
    words = [re.findall(r"\w{5,}", task) for task in tasks]
    assert [task for task, some in zip(tasks, words, strict=True) if not all(word in found for word in some)] == []


def test_pages_load_nothing_from_elsewhere(site: pathlib.Path) -> None:
    address = r"\"?(https?:[^\"\s>]+)"
    for path in site.glob("*.html"):
        text = path.read_text()
        loaded = re.findall(rf"<(?:script|img|iframe)\b[^>]*\bsrc={address}", text)
        loaded += re.findall(rf"<link\b[^>]*rel=\"?(?:stylesheet|preconnect|preload)[^>]*href={address}", text)
        assert loaded == [], path.name


def test_a_link_to_a_missing_page_is_refused() -> None:
    pages = SITE["list_pages"]()
    assert SITE["rewrite"]("[a](dsl/docs/STORE.md#layout)", "README.md", pages) == "[a](STORE.md#layout)"
    assert SITE["rewrite"]("[a](../../README.md)", "dsl/docs/STORE.md", pages) == "[a](index.md)"
    with pytest.raises(SystemExit, match=r"links to missing\.md"):
        SITE["rewrite"]("[a](missing.md)", "README.md", pages)
