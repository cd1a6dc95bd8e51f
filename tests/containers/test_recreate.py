"""`recreate` in the store: a container is replaced with its options and volumes, or put back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .conftest import Machine

SLEEP = '"sleep 600 & wait"'
OPTIONS = (
    "env.GIVEN = yes, env.A = given, label.own = x, memory_limit = 64MB, read_only = true, hostname = host1,"
    " stop_timeout = 1, user = app, workdir = /tmp, mount = named:/named, mount = /own, tmpfs = /scratch"
)


def change(machine: Machine, name: str, *instructions: str) -> None:
    """Give a name to another image made from box:1."""
    machine.do(f"change box:1 {', '.join(json.dumps(one) for one in instructions)} as {name}")


@pytest.fixture
def running(machine: Machine) -> Machine:
    """A store in which `web` runs from the first version of an image, and wrote to its volumes."""
    change(machine, "svc:1", 'CMD ["sh", "-c", "sleep 600"]', "ENV V=1", "LABEL v=1", "VOLUME /data", "EXPOSE 81")
    machine.do(f"run svc:1 as web with detach = true, {OPTIONS}")
    machine.do("exec container web run sh -c 'touch /scratch/x'")
    for path in ("data", "own", "named"):
        machine.do(f"exec container web run sh -c 'echo {path} > /{path}/file' with user = root")
    return machine


def document(machine: Machine, name: str) -> dict[str, Any]:
    found: dict[str, Any] = machine.containers.inspect(machine.container(name)["id"])
    return found


def read(machine: Machine, path: str) -> str:
    return machine.command("exec", "web", "cat", path).stdout.strip()


def names(machine: Machine) -> list[str]:
    return sorted(row["name"] for row in machine.rows("containers select name"))


def test_a_container_gets_the_new_image_and_keeps_its_options(running: Machine) -> None:
    machine, old = running, document(running, "web")
    change(machine, "svc:1", 'CMD ["sh", "-c", "sleep 700"]', "ENV V=2", "LABEL v=2", "VOLUME /data", "EXPOSE 82")
    moved = "containers join images as i on i.name = image where i.id != .image_id"
    (planned,) = machine.rows(f"dry run recreate {moved}")
    assert (planned["action"], planned["target"]) == ("recreate", "web")
    assert planned["note"].startswith("from svc:1, instead of ")
    machine.do(f"recreate {moved}")
    new = document(machine, "web")
    assert names(machine) == ["web"]
    assert (new["Id"] != old["Id"], new["Image"]) == (True, planned["image"])
    assert new["Config"]["Cmd"] == ["sh", "-c", "sleep 700"]
    assert {"V=2", "GIVEN=yes", "A=given"} <= set(new["Config"]["Env"])
    assert (new["Config"]["Labels"]["v"], new["Config"]["Labels"]["own"]) == ("2", "x")
    assert list(new["Config"]["ExposedPorts"]) == ["80/tcp", "82/tcp"]
    same = ("Hostname", "User", "WorkingDir", "StopTimeout")
    assert [new["Config"][key] for key in same] == [old["Config"][key] for key in same]
    assert new["HostConfig"] == old["HostConfig"]
    assert [mount["Destination"] for mount in new["Mounts"]] == [mount["Destination"] for mount in old["Mounts"]]
    assert [read(machine, f"/{path}/file") for path in ("data", "own", "named")] == ["data", "own", "named"]
    machine.do("rm container web force")


def test_a_container_that_ends_is_put_back(running: Machine) -> None:
    machine, old = running, document(running, "web")
    change(machine, "svc:1", 'CMD ["sh", "-c", "exit 3"]', "VOLUME /data")
    with pytest.raises(Exception, match="the new container of web ended with exit code 3; the old one is back"):
        machine.do("recreate web")
    new = document(machine, "web")
    assert (new["Id"], new["Image"], new["State"]["Status"]) == (old["Id"], old["Image"], "running")
    assert names(machine) == ["web"]
    assert [read(machine, f"/{path}/file") for path in ("data", "own", "named")] == ["data", "own", "named"]
    machine.do("rm container web force")


def test_an_unhealthy_container_is_put_back(running: Machine) -> None:
    machine, old = running, document(running, "web")
    change(
        machine,
        "svc:1",
        'CMD ["sh", "-c", "sleep 600"]',
        "HEALTHCHECK --interval=20ms --retries=2 CMD echo no database; exit 1",
    )
    with pytest.raises(Exception, match="the new container of web is unhealthy: no database; the old one is back"):
        machine.do("recreate web")
    assert document(machine, "web")["Id"] == old["Id"]
    change(machine, "svc:1", 'CMD ["sh", "-c", "sleep 600"]', "HEALTHCHECK --interval=20s CMD exit 1")
    with pytest.raises(Exception, match="the new container of web is not healthy after 1 seconds; the old one is back"):
        machine.do("recreate web with timeout = 1s")
    assert document(machine, "web")["Id"] == old["Id"]
    change(machine, "svc:1", 'CMD ["sh", "-c", "sleep 600"]', "HEALTHCHECK --interval=20ms CMD true")
    machine.do("recreate web")
    assert document(machine, "web")["State"]["Health"]["Status"] == "healthy"
    machine.do("rm container web force")


def test_a_container_that_did_not_run_is_not_started(machine: Machine) -> None:
    change(machine, "other:1", "ENV V=2")
    machine.do("create job from box:1 run echo own with entrypoint = env")
    machine.do("recreate job with image = other:1")
    new = document(machine, "job")
    assert (new["State"]["Status"], new["Config"]["Image"]) == ("created", "other:1")
    assert (new["Config"]["Entrypoint"], new["Config"]["Cmd"]) == (["env"], ["echo", "own"])
    assert new["Config"]["Hostname"] == new["Id"][:12]


def test_what_could_not_be_put_back_is_refused(machine: Machine) -> None:
    machine.do('run box:1 sh -c "sleep 600" as once with detach = true, auto_remove = true')
    machine.do("create other from box:1")
    (refused,) = machine.outcomes("recreate once")
    assert refused["error"] == "not-replaceable"
    assert "once cannot be made again: it is removed when it stops" in refused["message"]
    (unknown,) = machine.outcomes("recreate other with image = nothing:1")
    assert (unknown["error"], unknown["message"]) == ("no-such-image", "No such image: nothing:1")
    assert names(machine) == ["once", "other"]
    machine.do("rm container once force")


def test_an_image_that_is_gone_leaves_the_options_unknown(machine: Machine) -> None:
    change(machine, "other:1", "ENV V=2")
    machine.do_all("create job from other:1", "rm other:1 force")
    (row,) = machine.outcomes("recreate job with image = box:1")
    assert row["error"] == "not-replaceable"
    assert "its image was removed, so the options that the container was given are unknown" in row["message"]


def test_leftovers_of_an_interruption_are_named(machine: Machine) -> None:
    machine.do_all("create web from box:1", "create web.new from box:1")
    (row,) = machine.outcomes("recreate web")
    assert row["error"] == "name-taken"
    assert 'The container name "/web.new" is already in use' in row["message"]
    assert names(machine) == ["web", "web.new"]
