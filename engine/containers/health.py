"""The health check of a running container, by the rules of docker: a program in it that the monitor runs at intervals.

The container is healthy after a check that succeeds, and unhealthy after several that fail in a row; failures in the
start period do not count. The last results are in `health.json`.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress

from imq.grammar.record import TYPE_CHECKING, Record

from .folder import BUNDLE, HEALTH, PAUSED, STARTING, read_json, write_json
from .log_file import format_log_time
from .runtime import exit_code_of, spawn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from .exchange import Exchange
    from .runtime import Runtime

HEALTHY, UNHEALTHY = "healthy", "unhealthy"
_SECOND = 10**9
_DEFAULT_INTERVAL, _DEFAULT_TIMEOUT, _DEFAULT_START_INTERVAL = 30.0, 30.0, 5.0
_DEFAULT_RETRIES = 3
_SHELL = ("/bin/sh", "-c")
_LONGEST_OUTPUT = 4096
_KEPT_RESULTS = 5
_TIMED_OUT = -1
_POLL = 0.05
_PATIENCE = 5.0
"""The maximum seconds that the runtime has to end after the program of a check was killed."""
_PROCESS, _PID = "health-process.json", "health-pid"


class HealthCheck(Record):
    """A check. Times are in seconds. `retries` failures in a row make the container unhealthy."""

    arguments: tuple[str, ...]
    interval: float
    timeout: float
    start_period: float
    start_interval: float
    retries: int


def read_check(config: Mapping[str, Any]) -> HealthCheck | None:
    """Return the check of a container with this object `Config`; None when it has none."""
    check = config.get("Healthcheck") or {}
    kind, *words = check.get("Test") or ("NONE",)
    if kind == "NONE" or not words:
        return None
    arguments = tuple(words) if kind == "CMD" else (*(config.get("Shell") or _SHELL), words[0])

    def seconds(key: str, default: float) -> float:
        return (check.get(key) or 0) / _SECOND or default

    return HealthCheck(
        arguments,
        seconds("Interval", _DEFAULT_INTERVAL),
        seconds("Timeout", _DEFAULT_TIMEOUT),
        seconds("StartPeriod", 0.0),
        seconds("StartInterval", _DEFAULT_START_INTERVAL),
        check.get("Retries") or _DEFAULT_RETRIES,
    )


class HealthMonitor:
    """The checks of one run of a container, whose first process is `container`. `report` is called with new results."""

    def __init__(
        self,
        check: HealthCheck,
        id_: str,
        container: int,
        folder: int,
        runtime: Runtime,
        exchange: Exchange,
        report: Callable[[str], None],
    ) -> None:
        self._check = check
        self._container = container
        self._id = id_
        self._folder = folder
        self._runtime = runtime
        self._exchange = exchange
        self._report = report
        self._status = STARTING
        self._streak = 0
        self._results: list[dict[str, Any]] = []
        self._started = time.monotonic()
        self._next = self._started + self._interval
        self._pid = 0
        self._output = -1
        self._began = 0
        self._deadline = 0.0
        self._timed_out = False
        self._end_of_patience = 0.0
        self._write_process()
        self._write_results()
        self._children, wakeup = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # so that the next call has an effect
        signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
        exchange.watch_descriptor(self._children, self._on_child)

    @property
    def _is_starting(self) -> bool:
        return time.monotonic() - self._started < self._check.start_period

    @property
    def _interval(self) -> float:
        """The seconds to the next check: in the start period they are fewer, until the first one succeeds."""
        in_start = self._is_starting and self._status == STARTING
        return min(self._check.start_interval, self._check.interval) if in_start else self._check.interval

    def _write_process(self) -> None:
        """Write the process of checks: that of the container, with other arguments and without a terminal."""
        process = dict(read_json(self._folder, BUNDLE)["process"])
        process |= {"args": list(self._check.arguments), "terminal": False}
        write_json(self._folder, _PROCESS, process, 0o600, durable=False)

    def step(self) -> float:
        """Begin a check, or end one that takes too long, when it is time; return the seconds to the next step."""
        now = time.monotonic()
        if self._pid:
            if now >= self._deadline:
                self._kill(now)
            return max(0.0, self._deadline - now)
        if now >= self._next:
            if not os.access(PAUSED, os.F_OK, dir_fd=self._folder, follow_symlinks=False):
                self._begin()
                return self._check.timeout
            self._next = now + self._interval
        return max(0.0, self._next - now)

    def _begin(self) -> None:
        with suppress(FileNotFoundError):
            os.unlink(_PID, dir_fd=self._folder)
        self._output = os.memfd_create("imq-health", os.MFD_CLOEXEC)
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        folder = os.dup(self._folder)
        os.set_inheritable(folder, True)
        try:
            path = f"/proc/self/fd/{folder}"
            words = ("exec", "--process", f"{path}/{_PROCESS}", "--pid-file", f"{path}/{_PID}", self._id)
            self._pid = spawn([*self._runtime.argv, *words], (null, self._output, self._output))
        finally:
            os.close(folder)
            os.close(null)
        self._began = time.time_ns()
        self._deadline = time.monotonic() + self._check.timeout

    def _kill(self, now: float) -> None:
        """Kill the program of a check that takes too long; the runtime ends with it, or is killed in the end too."""
        if not self._timed_out:
            self._timed_out, self._end_of_patience = True, now + _PATIENCE
        with suppress(OSError, ValueError):  # the runtime has not started it yet
            descriptor = os.open(_PID, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=self._folder)
            with os.fdopen(descriptor, "rb") as file:
                os.kill(int(file.read()), signal.SIGKILL)
        if now >= self._end_of_patience:
            os.kill(self._pid, signal.SIGKILL)
        self._deadline = now + _POLL

    def _on_child(self) -> None:
        """Take the result of a check that has ended, and reap what the runtime left of it.

        The first process of a container ends after all others of the container were reaped.
        """
        with suppress(BlockingIOError):
            os.read(self._children, _LONGEST_OUTPUT)
        with suppress(ChildProcessError):
            while (found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
                if found.si_pid == self._container:
                    return  # its monitor waits for it
                _, status = os.waitpid(found.si_pid, 0)
                if found.si_pid == self._pid:
                    self._end(exit_code_of(status))

    def _end(self, exit_code: int) -> None:
        """Take the result of a check."""
        timed_out, self._timed_out = self._timed_out, False
        output = os.pread(self._output, _LONGEST_OUTPUT, 0).decode("utf-8", "replace")
        os.close(self._output)
        self._pid, self._output = 0, -1
        if timed_out:
            exit_code, output = _TIMED_OUT, f"Health check exceeded timeout ({self._check.timeout:g}s)"
        times = {"Start": format_log_time(self._began), "End": format_log_time(time.time_ns())}
        self._results = [*self._results, {**times, "ExitCode": exit_code, "Output": output}][-_KEPT_RESULTS:]
        status = self._status
        if exit_code == 0:
            self._streak, status = 0, HEALTHY
        elif not (self._is_starting and self._status == STARTING):
            self._streak += 1
            if self._streak >= self._check.retries:
                status = UNHEALTHY
        changed, self._status = status != self._status, status
        self._next = time.monotonic() + self._interval
        self._write_results()
        if changed:
            self._report(status)

    def _write_results(self) -> None:
        document = {"Status": self._status, "FailingStreak": self._streak, "Log": self._results}
        with suppress(OSError):  # a full disk
            write_json(self._folder, HEALTH, document, durable=False)

    def close(self) -> None:
        """End a check that goes on: its container has ended."""
        self._exchange.forget_descriptor(self._children)
        os.close(signal.set_wakeup_fd(-1))
        os.close(self._children)
        if self._pid:
            with suppress(OSError):
                os.kill(self._pid, signal.SIGKILL)
                os.waitpid(self._pid, 0)
            os.close(self._output)
            self._pid = 0


def describe(folder: int, status: str) -> dict[str, Any] | None:
    """Return the object `Health` of `docker inspect`; None for a container that has not been checked."""
    document = read_json(folder, HEALTH)
    return {**document, "Status": status} if isinstance(document, dict) and status else None
