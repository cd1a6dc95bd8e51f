"""State that the benchmarks of one run share: folders, the registry, the imq to measure, and results."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from typing import TYPE_CHECKING, Self

import install
from measure import BenchmarkError
from registry_server import registry

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from measure import Contender


class Bench:
    """One run of the suite, a context manager. On exit, servers are stopped and temporary folders removed."""

    def __init__(self, cache: str, rounds: int, imq: str | None, frozen: str | None, *, daemons: bool) -> None:
        self.cache = os.path.abspath(os.path.expanduser(cache))
        self.rounds = rounds
        self.daemons = daemons
        self.frozen = frozen
        self.raw: dict[str, list[float]] = {}
        self.raw_cpu: dict[str, list[float]] = {}
        self.failures: list[str] = []
        self._imq = imq
        self._host = ""
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        os.makedirs(self.cache, exist_ok=True)
        # On the file system of the cached images, so that all contenders write to the same one.
        self.scratch = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="run-", dir=self.cache))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def imq(self) -> str:
        """Return the program to measure: that of `--imq`, else the installed checkout."""
        if self._imq is None:
            self._imq = install.install(self.cache)
        return self._imq

    def registry(self) -> str:
        """Return HOST:PORT of the loopback registry with the cached images; start it at the first call."""
        if not self._host:
            self._host = self._stack.enter_context(registry(os.path.join(self.cache, "registry")))
        return self._host

    def environment(self) -> dict[str, str]:
        """Return an environment for imq without the user's settings, store and credentials."""
        home = os.path.join(self.scratch, "home")
        os.makedirs(home, exist_ok=True)
        variables = {
            key: value for key, value in os.environ.items() if key in ("PATH", "LANG", "LC_ALL", "TERM", "TMPDIR")
        }
        return {**variables, "HOME": home}

    def note(self, title: str, contenders: Sequence[Contender]) -> None:
        """Record the times of every run for the JSON report, and print every contender that could not run."""
        for contender in contenders:
            if contender.runs:
                self.raw[f"{title}: {contender.name}"] = [round(seconds, 5) for seconds in contender.seconds]
                self.raw_cpu[f"{title}: {contender.name}"] = [round(cpu, 5) for cpu in contender.cpu_seconds]
        missing = [contender for contender in contenders if contender.failure]
        for contender in missing:
            print(f"  skipped: {contender.failure}", flush=True)
        self.failures += [f"{title}: {contender.failure}" for contender in missing if contender.is_required]


def remove_folder(folder: str) -> None:
    """Remove a folder if it exists."""
    shutil.rmtree(folder, ignore_errors=True)


def find_program(name: str) -> str:
    """Return the path of a program. Raises `BenchmarkError` when it is not installed."""
    path = shutil.which(name)
    if path is None:
        raise BenchmarkError(f"{name} is not installed")
    return path
