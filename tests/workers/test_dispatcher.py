"""How tasks are handed to workers, with workers and a clock of the test."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Descriptor
from imq.engine.sources.contents.protocol import LayerPlace, LayerTask
from imq.engine.workers.dispatcher import Dispatcher, Event
from imq.engine.workers.outcomes import encode_error
from imq.grammar.errors import ImqError, Malformed, RegistryError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

MIB = 1 << 20


class Simulation:
    """Workers that take simulated time. `work` returns the seconds and the result of a task, or a crash."""

    def __init__(self, slots: int, work: Callable[[str, str, int], tuple[float, dict[str, Any] | str]]) -> None:
        self.slots = slots
        self.depth = 0
        self.now = 0.0
        self.running: dict[int, tuple[float, str, Mapping[str, Any], dict[str, Any] | str]] = {}
        self.submitted: list[tuple[float, str]] = []
        self.cancelled: list[int] = []
        self.most = 0
        self._work = work
        self._attempts: dict[str, int] = {}

    def submit(self, number: int, document: Mapping[str, Any], avoid: frozenset[str]) -> None:
        taken = {worker for _, worker, *_ in self.running.values()}
        names = [f"w{at}" for at in range(self.slots)]
        worker = next((name for name in names if name not in taken | avoid), next(n for n in names if n not in taken))
        layer = document["locations"][0]
        attempt = self._attempts[layer] = self._attempts.get(layer, 0) + 1
        seconds, result = self._work(layer, worker, attempt)
        self.running[number] = (self.now + seconds, worker, document, result)
        self.submitted.append((self.now, layer))
        self.most = max(self.most, len(self.running))

    def wait(self, timeout: float) -> list[Event]:
        if not self.running or min(end for end, *_ in self.running.values()) > self.now + timeout:
            self.now += timeout
            return []
        number = min(self.running, key=lambda one: self.running[one][0])
        end, worker, _, result = self.running.pop(number)
        self.now = max(self.now, end)
        if isinstance(result, str):
            return [Event(number, crash=result, worker=worker)]
        return [Event(number, result, worker=worker)]

    def find_workers(self, numbers: Iterable[int]) -> dict[int, str]:
        return {number: self.running[number][1] for number in numbers if number in self.running}

    def cancel(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            if self.running.pop(number, None) is not None:
                self.cancelled.append(number)


def make_task(number: int, place: str = "file:///layer-{}", size: int = MIB) -> tuple[LayerTask, dict[str, Any]]:
    digest = Digest(f"sha256:{number:064x}")
    locations = (place.format(number),)
    task = LayerTask("scan", digest, LayerPlace(Descriptor("", digest, size), locations))
    return task, {"locations": list(locations)}


def run(
    simulation: Simulation, tasks: Iterable[tuple[LayerTask, dict[str, Any]]], host_limit: int = 16
) -> dict[str, Event | ImqError]:
    dispatcher = Dispatcher(simulation, host_limit, clock=lambda: simulation.now)
    return {task.place.locations[0]: outcome for task, outcome in dispatcher.run(tasks)}


def refuse(seconds: float) -> dict[str, Any]:
    error = RegistryError("slow down", code="too-many-requests", status=429, host="r.example")
    error.retry_after = seconds
    return {"error": encode_error(error)}


def test_every_task_has_one_outcome() -> None:
    simulation = Simulation(3, lambda *_: (1.0, {}))
    outcomes = run(simulation, (make_task(number) for number in range(10)))
    assert len(outcomes) == 10
    assert simulation.most == 3
    assert simulation.now == pytest.approx(4.0, abs=0.5)


def test_tasks_are_taken_as_there_is_room() -> None:
    taken = itertools.count()
    simulation = Simulation(2, lambda *_: (1.0, {}))

    def make() -> Iterator[tuple[LayerTask, dict[str, Any]]]:
        for number in range(1000):
            next(taken)
            yield make_task(number)

    outcomes = Dispatcher(simulation, 16, clock=lambda: simulation.now).run(make())
    next(outcomes)
    assert next(taken) <= 4
    outcomes.close()
    assert not simulation.running
    assert simulation.cancelled


def test_the_next_task_is_handed_out_before_the_caller_has_an_outcome() -> None:
    simulation = Simulation(1, lambda *_: (1.0, {}))
    outcomes = Dispatcher(simulation, 16, clock=lambda: simulation.now).run(make_task(number) for number in range(2))
    next(outcomes)
    assert [layer for _, layer in simulation.submitted] == ["file:///layer-0", "file:///layer-1"]
    outcomes.close()


def test_an_event_of_a_cancelled_task_is_none_of_a_later_statement() -> None:
    simulation = Simulation(1, lambda *_: (1.0, {}))
    outcomes = Dispatcher(simulation, 16, clock=lambda: simulation.now).run(make_task(number) for number in range(9))
    next(outcomes)
    late = [Event(number, {"late": True}) for number in simulation.running]
    outcomes.close()

    class Late(Simulation):
        def wait(self, timeout: float) -> list[Event]:
            return [late.pop()] if late else super().wait(timeout)

    later = Late(1, lambda *_: (1.0, {}))
    results = run(later, [make_task(number) for number in range(9)])
    assert not late
    assert len(results) == 9
    assert all(isinstance(one, Event) and not one.document for one in results.values())


def test_a_crash_is_tried_on_another_worker() -> None:
    workers: list[str] = []

    def work(_: str, worker: str, attempt: int) -> tuple[float, dict[str, Any] | str]:
        workers.append(worker)
        return 1.0, "it was ended by SIGKILL" if attempt == 1 else {}

    (outcome,) = run(Simulation(2, work), [make_task(1)]).values()
    assert isinstance(outcome, Event)
    assert sorted(workers) == ["w0", "w1"]


def test_a_layer_that_crashes_two_workers_is_given_up() -> None:
    def work(layer: str, *_: object) -> tuple[float, dict[str, Any] | str]:
        return 1.0, "it was ended by SIGSEGV" if layer.endswith("-3") else {}

    simulation = Simulation(2, work)
    outcomes = run(simulation, [make_task(number) for number in range(6)])
    poisoned = outcomes.pop("file:///layer-3")
    assert isinstance(poisoned, ImqError)
    assert poisoned.code == "worker-crashed"
    assert "2 workers" in poisoned.message
    assert "SIGSEGV" in poisoned.message
    assert all(isinstance(one, Event) for one in outcomes.values())
    assert sum(layer.endswith("-3") for _, layer in simulation.submitted) == 2


def test_an_error_of_the_layer_is_not_tried_again() -> None:
    simulation = Simulation(2, lambda *_: (1.0, {"error": encode_error(Malformed("no tar", code="archive"))}))
    (outcome,) = run(simulation, [make_task(1)]).values()
    assert isinstance(outcome, Malformed)
    assert outcome.code == "archive"
    assert len(simulation.submitted) == 1


def test_a_failed_connection_is_tried_once_more() -> None:
    broken = {"error": encode_error(RegistryError("gone", code="unreachable", host="r.example"))}
    simulation = Simulation(2, lambda _layer, _worker, attempt: (1.0, broken if attempt == 1 else {}))
    (outcome,) = run(simulation, [make_task(1, "docker://r.example/app-{}")]).values()
    assert isinstance(outcome, Event)
    simulation = Simulation(2, lambda *_: (1.0, broken))
    (outcome,) = run(simulation, [make_task(1, "docker://r.example/app-{}")]).values()
    assert isinstance(outcome, RegistryError)
    assert len(simulation.submitted) == 2


def test_the_layers_of_a_registry_are_limited_and_do_not_hold_others() -> None:
    simulation = Simulation(8, lambda *_: (1.0, {}))

    def make() -> Iterator[tuple[LayerTask, dict[str, Any]]]:
        for number in range(12):
            yield make_task(number, "docker://slow.example/app-{}")
        for number in range(12, 24):
            yield make_task(number)

    dispatcher = Dispatcher(simulation, 2, clock=lambda: simulation.now)
    at_once = [
        sum("slow" in one["locations"][0] for _, _, one, _ in simulation.running.values())
        for _ in dispatcher.run(make())
    ]
    assert max(at_once) <= 2
    assert [at for at, layer in simulation.submitted if "layer" in layer][-1] < 3.0  # six besides the two
    assert len(at_once) == 24


def test_a_refusal_holds_the_registry_for_all_workers() -> None:
    simulation = Simulation(4, lambda _layer, _worker, attempt: (0.1, refuse(7.0) if attempt == 1 else {}))
    tasks = [make_task(number, "docker://r.example/app-{}") for number in range(40)]
    outcomes = run(simulation, tasks)
    assert all(isinstance(one, Event) for one in outcomes.values())
    first = [at for at, _ in simulation.submitted if at < 7.0]
    assert len(first) == 4  # those that were sent before the first refusal was known


def test_a_registry_that_refuses_for_long_is_asked_no_more() -> None:
    simulation = Simulation(4, lambda *_: (0.1, refuse(3600.0)))
    outcomes = run(simulation, [make_task(number, "docker://r.example/app-{}") for number in range(500)])
    assert all(isinstance(one, RegistryError) for one in outcomes.values())
    assert len(outcomes) == 500
    assert len(simulation.submitted) <= 4


def test_the_remaining_requests_are_shared_out() -> None:
    remaining = 5

    def work(*_: object) -> tuple[float, dict[str, Any]]:
        nonlocal remaining
        remaining = max(remaining - 1, 0)
        return 1.0, {"limits": {"r.example": {"remaining": remaining, "reset": 20, "window": 60}}}

    simulation = Simulation(8, work)
    outcomes = run(simulation, [make_task(number, "docker://r.example/app-{}") for number in range(12)])
    assert len(outcomes) == 12
    assert len([at for at, _ in simulation.submitted if at < 15.0]) <= 9


def test_a_straggler_is_copied_and_the_first_result_counts() -> None:
    def work(layer: str, worker: str, _: int) -> tuple[float, dict[str, Any]]:
        return (3600.0 if worker == "w1" and layer.endswith("-1") else 1.0), {"by": worker}

    simulation = Simulation(2, work)
    outcomes = run(simulation, [make_task(number) for number in range(8)])
    assert simulation.now < 60
    straggler = outcomes["file:///layer-1"]
    assert isinstance(straggler, Event)
    assert straggler.document["by"] == "w0"
    assert len(simulation.cancelled) == 1


def test_nothing_is_copied_while_there_is_other_work() -> None:
    simulation = Simulation(2, lambda layer, *_: (20.0 if layer.endswith("-0") else 1.0, {}))
    outcomes = run(simulation, [make_task(number) for number in range(15)])
    assert len(outcomes) == 15
    assert len(simulation.submitted) <= 16
