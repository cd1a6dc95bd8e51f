"""Runs the tasks of a transfer in threads; the first failure cancels the others."""

from __future__ import annotations

import threading
from collections import deque

from imq.grammar.errors import Interrupted
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Protocol

    class Abortable(Protocol):
        """An object that a thread may wait for, and that can be interrupted."""

        def abort(self) -> None:
            """Make the waiting thread raise."""

    Task = Callable[["WorkerPool"], None]

_JOIN_TIMEOUT = 5.0
"""Seconds to wait for threads after a cancellation.

A thread that still waits for a response is then abandoned: it has nothing to undo and ends by itself.
"""


class WorkerPool:
    """The shared state of the threads of one transfer: cancellation, and the streams they wait for."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self._lock = threading.Lock()
        self._watched: set[Abortable] = set()
        self._tasks: deque[Task] = deque()
        self._thread_count = 0
        self._error: BaseException | None = None
        self._finished_or_failed = threading.Event()
        self._finished = threading.Event()

    @property
    def is_stopped(self) -> bool:
        """Whether the tasks were cancelled."""
        return self.stop.is_set()

    def watch(self, stream: Abortable) -> None:
        """Abort `stream` on cancellation."""
        with self._lock:
            self._watched.add(stream)
        if self.is_stopped:
            stream.abort()

    def unwatch(self, stream: Abortable) -> None:
        """Stop watching `stream`."""
        with self._lock:
            self._watched.discard(stream)

    def run(self, tasks: Iterable[Task], concurrency: int) -> None:
        """Run all tasks, at most `concurrency` at once, and raise the error of the first one to fail.

        The calling thread only waits, so a KeyboardInterrupt takes effect at once; it cancels the tasks too.
        """
        self._tasks.extend(tasks)
        count = min(max(concurrency, 1), len(self._tasks))
        if count <= 1:
            for task in self._tasks:
                task(self)
            return
        self._thread_count = count
        try:
            for number in range(count):
                worker = threading.Thread(target=self._run_tasks, name=f"imq-transfer-{number}", daemon=True)
                try:
                    worker.start()
                except RuntimeError:  # the system allows no more threads: the running ones do its tasks
                    if self._subtract_threads(count - number):
                        raise
                    break
            self._finished_or_failed.wait()
        except BaseException:
            self._cancel(None)
            raise
        finally:
            self._finished.wait(_JOIN_TIMEOUT)
        if self._error is not None:
            raise self._error

    def _subtract_threads(self, count: int) -> bool:
        """Subtract threads that could not start; return whether tasks remain without a thread."""
        with self._lock:
            self._thread_count -= count
            is_last = not self._thread_count
        if is_last:
            self._finished.set()
            self._finished_or_failed.set()
        return is_last and bool(self._tasks)

    def _run_tasks(self) -> None:
        try:
            while not self.is_stopped:
                try:
                    task = self._tasks.popleft()
                except IndexError:
                    break
                task(self)
        except Interrupted:
            pass
        except BaseException as error:  # noqa: BLE001 - raised again by the waiting thread
            self._cancel(error)
        finally:
            with self._lock:
                self._thread_count -= 1
                last = not self._thread_count
            if last:
                self._finished.set()
                self._finished_or_failed.set()

    def _cancel(self, error: BaseException | None) -> None:
        with self._lock:
            if self._error is None:
                self._error = error
            waiting = tuple(self._watched)
        self.stop.set()
        self._finished_or_failed.set()
        for stream in waiting:
            stream.abort()
