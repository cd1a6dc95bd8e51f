"""The page about sources: every example runs, and every form and every difference of fields is named."""

from __future__ import annotations

import pathlib
import re
from typing import TYPE_CHECKING

import pytest
from imq.engine.sources.layouts.places import FORMS
from sources.test_contract import SOURCES
from store.support.stores import StoreSession, run
from support.images import docker_archive, write_library

if TYPE_CHECKING:
    from pathlib import Path

PAGE = (pathlib.Path(__file__).resolve().parents[2] / "dsl" / "docs" / "SOURCES.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^imq (.+)$", PAGE, re.MULTILINE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the places that the examples name."""
    folder = tmp_path_factory.mktemp("sources")
    made = write_library(folder / "layout")
    docker_archive(folder / "backup.tar", [(made["team/app:2"], ["team/app:2"]), (made["plain:1"], ["plain:1"])])
    docker_archive(folder / "redis.tar", [(made["redis:7"], ["redis:7"])])
    run("skopeo", "copy", "-q", f"oci:{folder / 'layout'}:redis:7", f"dir:{folder / 'single'}")
    target = f"containers-storage:[vfs@{folder / 'storage'}+{folder / 'run'}]redis:7"
    run("skopeo", "copy", "-q", f"oci:{folder / 'layout'}:redis:7", target)
    return folder


def test_the_page_has_examples() -> None:
    assert len(EXAMPLES) > 12


@pytest.mark.parametrize("statement", EXAMPLES)
def test_an_example_runs(folder: Path, monkeypatch: pytest.MonkeyPatch, statement: str) -> None:
    monkeypatch.chdir(folder)
    with StoreSession(folder / "store", environment={"TMPDIR": str(folder)}) as session:
        session.do("load redis.tar")
        for result in session.session.run(statement):
            assert not result.errors
            rows = list(getattr(result, "rows", ()))
            assert rows or "problem is known" in statement or "not id in" not in statement
            assert not [row for row in rows if "error" in row]


def test_every_form_is_on_the_page() -> None:
    for form in FORMS:
        assert f"`{form.partition(':')[0]}:" in PAGE


def test_every_difference_is_on_the_page() -> None:
    section = PAGE.partition("## Fields")[2].partition("## Damaged")[0]
    named = set(re.findall(r"`([a-z_]+)`", section)) | {"dangling"}
    for contract in SOURCES:
        fields = {name.partition(".")[2] for name in contract.differences}
        assert fields - {"layer"} <= named, contract.name
