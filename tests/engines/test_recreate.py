"""`recreate` in engines: a container is replaced with its options and volumes, or put back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import imq
import pytest
from support.engine_content import program_layer
from support.images import Image, docker_archive
from support.programs import say_program, wait_program

if TYPE_CHECKING:
    import pathlib

    from support.engine_images import Place

NAME = "localhost/svc:1"
LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")
OPTIONS = (
    *LIMITS, "--network", "none", "-e", "GIVEN=yes", "-e", "BOTH=given", "--label", "own=x", "--memory", "64m",
    "--hostname", "box", "--cap-drop", "CHOWN", "--read-only", "--stop-timeout", "1", "--restart", "on-failure:2",
    "-v", "/unnamed",
)  # fmt: skip


def make_image(version: str, command: list[str], **settings: Any) -> Image:
    layers = (program_layer("wait", wait_program()), program_layer("say", say_program()))
    return Image(
        layers,
        settings={
            "Cmd": command,
            "Env": [f"IMAGE={version}", "BOTH=image"],
            "Labels": {"version": version},
            "Volumes": {"/data": {}},
            "ExposedPorts": {f"{version}/tcp": {}},
            **settings,
        },
    )


def load(place: Place, tmp_path: pathlib.Path, image: Image, name: str = NAME) -> str:
    """Load an image, so that the name is its, and return the ID that the engine has for it."""
    path = tmp_path / "svc.tar"
    docker_archive(path, [(image, [name])])
    place.engine.run("load", stdin=path.read_bytes())
    (document,) = json.loads(place.engine.run("image", "inspect", name))
    return str(document["Id"]).removeprefix("sha256:")


def inspect(place: Place, name: str) -> dict[str, Any]:
    (document,) = json.loads(place.engine.run("container", "inspect", name))
    assert isinstance(document, dict)
    return document


def list_names(place: Place) -> list[str]:
    return sorted(place.engine.run("ps", "-a", "--format", "{{.Names}}").split())


@pytest.fixture
def running(place: Place, tmp_path: pathlib.Path) -> Place:
    """An engine in which `web` runs from the first version of an image."""
    load(place, tmp_path, make_image("1", ["/wait"]))
    place.engine.run("run", "-d", "--name", "web", *OPTIONS, NAME)
    place.engine.run("tag", NAME, "localhost/svc:old")
    return place


def volumes(document: dict[str, Any]) -> dict[str, str]:
    return {one["Destination"]: one["Name"] for one in document["Mounts"] if one["Type"] == "volume"}


def test_a_container_gets_the_new_image_and_keeps_its_options(running: Place, tmp_path: pathlib.Path) -> None:
    place, old = running, inspect(running, "web")
    id_ = load(place, tmp_path, make_image("2", ["/wait"], StopSignal="SIGKILL"))
    moved = f"containers in {place.name} join images in {place.name} as i on i.name = image where i.id != .image_id"
    (row,) = place.connection(f"{moved} select name")
    assert row.name == "web"
    (planned,) = place.connection(f"dry run recreate {moved}")
    assert (planned.action, planned.target, planned.image) == ("recreate", "web", f"sha256:{id_}")
    assert f"from {NAME} in {place.name}, instead of " in planned.note
    (done,) = place.connection(f"recreate {moved}")
    assert (done.target, done.error) == ("web", None)
    new = inspect(place, "web")
    assert list_names(place) == ["web"]
    assert new["Id"] != old["Id"]
    assert new["Image"].removeprefix("sha256:") == id_
    assert new["State"]["Status"] == "running"
    assert str(new["Config"]["StopSignal"]) in ("SIGKILL", "9")
    assert {"IMAGE=2", "GIVEN=yes", "BOTH=given"} <= set(new["Config"]["Env"])
    assert "IMAGE=1" not in new["Config"]["Env"]
    assert (new["Config"]["Labels"]["version"], new["Config"]["Labels"]["own"]) == ("2", "x")
    assert new["Config"]["Hostname"] == "box"
    same = ("Memory", "CapDrop", "ReadonlyRootfs", "RestartPolicy", "NetworkMode", "Ulimits")
    assert {key: new["HostConfig"][key] for key in same} == {key: old["HostConfig"][key] for key in same}
    assert volumes(new) == volumes(old)
    assert set(volumes(new)) == {"/data", "/unnamed"}
    place.engine.run("rm", "-f", "-v", "web")


def test_a_container_that_ends_is_put_back(running: Place, tmp_path: pathlib.Path) -> None:
    place, old = running, inspect(running, "web")
    load(place, tmp_path, make_image("2", ["/say", "hello"]))
    (row,) = place.connection(f"recreate web in {place.name}")
    assert row.error == "not-healthy"
    assert row.message == "the new container of web ended with exit code 0; the old one is back"
    new = inspect(place, "web")
    assert (new["Id"], new["Image"], new["State"]["Status"]) == (old["Id"], old["Image"], "running")
    assert volumes(new) == volumes(old)
    assert list_names(place) == ["web"]
    place.engine.run("rm", "-f", "-v", "web")


def test_a_container_that_did_not_run_is_not_started(place: Place, tmp_path: pathlib.Path) -> None:
    load(place, tmp_path, make_image("1", ["/wait"]))
    other = load(place, tmp_path, make_image("2", ["/wait"]), "localhost/other:1")
    place.engine.run("create", "--name", "job", *LIMITS, "--network", "none", NAME, "/say", "own")
    place.connection(f"recreate job in {place.name} with image = localhost/other:1")
    new = inspect(place, "job")
    assert (new["State"]["Status"], new["Image"].removeprefix("sha256:")) == ("created", other)
    assert new["Config"]["Cmd"] == ["/say", "own"]
    place.engine.run("rm", "-v", "job")


def test_an_image_that_is_gone_leaves_the_options_unknown(docker_place: Place, tmp_path: pathlib.Path) -> None:
    """An engine with the images of containerd drops the image of a container when its name moves."""
    place = docker_place
    load(place, tmp_path, make_image("1", ["/wait"]))
    place.engine.run("create", "--name", "job", *LIMITS, "--network", "none", NAME)
    load(place, tmp_path, make_image("2", ["/wait"]))
    (row,) = place.connection(f"recreate job in {place.name}")
    if place.has_containerd_images:
        assert row.error == "not-replaceable"
        assert "its image was removed, so the options that the container was given are unknown" in row.message
    else:
        assert row.error is None
        assert "IMAGE=2" in inspect(place, "job")["Config"]["Env"]
    place.engine.run("rm", "-v", "job")


def test_what_could_not_be_put_back_is_refused(running: Place) -> None:
    place = running
    arguments = (*LIMITS, "--stop-timeout", "0", NAME)
    place.engine.run("run", "-d", "--rm", "--name", "once", "--network", "none", *arguments)
    place.engine.run("run", "-d", "--name", "user", "--network", "container:web", *arguments)
    for name, reason in (("once", "it is removed when it stops"), ("web", "user uses its network")):
        (row,) = place.connection(f"recreate containers in {place.name} where name = {name}")
        assert row.error == "not-replaceable"
        assert reason in row.message
    (row,) = place.connection(f"recreate user in {place.name} with image = localhost/none:1")
    assert (row.error, row.message) == (
        "no-such-image", f"the container user was made from localhost/none:1, which {place.name} does not have"
    )  # fmt: skip
    with pytest.raises(imq.StatementError, match='recreate has no "colour"'):
        place.connection(f"recreate user in {place.name} with colour = red")
    assert list_names(place) == ["once", "user", "web"]
    for name in ("user", "once", "web"):
        place.engine.run("rm", "-f", "-v", name)
