"""Control characters in the data of images: escaped on a terminal, unchanged in files and pipes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support.images import Image, Layout, layer
from support.pseudo_terminal import run_on_terminal

if TYPE_CHECKING:
    from pathlib import Path

EVIL = "a\x1b[31mred\x1b]0;title\x07\x9b2J\x7f\b\r\x00\u202egpj\u2066\u200fz"
DANGEROUS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
OWN = re.compile(r"\x1b\[(1;31|0|34;1|32|90|1)m")
"""The colours of imq's error messages and its JSON. Progress bars, which only slow machines show, are off."""
IMAGE = Image(
    [layer({"etc/" + "x\x1b[2Jy": b"1"})],
    labels={"evil": EVIL, EVIL: "key"},
    settings={"Cmd": [EVIL], "User": EVIL, "Env": [f"A={EVIL}"]},
    changes={"author": EVIL, "comment": EVIL, "history": [{"created_by": EVIL, "comment": EVIL}]},
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("controls") / "store"
    Layout(root).add(IMAGE, "evil:1")
    return root


def environment(store: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "IMQ_ROOT": str(store), "HOME": str(store.parent), "TERM": "xterm", "PAGER": "cat", **more}


def run_imq(store: Path, *words: str, typed: bytes = b"", **more: str) -> str:
    """Run imq with all streams on a terminal; return every byte that the terminal received, as text."""
    command = [sys.executable, "-m", "imq", "--no-progress", *words]
    received = run_on_terminal(command, environment(store, **more), typed=typed)
    return received.decode("utf-8", "surrogateescape").replace("\r\n", "\n")


def run_piped(store: Path, *words: str) -> bytes:
    run = subprocess.run(
        [sys.executable, "-m", "imq", *words], env=environment(store), stdin=subprocess.DEVNULL, capture_output=True,
        check=True,
    )  # fmt: skip
    return run.stdout


FORMATS = ["table", "json", "jsonl", "yaml", "csv", "tsv", "markdown", "html", "tree", "record", "dot", "ids"]
LINES = [
    *([f"images select label.evil, cmd, user, author as {name}"] for name in FORMATS),
    ['images format "{{.Labels}} {{.Author}}"'],
    ['images format "table {{.Author}}\\t{{.User}}"'],
    ["history of evil:1 as csv"],
    ["history of evil:1"],
    ["inspect evil:1"],
    ["inspect", "-f", "{{.Author}} {{.Config.Labels}}", "evil:1"],
    ["inspect", "-f", "{{json .}}", "evil:1"],
    ["history", "--no-trunc", "evil:1"],
    ["history", "--format", "{{.CreatedBy}} {{.Comment}}", "evil:1"],
    ["images where label.evil = known group by author select author, count as csv"],
    ["--dry-run", "rm images where label.evil is known"],
    ["--yes", "tag images as {{.Author}}"],
    ["tag images as <<.User>>"],
    ["assert no images select author, label.evil as csv"],
    [f"images where {EVIL.replace(chr(0), '')} = 1"],
    ["pull", f"{EVIL.replace(chr(0), '')}:1"],
    ["load", f"/nowhere/{EVIL.replace(chr(0), '')}"],
    ['images format "{{.Nope}}"'],
    ["files of evil:1 as csv"],
    ["--explain", 'images where author = "\x1b[31m"'],
]  # fmt: skip


@pytest.mark.parametrize("words", LINES, ids=lambda words: " ".join(words)[:60].encode("ascii", "replace").decode())
def test_a_terminal_receives_no_control_characters(store: Path, words: list[str]) -> None:
    text = run_imq(store, *words)
    assert text.strip()
    assert not DANGEROUS.findall(OWN.sub("", text))
    assert not re.search("[\udc80-\udcff]", text)


def test_an_escape_names_the_control_character(store: Path) -> None:
    assert "a\\u001b[31mred\\u001b]0;title\\u0007\\u009b2J\\u007f" in run_imq(store, 'images format "{{.Author}}"')


def test_json_on_a_terminal_has_the_same_value(store: Path) -> None:
    assert json.loads(run_imq(store, "images select author as json", NO_COLOR="1")) == [{"author": EVIL}]
    colored = run_imq(store, "images select author as json")
    assert json.loads(OWN.sub("", colored)) == [{"author": EVIL}]
    assert "\x1b[34;1m" in colored


def test_the_plan_and_its_prompt_have_no_control_characters(store: Path) -> None:
    text = run_imq(store, "rm images where label.evil is known", typed=b"n\n")
    assert "Continue? [y/N]" in text
    assert not DANGEROUS.findall(OWN.sub("", text))


def test_a_pager_receives_no_control_characters(store: Path, tmp_path: Path) -> None:
    """`less -R` passes colours through."""
    pager = tmp_path / "pager"
    pager.write_text(f"#!/bin/sh\ncat > {tmp_path}/paged\n")
    pager.chmod(0o755)
    run_imq(store, 'images format "{{.Author}}' + "\n" * 100 + 'end"', PAGER=str(pager))
    text = (tmp_path / "paged").read_text()
    assert "\\u001b[31mred" in text
    assert not DANGEROUS.findall(text)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["images select author as csv"], f'author\n"{EVIL}"\n'),
        (["images select author as tsv"], f'author\n"{EVIL}"\n'),
        (['images format "{{.Author}}"'], f"{EVIL}\n"),
        (["history", "--format", "{{.Comment}}", "evil:1"], f"{EVIL}\n"),
        (["inspect", "-f", "{{.Author}}", "evil:1"], f"{EVIL}\n"),
    ],
)
def test_a_pipe_receives_every_byte(store: Path, words: list[str], text: str) -> None:
    assert run_piped(store, *words) == text.encode()
