"""Timing of whole processes in alternation, and their figures with targets."""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROUNDS = 5
SAMPLE_INTERVAL = 0.01
RUN_TIMEOUT = 300.0
"""Seconds after which a run is killed."""
SETUP_TIMEOUT = 1800.0
"""The same for steps that are not measured, such as debootstrap over a slow connection."""
PAGE = os.sysconf("SC_PAGE_SIZE")
SPAWN = (sys.executable, "-I", "-S", os.path.join(os.path.dirname(os.path.abspath(__file__)), "spawn.py"))


class BenchmarkError(Exception):
    """A benchmark or a contender has no figure. The message is the reason."""


@dataclass(frozen=True)
class Run:
    """One finished process: its duration and its processor time in seconds, and its peak memory in bytes.

    The processor time includes that of the children it has waited for.
    """

    seconds: float
    cpu: float
    peak: int


@dataclass
class Contender:
    """One side of a comparison: a command line, and functions that run before and after it, untimed.

    `server_cpu` returns the processor time so far, in seconds, of a server that works for the command. With
    `counts_all` the processor time is also that of processes that outlive the command, until they have ended.
    """

    name: str
    command: Sequence[str]
    before: Callable[[], object] = lambda: None
    check: Callable[[], object] = lambda: None
    after: Callable[[], object] = lambda: None
    environment: dict[str, str] | None = None
    server_cpu: Callable[[], float] = lambda: 0.0
    is_required: bool = False
    counts_all: bool = False
    runs: list[Run] = field(default_factory=list)
    failure: str = ""
    tree_peak: int = 0

    @property
    def seconds(self) -> list[float]:
        return [run.seconds for run in self.runs]

    @property
    def cpu_seconds(self) -> list[float]:
        return [run.cpu for run in self.runs]

    @property
    def peaks(self) -> list[int]:
        """Bytes: the kernel's count for each run, or the sum over the process tree of the warm-up when that is more."""
        return [max(run.peak, self.tree_peak) for run in self.runs]


@dataclass(frozen=True)
class Figure:
    """One line of the table. `target` is the largest allowed value; without one the figure is informational.

    `cpu` is the same figure of processor time instead of wall time, which other processes on the machine change less.
    `cpu_target` is its largest allowed value.
    """

    name: str
    unit: str
    values: tuple[float, ...]
    measured: float
    target: float | None = None
    cpu: float | None = None
    cpu_target: float | None = None

    @property
    def verdict(self) -> str:
        limits = [(self.measured, self.target), (self.cpu, self.cpu_target)]
        checked = [value <= target for value, target in limits if value is not None and target is not None]
        return "" if not checked else "ok" if all(checked) else "over"

    def to_json(self) -> dict[str, object]:
        return {
            "name": self.name,
            "unit": self.unit,
            "target": self.target,
            "measured": round(self.measured, 4),
            "min": round(min(self.values), 4),
            "max": round(max(self.values), 4),
            "values": [round(value, 4) for value in self.values],
            "cpu": round(self.cpu, 4) if self.cpu is not None else None,
            "cpu_target": self.cpu_target,
            "verdict": self.verdict or None,
        }


def run_once(contender: Contender, *, sampled: bool = False) -> Run:
    """Run the contender once. Dirty pages of earlier runs are flushed first, so that they do not slow it down."""
    contender.before()
    os.sync()
    try:
        server_before = contender.server_cpu()
        run = _run_process(contender, sampled=sampled)
        run = replace(run, cpu=run.cpu + contender.server_cpu() - server_before)
        contender.check()
    finally:
        contender.after()
    return run


def _run_process(contender: Contender, *, sampled: bool) -> Run:
    read_end, write_end = os.pipe()
    with open(read_end) as report, tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [*SPAWN, str(write_end), "all" if contender.counts_all else "own", *contender.command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=contender.environment,
            pass_fds=(write_end,),
            start_new_session=True,  # so that the whole group can be killed
        )
        os.close(write_end)
        timer = threading.Timer(RUN_TIMEOUT, _kill, (process.pid,))
        timer.start()
        sampler = _TreeSampler(process.pid) if sampled else None
        try:
            result = report.read()
            process.wait()
        except BaseException:  # the suite is interrupted: no process may keep running
            _kill(process.pid)
            process.wait()
            raise
        finally:
            timer.cancel()
            if sampler:
                contender.tree_peak = max(contender.tree_peak, sampler.stop())
        output.seek(0)
        lines = output.read().decode(errors="replace").strip().splitlines()
    last = lines[-1] if lines else "no output"
    if not result:
        raise BenchmarkError(f"{contender.name} did not start, or did not exit within {RUN_TIMEOUT:g} s: {last}")
    seconds, cpu, peak, code = result.split()
    if code != "0":
        raise BenchmarkError(f"{contender.name} exited with {code}: {last}")
    return Run(float(seconds), float(cpu), int(peak))


def _kill(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has already exited
        os.killpg(group, signal.SIGKILL)


def output_of(
    command: Sequence[str], environment: dict[str, str] | None = None, *, limit: float = SETUP_TIMEOUT
) -> str:
    """Run a command that is not measured; return its standard output.

    Raises `BenchmarkError` when it fails or hangs.
    """
    try:
        run = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            env=environment,
            timeout=limit,
        )
    except FileNotFoundError:
        raise BenchmarkError(f"{command[0]} is not installed: apt-get install {command[0]}") from None
    except subprocess.TimeoutExpired:
        raise BenchmarkError(f"{' '.join(command)} did not exit within {limit:g} s") from None
    if run.returncode:
        lines = (run.stderr or run.stdout).strip().splitlines()
        last = lines[-1] if lines else "no output"
        raise BenchmarkError(f"{' '.join(command)} exited with {run.returncode}: {last}")
    return run.stdout.strip()


def interleave(contenders: Sequence[Contender], rounds: int = ROUNDS) -> list[Contender]:
    """Warm up every contender, then run them in turn, `rounds` times; return those that have figures.

    A contender that fails its warm-up is skipped. The benchmark fails when it `is_required`.
    """
    running = []
    for contender in contenders:
        try:
            run_once(contender, sampled=True)
            running.append(contender)
        except (BenchmarkError, OSError) as error:
            contender.failure = str(error)
    for _ in range(rounds):
        for contender in running:
            contender.runs.append(run_once(contender))
    return running


def ratio(
    name: str, one: Contender, other: Contender, target: float | None = None, *, cpu_target: float | None = None
) -> Figure:
    """Return the median of `one` divided by that of `other`. The spread is that of the single rounds."""
    pairs = tuple(a / b for a, b in zip(one.seconds, other.seconds, strict=True))
    measured = statistics.median(one.seconds) / statistics.median(other.seconds)
    cpu = statistics.median(one.cpu_seconds) / statistics.median(other.cpu_seconds)
    return Figure(name, f"x {other.name}", pairs, measured, target, cpu, cpu_target)


def peak(name: str, one: Contender, target: float | None = None) -> Figure:
    """Return the peak memory of all runs, in MB of 10⁶ bytes."""
    values = tuple(size / 1e6 for size in one.peaks)
    return Figure(name, "MB", values, max(values), target)


def milliseconds(name: str, one: Contender, target: float | None = None, *, cpu_target: float | None = None) -> Figure:
    """Return the median duration of whole processes."""
    values = tuple(seconds * 1e3 for seconds in one.seconds)
    cpu = statistics.median(one.cpu_seconds) * 1e3
    return Figure(name, "ms", values, statistics.median(values), target, cpu, cpu_target)


class _TreeSampler:
    """Samples the resident memory of the process tree below spawn.py.

    wait4 reports only the largest process, which underestimates tools with several processes.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._peak = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        self._done.set()
        self._thread.join()
        return self._peak

    def _watch(self) -> None:
        while not self._done.wait(SAMPLE_INTERVAL):
            _, *tree = list_tree(self._pid)
            if len(tree) > 1:
                self._peak = max(self._peak, sum(_resident_size(pid) for pid in tree))


def tree_cpu(pid: int) -> float:
    """Return the processor time of a process and its descendants in seconds, with that of those that have ended."""
    total = 0
    for one in list_tree(pid):
        try:
            with open(f"/proc/{one}/stat") as stat:
                total += sum(map(int, stat.read().rpartition(")")[2].split()[11:15]))
        except OSError:
            continue
    return total / os.sysconf("SC_CLK_TCK")


def list_tree(pid: int) -> list[int]:
    """Return a process and its descendants."""
    processes, pending = [], [pid]
    while pending:
        parent = pending.pop()
        processes.append(parent)
        try:
            for task in os.listdir(f"/proc/{parent}/task"):
                with open(f"/proc/{parent}/task/{task}/children") as children:
                    pending += [int(child) for child in children.read().split()]
        except OSError:
            continue
    return processes


def _resident_size(pid: int) -> int:
    """Return the private resident bytes of a process. Shared pages are counted for its parent."""
    try:
        with open(f"/proc/{pid}/statm") as statm:
            _, resident, shared = (int(word) for word in statm.read().split()[:3])
    except (OSError, ValueError):
        return 0
    return (resident - shared) * PAGE
