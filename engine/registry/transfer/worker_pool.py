"""Several transfers at a time: plain threads, the first failure calls the others off."""

from __future__ import annotations

import threading
from collections import deque

from imq.grammar.errors import Interrupted
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Protocol

    class Abortable(Protocol):
        """Something that a thread may be waiting in, and can be woken from."""

        def abort(self) -> None:
            """Make the waiting thread raise."""

    Job = Callable[["Work"], None]

_LONGEST_GOODBYE = 5.0
"""Seconds that threads have to notice that the work was called off. One still waiting for a server's first word is
then left behind: it has begun nothing that would have to be undone, and ends by itself."""


class Work:
    """What the threads of one transfer share: whether it was called off, and what they wait in."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self._lock = threading.Lock()
        self._waiting: set[Abortable] = set()
        self._jobs: deque[Job] = deque()
        self._running = 0
        self._problem: BaseException | None = None
        self._decided = threading.Event()
        self._over = threading.Event()

    @property
    def stopped(self) -> bool:
        """Whether the work was called off."""
        return self.stop.is_set()

    def watch(self, stream: Abortable) -> None:
        """Have `stream` aborted when the work is called off."""
        with self._lock:
            self._waiting.add(stream)
        if self.stopped:
            stream.abort()

    def forget(self, stream: Abortable) -> None:
        """No longer watch `stream`."""
        with self._lock:
            self._waiting.discard(stream)

    def run(self, jobs: Iterable[Job], threads: int) -> None:
        """Do all jobs, at most `threads` at a time, and raise what the first to fail raised.

        The caller's thread only waits, so that a KeyboardInterrupt reaches it at once; it calls the work off too.
        """
        self._jobs.extend(jobs)
        count = min(max(threads, 1), len(self._jobs))
        if count <= 1:
            for job in self._jobs:
                job(self)
            return
        self._running = count
        try:
            for number in range(count):
                worker = threading.Thread(target=self._drain, name=f"imq-transfer-{number}", daemon=True)
                try:
                    worker.start()
                except RuntimeError:  # no room for one more thread: those that run do its jobs
                    if self._give_up(count - number):
                        raise
                    break
            self._decided.wait()
        except BaseException:
            self._call_off(None)
            raise
        finally:
            self._over.wait(_LONGEST_GOODBYE)
        if self._problem is not None:
            raise self._problem

    def _give_up(self, count: int) -> bool:
        """Count out workers that could not start; whether none is left for the jobs that remain."""
        with self._lock:
            self._running -= count
            over = not self._running
        if over:
            self._over.set()
            self._decided.set()
        return over and bool(self._jobs)

    def _drain(self) -> None:
        try:
            while not self.stopped:
                try:
                    job = self._jobs.popleft()
                except IndexError:
                    break
                job(self)
        except Interrupted:
            pass
        except BaseException as problem:  # noqa: BLE001 - carried to the thread that waits, which raises it
            self._call_off(problem)
        finally:
            with self._lock:
                self._running -= 1
                last = not self._running
            if last:
                self._over.set()
                self._decided.set()

    def _call_off(self, problem: BaseException | None) -> None:
        with self._lock:
            if self._problem is None:
                self._problem = problem
            waiting = tuple(self._waiting)
        self.stop.set()
        self._decided.set()
        for stream in waiting:
            stream.abort()
