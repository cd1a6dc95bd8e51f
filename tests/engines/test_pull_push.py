"""Engines pull and push by themselves: `pull NAME to docker`, `push NAME from docker`."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import imq
import pytest
from support.engine_images import write_login
from support.engines import ScriptedEngine, http_answer
from support.servers import Registry, require_programs

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator

    from support.engine_images import Place


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry that requires a password."""
    require_programs("docker-registry", "htpasswd")
    with Registry(tmp_path_factory.mktemp("registry"), users={"ann": "secret"}) as running:
        yield running


def test_an_image_goes_to_a_registry_and_back(place: Place, registry: Registry) -> None:
    write_login(place.folder, registry.host, "ann", "secret")
    name = f"{registry.host}/{place.name}/app:1"
    (pushed,) = place.connection(f"push localhost/app:1 from {place.name} to {name}")
    assert (pushed.error, pushed.message, pushed.image) == (None, None, place.one)
    assert pushed.note.startswith("digest: sha256:")
    assert name not in place.names()
    (row,) = place.connection(f"pull {name} to {place.name}")
    assert (row.target, row.image) == (name, place.one)
    assert place.names()[name] == place.one
    (again,) = place.connection(f"pull {name} to {place.name}")
    assert again.note == f"image is up to date in {place.name}"


def test_containers_whose_tag_moved_in_the_registry(docker_place: Place, registry: Registry) -> None:
    write_login(docker_place.folder, registry.host, "ann", "secret")
    name = f"{registry.host}/moved:1"
    outdated = "containers in docker where image_digest != .remote.digest select name, image"
    docker_place.connection(f"push localhost/app:1 from docker to {name}; pull {name} to docker")
    docker_place.engine.run("create", "--network", "none", "--name", "old", name, "/none")
    assert list(docker_place.connection(outdated)) == []
    other = f"{registry.host}/other:1"
    docker_place.connection(f"push localhost/team/b:2 from docker to {other}; copy {other} to {name}")
    with docker_place.connect() as later:
        assert [row.name for row in later(outdated)] == ["old"]


def test_rows_are_pushed_into_a_namespace(docker_place: Place, registry: Registry) -> None:
    write_login(docker_place.folder, registry.host, "ann", "secret")
    docker_place.connection("use docker")
    rows = docker_place.connection(f"push images where tag = latest or label.part = two to {registry.host}/rows")
    assert {row.target: row.error for row in rows} == {
        f"{registry.host}/rows/app:latest": None,
        f"{registry.host}/rows/team/b:2": None,
    }
    assert set(docker_place.names()) == {"localhost/app:1", "localhost/app:latest", "localhost/team/b:2"}
    docker_place.engine.run("rmi", "-f", docker_place.one, docker_place.two)
    pulled = docker_place.connection(f"pull {registry.host}/rows/team/b:2, {registry.host}/rows/app:none")
    assert [(row.error, row.image) for row in pulled] == [(None, docker_place.two), ("not-found", None)]
    assert ("not found" if docker_place.has_containerd_images else "manifest unknown") in pulled[1].message


def test_pull_goes_to_the_store_unless_an_engine_is_named(docker_place: Place, registry: Registry) -> None:
    write_login(docker_place.folder, registry.host, "ann", "secret")
    docker_place.connection(f"push localhost/app:1 from docker to {registry.host}/default:1")
    docker_place.connection("images in docker")
    (row,) = docker_place.connection(f"pull {registry.host}/default:1")
    assert row.error is None
    assert [image.name for image in docker_place.connection("images in store")] == [f"{registry.host}/default:1"]
    assert len(docker_place.names()) == 3


def test_the_only_name_of_an_image_stays(docker_place: Place, registry: Registry) -> None:
    write_login(docker_place.folder, registry.host, "ann", "secret")
    docker_place.engine.run("rmi", "localhost/app:1", "localhost/app:latest", "localhost/team/b:2")
    made = docker_place.engine.run("import", "-", stdin=b"\0" * 10240)
    name = f"{registry.host}/unnamed:1"
    (row,) = docker_place.connection(f"push {made} from docker to {name}")
    assert row.error is None
    assert docker_place.names() == {name: made}


def test_a_name_of_another_image_is_not_taken_for_a_push(docker_place: Place) -> None:
    (row,) = docker_place.connection("push localhost/app:1 from docker to localhost/team/b:2")
    assert row.message == f"localhost/team/b:2 is the name of another image in docker, {docker_place.two[7:19]}"


def test_credentials_are_sent_for_their_own_registry_only(tmp_path: pathlib.Path) -> None:
    failed = http_answer(b'{"message": "manifest unknown"}', status="404 Not Found")
    with ScriptedEngine(tmp_path / "engine.sock", {"/images/": failed}) as engine:
        (tmp_path / "home").mkdir()
        write_login(tmp_path, "one.example", "ann", "secret")
        environment = {"DOCKER_HOST": engine.address, "HOME": str(tmp_path / "home")}
        with imq.connect("docker", root=tmp_path / "store", environment=environment) as connection:
            rows = connection("pull one.example/app:1, two.example/app:1")
    assert [row.message for row in rows] == ["manifest unknown"] * 2
    sent = [_read_auth(head) for head in engine.heads if head.startswith("POST ")]
    assert sent == [{"username": "ann", "password": "secret", "serveraddress": "one.example"}, {}]


def _read_auth(head: str) -> object:
    text = next(line for line in head.splitlines() if line.startswith("X-Registry-Auth: "))
    return json.loads(base64.urlsafe_b64decode(text.partition(": ")[2]))


def test_an_error_within_the_stream_is_in_the_words_of_the_engine(tmp_path: pathlib.Path) -> None:
    stream = b'{"status":"Pulling fs layer","progressDetail":{},"id":"0123456789ab"}\n{"error":"disk is full"}\n'
    answers = {"/images/create": http_answer(stream), "/json": http_answer(b"{}", status="404 Not Found")}
    with ScriptedEngine(tmp_path / "engine.sock", answers) as engine:
        environment = {"DOCKER_HOST": engine.address, "HOME": str(tmp_path)}
        with imq.connect("docker", root=tmp_path / "store", environment=environment) as connection:
            (row,) = connection("pull app:1")
            with pytest.raises(imq.StatementError, match="one platform"):
                connection("pull app:1 platform linux/amd64, linux/arm64")
    assert (row.error, row.message) == ("engine", "disk is full")


def test_one_platform_of_an_image_is_pushed(place: Place, registry: Registry) -> None:
    """Without an API for it, an engine pushes the image that it has when that is for the platform."""
    write_login(place.folder, registry.host, "ann", "secret")
    name = f"{registry.host}/platform/{place.name}:1"
    statement = f"push localhost/app:1 from {place.name} to {name} platform"
    (planned,) = place.connection(f"{statement} linux/amd64", dry_run=True)
    assert planned.note == f"from {place.name} for linux/amd64"
    (pushed,) = place.connection(f"{statement} linux/s390x")
    assert pushed.error == "no-such-platform"
    assert pushed.message == f"{name} in {place.name} is for linux/amd64, not for linux/s390x"
    (pushed,) = place.connection(f"{statement} linux/amd64")
    if place.has_containerd_images:  # its API is 1.45
        assert pushed.error == "platform"
        assert "copy" in pushed.message or "1.46" in pushed.message
    else:
        assert (pushed.error, pushed.message) == (None, None)
    assert name not in place.names()
    with pytest.raises(imq.StatementError, match="pushes one platform"):
        place.connection(f"{statement} linux/amd64, linux/arm64")


def test_an_engine_with_the_parameter_chooses_the_platform(tmp_path: pathlib.Path) -> None:
    """As recorded of the Engine API 1.46: the platform is a JSON object in the query."""
    id_ = f"sha256:{'a' * 64}"
    document = {"Id": id_, "RepoTags": ["r.example/app:1"], "RepoDigests": [], "Os": "linux", "Architecture": "amd64"}
    listed = {**document, "Created": 1, "Size": 1, "Labels": {}}
    done = http_answer(b'{"aux":{"Tag":"1","Digest":"sha256:' + b"b" * 64 + b'","Size":9}}\n')
    answers = {
        "_ping": http_answer(b"OK", "Api-Version: 1.46", "Ostype: linux", "Server: Docker/27.0.0 (linux)"),
        "images/json": http_answer(json.dumps([listed]).encode()),
        "/push": done,
        "images/": http_answer(json.dumps(document).encode()),
    }
    with (
        ScriptedEngine(tmp_path / "engine", answers) as engine,
        imq.connect(root=tmp_path / "store", environment={"DOCKER_HOST": engine.address}) as connection,
    ):
        (row,) = connection("push r.example/app:1 from docker platform linux/arm/v7")
    assert row.error is None
    (request,) = [line for line in engine.requests if "/push" in line]
    parameters = parse_qs(urlsplit(request.split()[1]).query)
    assert json.loads(parameters["platform"][0]) == {"os": "linux", "architecture": "arm", "variant": "v7"}
