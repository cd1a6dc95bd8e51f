"""The location of the store: given, in the home folder, or missing."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import imq
import pytest
from imq.cli.main import Cli
from imq.cli.store_location import store_root
from imq.engine.units.paths import expand_path, home_directory
from imq.grammar.errors import StatementError, StoreError
from imq.repl.history import History
from registry.support.paging_server import REPOSITORY, PagingServer
from support.images import Image, Layout, layer

if TYPE_CHECKING:
    from pathlib import Path

PLACES = ("HOME", "IMQ_ROOT", "IMQ_CONFIG", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME")


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without an entry in the passwd database."""

    def unknown(number: int) -> None:
        raise KeyError(number)

    monkeypatch.setattr("pwd.getpwuid", unknown)


def run(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run imq in a folder with only these environment variables."""
    kept = {name: value for name, value in os.environ.items() if name not in PLACES}
    options: dict[str, Any] = {"cwd": folder, "env": {**kept, **environment}, "capture_output": True, "text": True}
    return subprocess.run([sys.executable, "-m", "imq", *words], check=False, **options)


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize("home", [None, "", "relative", "~"])
def test_without_a_home_folder_the_default_store_is_refused(home: str | None) -> None:
    environment = {} if home is None else {"HOME": home}
    with pytest.raises(StoreError) as raised:
        store_root(environment, "")
    assert raised.value.code == "no-home"
    assert raised.value.exit_code == 3
    assert "--root DIR or IMQ_ROOT" in raised.value.hints[0]
    assert store_root({**environment, "IMQ_ROOT": "/named"}, "") == "/named"
    assert store_root({**environment, "XDG_DATA_HOME": "/data"}, "") == "/data/imq"
    assert store_root(environment, "/configured") == "/configured"


@pytest.mark.usefixtures("nobody")
def test_without_a_home_folder_a_tilde_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError):
        store_root({"IMQ_ROOT": "~/images"}, "")
    with pytest.raises(StoreError):
        imq.connect(environment={})
    with imq.connect(root=tmp_path / "store", environment={}) as session, pytest.raises(StatementError) as raised:
        session('load "~/all.tar"')
    assert raised.value.code == "no-home"
    history = History({})
    history.add("images")
    assert history.entries == ["images"]
    assert "the home folder of the user is unknown" in history.problem
    assert list(tmp_path.iterdir()) == []


def test_the_home_folder_comes_from_the_passwd_database(monkeypatch: pytest.MonkeyPatch) -> None:
    import pwd

    home = pwd.getpwuid(os.getuid()).pw_dir
    monkeypatch.setenv("HOME", "/elsewhere")  # the environment that is given counts, and not that of the process
    assert home_directory({}) == home_directory({"HOME": ""}) == home_directory({"HOME": "relative"}) == home
    assert home_directory({"HOME": "/mine"}) == "/mine"
    assert expand_path("~/a", "/folder", "/mine") == "/mine/a"
    assert expand_path("~/a", "/folder", None) == "/folder/~/a"


def test_an_unexpanded_tilde_is_the_home_folder(tmp_path: Path) -> None:
    """As of `--root=~/images`, which no shell but zsh expands."""
    Layout(tmp_path / "images").add(Image([layer({"a": b"a"})]), "mine:1")
    for words, more in ((("--root=~/images",), {}), ((), {"IMQ_ROOT": "~/images"})):
        done = run(tmp_path, *words, "images", "select", "name", "as", "ids", HOME=str(tmp_path), **more)
        assert (done.returncode, done.stdout) == (0, "mine:1\n"), done.stderr
    assert not (tmp_path / "~").exists()


@pytest.mark.parametrize("words", [("--root=~nobody2/x",), ("--root", "~nobody2")])
def test_the_home_folder_of_another_user_is_refused(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = run(tmp_path, *words, "load", "missing.tar", HOME=str(tmp_path))
    assert done.returncode == 3
    assert "error[no-home]: ~nobody2" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize(
    ("words", "code"), [(["help"], 0), (["help", "images"], 0), (["help images"], 0), (["help", "tabels"], 2)]
)
def test_help_needs_no_store(words: list[str], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    stdout, stderr = io.StringIO(), io.StringIO()
    assert Cli(io.StringIO(), stdout, stderr, {}).main(words) == code, stderr.getvalue()
    assert bool(stdout.getvalue()) == (code == 0)
    assert "no-home" not in stderr.getvalue()
    assert list(tmp_path.iterdir()) == []


QUESTIONS = (
    ("images",),
    ("images", "count"),
    ("layers", "count"),
    ("usage",),
    ("containers",),
    ("containers", "where", "status", "=", "running"),
    ("packages",),
    ("blobs",),
    ("assert", "no", "images", "where", "dangling"),
    ("rm", "images", "where", "dangling"),
    ("image", "ls"),
    ("reindex",),
    ("prune",),
)


@pytest.mark.parametrize("words", QUESTIONS, ids=" ".join)
@pytest.mark.parametrize("made", [False, True], ids=["missing", "empty"])
def test_a_query_of_a_missing_store_reports_it(tmp_path: Path, words: tuple[str, ...], *, made: bool) -> None:
    root = tmp_path / "typo"
    if made:
        root.mkdir()
    done = run(tmp_path, "--root", str(root), *words, HOME=str(tmp_path))
    assert (done.returncode, done.stdout) == (3, "")
    assert f"error[no-store]: no store found at {root}\n" in done.stderr
    assert "--root" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["typo"] * made


def test_a_missing_root_from_the_environment_is_a_warning(tmp_path: Path) -> None:
    """It may be set before the first pull: the answer is empty, and says why."""
    root = tmp_path / "typo"
    done = run(tmp_path, "images", "count", HOME=str(tmp_path), IMQ_ROOT=str(root))
    assert (done.returncode, done.stdout) == (0, "0\n")
    assert done.stderr == f"WARNING: no store found at {root}\n"
    nowhere = dict.fromkeys(("DOCKER_HOST", "CONTAINER_HOST"), f"unix://{tmp_path}/missing.sock")
    done = run(tmp_path, "images", "count", HOME=str(tmp_path), **nowhere)
    assert (done.returncode, done.stdout) == (0, "0\n")
    assert "WARNING" not in done.stderr


def test_a_name_in_a_missing_store_reports_it(tmp_path: Path) -> None:
    done = run(tmp_path, "--root", str(tmp_path / "typo"), "rm", "redis:7", HOME=str(tmp_path))
    assert done.returncode == 3
    assert "no store found at" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_queries_of_registries_create_no_store(tmp_path: Path) -> None:
    with PagingServer(3) as server:
        text = f"tags of {server.host}/{REPOSITORY} select tag"
        done = run(tmp_path, "--root", str(tmp_path / "typo"), text, HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_verbs_that_add_images_create_the_store(tmp_path: Path) -> None:
    Layout(tmp_path / "source").add(Image([layer({"a": b"a"})]), "mine:1")
    root = str(tmp_path / "store")
    assert run(tmp_path, "--root", root, "load", str(tmp_path / "source"), HOME=str(tmp_path)).returncode == 0
    assert run(tmp_path, "--root", root, "images", "count", HOME=str(tmp_path)).stdout == "1\n"
