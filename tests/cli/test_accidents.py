"""Accidents of the shell: patterns that it expanded and redirections that it made of comparisons."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support.images import write_library

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two files, next to a store."""
    write_library(tmp_path / "store")
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in ("apple", "banana"):
        (folder / name).touch()
    return folder


def shell(folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    """Run a line in a shell in which `imq` is the program."""
    imq = f"{sys.executable} -m imq --root {folder.parent}/store"
    script = f'imq() {{ {imq} "$@"; }}\n{line}'
    environment = {**os.environ, "HOME": str(folder.parent)}
    return subprocess.run(
        ["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("line", ["imq rm *", "imq rmi *", "imq images select *", "imq --yes untag *"])
def test_an_expanded_pattern_is_refused(folder: Path, line: str) -> None:
    run = shell(folder, line)
    assert run.returncode == 2
    assert run.stderr.startswith(
        "error[expanded]: the shell replaced * by the names of the 2 files here: apple, banana\n"
    )


def test_the_statement_is_shown_with_its_pattern(folder: Path) -> None:
    run = shell(folder, "imq images where name like * limit 3")
    assert "  quote the statement: imq 'images where name like * limit 3'\n" in run.stderr
    run = shell(folder, "imq rm *")
    assert "  to match a pattern, quote it: imq 'rm images where name like \"*\"'\n" in run.stderr


@pytest.mark.parametrize(
    ("statement", "hint"),
    [
        ("images where size > 1B --output json", "imq --output json 'images where size > 1B'"),
        ("images where dangling --format json", "in a statement: STATEMENT as json, or STATEMENT format TEMPLATE"),
        ("images --filter dangling=true", "in a statement: STATEMENT where CONDITION"),
        ("rm images where dangling --dry-run", "in a statement: dry run STATEMENT"),
        ("rm containers where status = exited --dry-run", "in a statement: dry run STATEMENT"),
    ],
)
def test_options_inside_the_quotes_are_explained(folder: Path, statement: str, hint: str) -> None:
    run = shell(folder, f'imq "{statement}"')
    assert (run.returncode, run.stderr.startswith("error[option]: ")) == (2, True)
    assert hint in " ".join(run.stderr.split())


def test_a_quoted_pattern_is_not_refused(folder: Path) -> None:
    assert shell(folder, "imq 'images select *'").returncode == 0
    assert shell(folder, "imq images where name in apple, banana").returncode == 2  # the same words, but with a comma


def test_files_where_something_else_is_expected_are_reported(folder: Path) -> None:
    (folder / "avocado").touch()
    run = shell(folder, "imq images where name like a*")
    assert run.returncode == 2
    assert "apple and avocado are files here: the shell may have expanded a pattern" in run.stderr


def test_an_expanded_pattern_of_places_is_reported(folder: Path) -> None:
    for name in ("a.tar", "b.tar"):
        (folder / name).touch()
    run = shell(folder, "imq images in *.tar")
    assert run.returncode == 2
    assert "a.tar and b.tar are files here: the shell may have expanded a pattern" in run.stderr
    assert "or put commas between them: in a.tar, b.tar\n" in run.stderr


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("imq images where size > 1GB", "1GB"),
        ("imq images where size >= 1GB", "="),
        ("imq images where created > 2024-01-31 limit 3", "2024-01-31"),
    ],
)
def test_a_redirected_comparison_is_reported(folder: Path, line: str, name: str) -> None:
    run = shell(folder, line)
    assert run.returncode == 2
    assert f"the shell read > as a redirection and wrote the file {name}:" in " ".join(run.stderr.split())
    assert (folder / name).read_text() == ""


def test_a_typo_with_output_to_a_file_is_only_a_typo(folder: Path) -> None:
    run = shell(folder, "imq images wher dangling > list.txt")
    assert "redirection" not in run.stderr
    assert "did you mean: imq images where dangling" in run.stderr
