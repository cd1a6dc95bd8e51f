"""Clusters for tests: a scheduler and workers of Dask as processes of their own, on loopback ports."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from support.images import Layout
from support.inside_images import make_inside_images
from support.servers import find_free_port
from workers.faults import Faults
from workers.hosts import Hosts, Loopback

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

LOOPBACK = Loopback()
START_LIMIT = 60.0


class Cluster:
    """A scheduler and its workers. `environment` adds variables to those of the workers."""

    def __init__(
        self,
        folder: pathlib.Path,
        workers: int = 2,
        threads: int = 1,
        memory: str = "2GiB",
        hosts: Hosts = LOOPBACK,
        **environment: str,
    ) -> None:
        self.folder = folder
        self.port = find_free_port()
        self.dashboard_port = find_free_port()
        self._hosts = hosts
        self._host = hosts.address("scheduler")
        self.address = f"tcp://{self._host}:{self.port}"
        self.url = f"dask://{self._host}:{self.port}"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._threads = threads
        self._memory = memory
        self._environment = {
            **os.environ,
            "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "20s",
            "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "100",  # tests kill many workers
            "HOME": os.fspath(folder),
            **environment,
        }
        folder.mkdir(parents=True, exist_ok=True)
        self.start_scheduler()
        for number in range(workers):
            self.start_worker(f"worker-{number}")

    def start_scheduler(self) -> None:
        """Start the scheduler."""
        options = ["--host", self._host, "--port", str(self.port), "--dashboard-address"]
        self._start("scheduler", "scheduler", *options, f"{self._host}:{self.dashboard_port}")

    def start_worker(self, name: str) -> None:
        """Start a worker."""
        local = self.folder / name
        options = ["--nthreads", str(self._threads), "--no-nanny", "--no-dashboard", "--name", name]
        options += ["--memory-limit", self._memory]
        options += ["--host", self._hosts.address(name), "--local-directory", str(local)]
        self._start(name, "worker", self.address, *options)

    def _start(self, name: str, *arguments: str) -> None:
        command = [sys.executable, "-m", "distributed.cli.dask_" + arguments[0], *arguments[1:]]
        with open(self.folder / f"{name}.log", "ab") as log:
            self.processes[name] = subprocess.Popen(
                self._hosts.command(name, command),
                stdout=log,
                stderr=log,
                env=self._environment,
            )

    def wait(self, workers: int = 2) -> Cluster:
        """Wait for the workers to be registered."""
        from distributed import Client

        end = time.monotonic() + START_LIMIT
        while True:
            try:
                with Client(self.address, set_as_default=False, timeout="5s") as client:
                    client.wait_for_workers(workers, timeout=START_LIMIT)
            except (OSError, TimeoutError):
                if time.monotonic() > end:
                    raise AssertionError(self.read_logs()) from None
            else:
                return self

    def kill(self, name: str) -> None:
        """End a process as `kill -9` does."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def read_logs(self) -> str:
        """Return what the processes wrote."""
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.folder.glob("*.log")))

    def close(self) -> None:
        """End all processes."""
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
            process.kill()
        for process in self.processes.values():
            process.wait()


class Bucket:
    """A bucket of a server of S3. `environment` has its address and keys, as s3fs reads them."""

    url = "s3://indexes"

    def __init__(self, folder: pathlib.Path, hosts: Hosts = LOOPBACK) -> None:
        port, address = find_free_port(), hosts.address("bucket")
        endpoint = f"http://{address}:{port}"
        self.environment = {
            "AWS_ACCESS_KEY_ID": "key-of-the-bucket",
            "AWS_SECRET_ACCESS_KEY": "secret-of-the-bucket",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": endpoint,
        }
        with open(folder / "log", "wb") as log:
            command = [sys.executable, "-m", "moto.server", "-H", address, "-p", str(port)]
            self._server = subprocess.Popen(hosts.command("bucket", command), stdout=log, stderr=log)
        end = time.monotonic() + START_LIMIT
        while True:
            try:
                request = urllib.request.Request(f"{endpoint}/indexes", method="PUT")
                urllib.request.urlopen(request, timeout=5).close()
            except OSError:
                assert time.monotonic() < end
                assert self._server.poll() is None
                time.sleep(0.1)
            else:
                return

    def close(self) -> None:
        """End the server."""
        self._server.kill()
        self._server.wait()


@pytest.fixture(scope="session")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    """A bucket, whose keys are not in the environment of this process."""
    made = Bucket(tmp_path_factory.mktemp("s3"))
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="session")
def all_faults(tmp_path_factory: pytest.TempPathFactory) -> Faults:
    """The faults of the scan processes of the cluster."""
    return Faults(tmp_path_factory.mktemp("faults") / "folder")


@pytest.fixture
def faults(all_faults: Faults) -> Faults:
    """The faults, of which none is set."""
    all_faults.clear()
    return all_faults


@pytest.fixture(scope="session")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory, all_faults: Faults, bucket: Bucket) -> Iterator[Cluster]:
    """Two workers with one thread each. They have the keys of the bucket, and the faults."""
    made = Cluster(tmp_path_factory.mktemp("cluster"), memory="1GiB", **all_faults.environment, **bucket.environment)
    try:
        yield made.wait()
    finally:
        made.close()


@pytest.fixture
def cluster(shared_cluster: Cluster, faults: Faults) -> Cluster:  # noqa: ARG001 - none is set
    """The cluster, for a test that ends nothing of it."""
    return shared_cluster


@pytest.fixture
def own_cluster(shared_cluster: Cluster) -> Iterator[Cluster]:
    """The cluster; what a test ended of it is started again."""
    yield shared_cluster
    if "scheduler" not in shared_cluster.processes:
        shared_cluster.start_scheduler()
    for name in ("worker-0", "worker-1"):
        if name not in shared_cluster.processes:
            shared_cluster.start_worker(name)
    shared_cluster.wait()


@pytest.fixture(scope="session")
def layout(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A layout with images of packages, files and contents."""
    folder = tmp_path_factory.mktemp("workers") / "layout"
    written = Layout(folder)
    for image, names in make_inside_images().values():
        written.add(image, *names)
    written.close()
    return os.fspath(folder)


def list_values(result: Any) -> list[tuple[Any, ...]]:
    """Return the rows of a result, sorted."""
    return sorted((tuple(row) for row in result), key=repr)
