"""The pages are current, and what they show is so: the cookbook, docker's commands, the manual page, --help."""

from __future__ import annotations

import os
import pathlib
import re
import runpy
import subprocess
import tomllib

import pytest
from imq.cli.main import USAGE
from imq.cli.options import OPTIONS
from imq.docker.commands import COMMANDS
from imq.engine.actions import VERBS
from imq.engine.catalog.tables import TABLES
from imq.engine.session.context import SessionContext
from imq.engine.session.session import Session
from support import servers

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
DSL = CHECKOUT / "dsl"
PAGES = runpy.run_path(str(CHECKOUT / "build" / "doc_pages.py"))["PAGES"]
LINKED = ("REFERENCE.md", "COOKBOOK.md", "FROM-DOCKER.md", "RETENTION.md")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_current(name: str) -> None:
    assert (DSL / name).read_text(encoding="utf-8") == PAGES[name](), "run: python build/generate_docs.py"


def test_the_cookbook_has_every_task() -> None:
    tasks = tomllib.loads((CHECKOUT / "tests/tasks/tasks.toml").read_text(encoding="utf-8"))["task"]
    blocks = re.findall(
        r"^```\n(.+?)\n```$", (DSL / "docs" / "COOKBOOK.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    assert sorted(blocks) == sorted(task["imq"].strip() for task in tasks)


def test_every_command_says_its_sentence(tmp_path: pathlib.Path) -> None:
    page = (DSL / "docs" / "FROM-DOCKER.md").read_text(encoding="utf-8")
    session = Session(SessionContext(str(tmp_path), {}, lambda: 0))
    rows = re.findall(r"^\| `(?:.+)` \| `(.+)` \|$", page, re.MULTILINE)
    assert len(rows) > 25
    for sentence in rows:
        assert session.parse(sentence), sentence
    for command in COMMANDS:
        assert command.examples, command.names
        assert f"### imq {command.names[0]}" in page


def test_the_readme_links_the_pages() -> None:
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    for name in LINKED:
        assert f"(dsl/docs/{name})" in readme
        assert (DSL / "docs" / name).exists()


def test_help_fits_a_screen_and_names_every_option() -> None:
    lines = USAGE.splitlines()
    assert len(lines) < 24
    assert max(map(len, lines)) <= 80
    for option in OPTIONS:
        assert all(name in USAGE for name in option.names), option


def test_its_sentences_parse(tmp_path: pathlib.Path) -> None:
    session = Session(SessionContext(str(tmp_path), {}, lambda: 0))
    said = re.findall(r"^  imq (.+?)(?:   .*)?$", USAGE, re.MULTILINE)
    assert len(said) == 5
    for line in said:
        assert session.parse(line.replace("'", "").replace(" --dry-run", ""))


@pytest.mark.parametrize("wide", [60, 80, 200])
def test_the_manual_page_is_sound(wide: int) -> None:
    servers.needed("groff")
    command = ["groff", "-man", "-ww", "-Tutf8", "-Kutf8", f"-rLL={wide}n", str(DSL / "docs" / "imq.1")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    shown = re.sub(r"\x1b\[[0-9;]*m|.\x08", "", done.stdout)
    for word in (*TABLES, *VERBS, *(name for option in OPTIONS for name in option.names), "EXIT STATUS", "IMQ_ROOT"):
        assert word in shown
    assert "Made by build" not in shown


def test_man_shows_it(tmp_path: pathlib.Path) -> None:
    servers.needed("man")
    environment = {**os.environ, "MANPAGER": "cat", "MANWIDTH": "80", "LC_ALL": "C.UTF-8", "HOME": str(tmp_path)}
    done = subprocess.run(
        ["man", "--warnings", "-l", str(DSL / "docs" / "imq.1")],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert re.sub(r"\x1b\[[0-9;]*m|.\x08", "", done.stdout).startswith("IMQ(1)")
