"""Hands tasks to workers: a few at a time, within the limits of each registry, and again when a worker fails.

The tasks are taken from their iterator as there is room for them, so that a million of them take no memory. The rate
limit of a registry applies to the whole cluster. A worker returns the limit that the registry reports, and this process
delays the tasks of that host.
"""

from __future__ import annotations

import time
from collections import deque
from itertools import count

from imq.engine.sources.contents.protocol import WORKER_CRASHED
from imq.grammar.errors import ImqError, RegistryError
from imq.grammar.record import TYPE_CHECKING, Record

from .locations import get_host
from .outcomes import decode_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import Any, Protocol

    from imq.engine.sources.contents.protocol import LayerTask
else:
    Protocol = object  # typing is slow to import, and a Protocol has no effect at run time

MAX_CRASHES = 2
"""The number of workers that a layer may end before it is given up."""
_MAX_RETRIES = 1
"""Retries of a failed request on another worker: the worker itself has retried it already."""
_MAX_LIMITED = 8
"""The number of times in a row that a registry may refuse because of its rate limit."""
_FIRST_LIMIT_WAIT = 1.0
"""Seconds to wait after the first refusal that names no time; doubled with each one that follows."""
_MAX_HELD = 1000
"""The most tasks that wait for the host of their layer."""
_POLL = 0.25
"""Seconds between two looks at tasks that take long."""
_LEAST_STRAGGLE = 3.0
"""Seconds that a task may take without being given to a second worker."""
_STRAGGLE_FACTOR = 3.0
"""How many times as long as the longest of the others a task may take, and as one of its size takes on average."""
_NUMBERS = count()
"""Numbers of submissions. None is used twice: the event of a cancelled one may come during a later statement."""
_TRANSIENT = frozenset({"unreachable", "timeout", "truncated", "too-slow", "tls"})


class Event(Record):
    """The end of a submitted task: a result, or how its worker crashed. `is_last`: it is not to be tried again."""

    number: int
    document: Mapping[str, Any] = {}
    content: bytes = b""
    crash: str = ""
    worker: str = ""
    is_last: bool = False

    def __hash__(self) -> int:
        """Hash by number: a mapping is unhashable."""
        return hash(self.number)


class Backend(Protocol):
    """The workers. Each submitted task has a number of its own."""

    @property
    def slots(self) -> int:
        """The number of tasks that run at once."""

    @property
    def depth(self) -> int:
        """The number of further tasks that wait where they will run, so that no worker has to wait for them."""

    def submit(self, number: int, document: Mapping[str, Any], avoid: frozenset[str], /) -> None:
        """Submit a task, not to the workers in `avoid` if there are others."""

    def wait(self, timeout: float, /) -> list[Event]:
        """Return the tasks that ended; after `timeout` seconds none. Raises `ImqError` when the workers are lost."""

    def find_workers(self, numbers: Iterable[int], /) -> Mapping[int, str]:
        """Return the workers at which tasks are, as far as they are known."""

    def cancel(self, numbers: Iterable[int], /) -> None:
        """Cancel tasks, which have no event then."""


class _Host:
    """What is known of a registry: how many of its layers are read, and when the next one may be."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.in_flight = 0
        self.until = 0.0
        self.remaining: int | None = None
        self.refusals = 0
        self.problem: ImqError | None = None
        self.waiting: deque[_State] = deque()

    def allows(self, now: float) -> bool:
        """Whether another layer may be read now."""
        if now < self.until or self.in_flight >= self.limit:
            return False
        return self.remaining is None or self.in_flight < max(self.remaining, 1)


class _State:
    """A task that is not done. `started` has the times of its submissions by number."""

    __slots__ = ("avoid", "crashes", "document", "host", "ready_at", "retries", "started", "task")

    def __init__(self, task: LayerTask, document: Mapping[str, Any], host: str) -> None:
        self.task = task
        self.document = document
        self.host = host
        self.crashes = self.retries = 0
        self.avoid: frozenset[str] = frozenset()
        self.started: dict[int, float] = {}
        self.ready_at = 0.0


class Dispatcher:
    """Runs the tasks of one statement.

    `host_limit` is the number of layers of one registry that are read at once, `longest_wait` the most seconds that a
    registry may make the statement wait.
    """

    def __init__(
        self,
        backend: Backend,
        host_limit: int,
        longest_wait: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._backend = backend
        self._host_limit = host_limit
        self._longest_wait = longest_wait
        self._clock = clock
        self._in_flight: dict[int, _State] = {}
        self._hosts: dict[str, _Host] = {}
        self._again: list[_State] = []
        self._held = 0
        self._tasks: Iterator[tuple[LayerTask, Mapping[str, Any]]] = iter(())
        self._is_exhausted = False
        self._seconds = self._bytes = 0.0
        self._longest = 0.0

    def run(self, tasks: Iterable[tuple[LayerTask, Mapping[str, Any]]]) -> Iterator[tuple[LayerTask, Event | ImqError]]:
        """Yield each task with its event or its error. Each is paired with the document that a worker gets."""
        self._tasks = iter(tasks)
        try:
            while True:
                yield from self._submit_ready()
                if not (self._in_flight or self._again or self._held):
                    if self._is_exhausted:
                        return
                    continue
                for event in self._backend.wait(_POLL):
                    outcome = self._take(event)
                    if outcome is not None:
                        yield from self._submit_ready()  # the caller takes its time over an outcome
                        yield outcome
                self._copy_stragglers()
        finally:
            self._backend.cancel(list(self._in_flight))
            self._in_flight.clear()

    def _submit_ready(self) -> Iterator[tuple[LayerTask, ImqError]]:
        """Submit tasks while there is room. Yield those whose registry refuses all requests, with its error."""
        room = self._backend.slots + self._backend.depth
        while len(self._in_flight) < room:
            state = self._choose(self._clock())
            if state is None:
                return
            problem = self._hosts[state.host].problem if state.host else None
            if problem is not None:
                yield state.task, problem
            else:
                self._submit(state)

    def _choose(self, now: float) -> _State | None:
        """Return the next task that may run now: one that ran before, one that waits for its host, or a new one."""
        for at, state in enumerate(self._again):
            if state.ready_at <= now and self._is_allowed(state, now):
                return self._again.pop(at)
        for host in self._hosts.values():
            if host.waiting and (host.problem is not None or host.allows(now)):
                self._held -= 1
                return host.waiting.popleft()
        while self._held < _MAX_HELD and not self._is_exhausted:
            task, document = next(self._tasks, (None, {}))
            if task is None:
                self._is_exhausted = True
                break
            state = _State(task, document, get_host(document["locations"][0]))
            if state.host and state.host not in self._hosts:
                self._hosts[state.host] = _Host(self._host_limit)
            if self._is_allowed(state, now):
                return state
            self._hosts[state.host].waiting.append(state)
            self._held += 1
        return None

    def _is_allowed(self, state: _State, now: float) -> bool:
        if not state.host:
            return True
        host = self._hosts[state.host]
        return host.problem is not None or host.allows(now)

    def _submit(self, state: _State) -> None:
        number = next(_NUMBERS)
        state.started[number] = self._clock()
        self._in_flight[number] = state
        if state.host:
            host = self._hosts[state.host]
            host.in_flight += 1
            if host.remaining is not None:
                host.remaining -= 1
        self._backend.submit(number, state.document, state.avoid)

    def _take(self, event: Event) -> tuple[LayerTask, Event | ImqError] | None:
        """Take the end of a submitted task: return it with its outcome, or put it back to run again."""
        state = self._in_flight.get(event.number)
        if state is None:  # another worker was faster
            return None
        self._release(state, event.number)
        self._note_limits(event.document.get("limits") or {})
        problem = self._find_problem(state, event)
        if problem is None:
            self._end_copies(state)
            if state.host:
                self._hosts[state.host].refusals = 0
            return state.task, event
        if not state.started and not self._may_run_again(state, event, problem):
            return state.task, problem
        return None

    def _release(self, state: _State, number: int) -> None:
        del self._in_flight[number]
        seconds = self._clock() - state.started.pop(number)
        self._seconds += seconds
        self._bytes += state.task.place.descriptor.size
        self._longest = max(self._longest, seconds)
        if state.host:
            self._hosts[state.host].in_flight -= 1

    def _end_copies(self, state: _State) -> None:
        """Cancel the other submissions of a task that is done."""
        others = list(state.started)
        for number in others:
            del self._in_flight[number]
            if state.host:
                self._hosts[state.host].in_flight -= 1
        state.started.clear()
        if others:
            self._backend.cancel(others)

    def _find_problem(self, state: _State, event: Event) -> ImqError | None:
        if event.crash:
            state.crashes += 1
            state.avoid |= {event.worker}
            return ImqError(
                f"the layer {state.task.diff_id} ended {state.crashes} worker{'s' if state.crashes > 1 else ''}:"
                f" {event.crash}",
                code=WORKER_CRASHED,
                hints=("the layer needs more memory than a worker has, or its content makes the scanner fail",),
            )
        error = event.document.get("error")
        return decode_error(error) if error is not None else None

    def _may_run_again(self, state: _State, event: Event, problem: ImqError) -> bool:
        """Put a task back if it may succeed later; return whether it was."""
        if event.crash:
            if state.crashes >= MAX_CRASHES or event.is_last:
                return False
        elif isinstance(problem, RegistryError) and problem.code == "too-many-requests":
            return self._wait_for_host(state, problem)
        elif isinstance(problem, RegistryError) and (problem.code in _TRANSIENT or problem.status >= 500):
            if state.retries >= _MAX_RETRIES:
                return False
            state.retries += 1
            state.avoid |= {event.worker}
            state.ready_at = self._clock() + _FIRST_LIMIT_WAIT
        else:
            return False
        self._again.append(state)
        return True

    def _wait_for_host(self, state: _State, problem: RegistryError) -> bool:
        """Hold the tasks of a registry whose rate limit is reached. After too many refusals all of them fail."""
        host = self._hosts.get(state.host)
        if host is None:
            return False
        now = self._clock()
        if now >= host.until:  # refusals of requests that were sent before the first one count once
            host.refusals += 1
            wait = problem.retry_after or _FIRST_LIMIT_WAIT * (1 << (host.refusals - 1))
            if wait > self._longest_wait or host.refusals > _MAX_LIMITED:
                host.problem = problem
                return False
            host.until = now + wait
        self._again.append(state)
        return True

    def _note_limits(self, limits: Mapping[str, Mapping[str, Any]]) -> None:
        """Note the number of requests that registries still allow, and wait for the next window when none is left."""
        for name, limit in limits.items():
            host = self._hosts.get(name)
            if host is None:
                continue
            host.remaining = limit["remaining"]
            if not host.remaining and 0 < limit["reset"] <= self._longest_wait:
                host.until = max(host.until, self._clock() + limit["reset"])
                host.remaining = None

    def _copy_stragglers(self) -> None:
        """Submit tasks that take long a second time, when nothing else is left to do. The first result counts."""
        if not self._is_exhausted or self._held or self._again or not self._seconds:
            return
        # a worker that stands still may have several tasks, so those in flight say nothing about the others
        free = self._backend.slots - sum(len(state.started) > 1 for state in set(self._in_flight.values()))
        now = self._clock()
        speed = max(self._bytes / self._seconds, 1.0)
        slow = [
            (number, state)
            for number, state in self._in_flight.items()
            if len(state.started) == 1
            and now - state.started[number]
            > max(
                _LEAST_STRAGGLE,
                _STRAGGLE_FACTOR * self._longest,
                _STRAGGLE_FACTOR * state.task.place.descriptor.size / speed,
            )
        ]
        if not slow or free <= 0:
            return
        workers = self._backend.find_workers([number for number, _ in slow])
        for number, state in slow[:free]:
            if state.host and not self._hosts[state.host].allows(now):
                continue
            state.avoid |= {workers[number]} if number in workers else set()
            self._submit(state)
