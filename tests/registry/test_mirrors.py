"""Images from mirrors of their registry, and from the registry itself if a mirror fails."""

from __future__ import annotations

import base64
import json
import os
import uuid
from typing import TYPE_CHECKING

import imq
import pytest
from imq.engine.configuration.configuration import Configuration
from imq.engine.oci.platform import Platform
from imq.engine.oci.reference import Reference
from imq.engine.progress import NullProgress
from imq.engine.registry.mirrors import MirroredClient, list_mirrors
from imq.engine.registry.transfer.copy import copy
from imq.engine.registry.transfer.pull import pull
from imq.engine.registry.transfer.push import push
from imq.grammar.errors import RegistryError
from registry.support import fault_proxy, sample_images
from registry.support.fault_proxy import Fault, FaultProxy
from registry.support.query import execute, open_session
from registry.support.sample_images import PASSWORD, USER
from support.servers import Registry, find_free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from imq.engine.oci.manifest import Descriptor
    from imq.engine.registry.client import Client
    from registry.conftest import RunningRegistry

AMD64 = Platform("linux", "amd64")


@pytest.fixture
def origin(registry: Registry) -> Iterator[FaultProxy]:
    """The registry of the names, which records its requests."""
    with FaultProxy(registry.host) as running:
        yield running


@pytest.fixture
def mirror(second: Registry) -> Iterator[FaultProxy]:
    """A mirror of it, with faults if needed."""
    with FaultProxy(second.host) as running:
        yield running


@pytest.fixture
def path() -> str:
    return f"team/{uuid.uuid4().hex[:8]}"


def push_to(
    client: Client, *locations: str, layers: int = 2, size: int = 300_000
) -> tuple[sample_images.MemoryStore, Descriptor]:
    """Create an image and push it to each location."""
    source_store = sample_images.MemoryStore()
    descriptor = sample_images.add_image(source_store, layers=layers, size=size)
    for location in locations:
        push(client, Reference.parse(location), descriptor, source_store, NullProgress())
    return source_store, descriptor


def pull_image(mirrors: MirroredClient, name: str) -> sample_images.MemoryStore:
    got = sample_images.MemoryStore()
    pull(mirrors, Reference.parse(name), AMD64, got, NullProgress())
    return got


def make_mirrored_client(connect: Callable[..., Client], **locations: object) -> MirroredClient:
    """Return a client with mirrors. `mirrors` maps a prefix to locations; other arguments are settings."""
    return MirroredClient(connect(**locations))


def test_a_mirror_is_used_instead_of_the_registry(
    connect: Callable[..., Client], client: Client, origin: FaultProxy, second: Registry, path: str
) -> None:
    source_store, _ = push_to(client, f"{second.host}/{path}:v1")
    fetcher = make_mirrored_client(connect, mirrors={origin.host: (second.host,)})
    assert pull_image(fetcher, f"{origin.host}/{path}:v1").blobs == source_store.blobs
    assert not origin.requests
    assert not fetcher.warnings


def test_a_mirror_may_have_a_namespace(
    connect: Callable[..., Client], client: Client, origin: FaultProxy, second: Registry, path: str
) -> None:
    source_store, _ = push_to(client, f"{second.host}/hub/{path}:v1")
    fetcher = make_mirrored_client(connect, mirrors={origin.host: (f"{second.host}/hub",)})
    assert pull_image(fetcher, f"{origin.host}/{path}:v1").blobs == source_store.blobs
    assert not origin.requests


def test_docker_hub_mirrors_include_the_library_namespace(
    connect: Callable[..., Client], client: Client, second: Registry, path: str
) -> None:
    name = path.replace("/", "-")
    source_store, _ = push_to(client, f"{second.host}/library/{name}:v1")
    fetcher = make_mirrored_client(connect, mirrors={"docker.io": (second.host,)})
    assert pull_image(fetcher, f"{name}:v1").blobs == source_store.blobs


def test_the_longest_matching_prefix_selects_the_mirrors() -> None:
    locations = {"ghcr.io": ("a:1",), "ghcr.io/acme": ("b:1/x", "c:1"), "ghcr.io/acme/ap": ("d:1",)}

    def result(name: str) -> list[str]:
        return [str(one.reference) for one in list_mirrors(locations, Reference.parse(name))]

    assert result("ghcr.io/acme/app:1") == ["b:1/x/app:1", "c:1/app:1"]
    assert result("ghcr.io/acme/ap/p:1") == ["d:1/p:1"]
    assert result("ghcr.io/other/app:1") == ["a:1/other/app:1"]
    assert result("quay.io/acme/app:1") == []


def test_an_unreachable_mirror_is_tried_once_and_reported(
    connect: Callable[..., Client], client: Client, origin: FaultProxy, second: Registry, path: str
) -> None:
    source_store, _ = push_to(client, f"{second.host}/{path}:v1")
    nobody = f"127.0.0.1:{find_free_port()}"
    fetcher = make_mirrored_client(connect, mirrors={origin.host: (nobody, second.host)})
    assert pull_image(fetcher, f"{origin.host}/{path}:v1").blobs == source_store.blobs
    assert not origin.requests
    (message,) = fetcher.warnings
    assert nobody in message
    assert "refused" in message


def test_an_image_missing_in_a_mirror_comes_from_the_registry_without_a_warning(
    connect: Callable[..., Client], client: Client, origin: FaultProxy, mirror: FaultProxy, path: str
) -> None:
    source_store, _ = push_to(client, f"{origin.upstream}/{path}:v1")
    fetcher = make_mirrored_client(connect, mirrors={origin.host: (mirror.host,)})
    assert pull_image(fetcher, f"{origin.host}/{path}:v1").blobs == source_store.blobs
    assert [request.path for request in mirror.requests] == [f"/v2/{path}/manifests/v1"]
    assert not fetcher.warnings


def test_a_missing_image_lists_the_mirrors_that_were_tried(
    connect: Callable[..., Client], origin: FaultProxy, mirror: FaultProxy, path: str
) -> None:
    fetcher = make_mirrored_client(connect, mirrors={origin.host: (mirror.host,)})
    with pytest.raises(RegistryError) as caught:
        pull_image(fetcher, f"{origin.host}/{path}:v1")
    assert (caught.value.host, caught.value.code) == (origin.host, "manifest-unknown")
    assert any(mirror.host in hint for hint in caught.value.hints)


@pytest.mark.parametrize(
    ("on", "served_by_origin"),
    [("GET .*/manifests/v1", 1 + 1 + 2), ("GET .*/blobs/", 1 + 2)],
    ids=["manifest", "blobs"],
)
def test_wrong_bytes_of_a_mirror_are_never_kept(
    connect: Callable[..., Client], client: Client, origin: FaultProxy, mirror: FaultProxy, path: str, on: str,
    served_by_origin: int,
) -> None:  # fmt: skip
    source_store, _ = push_to(client, f"{origin.upstream}/{path}:v1", f"{mirror.upstream}/{path}:v1")
    mirror.faults.append(Fault(on, change=fault_proxy.flip_bit))
    fetcher = make_mirrored_client(connect, mirrors={origin.host: (mirror.host,)})
    assert pull_image(fetcher, f"{origin.host}/{path}:v1").blobs == source_store.blobs
    assert origin.count_requests("GET") == served_by_origin
    assert all(mirror.host in message for message in fetcher.warnings)
    assert fetcher.warnings


@pytest.mark.parametrize(
    "fault",
    [
        Fault("GET .*/blobs/", change=fault_proxy.reset(50_000), after=1),
        Fault("GET .*/blobs/", change=fault_proxy.truncate(1000, valid_length=True), after=1),
        Fault("GET .*/blobs/", answer=fault_proxy.reply_with(404), after=1),
        Fault("GET .*/blobs/", answer=fault_proxy.reply_with(503), after=1),
        Fault("GET .*/blobs/", answer=fault_proxy.reply_with(200, b"<html>", Content_Type="text/html"), after=1),
    ],
    ids=["resets", "short", "lost", "fails", "page"],
)
def test_the_registry_continues_when_a_mirror_fails(
    connect: Callable[..., Client], client: Client, origin: FaultProxy, mirror: FaultProxy, path: str, fault: Fault
) -> None:
    source_store, _ = push_to(client, f"{origin.upstream}/{path}:v1", f"{mirror.upstream}/{path}:v1", layers=1)
    mirror.faults.append(fault)
    fetcher = make_mirrored_client(connect, mirrors={origin.host: (mirror.host,)})
    assert pull_image(fetcher, f"{origin.host}/{path}:v1").blobs == source_store.blobs
    assert origin.count_requests("GET .*/manifests/") == 0
    page = fault.answer is not None and fault.answer("").body  # its bytes were used as the first of the blob
    assert origin.count_requests("GET .*/blobs/") == (2 if page else 1)
    if fault.change is not None and "reset" in fault.change.__qualname__:  # it continues where the mirror failed
        assert any("Range" in request.headers for request in origin.requests)


def write_credentials(folder: Path, *hosts: str, password: str = PASSWORD) -> dict[str, str]:
    auth = base64.b64encode(f"{USER}:{password}".encode()).decode()
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth} for host in hosts}}))
    return {"DOCKER_CONFIG": str(folder), "PATH": os.environ["PATH"]}


def test_credentials_of_a_mirror_are_sent_only_to_the_mirror(
    connect: Callable[..., Client], origin: FaultProxy, guarded: Registry, path: str, tmp_path: Path
) -> None:
    environment = write_credentials(tmp_path / "mirror", guarded.host)
    source_store, _ = push_to(
        connect(environment=environment), f"{guarded.host}/{path}:v1", f"{origin.upstream}/{path}:v2"
    )
    fetcher = make_mirrored_client(connect, mirrors={origin.host: (guarded.host,)}, environment=environment)
    assert pull_image(fetcher, f"{origin.host}/{path}:v1").blobs == source_store.blobs
    assert not origin.requests
    pull_image(fetcher, f"{origin.host}/{path}:v2")
    assert origin.requests
    assert not any("Authorization" in request.headers for request in origin.requests)


def test_the_credentials_of_the_registry_are_not_sent_to_a_mirror(
    connect: Callable[..., Client], guarded: Registry, path: str, tmp_path: Path
) -> None:
    with FaultProxy(guarded.host) as origin, FaultProxy(guarded.host) as mirror:
        environment = write_credentials(tmp_path / "origin", guarded.host, origin.host)
        source_store, _ = push_to(connect(environment=environment), f"{guarded.host}/{path}:v1")
        fetcher = make_mirrored_client(connect, mirrors={origin.host: (mirror.host,)}, environment=environment)
        assert pull_image(fetcher, f"{origin.host}/{path}:v1").blobs == source_store.blobs
        assert mirror.requests
        assert not any("Authorization" in request.headers for request in mirror.requests)
        (message,) = fetcher.warnings
        assert "denied access" in message
        assert PASSWORD not in message


def test_a_copy_reads_from_the_mirror_and_writes_to_the_registry_itself(
    connect: Callable[..., Client], client: Client, origin: FaultProxy, mirror: FaultProxy, path: str
) -> None:
    _, descriptor = push_to(client, f"{mirror.upstream}/{path}:v1")
    source, target = Reference.parse(f"{origin.host}/{path}:v1"), Reference.parse(f"{origin.host}/{path}-copy:v1")
    target_client = connect(mirrors={origin.host: (mirror.host,)})
    fetcher = MirroredClient(target_client)
    copied = copy(target_client, source, target, (), NullProgress(), fetcher=fetcher)
    assert copied.manifest == descriptor
    assert {request.method for request in mirror.requests} == {"GET"}
    assert client.fetch_head(target.replace(registry=origin.upstream)) == descriptor


def test_a_copy_starts_again_when_a_mirror_sends_wrong_bytes(
    connect: Callable[..., Client], client: Client, origin: FaultProxy, mirror: FaultProxy, path: str
) -> None:
    _, descriptor = push_to(client, f"{origin.upstream}/{path}:v1", f"{mirror.upstream}/{path}:v1")
    mirror.faults.append(Fault("GET .*/blobs/", change=fault_proxy.flip_bit))
    target_client = connect(mirrors={origin.host: (mirror.host,)})
    target = Reference.parse(f"{mirror.upstream}/{path}-copy:v1")
    fetcher = MirroredClient(target_client)
    copied = copy(
        target_client, Reference.parse(f"{origin.host}/{path}:v1"), target, (), NullProgress(), fetcher=fetcher
    )
    assert copied.manifest == descriptor
    assert client.fetch_head(target) == descriptor
    assert fetcher.warnings


def test_a_pull_through_cache_is_a_mirror(
    client: Client, connect: Callable[..., Client], registry: Registry, path: str, tmp_path: Path
) -> None:
    source_store, _ = push_to(client, f"{registry.host}/{path}:v1")
    with Registry(tmp_path / "cache", caches=f"http://{registry.host}") as cache:
        fetcher = make_mirrored_client(connect, mirrors={"registry.example": (cache.host,)})
        assert pull_image(fetcher, f"registry.example/{path}:v1").blobs == source_store.blobs


def test_statements_use_configured_mirrors(
    client: Client, origin: FaultProxy, mirror: FaultProxy, path: str, tmp_path: Path
) -> None:
    push_to(client, f"{mirror.upstream}/{path}:v1")
    file = tmp_path / "config.toml"
    file.write_text(f'[registry."{origin.host}"]\nmirrors = ["127.0.0.1:{find_free_port()}", "{mirror.host}"]\n')
    with imq.connect(root=tmp_path / "store", config=file, environment={}) as session:
        session(f"pull {origin.host}/{path}:v1").raise_for_errors()
        assert session("images select name").scalar() == f"{origin.host}/{path}:v1"
        assert not origin.requests
        session(f"push {origin.host}/{path}:v1").raise_for_errors()
    assert origin.count_requests("PUT .*/manifests/v1") == 1
    assert {request.method for request in mirror.requests} == {"GET"}


class WarningRecorder(NullProgress):
    """Records warnings."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def warn(self, text: str) -> None:
        self.said.append(text)


class TestTables:
    """Tables of registries: tags come from the registry itself, content by digest from any source."""

    def asked(self, origin: FaultProxy, tmp_path: Path, *mirrors: str) -> tuple[list[object], list[str]]:
        """Return the creation times of the images of a repository, and the warnings about mirrors."""
        recorder = WarningRecorder()
        session = open_session(tmp_path / "store", configuration=Configuration(mirrors={origin.host: mirrors}))
        session.context = session.context.replace(progress=recorder)
        try:
            result = execute(session, f"tags of {origin.host}/mixed where tag in (multi, 1.0.0, 1.1.0) select created")
        finally:
            session.close()
        assert not result.errors
        return result.column("created"), recorder.said

    def test_content_by_digest_comes_from_a_mirror(self, thousand: RunningRegistry, tmp_path: Path) -> None:
        with FaultProxy(thousand.host) as origin, FaultProxy(thousand.host) as mirror:
            result, said = self.asked(origin, tmp_path, mirror.host)
        assert len(result) == 3
        assert None not in result
        assert not said
        assert {one.method for one in origin.requests if "/manifests/" in one.path} == {"HEAD"}
        assert not origin.count_requests("GET .*/blobs/")
        assert (mirror.count_requests("GET .*/manifests/sha256:"), mirror.count_requests("GET .*/blobs/")) == (4, 3)
        assert len(mirror.requests) == 7

    def test_a_failing_or_wrong_or_incomplete_mirror_is_skipped(
        self, thousand: RunningRegistry, tmp_path: Path
    ) -> None:
        lacks = Fault("GET .*/manifests/", answer=fault_proxy.reply_with(404))
        with (
            FaultProxy(thousand.host) as origin,
            FaultProxy(thousand.host, Fault("GET ", change=fault_proxy.flip_bit)) as liar,
            FaultProxy(thousand.host, lacks) as poor,
        ):
            down = f"127.0.0.1:{find_free_port()}"
            result, said = self.asked(origin, tmp_path, down, liar.host, poor.host)
            assert origin.count_requests("GET .*/manifests/sha256:") == 4
            assert poor.count_requests("GET .*/blobs/") == 3
            right, _ = self.asked(origin, tmp_path / "other")
        assert result == right
        assert [location in text for location, text in zip((down, liar.host), said, strict=True)] == [True, True], said
