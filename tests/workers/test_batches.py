"""How tasks are joined to batches, and what becomes of those of a batch that fails or is cancelled."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest
from distributed import KilledWorker
from imq.engine.workers import dask_plugin
from imq.engine.workers.batches import MAX_TASKS, Durations
from imq.engine.workers.dask_cluster import DaskCluster
from imq.engine.workers.dask_plugin import ScanPlugin
from imq.engine.workers.process import ProcessEnded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from imq.engine.workers.dispatcher import Event

MIB = 1 << 20
NO_ONE: frozenset[str] = frozenset()
LIMIT = 10.0


def make_document(number: int = 0, size: int = MIB, place: str = "file:///layer") -> dict[str, Any]:
    return {
        "kind": "scan",
        "diffId": f"sha256:{number:064x}",
        "descriptor": {"size": size},
        "locations": [place],
    }


class TestDurations:
    """The size of a batch, by the time of the tasks before it."""

    def test_what_is_not_known_is_alone(self) -> None:
        assert Durations().count_batch([make_document()] * 5) == 1
        assert Durations().tasks == 1

    def test_a_batch_takes_about_half_a_second(self) -> None:
        durations = Durations()
        for _ in range(50):
            durations.note(make_document(), 0.09)
        assert durations.count_batch([make_document()] * 50) == durations.tasks == 5

    def test_short_tasks_have_a_limit(self) -> None:
        durations = Durations()
        for _ in range(100):
            durations.note(make_document(), 0.0001)
        assert durations.count_batch([make_document()] * 500) == durations.tasks == MAX_TASKS

    def test_a_large_layer_ends_the_batch_before_it(self) -> None:
        durations = Durations()
        durations.note(make_document(), 0.01)
        large = make_document(size=1000 * MIB)
        assert durations.count_batch([make_document(), make_document(), large, make_document()]) == 2
        assert durations.count_batch([large, make_document()]) == 1

    def test_another_registry_may_be_slower(self) -> None:
        durations = Durations()
        durations.note(make_document(), 0.01)
        slow = [make_document(place="docker://slow.example/app")] * 3
        assert durations.count_batch(slow) == 1
        durations.note(slow[0], 0.2)
        assert durations.count_batch(slow) == 2

    def test_the_average_follows_a_change(self) -> None:
        durations = Durations()
        for seconds in (0.01, *[0.3] * 20):
            durations.note(make_document(), seconds)
        assert durations.count_batch([make_document()] * 5) == 1


class FakeFuture:
    """The future of a batch, which the test completes."""

    def __init__(self, key: str, packed: bytes, workers: list[str] | None) -> None:
        self.key = key
        self.workers = workers
        self.documents: list[dict[str, Any]] = json.loads(packed)
        self.status = "pending"
        self.is_released = False
        self._outcome: Any = None
        self._callbacks: list[Callable[[FakeFuture], None]] = []

    def add_done_callback(self, callback: Callable[[FakeFuture], None]) -> None:
        self._callbacks.append(callback)

    def complete(self, outcome: Any = None) -> None:
        """Complete the batch, with an error or each of its tasks with a result."""
        self.status = "error" if isinstance(outcome, BaseException) else "finished"
        self._outcome = outcome or (
            [{"layer": one["diffId"], "worker": "w", "seconds": 0.01} for one in self.documents],
            [one["diffId"].encode() for one in self.documents],
        )
        for callback in self._callbacks:
            callback(self)

    def result(self) -> Any:
        if isinstance(self._outcome, BaseException):
            raise self._outcome
        return self._outcome

    def release(self) -> None:
        self.is_released = True


class FakeClient:
    """A client of a cluster with threads of the test."""

    status = "running"

    def __init__(self, threads: Mapping[str, int]) -> None:
        self._threads = threads
        self.sent: list[FakeFuture] = []
        self.cancelled: list[FakeFuture] = []

    def register_plugin(self, plugin: ScanPlugin) -> None:
        pass

    def nthreads(self) -> Mapping[str, int]:
        return self._threads

    def map(
        self,
        _: Any,
        packed: Sequence[bytes],
        *,
        key: Sequence[str],
        pure: bool,
        workers: list[str] | None,
        allow_other_workers: bool,
    ) -> list[FakeFuture]:
        assert not pure
        assert allow_other_workers == bool(workers)
        futures = [FakeFuture(*one, workers) for one in zip(key, packed, strict=True)]
        self.sent += futures
        return futures

    def cancel(self, futures: Sequence[FakeFuture], force: bool) -> None:
        assert force
        self.cancelled += futures


@pytest.fixture
def client() -> FakeClient:
    return FakeClient({"tcp://a": 1, "tcp://b": 1})


@pytest.fixture
def cluster(client: FakeClient) -> Iterator[DaskCluster]:
    made = DaskCluster(client, "dask://test:1", pytest.fail, owned=False)
    for _ in range(20):
        made._durations.note(make_document(), 0.1)
    yield made
    made.close()


def submit(cluster: DaskCluster, numbers: Sequence[int]) -> None:
    for number in numbers:
        cluster.submit(number, make_document(number), NO_ONE)
    assert cluster.wait(0) == []


def collect(cluster: DaskCluster, count: int) -> dict[int, Event]:
    """Return so many events, by number."""
    events: dict[int, Event] = {}
    for _ in range(100):
        events |= {event.number: event for event in cluster.wait(LIMIT / 100)}
        if len(events) >= count:
            break
    return events


def list_numbers(futures: Sequence[FakeFuture]) -> list[list[int]]:
    return [[int(one["diffId"][7:], 16) for one in future.documents] for future in futures]


def test_tasks_are_sent_together_and_each_has_its_result(cluster: DaskCluster, client: FakeClient) -> None:
    submit(cluster, range(12))
    assert list_numbers(client.sent) == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11]]
    for future in reversed(client.sent):
        future.complete()
    events = collect(cluster, 12)
    assert {number: event.content for number, event in events.items()} == {
        number: f"sha256:{number:064x}".encode() for number in range(12)
    }
    assert all(event.worker == "w" for event in events.values())
    assert all(future.is_released for future in client.sent)


def test_a_few_tasks_are_shared_out(cluster: DaskCluster, client: FakeClient) -> None:
    submit(cluster, range(4))
    assert list_numbers(client.sent) == [[0, 1], [2, 3]]


def test_no_more_batches_are_sent_than_wait_for_threads(cluster: DaskCluster, client: FakeClient) -> None:
    submit(cluster, range(100))
    assert len(client.sent) == 6
    client.sent[0].complete()
    assert len(collect(cluster, 5)) == 5
    assert len(client.sent) == 6
    client.sent[1].complete()
    assert len(collect(cluster, 5)) == 5
    assert cluster.wait(0) == []
    assert len(client.sent) == 8


def test_a_batch_is_cancelled_with_its_last_task(cluster: DaskCluster, client: FakeClient) -> None:
    submit(cluster, range(6))
    first, second = client.sent
    assert list_numbers([first]) == [[0, 1, 2]]
    cluster.cancel([0, 2])
    assert client.cancelled == []
    first.complete()
    assert list(collect(cluster, 1)) == [1]
    cluster.cancel([3, 4, 5])
    assert client.cancelled == [second]
    second.complete()
    assert cluster.wait(0.1) == []


def test_each_task_of_a_batch_that_dask_gave_up_runs_alone(cluster: DaskCluster, client: FakeClient) -> None:
    submit(cluster, range(4))
    killed, other = client.sent
    cluster.cancel([1])
    killed.complete(KilledWorker("key", None, 3))
    other.complete()
    assert sorted(collect(cluster, 2)) == [2, 3]
    cluster.submit(4, make_document(4), NO_ONE)
    cluster.wait(0)
    assert list_numbers(client.sent[2:]) == [[0], [4]]
    client.sent[2].complete(KilledWorker("key", None, 3))
    (event,) = collect(cluster, 1).values()
    assert event.number == 0
    assert event.is_last
    assert "gave it up" in event.crash


def test_the_rest_of_a_batch_that_ends_early_is_sent_again(cluster: DaskCluster, client: FakeClient) -> None:
    submit(cluster, range(5))
    early, other = client.sent
    assert list_numbers([early]) == [[0, 1, 2]]
    cluster.cancel([2])
    early.complete(([{"worker": "w"}], [b"first"]))
    other.complete()
    assert sorted(collect(cluster, 3)) == [0, 3, 4]
    cluster.wait(0)
    assert list_numbers(client.sent[2:]) == [[1]]


def test_each_task_of_a_batch_that_fails_has_the_error(cluster: DaskCluster, client: FakeClient) -> None:
    submit(cluster, range(2))
    for future in client.sent:
        future.complete(ImportError("no imq"))
    events = collect(cluster, 2)
    assert [events[number].document["error"]["code"] for number in range(2)] == ["worker-version"] * 2


def test_a_task_that_others_failed_on_is_sent_to_another_worker(cluster: DaskCluster, client: FakeClient) -> None:
    cluster.submit(0, make_document(0), frozenset({"tcp://a"}))
    cluster.submit(1, make_document(1), frozenset({"tcp://a", "tcp://b"}))
    submit(cluster, [2, 3])
    assert [
        (numbers, future.workers) for numbers, future in zip(list_numbers(client.sent), client.sent, strict=True)
    ] == [
        ([0], ["tcp://b"]),
        ([1, 2], None),
        ([3], None),
    ]


class FakeProcess:
    """A scan process, with the results of a test."""

    def __init__(self, work: Callable[[str], dict[str, Any]]) -> None:
        self._work = work
        self._layer = ""
        self._is_killed = threading.Event()

    def send(self, document: Mapping[str, Any]) -> None:
        self._layer = document["diffId"]

    def receive(self) -> tuple[dict[str, Any], bytes]:
        result = self._work(self._layer)
        if self._is_killed.is_set():
            raise ProcessEnded("it was ended by SIGKILL")
        return result, b"content"

    def kill(self) -> None:
        self._is_killed.set()

    def close(self) -> None:
        self.kill()


class FakeWorker:
    """What the plugin needs of a worker of Dask."""

    address = "tcp://w:1"
    local_directory = "/tmp/none"

    class memory_manager:  # noqa: N801 - the name in distributed
        memory_limit = None


@pytest.fixture
def make_plugin(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[str], dict[str, Any]]], ScanPlugin]:
    def make(work: Callable[[str], dict[str, Any]]) -> ScanPlugin:
        monkeypatch.setattr(dask_plugin, "ScanProcess", lambda *_: FakeProcess(work))
        plugin = ScanPlugin()
        plugin.setup(FakeWorker())
        return plugin

    return make


def test_a_layer_that_ends_its_process_is_one_of_its_batch(make_plugin: Callable[..., ScanPlugin]) -> None:
    def work(layer: str) -> dict[str, Any]:
        if layer.endswith("1"):
            raise ProcessEnded("it was ended by SIGSEGV")
        return {"layer": layer}

    documents = [make_document(number) for number in range(4)]
    results, contents = make_plugin(work).run("key", documents)
    assert [one.get("layer", one.get("crash")) for one in results] == [
        documents[0]["diffId"],
        "it was ended by SIGSEGV",
        documents[2]["diffId"],
        documents[3]["diffId"],
    ]
    assert all(one["worker"] == FakeWorker.address for one in results)
    assert contents == [b"content", b"", b"content", b"content"]
    assert ["seconds" in one for one in results] == [False, False, False, True]  # without the start of a process


def test_a_batch_that_is_cancelled_begins_no_further_layer(make_plugin: Callable[..., ScanPlugin]) -> None:
    begun: list[str] = []

    def work(layer: str) -> dict[str, Any]:
        begun.append(layer)
        plugin.transition("other", "executing", "released")
        if len(begun) == 2:
            plugin.transition("key", "executing", "cancelled")
        return {}

    plugin = make_plugin(work)
    results, _ = plugin.run("key", [make_document(number) for number in range(5)])
    assert len(begun) == 2
    assert len(results) == 1
    plugin.transition("key", "cancelled", "released")  # it has ended


def test_a_process_that_does_not_start_is_an_error_of_each_task(monkeypatch: pytest.MonkeyPatch) -> None:
    from imq.grammar.errors import ImqError

    def refuse(*_: Any) -> FakeProcess:
        raise ImqError("a scan process does not start: no memory", code="worker-start")

    monkeypatch.setattr(dask_plugin, "ScanProcess", refuse)
    plugin = ScanPlugin()
    plugin.setup(FakeWorker())
    results, _ = plugin.run("key", [make_document(0), make_document(1)])
    assert [one["error"]["code"] for one in results] == ["worker-start"] * 2


def test_the_key_of_a_batch_names_a_layer_and_the_number_of_others(cluster: DaskCluster, client: FakeClient) -> None:
    submit(cluster, range(3))
    first, second = (future.key for future in client.sent)
    assert first.startswith("imq-scan-000000000000+1-")
    assert second.startswith("imq-scan-000000000000-")
