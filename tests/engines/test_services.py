"""The table `services`: of a manager of a swarm, and of engines that are none."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import imq
import pytest
from support.engine_images import connect
from support.scripted_session import Script, answer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.engine_images import Place
    from support.engines import Engine

DIGEST = f"sha256:{'d' * 64}"


@pytest.fixture
def manager(docker_place: Place) -> Iterator[Place]:
    """A dockerd that manages a swarm with two services, none of whose tasks can run."""
    engine = docker_place.engine
    engine.run("swarm", "init", "--advertise-addr", "127.0.0.1", "--listen-addr", "127.0.0.1:0")
    own = ("service", "create", "--detach", "--no-resolve-image")
    never = ("--constraint", "node.labels.none==here")
    engine.run(*own, *never, "--name", "web", "--label", "team=a", "--replicas", "2", "localhost/app:1", "/x")
    port = ("--publish", "published=8080,target=80,mode=host")
    engine.run(*own, *never, "--name", "agent", "--mode", "global", *port, f"localhost/team/b:2@{DIGEST}", "/x")
    yield docker_place
    subprocess.run([*engine.client, "swarm", "leave", "--force"], capture_output=True, check=True)


def test_services_of_a_manager(manager: Place) -> None:
    rows = list(manager.connection("services in docker select *"))
    agent, web = rows
    described = json.loads(manager.engine.run("service", "inspect", "agent", "web"))
    assert [row.id for row in rows] == [one["ID"] for one in described]
    assert [row.name for row in rows] == ["agent", "web"]
    assert [(row.image, row.image_digest) for row in rows] == [
        ("localhost/team/b:2", DIGEST),
        ("localhost/app:1", None),
    ]
    assert [(row.mode, row.replicas) for row in rows] == [("global", None), ("replicated", 2)]
    assert (web.running, web.desired) == (0, 2)
    assert (web.label, web.ports) == ({"team": "a"}, [])
    assert agent.ports == ["*:8080->80/tcp"]
    assert f"{web.created:%Y-%m-%dT%H:%M:%S}" == described[1]["CreatedAt"][:19]
    assert web.updated >= web.created


def test_conditions_on_services(manager: Place) -> None:
    for condition, expected in (
        ("running < .desired", ["web"]),
        ("label.team = a", ["web"]),
        ("mode = global", ["agent"]),
        ('ports has "*:8080->80"', ["agent"]),
        ("image like 'localhost/team/*'", ["agent"]),
    ):
        rows = manager.connection(f"services in docker where {condition}")
        assert [row.name for row in rows] == expected, condition


def test_an_engine_without_a_swarm_says_so(docker_place: Place) -> None:
    with pytest.raises(imq.EngineError, match="not a swarm manager"):
        docker_place.connection("services in docker")


def test_podman_says_so(podman_service: Engine, tmp_path: Path) -> None:
    with connect(tmp_path, "podman", podman_service) as connection, pytest.raises(imq.EngineError) as caught:
        connection("services in podman")
    assert caught.value.code == "engine-no-swarm"


def task(service: str, state: str, desired: str = "running") -> dict[str, Any]:
    return {"ServiceID": service, "DesiredState": desired, "Status": {"State": state}}


def test_an_old_engine_counts_by_tasks(tmp_path: Path) -> None:
    services = [{"ID": "a", "Spec": {"Name": "a", "Mode": {"Replicated": {"Replicas": 3}}}}, {"ID": "b", "Spec": {}}]
    tasks = [task("a", "running"), task("a", "pending"), task("a", "failed", "shutdown")]
    script = Script(tmp_path / "script", {"/services": answer(services), "/tasks": answer(tasks)})
    try:
        rows = script.ask("services in docker select id, running, desired, replicas").rows
    finally:
        script.close()
    assert [tuple(row.values()) for row in rows] == [("a", 1, 2, 3), ("b", None, None, None)]
