"""Streams of docker's command lines: archives through pipes, prompts on a terminal."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING

import pytest
from imq.cli.main import Cli
from support.images import write_library

if TYPE_CHECKING:
    import pathlib

IMQ = [sys.executable, "-m", "imq"]
UNTAGGED = "4aa281d47c51", "d3a42c551b35"


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
    write_library(tmp_path / "store")
    return tmp_path / "store"


def imq(root: pathlib.Path, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "IMQ_ROOT": str(root)}
    return subprocess.run([*IMQ, *words], env=environment, input=stdin, capture_output=True, check=False)


def run_on_terminal(root: pathlib.Path, typed: str, *words: str) -> tuple[int, str, str]:
    stdout, stderr = Terminal(), Terminal()
    code = Cli(Terminal(typed), stdout, stderr, {"IMQ_ROOT": str(root), "NO_COLOR": "1"}).main(words)
    return code, stdout.getvalue(), stderr.getvalue()


def list_ids(root: pathlib.Path) -> list[str]:
    return imq(root, "images", "-q").stdout.decode().split()


def test_archives_go_through_pipes(root: pathlib.Path, tmp_path: pathlib.Path) -> None:
    saved = imq(root, "save", "redis", "4aa281d47c51")
    assert (saved.returncode, saved.stderr) == (0, b"")
    loaded = imq(tmp_path / "other", "load", "-q", stdin=saved.stdout)
    lines = loaded.stdout.decode().splitlines()
    assert lines[:2] == ["Loaded image: redis:latest", "Loaded image: redis:7"]
    assert lines[2].startswith("Loaded image ID: sha256:4aa281d47c51")
    assert list_ids(tmp_path / "other") == ["4083bcf14b56", "93f976cf844e", "4aa281d47c51"]


def test_a_failed_save_writes_nothing(root: pathlib.Path) -> None:
    saved = imq(root, "save", "redis:7", "nope")
    assert (saved.returncode, saved.stdout) == (1, b"")


def test_load_refuses_other_files(root: pathlib.Path) -> None:
    empty, other = imq(root, "load"), imq(root, "load", stdin=b"not an archive")
    assert (empty.returncode, empty.stderr) == (1, b"Error: requested load from stdin, but stdin is empty\n")
    assert (other.returncode, other.stdout) == (3, b"")
    assert b"is not an archive" in other.stderr


def test_an_import_reads_standard_input(root: pathlib.Path) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("etc"))
    imported = imq(root, "import", "-c", "LABEL a=b", "-", "from/stdin:1", stdin=archive.getvalue())
    assert (imported.returncode, imported.stderr) == (0, b"")
    assert (
        imported.stdout.decode().strip()
        == imq(root, "images", "-q", "--no-trunc", "-f", "label=a=b").stdout.decode().strip()
    )


@pytest.mark.parametrize("typed", ["n\n", "\n", "", "yes\n"])
def test_a_prune_that_is_not_confirmed_removes_nothing(root: pathlib.Path, typed: str) -> None:
    before = list_ids(root)
    code, stdout, _ = run_on_terminal(root, typed, "image", "prune")
    assert (code, stdout) == (
        0,
        "WARNING! This will remove all dangling images.\nAre you sure you want to continue? [y/N] ",
    )
    assert list_ids(root) == before


def test_a_confirmed_prune_removes_images(root: pathlib.Path) -> None:
    code, stdout, _ = run_on_terminal(root, "Y\n", "image", "prune", "-a", "--filter", "label!=env")
    assert code == 0
    assert stdout.startswith(
        "WARNING! This will remove all images without at least one container associated to them.\n"
    )
    assert "deleted: sha256:4aa281d47c51" in stdout
    assert "4aa281d47c51" not in list_ids(root)
    assert "939d4e2e81fe" in list_ids(root)


def test_save_refuses_to_write_to_a_terminal(root: pathlib.Path) -> None:
    code, stdout, stderr = run_on_terminal(root, "", "save", "redis:7")
    assert (code, stdout) == (1, "")
    assert "cowardly refusing to save to a terminal. Use the -o flag or redirect" in stderr
    assert run_on_terminal(root, "", "load")[0] == 1


def test_rmi_does_not_prompt(root: pathlib.Path) -> None:
    code, stdout, stderr = run_on_terminal(root, "", "rmi", *UNTAGGED)
    assert (code, stderr) == (0, "")
    assert stdout.count("Deleted: ") == 4
