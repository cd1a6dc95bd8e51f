"""What the benchmarks of one run share: where they work, the registry, the imq they measure, what they noted."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from typing import TYPE_CHECKING, Self

import install
from measure import CannotRunError
from registry_server import registry

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from measure import Contender


class Bench:
    """One run of the suite, to be used in a `with` block: on leaving it, servers stop and scratch folders go."""

    def __init__(self, cache: str, rounds: int, imq: str | None, frozen: str | None, *, daemons: bool) -> None:
        self.cache = os.path.abspath(os.path.expanduser(cache))
        self.rounds = rounds
        self.daemons = daemons
        self.frozen = frozen
        self.raw: dict[str, list[float]] = {}
        self.failures: list[str] = []
        self._imq = imq
        self._host = ""
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        os.makedirs(self.cache, exist_ok=True)
        # Beside the cached images, so that every contender writes to one and the same file system.
        self.scratch = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="run-", dir=self.cache))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def imq(self) -> str:
        """Return the program to measure: the one that was given, else the checkout's, installed."""
        if self._imq is None:
            self._imq = install.install(self.cache)
        return self._imq

    def registry(self) -> str:
        """Return HOST:PORT of the loopback registry that has the cached images; start it when first asked."""
        if not self._host:
            self._host = self._stack.enter_context(registry(os.path.join(self.cache, "registry")))
        return self._host

    def environment(self) -> dict[str, str]:
        """Return an environment for imq in which nobody's own settings, store or credentials are found."""
        home = os.path.join(self.scratch, "home")
        os.makedirs(home, exist_ok=True)
        kept = {key: value for key, value in os.environ.items() if key in ("PATH", "LANG", "LC_ALL", "TERM", "TMPDIR")}
        return {**kept, "HOME": home}

    def note(self, title: str, contenders: Sequence[Contender]) -> None:
        """Keep the seconds of every run for the JSON, and tell of every contender that could not run."""
        for contender in contenders:
            if contender.runs:
                self.raw[f"{title}: {contender.name}"] = [round(seconds, 5) for seconds in contender.seconds]
        missing = [contender for contender in contenders if contender.failure]
        for contender in missing:
            print(f"  left out: {contender.failure}", flush=True)
        needed = [contender.failure for contender in missing if contender.needed]
        if needed:
            self.failures += [f"{title}: {failure}" for failure in needed]


def empty(folder: str) -> None:
    """Remove a folder and what it holds, if it is there."""
    shutil.rmtree(folder, ignore_errors=True)


def program(name: str) -> str:
    """Return where a program is installed."""
    found = shutil.which(name)
    if found is None:
        raise CannotRunError(f"{name} is not installed")
    return found
