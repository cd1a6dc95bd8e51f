"""Whole processes, timed against each other in the same minutes, and what their figures are held to."""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROUNDS = 5
SAMPLE_EVERY = 0.01
LONGEST = 300.0
"""Seconds after which a run has hung and is ended."""
LONGEST_MAKING = 1800.0
"""The same for what is not measured, such as a bootstrap over a slow line."""
PAGE = os.sysconf("SC_PAGE_SIZE")
STARTER = (sys.executable, "-I", "-S", os.path.join(os.path.dirname(os.path.abspath(__file__)), "starter.py"))


class CannotRunError(Exception):
    """A benchmark, or one side of it, has no figure: the message says why."""


@dataclass(frozen=True)
class Run:
    """One finished process: seconds from its start to its end, and the most bytes it held."""

    seconds: float
    peak: int


@dataclass
class Contender:
    """One side of a comparison: a command line, and what is done before and after it outside the timed part."""

    name: str
    command: Sequence[str]
    before: Callable[[], object] = lambda: None
    check: Callable[[], object] = lambda: None
    after: Callable[[], object] = lambda: None
    environment: dict[str, str] | None = None
    needed: bool = False
    runs: list[Run] = field(default_factory=list)
    failure: str = ""
    tree_peak: int = 0

    @property
    def seconds(self) -> list[float]:
        return [run.seconds for run in self.runs]

    @property
    def peaks(self) -> list[int]:
        """Bytes: what the kernel counted in each run, or the sum over the warm-up's process tree when that is more."""
        return [max(run.peak, self.tree_peak) for run in self.runs]


@dataclass(frozen=True)
class Figure:
    """One line of the table. `target` is the most it may be; without one it is there to be seen."""

    name: str
    unit: str
    values: tuple[float, ...]
    measured: float
    target: float | None = None

    @property
    def verdict(self) -> str:
        if self.target is None:
            return ""
        return "ok" if self.measured <= self.target else "over"

    def document(self) -> dict[str, object]:
        return {
            "name": self.name,
            "unit": self.unit,
            "target": self.target,
            "measured": round(self.measured, 4),
            "min": round(min(self.values), 4),
            "max": round(max(self.values), 4),
            "values": [round(value, 4) for value in self.values],
            "verdict": self.verdict or None,
        }


def once(contender: Contender, *, sampled: bool = False) -> Run:
    """Run the contender once. What is written to disk by others is flushed first, so that nobody pays for it."""
    contender.before()
    os.sync()
    try:
        run = _whole(contender, sampled=sampled)
        contender.check()
    finally:
        contender.after()
    return run


def _whole(contender: Contender, *, sampled: bool) -> Run:
    reading, writing = os.pipe()
    with open(reading) as told, tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [*STARTER, str(writing), *contender.command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=contender.environment,
            pass_fds=(writing,),
            start_new_session=True,  # so that all of it can be ended when it hangs
        )
        os.close(writing)
        limit = threading.Timer(LONGEST, _end, (process.pid,))
        limit.start()
        sampler = _TreeSampler(process.pid) if sampled else None
        try:
            result = told.read()
            process.wait()
        except BaseException:  # the suite is being ended: nothing of it goes on behind its back
            _end(process.pid)
            process.wait()
            raise
        finally:
            limit.cancel()
            if sampler:
                contender.tree_peak = max(contender.tree_peak, sampler.stop())
        output.seek(0)
        said = output.read().decode(errors="replace").strip().splitlines()
    last = said[-1] if said else "it said nothing"
    if not result:
        raise CannotRunError(f"{contender.name} did not start, or not end within {LONGEST:g} s: {last}")
    seconds, peak, code = result.split()
    if code != "0":
        raise CannotRunError(f"{contender.name} ended with {code}: {last}")
    return Run(float(seconds), int(peak))


def _end(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has just ended by itself
        os.killpg(group, signal.SIGKILL)


def said_by(command: Sequence[str], environment: dict[str, str] | None = None, *, limit: float = LONGEST_MAKING) -> str:
    """Run a command that is not measured and return what it printed; raises when it fails or hangs."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            env=environment,
            timeout=limit,
        )
    except FileNotFoundError:
        raise CannotRunError(f"{command[0]} is not installed: apt-get install {command[0]}") from None
    except subprocess.TimeoutExpired:
        raise CannotRunError(f"{' '.join(command)} has not ended within {limit:g} s") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        last = said[-1] if said else "it said nothing"
        raise CannotRunError(f"{' '.join(command)} ended with {done.returncode}: {last}")
    return done.stdout.strip()


def interleave(contenders: Sequence[Contender], rounds: int = ROUNDS) -> list[Contender]:
    """Warm every contender up, then run them in turn, `rounds` times; return those that have figures.

    One that fails in its warm-up is left out; when it is needed, the benchmark cannot run.
    """
    running = []
    for contender in contenders:
        try:
            once(contender, sampled=True)
            running.append(contender)
        except (CannotRunError, OSError) as error:
            contender.failure = str(error)
    for _ in range(rounds):
        for contender in running:
            contender.runs.append(once(contender))
    return running


def ratio(name: str, one: Contender, other: Contender, target: float | None = None) -> Figure:
    """Return how many times the median of `other` the median of `one` is; the spread is over the rounds."""
    pairs = tuple(a / b for a, b in zip(one.seconds, other.seconds, strict=True))
    measured = statistics.median(one.seconds) / statistics.median(other.seconds)
    return Figure(name, f"x {other.name}", pairs, measured, target)


def peak(name: str, one: Contender, target: float | None = None) -> Figure:
    """Return the most memory that any run held, in MB of 10⁶ bytes."""
    values = tuple(held / 1e6 for held in one.peaks)
    return Figure(name, "MB", values, max(values), target)


def milliseconds(name: str, one: Contender, target: float | None = None) -> Figure:
    """Return the median of whole runs, start of the process included."""
    values = tuple(seconds * 1e3 for seconds in one.seconds)
    return Figure(name, "ms", values, statistics.median(values), target)


class _TreeSampler:
    """Adds up the resident memory of everything below the starter, while it runs.

    wait4 knows the largest single process; a tool that splits its work over several must not look small by that.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._most = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        self._done.set()
        self._thread.join()
        return self._most

    def _watch(self) -> None:
        while not self._done.wait(SAMPLE_EVERY):
            _, *tree = _tree(self._pid)
            if len(tree) > 1:
                self._most = max(self._most, sum(_resident(pid) for pid in tree))


def _tree(pid: int) -> list[int]:
    found, pending = [], [pid]
    while pending:
        parent = pending.pop()
        found.append(parent)
        try:
            for task in os.listdir(f"/proc/{parent}/task"):
                with open(f"/proc/{parent}/task/{task}/children") as children:
                    pending += [int(child) for child in children.read().split()]
        except OSError:
            continue
    return found


def _resident(pid: int) -> int:
    """Bytes of the process that are its own; what it shares with its parent is counted there."""
    try:
        with open(f"/proc/{pid}/statm") as statm:
            _, resident, shared = (int(word) for word in statm.read().split()[:3])
    except (OSError, ValueError):
        return 0
    return (resident - shared) * PAGE
