"""What is lost when a worker, a scheduler or the process with the statement ends: nothing that was done."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import imq
import pytest
from imq.engine.workers.dask_cluster import DaskCluster
from imq.grammar.errors import ImqError
from support.images import Image, Layout, layer
from workers.conftest import Cluster, list_values
from workers.faults import Faults

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

COUNT = 12
WAIT_LIMIT = 60.0
LAYERS = [layer({f"srv/file-{number}": f"content {number}".encode() * 50}, "gzip") for number in range(COUNT)]
EXPECTED = sorted((f"app:{number}", f"/srv/file-{number}") for number in range(COUNT))


@pytest.fixture(scope="module")
def apps(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A layout of images with one layer each."""
    folder = tmp_path_factory.mktemp("apps") / "layout"
    written = Layout(folder)
    for number, one in enumerate(LAYERS):
        written.add(Image([one]), f"app:{number}")
    written.close()
    return os.fspath(folder)


def make_text(apps: str) -> str:
    return f'files of (images in "oci:{apps}") where type = file select image_name, path'


def wait_until(is_so: Callable[[], Any], what: str) -> None:
    end = time.monotonic() + WAIT_LIMIT
    while not is_so():
        assert time.monotonic() < end, what
        time.sleep(0.05)


class Query(threading.Thread):
    """Runs the query in a thread, with a store of its own."""

    def __init__(self, root: pathlib.Path, apps: str, workers: int | str) -> None:
        super().__init__(daemon=True)
        self._options: dict[str, Any] = {"root": root, "workers": workers}
        self._text = make_text(apps)
        self.rows: list[tuple[Any, ...]] = []
        self.problem: ImqError | None = None
        self.start()

    def run(self) -> None:
        try:
            with imq.connect(**self._options) as session:
                self.rows = list_values(session(self._text))
        except ImqError as error:
            self.problem = error

    def finish(self) -> list[tuple[Any, ...]]:
        self.join(WAIT_LIMIT)
        assert not self.is_alive(), "the query does not end"
        if self.problem is not None:
            raise self.problem
        return self.rows


@pytest.fixture(params=["2 processes", "dask"])
def workers(request: pytest.FixtureRequest, faults: Faults, monkeypatch: pytest.MonkeyPatch) -> int | str:
    if request.param == "dask":
        cluster: Cluster = request.getfixturevalue("shared_cluster")
        return cluster.url
    for name, value in faults.environment.items():
        monkeypatch.setenv(name, value)
    return 2


def test_each_layer_is_scanned_once(tmp_path: pathlib.Path, apps: str, faults: Faults, workers: int | str) -> None:
    with imq.connect(root=tmp_path, workers=workers) as session:
        assert list_values(session(make_text(apps))) == EXPECTED
        assert list_values(session(make_text(apps))) == EXPECTED
    assert sorted(faults.list_scans()) == sorted(one.diff_id for one in LAYERS)


def test_a_layer_that_ends_every_worker_is_given_up_after_two(
    tmp_path: pathlib.Path, apps: str, faults: Faults, workers: int | str
) -> None:
    poisoned = LAYERS[4].diff_id
    faults.set("crash", poisoned)
    with imq.connect(root=tmp_path, workers=workers) as session:
        result = session(make_text(apps))
        assert list_values(result) == [row for row in EXPECTED if row[0] != "app:4"]
    (error,) = result.errors
    assert error.code == "worker-crashed"
    assert "app:4" in error.message
    assert "ended 2 workers" in error.message
    assert "SIGKILL" in error.message
    assert faults.list_scans().count(poisoned) == 2
    assert len(faults.list_scans()) <= COUNT + 2


def test_a_layer_that_ends_its_process_in_a_batch(
    tmp_path: pathlib.Path, faults: Faults, shared_cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = [layer({f"opt/file-{number}": b"x"}, "gzip") for number in range(40)]
    written = Layout(tmp_path / "layout")
    for number, one in enumerate(layers):
        written.add(Image([one]), f"app:{number}")
    written.close()
    batches: list[int] = []
    send = DaskCluster._send

    def note(self: DaskCluster, groups: Sequence[Sequence[int]], workers: list[str] | None = None) -> None:
        batches.extend(map(len, groups))
        send(self, groups, workers)

    monkeypatch.setattr(DaskCluster, "_send", note)
    monkeypatch.setattr("imq.engine.workers.batches._SECONDS", 60.0)  # on a slow machine too
    faults.set("crash", layers[-2].diff_id)
    with imq.connect(root=tmp_path / "store", workers=shared_cluster.url) as session:
        result = session(make_text(str(tmp_path / "layout")))
        assert len(list_values(result)) == len(layers) - 1
    (error,) = result.errors
    assert error.code == "worker-crashed"
    assert max(batches) > 1
    scans = Counter(faults.list_scans())
    assert scans.pop(layers[-2].diff_id) == 2
    assert set(scans.values()) == {1}
    assert len(scans) == len(layers) - 1


def test_a_process_that_is_stuck_holds_nothing_back(
    tmp_path: pathlib.Path, apps: str, faults: Faults, workers: int | str
) -> None:
    faults.set("stuck", LAYERS[2].diff_id)
    assert Query(tmp_path, apps, workers).finish() == EXPECTED
    assert faults.list_scans().count(LAYERS[2].diff_id) == 2


def test_a_worker_that_is_killed(tmp_path: pathlib.Path, apps: str, faults: Faults, own_cluster: Cluster) -> None:
    faults.set("sleep", content="0.15")
    query = Query(tmp_path, apps, own_cluster.url)
    wait_until(lambda: len(faults.list_scans()) >= 3, "no layer is scanned")
    own_cluster.kill("worker-0")
    assert query.finish() == EXPECTED
    assert max(Counter(faults.list_scans()).values()) <= 2  # of each layer that the worker was reading, one more


def test_a_worker_that_stands_still(tmp_path: pathlib.Path, apps: str, faults: Faults, own_cluster: Cluster) -> None:
    faults.set("sleep", content="0.15")
    query = Query(tmp_path, apps, own_cluster.url)
    wait_until(lambda: len(faults.list_scans()) >= 3, "no layer is scanned")
    own_cluster.processes["worker-1"].send_signal(signal.SIGSTOP)
    try:
        assert query.finish() == EXPECTED
    finally:
        own_cluster.kill("worker-1")


def test_a_scheduler_that_is_killed_and_the_next_run_goes_on(
    tmp_path: pathlib.Path, apps: str, faults: Faults, own_cluster: Cluster
) -> None:
    faults.set("sleep", content="0.15")
    query = Query(tmp_path, apps, own_cluster.url)
    wait_until(lambda: len(faults.list_scans()) >= 5, "no layer is scanned")
    own_cluster.kill("scheduler")
    with pytest.raises(ImqError) as lost:
        query.finish()
    assert lost.value.code == "workers-lost"
    assert own_cluster.url in lost.value.message
    for name in ("worker-0", "worker-1"):
        own_cluster.kill(name)
        own_cluster.start_worker(name)
    own_cluster.start_scheduler()
    own_cluster.wait()
    assert Query(tmp_path, apps, own_cluster.url).finish() == EXPECTED
    scans = faults.list_scans()
    assert set(scans) == {one.diff_id for one in LAYERS}
    assert len(scans) <= COUNT + 4  # those that two workers had, and those whose results were on the way


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "kill"])
def test_the_process_with_the_statement_ends(
    tmp_path: pathlib.Path, apps: str, faults: Faults, own_cluster: Cluster, number: signal.Signals
) -> None:
    from distributed import Client

    faults.set("sleep", content="30")
    command = [sys.executable, "-m", "imq", "--root", str(tmp_path), "--workers", own_cluster.url, make_text(apps)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        wait_until(lambda: len(faults.list_scans()) >= 2, "no layer is scanned")
        process.send_signal(number)
        _, errors = process.communicate(timeout=WAIT_LIMIT)
    if number == signal.SIGINT:
        assert process.returncode == 130, errors
    with Client(own_cluster.address, set_as_default=False) as client:
        wait_until(lambda: not any(client.processing().values()), "the tasks go on")
        wait_until(lambda: not faults.list_running(), "the scans go on")
    assert len(faults.list_scans()) <= 4  # none of the others was begun


def test_a_layer_that_needs_too_much_memory(
    tmp_path: pathlib.Path, apps: str, faults: Faults, shared_cluster: Cluster
) -> None:
    large = LAYERS[7].diff_id
    faults.set("memory", large)
    with imq.connect(root=tmp_path, workers=shared_cluster.url) as session:
        result = session(make_text(apps))
        assert list_values(result) == [row for row in EXPECTED if row[0] != "app:7"]
    (error,) = result.errors
    assert error.code == "out-of-memory"
    assert "app:7" in error.message
    assert "1.07GB of a worker" in error.message
    assert faults.list_scans().count(large) == 1
