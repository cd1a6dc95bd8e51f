"""Which task a scan process gets, and when: with processes of the test, which work until they are allowed to end."""

from __future__ import annotations

import itertools
import time
from threading import Event, Lock
from typing import TYPE_CHECKING, Any

import pytest
from imq.engine.registry.settings import Settings
from imq.engine.workers import local_processes
from imq.engine.workers.local_processes import LocalProcesses
from imq.engine.workers.process import ProcessEnded
from imq.grammar.errors import ImqError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

LIMIT = 10.0


class Works:
    """The processes, and the tasks that they got, by their names. A task ends when it is allowed to."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, int]] = []
        self.ended: set[int] = set()
        self.problem: ImqError | None = None
        self._ends: dict[str, Event] = {}
        self._pids = itertools.count(1)
        self._lock = Lock()
        self._living: set[int] = set()

    def finish(self, *names: str) -> None:
        """Allow tasks to end."""
        for name in names:
            self.get_end(name).set()

    def get_end(self, name: str) -> Event:
        with self._lock:
            return self._ends.setdefault(name, Event())

    def make(self, *_: object) -> Process:
        if self.problem is not None:
            raise self.problem
        process = Process(self, next(self._pids))
        self._living.add(process.pid)
        return process

    def note_close(self, pid: int) -> None:
        self._living.discard(pid)

    @property
    def number(self) -> int:
        """The number of processes."""
        return len(self._living)

    @property
    def names(self) -> list[str]:
        """The tasks that were begun."""
        return [name for name, _ in self.begun]


class Process:
    def __init__(self, works: Works, pid: int) -> None:
        self.pid = pid
        self._works = works
        self._killed = Event()
        self._name = ""

    def send(self, document: Mapping[str, Any]) -> None:
        if self._killed.is_set():
            raise ProcessEnded("it was ended by SIGKILL")
        self._name = document["name"]
        self._works.begun.append((self._name, self.pid))

    def receive(self) -> tuple[dict[str, Any], bytes]:
        end = self._works.get_end(self._name)
        while not end.wait(0.005):
            if self._killed.is_set():
                raise ProcessEnded("it was ended by SIGKILL")
        if self._name.startswith("crash"):
            self._killed.set()
            raise ProcessEnded("it was ended by SIGSEGV")
        return {"name": self._name}, b""

    def kill(self) -> None:
        self._killed.set()

    def close(self) -> None:
        self._killed.set()
        self._works.note_close(self.pid)


@pytest.fixture
def works(monkeypatch: pytest.MonkeyPatch) -> Works:
    made = Works()
    monkeypatch.setattr(local_processes, "ScanProcess", made.make)
    return made


@pytest.fixture
def two(works: Works) -> Iterator[LocalProcesses]:
    backend = LocalProcesses(2, {}, Settings())
    yield backend
    backend.close()
    assert works.number == 0


def submit(backend: LocalProcesses, *names: str, first: int = 0) -> None:
    for number, name in enumerate(names, first):
        backend.submit(number, {"name": name}, frozenset())


def wait_until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.005)


def collect(backend: LocalProcesses, number: int) -> dict[int, local_processes.Event]:
    """Return the next events, by the numbers of their tasks."""
    found: dict[int, local_processes.Event] = {}
    end = time.monotonic() + LIMIT
    while len(found) < number:
        assert time.monotonic() < end
        found |= {event.number: event for event in backend.wait(0.05)}
    return found


def test_a_process_gets_its_next_task_before_its_result_is_taken(works: Works, two: LocalProcesses) -> None:
    submit(two, "a", "b", "c", "d")
    works.finish("a", "b")
    wait_until(lambda: sorted(works.names) == ["a", "b", "c", "d"])
    assert works.number == 2
    works.finish("c", "d")
    assert sorted(collect(two, 4)) == [0, 1, 2, 3]


def test_no_task_waits_behind_a_slow_one(works: Works, two: LocalProcesses) -> None:
    submit(two, "slow", "a", "b", "c")
    works.finish("a", "b", "c")
    assert sorted(collect(two, 3)) == [1, 2, 3]
    assert "slow" in works.names
    works.finish("slow")
    assert list(collect(two, 1)) == [0]


def test_a_crash_is_that_of_the_task_at_work(works: Works, two: LocalProcesses) -> None:
    submit(two, "crash", "slow", "a", "b")
    works.finish("crash", "a", "b")
    found = collect(two, 3)
    assert found[0].crash == "it was ended by SIGSEGV"
    assert found[0].worker in {"1", "2"}
    assert not found[2].crash
    assert not found[3].crash
    assert works.number == 2
    works.finish("slow")
    collect(two, 1)


def test_a_task_is_not_given_to_a_process_to_avoid(works: Works, two: LocalProcesses) -> None:
    submit(two, "a", "b")
    works.finish("a", "b")
    first = collect(two, 2)[0].worker
    for number in range(2, 6):
        works.finish(f"again-{number}")
        two.submit(number, {"name": f"again-{number}"}, frozenset({first}))
        assert collect(two, 1)[number].worker != first
    works.finish("last")
    two.submit(6, {"name": "last"}, frozenset({"1", "2"}))
    assert collect(two, 1)[6].worker in {"1", "2"}  # all are to be avoided
    assert works.number == 2


def test_cancelled_tasks_end_their_processes_or_are_never_sent(works: Works, two: LocalProcesses) -> None:
    submit(two, "a", "b", "c", "d")
    wait_until(lambda: sorted(works.names) == ["a", "b"])
    two.cancel(range(4))
    wait_until(lambda: works.number == 0)
    works.finish("e")
    submit(two, "e", first=4)
    assert list(collect(two, 1)) == [4]
    assert works.names[2:] == ["e"]


def test_a_copy_has_a_process_of_its_own_when_all_stand_still(works: Works, two: LocalProcesses) -> None:
    documents = [{"name": "stuck-1"}, {"name": "stuck-2"}]
    for number, document in enumerate(documents):
        two.submit(number, document, frozenset())
    submit(two, "a", first=2)
    wait_until(lambda: len(works.begun) == 2)
    assert two.find_workers([0, 1, 2]) == {number: str(pid) for number, (_, pid) in enumerate(sorted(works.begun))}
    two.submit(3, documents[0], frozenset({"1", "2"}))
    works.finish("a")
    assert list(collect(two, 1)) == [2]
    wait_until(lambda: works.names.count("stuck-1") == 2)
    assert works.number == 3
    two.cancel([0])  # the copy was faster
    works.finish("stuck-1", "stuck-2")
    assert sorted(collect(two, 2)) == [1, 3]
    wait_until(lambda: works.number <= 2)


def test_a_process_that_does_not_start_is_an_error_of_the_statement(works: Works, two: LocalProcesses) -> None:
    works.problem = ImqError("a scan process does not start: no memory", code="worker-start")
    submit(two, "a")
    with pytest.raises(ImqError, match="does not start"):
        collect(two, 1)
    works.problem = None
    works.finish("b")
    submit(two, "b", first=1)
    assert list(collect(two, 1)) == [1]
