"""Lineage of images that engines have built from each other, and what their removal frees."""

from __future__ import annotations

import glob
import io
import json
import subprocess
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
from imq.engine.docker_engine.client import EngineClient
from imq.engine.docker_engine.endpoint import find_endpoint
from support.engine_images import Place, clear, connect

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    from support.engines import Engine

BUILDS = {
    "localhost/base:1": "FROM scratch\nCOPY f40000 /base",
    "localhost/base:labelled": "FROM localhost/base:1\nLABEL same=layers",
    "localhost/runtime:1": "FROM localhost/base:1\nCOPY f60000 /runtime\nENV A=b\nCOPY f20000 /more",
    "localhost/app:1": 'FROM localhost/runtime:1\nCOPY f10000 /app\nCMD ["/app"]',
    "localhost/app:2": "FROM localhost/runtime:1\nCOPY f30000 /app",
    "localhost/other:1": "FROM scratch\nCOPY f5000 /other",
}
"""The Dockerfiles of the images. A file is as large as its name says."""


def build(engine: Engine, name: str, dockerfile: str) -> None:
    archive = io.BytesIO()
    files = {word: word.encode() * (int(word[1:]) // len(word)) for word in dockerfile.split() if word[1:].isdigit()}
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for path, content in {**files, "Dockerfile": dockerfile.encode()}.items():
            member = tarfile.TarInfo(path)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    endpoint = find_endpoint(engine.address, {}, "/nonexistent")
    assert endpoint is not None
    options = {"version": "1", "t": name, "networkmode": "none", "layers": "true"}
    headers = {"Content-Type": "application/x-tar"}
    with (
        EngineClient(endpoint) as client,
        client.open_stream("POST", "build", options, body=archive.getvalue(), headers=headers) as progress,
    ):
        output = progress.read()
    assert b'"error"' not in output, output


@pytest.fixture(params=["dockerd", "debian_dockerd", "podman_service"])
def built(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Iterator[Place]:
    """Each engine with the images of `BUILDS` alone."""
    engine: Engine = request.getfixturevalue(request.param)
    name = "podman" if engine.kind == "podman" else "docker"
    clear(engine)
    for image, dockerfile in BUILDS.items():
        build(engine, image, dockerfile)
    with connect(tmp_path, name, engine) as connection:
        yield Place(name, engine, connection, tmp_path)
    for container in engine.run("ps", "-aq").split():
        engine.run("rm", container)
    engine.run("image", "prune", "-a", "-f")  # the images of the classic builder go with their children only
    clear(engine)


def rows(place: Place, text: str, **options: Any) -> list[dict[str, Any]]:
    return [dict(row) for row in place.connection(text.replace("in E", f"in {place.name}"), **options)]


def names(place: Place, condition: str) -> set[str]:
    return {row["name"] for row in rows(place, f"images in E where tag is known and ({condition}) select name")}


def test_lineage_of_builds(built: Place) -> None:
    found = {
        row["name"]: row["base"] for row in rows(built, "images in E where tag is known select name, base.name as base")
    }
    bases = {"localhost/base:1", "localhost/base:labelled"}
    assert found["localhost/runtime:1"] in bases
    assert {name: base for name, base in found.items() if name != "localhost/runtime:1"} == {
        "localhost/base:1": None,
        "localhost/base:labelled": None,
        "localhost/app:1": "localhost/runtime:1",
        "localhost/app:2": "localhost/runtime:1",
        "localhost/other:1": None,
    }
    runtime, apps = {"localhost/runtime:1"}, {"localhost/app:1", "localhost/app:2"}
    for base in bases:
        assert names(built, f"based on {base}") == runtime | apps
    assert names(built, "based on localhost/runtime:1") == apps
    assert names(built, "any children") == bases | runtime
    assert names(built, "shares layers with localhost/app:1") == bases | runtime | {"localhost/app:2"}
    assert names(built, "no children and base is unknown") == {"localhost/other:1"}
    assert names(built, "any base where any children where name = localhost/app:2") == apps


@pytest.mark.parametrize(
    "condition",
    [
        "name = localhost/app:1",
        "name in (localhost/app:1, localhost/app:2)",
        "name in (localhost/app:1, localhost/app:2, localhost/runtime:1)",
        "name in (localhost/base:1, localhost/other:1)",
        "tag is known",
    ],
)
def test_reclaim_is_what_the_engine_frees(built: Place, condition: str) -> None:
    if built.has_containerd_images:
        pytest.skip("the sizes are unknown")
    foreseen = rows(built, f"reclaim of (images in E where {condition})")
    total = sum(row["size"] for row in foreseen)
    planned = rows(built, f"rm images in E where {condition}", dry_run=True)
    assert sum(row["size"] for row in planned) == total
    before = sum_layers(built)
    done = rows(built, f"rm images in E where {condition}")
    assert not [row for row in done if row["error"]]
    freed = before - sum_layers(built)
    assert freed == total


def sum_layers(place: Place) -> int:
    """Return the bytes of all layers, as the engine itself counts them."""
    if place.name == "docker":
        words = ["curl", "-sf", "--unix-socket", place.engine.socket, "http://engine/v1.41/system/df"]
        size: int = json.loads(subprocess.run(words, capture_output=True, check=True).stdout)["LayersSize"]
        return size
    (path,) = glob.glob(f"{place.engine.folder}/*/*-layers/layers.json")
    with open(path) as file:
        return sum(layer.get("diff-size", 0) for layer in json.load(file))


def test_sizes_are_unknown_where_containerd_stores_the_images(built: Place) -> None:
    if not built.has_containerd_images:
        pytest.skip("the sizes are known")
    (row,) = rows(built, "reclaim of (images in E where name = localhost/app:1) select size, alone, removes, note")
    assert (row["size"], row["alone"], row["removes"]) == (None, None, True)
    assert row["note"] == "the engine keeps images in containerd, and does not report the sizes of their blobs"
    (planned,) = rows(built, "rm images in E where name = localhost/app:1", dry_run=True)
    assert planned["size"] is None


def test_rows_say_what_keeps_an_image(built: Place) -> None:
    built.engine.run("tag", "localhost/app:1", "localhost/app:again")
    built.engine.run("create", "--network", "none", "localhost/other:1", "/none")
    found = {row["name"]: row for row in rows(built, "reclaim of (images in E where tag is known) select *")}
    assert found["localhost/other:1"]["note"] == "a container uses the image"
    assert found["localhost/other:1"]["size"] == 0
    assert not found["localhost/other:1"]["removes"]
    assert found["localhost/app:1"]["alone"] == 0, "it has another name"
    (kept,) = rows(built, f"reclaim of localhost/app:1 in {built.name} select size, note")
    assert kept == {"size": 0, "note": "another name keeps the image"}
    if not built.has_containerd_images:
        assert found["localhost/runtime:1"]["alone"] == 0, "its layers are in other images"
