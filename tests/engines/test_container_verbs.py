"""Containers of engines that are started, stopped, signalled and removed by statements and docker's command lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import imq
import pytest
from support.engine_content import program_layer
from support.images import Image, docker_archive
from support.programs import wait_program

if TYPE_CHECKING:
    import pathlib

    from support.engine_images import Place


@pytest.fixture
def running(place: Place, tmp_path: pathlib.Path) -> Place:
    """An engine with the container `web`, which runs, and `Job_1`, which does not."""
    path = tmp_path / "wait.tar"
    image = Image((program_layer("wait", wait_program()),), settings={"Entrypoint": ["/wait"]})
    docker_archive(path, [(image, ["localhost/wait:1"])])
    place.engine.run("load", stdin=path.read_bytes())
    limits = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024") if place.name == "podman" else ()
    for name in ("web", "Job_1"):
        place.engine.run("create", "--name", name, "--network", "none", *limits, "localhost/wait:1")
    place.engine.run("start", "web")
    return place


def state(place: Place, name: str) -> str:
    (row,) = place.connection(f"containers in {place.name} where name = {name}")
    return str(row.status)


def test_containers_of_engines_are_controlled(running: Place) -> None:
    place, run = running, running.connection
    run(f"start Job_1 from {place.name}")
    assert state(place, "Job_1") == "running"
    run(f"start Job_1 in {place.name}")  # it runs already
    run(f"pause web, Job_1 in {place.name}")
    assert (state(place, "web"), state(place, "Job_1")) == ("paused", "paused")
    run(f"unpause containers in {place.name} where status = paused")
    run(f"kill Job_1 in {place.name} with signal = KILL")
    (row,) = run(f"wait Job_1 in {place.name}")
    assert row.note == "exit code 137"
    run(f"stop web in {place.name} with timeout = 0")
    assert state(place, "web") == "exited"
    run(f"restart web in {place.name} with timeout = 0")
    assert state(place, "web") == "running"
    run(f"rename container web as front from {place.name}")
    assert state(place, "front") == "running"
    run(f"rename container front as web from {place.name}")
    ids = {row.name: row.id for row in run(f"containers in {place.name}")}
    for text in (ids["web"], ids["web"][:12]):
        (row,) = run(f'containers in {place.name} where id = "{text}"')
        assert row.name == "web"
    rows = list(run(f"rm container web, Job_1 in {place.name}"))
    assert {row.target: bool(row.error) for row in rows} == {"web": True, "Job_1": False}
    run(f"rm container web in {place.name} force")
    assert list(run(f"containers in {place.name}")) == []


def test_unknown_containers_and_values_are_refused(running: Place) -> None:
    place, run = running, running.connection
    with pytest.raises(imq.NotFound, match="No such container: nope"):
        run(f"start nope in {place.name}")
    rows = run(f"stop nope, web in {place.name} with timeout = 0")
    assert {row.target: row.error for row in rows} == {"nope": "no-such-container", "web": None}
    with pytest.raises(imq.StatementError, match='start has no "signal"'):
        run(f"start web in {place.name} with signal = KILL")
    with pytest.raises(imq.NotFound, match="No such container: nope"):
        run(f"rm container nope in {place.name}")
    with pytest.raises(imq.NotFound, match="No such image: localhost/nope:1"):
        run(f"run localhost/nope:1 in {place.name}")
    with pytest.raises(imq.StatementError, match='run has no "colour"'):
        run(f"run localhost/wait:1 in {place.name} with colour = red")
