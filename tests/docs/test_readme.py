"""The README says what is so: its session runs, and its sentences parse."""

from __future__ import annotations

import os
import pathlib
import re
import shlex
import subprocess
import sys
import sysconfig

import pytest
from imq.engine.session.context import SessionContext
from imq.engine.session.session import Session

README = (pathlib.Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```\w*\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
SESSION = next(block for block in BLOCKS if block.startswith("$ imq "))
SENTENCES = next(block for block in BLOCKS if block.startswith("images where dangling")).splitlines()


def alike(text: str) -> list[list[str]]:
    """Return the words of each line, with what differs from run to run (ids, sizes, ages) made equal."""
    text = re.sub(r"\b[0-9a-f]{12}\b", "<id>", text)
    text = re.sub(r"\b\d+(\.\d+)?[kM]?B\b", "<size>", text)
    text = re.sub(r"Less than a second ago|About a minute ago|\d+ (second|minute)s? ago", "<ago>", text)
    return [line.split() for line in text.strip().splitlines()]


def steps() -> list[tuple[str, str]]:
    """Return each command line of the session with the answer shown for it."""
    parts = re.split(r"^\$ imq ", SESSION, flags=re.MULTILINE)[1:]
    return [(command, answer) for command, _, answer in (part.partition("\n") for part in parts)]


def test_the_session_answers_as_shown(tmp_path: pathlib.Path) -> None:
    environment = {**os.environ, "IMQ_ROOT": str(tmp_path / "store")}
    assert len(steps()) > 8
    for command, shown in steps():
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
        assert alike(run.stdout) == alike(shown), command


@pytest.mark.parametrize("sentence", SENTENCES)
def test_the_sentences_parse(sentence: str, tmp_path: pathlib.Path) -> None:
    session = Session(SessionContext(str(tmp_path), {}, lambda: 0))
    assert len(session.parse(sentence)) == 1


SAID = re.findall(r"`([^`]+)`", README.partition("## The language in one page")[2].partition("### Docker's own")[0])


def test_what_it_says_in_passing_parses(tmp_path: pathlib.Path) -> None:
    """Every whole sentence between backquotes, and every condition."""
    session = Session(SessionContext(str(tmp_path), {}, lambda: 0))
    list(session.run("view stale as images"))
    whole = [said for said in SAID if re.match(r"(images|rm|exec|view|let|set|assert) ", said) and "…" not in said]
    conditions = [said for said in SAID if re.search(r" (=|>|<|like|not in|before|than|on|with|layers where) ", said)]
    conditions = [said for said in conditions if said not in whole and not re.match(r"\(?(images|A|until|any)\b", said)]
    assert len(whole) > 4
    assert len(conditions) > 8
    for said in [*whole, *(f"images where {said}" for said in conditions if "…" not in said)]:
        assert len(session.parse(said)) == 1, said


def test_it_names_every_verb_table_and_form() -> None:
    from imq.engine.actions import VERBS
    from imq.engine.catalog.tables import TABLES
    from imq.engine.render.formats import FORMATS

    missing = [name for name in (*TABLES, *VERBS, *FORMATS) if f"`{name}" not in README and f" {name}" not in README]
    assert missing == []
