"""What must not leave a machine: credentials are on neither the way to workers, nor in logs, nor on the dashboard."""

from __future__ import annotations

import base64
import json
import pathlib
import urllib.request
from typing import TYPE_CHECKING, Any

import imq
import pytest
from support.servers import Registry, require_programs
from workers.conftest import START_LIMIT, Cluster, list_values
from workers.test_faults import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workers.faults import Faults

USER, PASSWORD = "reader", "hunter2-of-the-registry"
HEADER = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
PAGES = (
    "info/main/workers.html",
    "info/main/logs.html",
    "info/main/exceptions.html",
    "json/counts.json",
    "json/identity.json",
    "metrics",
)
"""The pages that the scheduler has without bokeh."""


@pytest.fixture(scope="module")
def private_registry(tmp_path_factory: pytest.TempPathFactory, layout: str) -> Iterator[Registry]:
    require_programs("docker-registry", "htpasswd")
    with Registry(tmp_path_factory.mktemp("private"), users={USER: PASSWORD}) as made:
        home = tmp_path_factory.mktemp("home")
        write_login(home, made)
        with imq.connect(root=home / "store", environment={"HOME": str(home)}) as session:
            session(f'copy all images in "oci:{layout}" to "{made.host}/team/{{{{.Name}}}}"').raise_for_errors()
        yield made


def write_login(home: pathlib.Path, registry: Registry) -> None:
    """Write the login of a registry as `docker login` does."""
    folder = home / ".docker"
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"auths": {registry.host: {"auth": HEADER}}}))


class Probe:
    """Collects what a cluster knows while it works."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.texts: list[str] = []

    def take(self) -> bool:
        """Take the tasks of the scheduler and of the workers, and the pages of the dashboard; return whether any is."""
        from distributed import Client

        def list_tasks(dask_scheduler: Any) -> list[str]:
            import pickle

            return [
                repr((key, task.run_spec, pickle.dumps(task.run_spec))) for key, task in dask_scheduler.tasks.items()
            ]

        def list_specs(dask_worker: Any) -> list[str]:
            import pickle

            return [
                repr((key, task.run_spec, pickle.dumps(task.run_spec))) for key, task in dask_worker.state.tasks.items()
            ]

        with Client(self._cluster.address, set_as_default=False) as client:
            tasks = client.run_on_scheduler(list_tasks)
            specs = [spec for of_worker in client.run(list_specs).values() for spec in of_worker]
            keys = [key for of_worker in client.processing().values() for key in of_worker]
            self.texts += [*tasks, *specs, repr(client.get_events()), repr(client.scheduler_info())]
        pages = [f"info/task/{key}.html" for key in keys]
        for page in (*PAGES, *pages):
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self._cluster.dashboard_port}/{page}", timeout=30
            ) as answer:
                self.texts.append(answer.read().decode(errors="replace"))
        return any("team/web" in one for one in tasks) and any("team/web" in one for one in specs)


def test_no_credential_is_in_a_task_a_log_or_on_the_dashboard(
    tmp_path: pathlib.Path, private_registry: Registry, own_cluster: Cluster, faults: Faults
) -> None:
    import threading

    faults.set("sleep", content="3")
    write_login(own_cluster.folder, private_registry)
    write_login(tmp_path, private_registry)
    rows: list[Any] = []

    def ask() -> None:
        options: dict[str, Any] = {"root": tmp_path / "store", "environment": {"HOME": str(tmp_path)}}
        with imq.connect(workers=own_cluster.url, **options) as session:
            rows.extend(list_values(session(f"packages of (tags in {private_registry.host}/team/*) select name")))

    query = threading.Thread(target=ask, daemon=True)
    query.start()
    probe = Probe(own_cluster)
    wait_until(probe.take, "no task was seen")
    query.join(START_LIMIT)
    assert ("openssl",) in rows
    probe.texts.append(own_cluster.read_logs())
    assert any(private_registry.host in text for text in probe.texts)  # the tasks were seen
    for text in probe.texts:
        for secret in (PASSWORD, HEADER):
            assert secret not in text


def test_a_worker_without_credentials_says_where_they_belong(
    tmp_path: pathlib.Path, private_registry: Registry, own_cluster: Cluster
) -> None:
    (own_cluster.folder / ".docker" / "config.json").unlink(missing_ok=True)
    write_login(tmp_path, private_registry)
    options: dict[str, Any] = {"root": tmp_path / "store", "environment": {"HOME": str(tmp_path)}}
    for name in ("worker-0", "worker-1"):  # a scan process keeps the credentials that it has found
        own_cluster.kill(name)
        own_cluster.start_worker(name)
    own_cluster.wait()
    with imq.connect(workers=own_cluster.url, **options) as session, pytest.raises(imq.ImqError) as denied:
        session(f"packages of {private_registry.host}/team/web:1")
    assert denied.value.code == "unauthorized"
    assert "workers use their own credentials" in denied.value.hints[0]
