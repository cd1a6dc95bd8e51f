"""Docker's command lines and the streams: archives through pipes, questions on a terminal."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING

import pytest
from imq.cli.main import Cli
from support.images import library

if TYPE_CHECKING:
    import pathlib

IMQ = [sys.executable, "-m", "imq"]
UNTAGGED = "4aa281d47c51", "d3a42c551b35"


class Terminal(io.StringIO):
    """A stream that a person sits at."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
    library(tmp_path / "store")
    return tmp_path / "store"


def imq(root: pathlib.Path, *words: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "IMQ_ROOT": str(root)}
    return subprocess.run([*IMQ, *words], env=environment, input=given, capture_output=True, check=False)


def on_a_terminal(root: pathlib.Path, typed: str, *words: str) -> tuple[int, str, str]:
    stdout, stderr = Terminal(), Terminal()
    code = Cli(Terminal(typed), stdout, stderr, {"IMQ_ROOT": str(root), "NO_COLOR": "1"}).main(words)
    return code, stdout.getvalue(), stderr.getvalue()


def ids(root: pathlib.Path) -> list[str]:
    return imq(root, "images", "-q").stdout.decode().split()


def test_archives_go_through_pipes(root: pathlib.Path, tmp_path: pathlib.Path) -> None:
    saved = imq(root, "save", "redis", "4aa281d47c51")
    assert (saved.returncode, saved.stderr) == (0, b"")
    loaded = imq(tmp_path / "other", "load", "-q", given=saved.stdout)
    lines = loaded.stdout.decode().splitlines()
    assert lines[:2] == ["Loaded image: redis:latest", "Loaded image: redis:7"]
    assert lines[2].startswith("Loaded image ID: sha256:4aa281d47c51")
    assert ids(tmp_path / "other") == ["4083bcf14b56", "93f976cf844e", "4aa281d47c51"]


def test_nothing_is_written_of_an_archive_that_fails(root: pathlib.Path) -> None:
    saved = imq(root, "save", "redis:7", "nope")
    assert (saved.returncode, saved.stdout) == (1, b"")


def test_what_is_no_archive_is_not_loaded(root: pathlib.Path) -> None:
    empty, other = imq(root, "load"), imq(root, "load", given=b"not an archive")
    assert (empty.returncode, empty.stderr) == (1, b"Error: requested load from stdin, but stdin is empty\n")
    assert (other.returncode, other.stdout) == (3, b"")
    assert b"is not an archive" in other.stderr


def test_an_import_reads_standard_input(root: pathlib.Path) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("etc"))
    made = imq(root, "import", "-c", "LABEL a=b", "-", "from/stdin:1", given=archive.getvalue())
    assert (made.returncode, made.stderr) == (0, b"")
    assert (
        made.stdout.decode().strip()
        == imq(root, "images", "-q", "--no-trunc", "-f", "label=a=b").stdout.decode().strip()
    )


@pytest.mark.parametrize("typed", ["n\n", "\n", "", "yes\n"])
def test_a_prune_that_nobody_agrees_to_does_nothing(root: pathlib.Path, typed: str) -> None:
    before = ids(root)
    code, stdout, _ = on_a_terminal(root, typed, "image", "prune")
    assert (code, stdout) == (
        0,
        "WARNING! This will remove all dangling images.\nAre you sure you want to continue? [y/N] ",
    )
    assert ids(root) == before


def test_a_prune_asks_first(root: pathlib.Path) -> None:
    code, stdout, _ = on_a_terminal(root, "Y\n", "image", "prune", "-a", "--filter", "label!=env")
    assert code == 0
    assert stdout.startswith(
        "WARNING! This will remove all images without at least one container associated to them.\n"
    )
    assert "deleted: sha256:4aa281d47c51" in stdout
    assert "4aa281d47c51" not in ids(root)
    assert "939d4e2e81fe" in ids(root)


def test_an_archive_is_not_for_a_terminal(root: pathlib.Path) -> None:
    code, stdout, stderr = on_a_terminal(root, "", "save", "redis:7")
    assert (code, stdout) == (1, "")
    assert "cowardly refusing to save to a terminal. Use the -o flag or redirect" in stderr
    assert on_a_terminal(root, "", "load")[0] == 1


def test_removing_what_was_named_asks_nothing(root: pathlib.Path) -> None:
    code, stdout, stderr = on_a_terminal(root, "", "rmi", *UNTAGGED)
    assert (code, stderr) == (0, "")
    assert stdout.count("Deleted: ") == 4
