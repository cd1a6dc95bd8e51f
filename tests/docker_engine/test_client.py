"""The client against real engines: dockerd and podman's service."""

from __future__ import annotations

import io
import tarfile
import threading
from typing import TYPE_CHECKING

import pytest
from imq.engine.docker_engine import client as client_module
from imq.grammar.errors import Conflict, EngineError, NotFound
from support.engines import PodmanService
from support.images import Image, docker_archive, layer
from support.servers import require_programs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from imq.engine.docker_engine.client import EngineClient
    from support.engines import Dockerd

IMAGE = Image([layer({"file": b"content" * 100_000})], labels={"part": "engine"})


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An archive of one image under two names."""
    path = tmp_path_factory.mktemp("archive") / "image.tar"
    docker_archive(path, [(IMAGE, ["engine/test:1", "engine/test:2"])])
    return str(path)


@pytest.fixture(params=["docker", "podman"])
def client(request: pytest.FixtureRequest, connect: Callable[..., EngineClient]) -> EngineClient:
    """A client of each engine."""
    engine = request.getfixturevalue("dockerd" if request.param == "docker" else "podman_service")
    return connect(engine.address)


@pytest.fixture
def loaded(client: EngineClient, archive: str) -> Iterator[EngineClient]:
    """A client of an engine with an image."""
    with open(archive, "rb") as file, client.open_stream("POST", "images/load", {"quiet": "1"}, body=file) as stream:
        messages = list(stream.read_messages())
    assert any("Loaded image" in message.get("stream", "") for message in messages)
    yield client
    for image in client.get_json("images/json"):
        client.delete_json(f"images/{image['Id']}", {"force": "1"})


def test_a_ping_negotiates_the_version(dockerd: Dockerd, connect: Callable[..., EngineClient]) -> None:
    client = connect("docker", {"DOCKER_HOST": dockerd.address})
    version = client.ping()
    assert (version.kind, version.os, version.architecture, version.libpod_api) == ("docker", "linux", "", "")
    assert version.engine_version == dockerd.run("version", "--format", "{{.Server.Version}}")
    server_api = tuple(map(int, dockerd.run("version", "--format", "{{.Server.APIVersion}}").split(".")))
    assert version.api == ".".join(map(str, min(server_api, client_module.MAX_API)))
    detailed = client.ping(details=True)
    assert detailed.storage_driver == dockerd.run("info", "--format", "{{.Driver}}")
    assert detailed.architecture == dockerd.run("info", "--format", "{{.Architecture}}")
    assert client.ping() is detailed


def test_podman_is_recognized(podman_service: PodmanService, connect: Callable[..., EngineClient]) -> None:
    client = connect(podman_service.address)
    version = client.ping(details=True)
    assert (version.kind, version.os) == ("podman", "linux")
    assert version.libpod_api == podman_service.run("version", "--format", "{{.Version}}")
    assert version.storage_driver
    assert client.get_json("libpod/images/json") == []


def test_images_are_loaded_listed_inspected_and_removed(loaded: EngineClient) -> None:
    (image,) = loaded.get_json("images/json", {"filters": '{"label":["part=engine"]}'})
    assert image["Id"] == IMAGE.id
    assert {tag.removeprefix("localhost/") for tag in image["RepoTags"]} == {"engine/test:1", "engine/test:2"}
    inspected = loaded.get_json("images/engine/test:1/json")
    assert inspected["RootFS"]["Layers"] == [one.diff_id for one in IMAGE.layers]
    assert loaded.delete_json("images/engine/test:2")[0]["Untagged"].endswith("engine/test:2")
    assert len(loaded.get_json("images/json")[0]["RepoTags"]) == 1


def test_an_image_is_saved_as_a_stream(loaded: EngineClient) -> None:
    with loaded.open_stream("GET", "images/get", {"names": "engine/test:1"}) as stream:
        content = stream.read()
    with tarfile.open(fileobj=io.BytesIO(content)) as saved:
        assert "manifest.json" in saved.getnames()
    assert len(content) > 700_000


def test_a_stream_may_be_closed_before_its_end(loaded: EngineClient) -> None:
    with loaded.open_stream("GET", "images/get", {"names": "engine/test:1"}) as stream:
        assert len(stream.read(1000)) <= 1000
    assert loaded.get_json("images/json")


def test_an_image_of_a_container_is_not_removed(loaded: EngineClient) -> None:
    created = loaded.post_json("containers/create", {"name": "one"}, {"Image": "engine/test:1", "Cmd": ["x"]})
    try:
        (container,) = loaded.get_json("containers/json", {"all": "1"})
        assert container["Id"] == created["Id"]
        loaded.delete_json("images/engine/test:2")
        with pytest.raises(Conflict, match=r"is using its referenced image|image is in use by a container"):
            loaded.delete_json("images/engine/test:1")
    finally:
        loaded.delete_json("containers/one")
    assert loaded.get_json("containers/json", {"all": "1"}) == []


def test_a_missing_image_is_not_found(client: EngineClient) -> None:
    with pytest.raises(NotFound, match="No such image") as caught:
        client.get_json("images/nothing:1/json")
    assert caught.value.exit_code == 3


def test_an_invalid_archive_is_an_error_of_the_engine(client: EngineClient) -> None:
    body = [b"no tar archive", bytes(1 << 20)]
    with pytest.raises(EngineError) as caught, client.open_stream("POST", "images/load", body=body) as stream:
        list(stream.read_messages())
    assert caught.value.code == "engine"


def test_an_answer_with_an_error_ends_the_upload(client: EngineClient) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 1 << 30:
            sent += 1 << 20
            yield bytes(1 << 20)

    with pytest.raises(NotFound):
        client.open_stream("POST", "no/such/path", body=endless())
    assert sent < 1 << 30
    assert client.get_json("images/json") == []


def test_an_exception_of_the_body_is_raised_as_it_is(client: EngineClient) -> None:
    def broken() -> Iterator[bytes]:
        yield bytes(512)
        raise PermissionError("no access to the archive")

    with pytest.raises(PermissionError, match="no access to the archive"):
        client.open_stream("POST", "images/load", body=broken())
    assert client.get_json("images/json") == []


def test_threads_share_a_client(loaded: EngineClient) -> None:
    ids = []

    def inspect() -> None:
        ids.extend(loaded.get_json("images/engine/test:1/json")["Id"] for _ in range(5))

    threads = [threading.Thread(target=inspect) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.removeprefix("sha256:") for one in ids] == [IMAGE.id.removeprefix("sha256:")] * 60


def test_a_connection_is_used_again(client: EngineClient) -> None:
    for _ in range(3):
        client.get_json("images/json")
    assert len(client._idle) == 1


def test_a_restarted_engine_is_reached_again(
    tmp_path_factory: pytest.TempPathFactory, connect: Callable[..., EngineClient]
) -> None:
    require_programs("podman")
    with PodmanService(tmp_path_factory.mktemp("restarted")) as service:
        client = connect(service.address)
        assert client.get_json("images/json") == []
        service.stop()
        service.start()
        assert client.get_json("images/json") == []


def test_a_closed_client_makes_no_requests(client: EngineClient) -> None:
    client.ping()
    client.close()
    with pytest.raises(EngineError, match="the client is closed"):
        client.get_json("images/json")


def test_closing_a_client_ends_requests_of_other_threads(client: EngineClient) -> None:
    errors: list[EngineError] = []
    stream = client.open_stream("GET", "events")

    def read() -> None:
        try:
            stream.read()
        except EngineError as error:
            errors.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    client.close()
    thread.join(20)
    assert not thread.is_alive()
    assert [error.message for error in errors] in ([], ["the client is closed"])


def test_a_socket_with_a_long_path_is_reached(
    dockerd: Dockerd, tmp_path: Path, connect: Callable[..., EngineClient]
) -> None:
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    (folder / "docker.sock").symlink_to(dockerd.socket)
    assert connect(f"unix://{folder}/docker.sock").ping().kind == "docker"
