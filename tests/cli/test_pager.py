"""The pager: tables keep their lines, and `less` keeps the heading where its version can."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest
from support.images import write_library
from support.pseudo_terminal import run_on_terminal

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pager") / "store"
    write_library(root)
    return root


def write_less(folder: Path, version: int) -> Path:
    """Write a program that is called less, records its arguments and writes its input to a file."""
    program = folder / "less"
    program.write_text(
        "#!/bin/sh\n"
        f'[ "$1" = --version ] && {{ echo "less {version} (GNU regular expressions)"; exit; }}\n'
        f'echo "$@" > {folder}/arguments; cat > {folder}/paged\n'
    )
    program.chmod(0o755)
    return program


def run(store: Path, pager: Path, statement: str, *, rows: int = 8, columns: int = 80) -> str:
    """Run imq on a terminal with a pager; return what the terminal received."""
    environment = {**os.environ, "HOME": str(store.parent), "TERM": "xterm", "PAGER": str(pager)}
    environment.pop("COLUMNS", None)
    words = [sys.executable, "-m", "imq", "--no-config", "--root", str(store), statement]
    return run_on_terminal(words, environment, rows=rows, columns=columns).decode().replace("\r\n", "\n")


@pytest.mark.parametrize(("version", "arguments"), [(590, "-S -+F"), (633, "-S -+F --header=1")])
def test_a_table_keeps_its_lines_and_its_heading(store: Path, tmp_path: Path, version: int, arguments: str) -> None:
    run(store, write_less(tmp_path, version), "images where size > 1B")
    assert (tmp_path / "arguments").read_text().strip() == arguments
    lines = (tmp_path / "paged").read_text().splitlines()
    assert lines[0].startswith("REPOSITORY")
    assert len(lines) == 12


def test_text_without_a_heading_is_broken_as_before(store: Path, tmp_path: Path) -> None:
    run(store, write_less(tmp_path, 633), "help images")
    assert (tmp_path / "arguments").read_text().strip() == ""


def test_a_short_table_needs_no_pager(store: Path, tmp_path: Path) -> None:
    text = run(store, write_less(tmp_path, 633), "images limit 2", rows=24)
    assert text.startswith("REPOSITORY")
    assert not (tmp_path / "paged").exists()


def test_records_need_the_pager_only_for_their_number(store: Path, tmp_path: Path) -> None:
    """A digest is wider than this screen: its line is broken."""
    less = write_less(tmp_path, 633)
    text = run(store, less, "images select name, manifest_digest, id, digest, chain_id limit 1", rows=24, columns=60)
    assert text.startswith("-[ RECORD 1 ]")
    assert not (tmp_path / "paged").exists()
    run(store, less, "images select name, manifest_digest, id, digest, chain_id", rows=24, columns=60)
    assert (tmp_path / "arguments").read_text().strip() == ""
    assert (tmp_path / "paged").read_text().startswith("-[ RECORD 1 ]")


def test_another_pager_gets_no_options(store: Path, tmp_path: Path) -> None:
    pager = write_less(tmp_path, 633).rename(tmp_path / "more")
    run(store, pager, "images where size > 1B")
    assert (tmp_path / "arguments").read_text().strip() == ""
