"""The command line for scripts: variables, paths relative to a file, standard input and exit codes."""

from __future__ import annotations

import io
import os
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from imq.cli.main import Cli
from support.images import write_library

if TYPE_CHECKING:
    import pathlib


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
    write_library(tmp_path / "store")
    return tmp_path / "store"


def imq(root: pathlib.Path, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "imq", *words],
        env={**os.environ, "IMQ_ROOT": str(root)},
        cwd=root.parent,
        input=given,
        capture_output=True,
        text=True,
        check=False,
    )


def test_set_option_sets_settings_and_variables(root: pathlib.Path) -> None:
    done = imq(root, "--set", "wanted=7", "--set", "jobs=3", "images where tag = $wanted select name; set jobs")
    assert (done.returncode, done.stdout.split()) == (0, ["NAME", "redis:7", "jobs", "=", "3"])


@pytest.mark.parametrize("said", ["jobs", "jobs=0", "no name=1", "=1"])
def test_set_option_refuses_unknown_names(root: pathlib.Path, said: str) -> None:
    done = imq(root, "--set", said, "images count")
    assert (done.returncode, done.stdout) == (2, "")


def test_paths_in_a_script_are_relative_to_its_folder(root: pathlib.Path) -> None:
    folder = root.parent / "scripts"
    folder.mkdir()
    (folder / "names.txt").write_text("redis:7\nplain:1\n")
    (folder / "view.imq").write_text("view kept as images where name in (lines of names.txt)\n")
    (folder / "main.imq").write_text("include view.imq\nkept select name\n")
    done = imq(root, "-f", str(folder / "main.imq"))
    assert (done.returncode, done.stdout.split()) == (0, ["NAME", "plain:1", "redis:7"])


def test_stdin_is_a_list_if_the_statement_is_an_argument(root: pathlib.Path) -> None:
    statement = "images where name in (lines of stdin) count"
    (root.parent / "count.imq").write_text(statement)
    for words in ([statement], ["-f", "count.imq"]):
        assert imq(root, *words, given="redis:7\nplain:1\n").stdout == "2\n"
    assert imq(root, given=statement).returncode == 2


def test_a_script_continues_and_exits_with_the_worst_code(root: pathlib.Path) -> None:
    script = "on error continue\nassert count(images) = 0\nrm nope\nimages where tag = 7 count\n"
    done = imq(root, "--yes", "-f", "-", given=script)
    assert done.returncode == 3
    assert done.stdout.splitlines()[-1] == "1"
    assert "error[assert]" in done.stderr
    assert "error[no-such-image]" in done.stderr


def test_the_source_option_sets_the_source(root: pathlib.Path) -> None:
    assert imq(root, "--source", "store", "images where tag = 7 count").stdout == "1\n"
    assert imq(root, "--source", "nowhere", "images count").returncode == 2


def test_an_archive_without_end_is_refused(root: pathlib.Path) -> None:
    done = imq(root, "import", "/dev/zero", "zero:1", "--no-progress")
    assert done.returncode == 3
    assert "after its end" in done.stderr + done.stdout
    assert imq(root, "images where repository = zero count").stdout == "0\n"


@pytest.mark.parametrize("way", ["-f FILE", "-f -", "include", "standard input"])
def test_a_script_without_end_is_refused(root: pathlib.Path, way: str) -> None:
    """Also with little memory: it is read only up to the limit."""
    zero = root.parent / "zero"
    os.mkfifo(zero)
    writer = subprocess.Popen(["sh", "-c", f"exec yes 'images count;' > {shlex.quote(str(zero))}"])
    try:
        words = {"-f FILE": ["-f", str(zero)], "-f -": ["-f", "-"], "include": [f'include "{zero}"']}.get(way, [])
        given = f" < {shlex.quote(str(zero))}" if way in ("-f -", "standard input") else ""
        command = shlex.join([sys.executable, "-m", "imq", "--root", str(root), *words])
        done = subprocess.run(
            ["sh", "-c", f"ulimit -v 1000000; exec {command}{given}"], capture_output=True, text=True, check=False
        )
    finally:
        writer.kill()
        writer.wait()
    assert (done.returncode, done.stdout) == (3, "")
    assert "error[too-large]: the script" in done.stderr


@pytest.mark.parametrize(("first", "shown"), [("", False), ("on error continue\n", True)])
def test_a_failure_in_an_included_file_stops_the_script(root: pathlib.Path, first: str, *, shown: bool) -> None:
    (root.parent / "inner.imq").write_text("assert no images\n")
    (root.parent / "outer.imq").write_text(f'{first}include "inner.imq"\nimages count\n')
    done = imq(root, "-f", str(root.parent / "outer.imq"))
    assert done.returncode == 1
    assert ("11" in done.stdout.splitlines()) == shown


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        return True


def run_on_terminal(root: pathlib.Path, typed: str, *words: str) -> tuple[int, str, str]:
    stdout, stderr = Terminal(), Terminal()
    environment = {"IMQ_ROOT": str(root), "NO_COLOR": "1", "IMQ_PAGER": ""}
    code = Cli(Terminal(typed), stdout, stderr, environment).main(words)
    return code, stdout.getvalue(), stderr.getvalue()


@pytest.mark.parametrize("typed", ["n\n", "\n", "", "yes please\n"])
@pytest.mark.parametrize("statement", ["rm redis:7", "rm images where tag = 7", "prune", "rm redis:7, redis:latest"])
def test_an_unconfirmed_removal_fails(root: pathlib.Path, statement: str, typed: str) -> None:
    before = imq(root, "images as json").stdout
    code, stdout, stderr = run_on_terminal(root, typed, f"{statement}; images count")
    assert (code, stdout) == (2, "nothing was done\n")
    assert stderr.endswith("Continue? [y/N] ")
    assert imq(root, "images as json").stdout == before
    assert run_on_terminal(root, typed, f"on error continue; {statement}; images count")[:2] == (
        2,
        "nothing was done\n11\n",
    )


def test_a_confirmed_removal_succeeds(root: pathlib.Path) -> None:
    code, _, _ = run_on_terminal(root, "y\n", "rm redis:7")
    assert code == 0
    assert imq(root, "images where name = redis:7 count").stdout == "0\n"
