"""The README and the language tour are correct: their sessions run, and their statements parse."""

from __future__ import annotations

import os
import pathlib
import re
import shlex
import subprocess
import sys
import sysconfig
from typing import TYPE_CHECKING

import pytest
from imq.engine.session.context import SessionContext
from imq.engine.session.session import Session
from support.images import Layout
from support.inside_images import make_inside_images

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from support.images import Image

CHECKOUT = pathlib.Path(__file__).parents[2]
README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
TOUR = (CHECKOUT / "dsl" / "docs" / "LANGUAGE-TOUR.md").read_text(encoding="utf-8")


def find_blocks(page: str, language: str = "") -> list[str]:
    """Return the code blocks of a page in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


def find_sessions(page: str) -> list[str]:
    return [block for block in find_blocks(page) if block.startswith("$ imq ")]


STATEMENTS = [
    *next(block for block in find_blocks(TOUR) if block.startswith("images where dangling")).splitlines(),
    *(block.strip() for block in find_blocks(README, "imq")),
]


def normalize(text: str) -> list[list[str]]:
    """Return the words of each line, with IDs, sizes and ages replaced, since they differ from run to run."""
    text = re.sub(r"\b[0-9a-f]{12}\b", "<id>", text)
    text = re.sub(r"\b\d+(\.\d+)?[kM]?B\b", "<size>", text)
    text = re.sub(r"Less than a second ago|About a minute ago|\d+ (second|minute)s? ago", "<ago>", text)
    return [line.split() for line in text.strip().splitlines()]


def find_steps(session: str) -> list[tuple[str, str]]:
    """Return each command line of a session with its output."""
    parts = re.split(r"^\$ imq ", session, flags=re.MULTILINE)[1:]
    return [(command, answer) for command, _, answer in (part.partition("\n") for part in parts)]


def test_each_page_has_its_sessions() -> None:
    assert [len(find_steps(session)) for session in find_sessions(README)] == [5, 5]
    assert [len(find_steps(session)) for session in find_sessions(TOUR)] == [17]


@pytest.mark.parametrize(
    ("session", "images"),
    [(find_sessions(README)[0], {}), (find_sessions(README)[1], make_inside_images()), (find_sessions(TOUR)[0], {})],
    ids=["README", "README, inside images", "LANGUAGE-TOUR"],
)
def test_the_session_prints_what_the_page_shows(
    session: str, images: Mapping[str, tuple[Image, Sequence[str]]], tmp_path: pathlib.Path
) -> None:
    environment = {**os.environ, "IMQ_ROOT": str(tmp_path / "store")}
    layout = Layout(tmp_path / "store")
    for image, names in images.values():
        layout.add(image, *names)
    for command, shown in find_steps(session):
        run = subprocess.run(
            [sys.executable, "-m", "imq", *shlex.split(command)],
            cwd=sysconfig.get_path("purelib"),
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        assert normalize(run.stdout) == normalize(shown), command


@pytest.mark.parametrize("statement", STATEMENTS)
def test_the_statements_parse(statement: str, tmp_path: pathlib.Path) -> None:
    session = Session(SessionContext(str(tmp_path), {}, lambda: 0))
    assert len(session.parse(statement)) == 1


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 150
    assert len(find_blocks(README, "imq")) == len(find_blocks(README, "sh")) == 3


INLINE_CODE = re.findall(r"`([^`]+)`", TOUR.partition("## Tables")[2])


def test_inline_statements_parse(tmp_path: pathlib.Path) -> None:
    """Every complete statement between backquotes, and every condition."""
    session = Session(SessionContext(str(tmp_path), {}, lambda: 0))
    list(session.run("view stale as images"))
    statements = [
        code
        for code in INLINE_CODE
        if re.match(r"(images|files|reclaim|rm|exec|view|let|set|assert|create|extract|run|stop|kill|recreate) ", code)
        and "…" not in code
    ]
    conditions = [
        code for code in INLINE_CODE if re.search(r" (=|>|<|like|not in|before|than|on|with|layers where) ", code)
    ]
    conditions = [
        code for code in conditions if code not in statements and not re.match(r"\(?(images|A|until|any)\b", code)
    ]
    assert len(statements) > 4
    assert len(conditions) > 8
    for code in [*statements, *(f"images where {code}" for code in conditions if "…" not in code)]:
        assert len(session.parse(code)) == 1, code


def test_the_tour_names_every_verb_table_and_format() -> None:
    from imq.engine.actions import VERBS
    from imq.engine.catalog.tables import TABLES
    from imq.engine.render.formats import FORMATS

    missing = [name for name in (*TABLES, *VERBS, *FORMATS) if f"`{name}" not in TOUR and f" {name}" not in TOUR]
    assert missing == []
