"""The frozen executable in $IMQ_EXECUTABLE. Without it, no test of this folder is collected."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [TESTS, os.path.join(os.path.dirname(TESTS), "build", "freeze")]

collect_ignore_glob = [] if os.environ.get("IMQ_EXECUTABLE") else ["test_*.py"]


class Frozen:
    """The executable, with its own store, home folder and folder for temporary files.

    `cache` is the folder that it unpacks itself to; with None, the executable chooses one.
    """

    def __init__(self, executable: str, folder: pathlib.Path, cache: pathlib.Path | None = None) -> None:
        self.executable = executable
        self.root = folder / "store"
        self.temporary = folder / "temporary"
        self.home = folder / "home"
        self.temporary.mkdir()
        self.home.mkdir()
        self.environment = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(self.home),
            "TMPDIR": str(self.temporary),
            "IMQ_ROOT": str(self.root),
            "NO_PROXY": "*",
            **({} if cache is None else {"IMQ_CACHE": str(cache)}),
        }

    def start(self, *arguments: str, **changes: str) -> subprocess.Popen[str]:
        """Start it in a new session, as a terminal does."""
        return subprocess.Popen(
            [self.executable, *arguments],
            env={**self.environment, **changes},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(
        self, *arguments: str, environment: Mapping[str, str] | None = None, **changes: str
    ) -> subprocess.CompletedProcess[str]:
        """Run it. `environment` replaces the environment; `changes` are added to it."""
        return subprocess.run(
            [self.executable, *arguments],
            env={**(self.environment if environment is None else environment), **changes},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def output_of(self, *arguments: str, **changes: str) -> str:
        """Run it, assert that it succeeds, and return its standard output."""
        run = self.run(*arguments, **changes)
        assert run.returncode == 0, run.stderr
        return run.stdout


@pytest.fixture(scope="session")
def executable() -> str:
    return os.path.abspath(os.environ["IMQ_EXECUTABLE"])


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def imq(executable: str, tmp_path: pathlib.Path, cache: pathlib.Path) -> Frozen:
    """The executable, already unpacked except in the first test."""
    return Frozen(executable, tmp_path, cache)


@pytest.fixture
def new(executable: str, tmp_path: pathlib.Path) -> Frozen:
    """The executable, not yet unpacked."""
    return Frozen(executable, tmp_path)


@pytest.fixture
def tree(tmp_path: pathlib.Path) -> pathlib.Path:
    """A small tree of files to import."""
    folder = tmp_path / "tree"
    (folder / "etc").mkdir(parents=True)
    (folder / "etc" / "motd").write_text("welcome\n")
    (folder / "big").write_bytes(os.urandom(300_000))
    return folder
