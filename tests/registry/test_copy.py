"""Copies between real registries, within one registry, and through a proxy with faults."""

from __future__ import annotations

import json
import os
import uuid
from typing import TYPE_CHECKING

import pytest
from imq.engine.oci import media_types
from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Descriptor, encode_json
from imq.engine.oci.platform import Platform
from imq.engine.oci.reference import Reference
from imq.engine.progress import LAYER_EXISTS, MOUNTED, PUSHED, NullProgress
from imq.engine.registry.transfer.copy import copy
from imq.engine.registry.transfer.pull import pull
from imq.engine.registry.transfer.push import push
from imq.grammar.errors import DigestMismatch, ImqError, RegistryError
from registry.support import fault_proxy, sample_images
from registry.support.fault_proxy import Fault, FaultProxy
from store.support.stores import StoreSession

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from imq.engine.registry.client import Client
    from support.servers import Registry

AMD64, ARM64, S390X = Platform("linux", "amd64"), Platform("linux", "arm64"), Platform("linux", "s390x")


@pytest.fixture
def name(registry: Registry) -> Reference:
    return Reference.parse(f"{registry.host}/team/{uuid.uuid4().hex[:8]}:v1")


@pytest.fixture
def target_name(second: Registry) -> Reference:
    return Reference.parse(f"{second.host}/mirror/{uuid.uuid4().hex[:8]}:v1")


def add_index(store: sample_images.MemoryStore) -> tuple[Descriptor, list[Descriptor]]:
    """Add an index of three platforms to a store, with an attestation of the first."""
    images = [
        sample_images.add_image(store, p, layers=2)
        for p in (sample_images.AMD64, sample_images.ARM64, {"os": "linux", "architecture": "s390x"})
    ]
    platforms = [sample_images.AMD64, sample_images.ARM64, {"os": "linux", "architecture": "s390x"}]
    entries = [
        {**descriptor.to_json(), "platform": platform} for descriptor, platform in zip(images, platforms, strict=True)
    ]
    return sample_images.add_index(store, [*entries, sample_images.add_attestation(store, images[0])]), images


def read_all(client: Client, name: Reference) -> dict[str, bytes]:
    """Read the manifests and blobs of a name from the registry."""
    result: dict[str, bytes] = {}
    waiting = [name]
    while waiting:
        fetched = client.fetch_manifest(waiting.pop())
        result[fetched.digest] = fetched.content
        document = json.loads(fetched.content)
        waiting += [name.replace(digest=Digest(entry["digest"])) for entry in document.get("manifests", ())]
        for blob in (*document.get("layers", ()), *([document["config"]] if "config" in document else ())):
            result[blob["digest"]] = client.fetch_blob(name, Descriptor.parse(blob, "a blob"))
    return result


@pytest.mark.parametrize("docker", [False, True], ids=["oci", "docker"])
def test_an_image_is_copied_byte_for_byte(
    client: Client, name: Reference, target_name: Reference, docker: bool
) -> None:
    source_store, got, watcher = (
        sample_images.MemoryStore(),
        sample_images.MemoryStore(),
        sample_images.ProgressRecorder(),
    )
    manifest = sample_images.add_image(source_store, docker=docker, size=3 << 20)
    push(client, name, manifest, source_store, NullProgress())
    copied = copy(client, name, target_name, (), watcher)
    pulled = pull(client, target_name, AMD64, got, NullProgress())
    assert got.blobs == source_store.blobs
    assert copied.manifest == manifest
    assert (copied.id, copied.changed) == (pulled.config.digest, True)
    layers = {digest for digest, content in source_store.blobs.items() if content[:2] == b"\x1f\x8b"}
    assert {tuple(watcher.words[digest]) for digest in layers} == {("Preparing", "Pushing", PUSHED)}
    assert copied.transferred_bytes == sum(len(content) for content in source_store.blobs.values()) - manifest.size
    assert watcher.name == str(target_name)
    assert watcher.ended


@pytest.mark.parametrize("index", [False, True], ids=["image", "index"])
def test_a_second_copy_sends_two_requests(client: Client, name: Reference, target_name: Reference, index: bool) -> None:
    source_store = sample_images.MemoryStore()
    push(
        client,
        name,
        add_index(source_store)[0] if index else sample_images.add_image(source_store),
        source_store,
        NullProgress(),
    )
    copy(client, name, target_name, (), NullProgress())
    with FaultProxy(name.registry) as source, FaultProxy(target_name.registry) as target:
        again = copy(
            client, name.replace(registry=source.host), target_name.replace(registry=target.host), (), NullProgress()
        )
        assert (again.changed, again.transferred_bytes) == (False, 0)
        assert [r.method for r in (*source.requests, *target.requests)] == ["GET", "HEAD"]
        other = target_name.replace(registry=target.host, tag="v2")
        assert copy(client, name.replace(registry=source.host), other, (), NullProgress()).changed
        assert [r.method for r in source.requests[1:]] == ["GET"]
        assert [r.method for r in target.requests[1:]] == ["HEAD", "HEAD", "PUT"]


def test_existing_blobs_are_not_transferred(client: Client, name: Reference, target_name: Reference) -> None:
    source_store, watcher = sample_images.MemoryStore(), sample_images.ProgressRecorder()
    manifest = sample_images.add_image(source_store)
    push(client, name, manifest, source_store, NullProgress())
    push(client, target_name.replace(tag="old"), manifest, source_store, NullProgress())
    with FaultProxy(name.registry) as source:
        copied = copy(client, name.replace(registry=source.host), target_name, (), watcher)
        assert source.count_requests("GET .*/blobs/") == 0
    assert (copied.changed, copied.transferred_bytes) == (True, 0)
    assert {words[-1] for words in watcher.words.values()} == {LAYER_EXISTS}
    assert client.fetch_head(target_name) == manifest


def test_layers_are_mounted_within_one_registry(client: Client, name: Reference) -> None:
    source_store, watcher = sample_images.MemoryStore(), sample_images.ProgressRecorder()
    push(client, name, sample_images.add_image(source_store), source_store, NullProgress())
    with FaultProxy(name.registry) as only:
        source = name.replace(registry=only.host)
        target = source.replace(repository=f"{name.repository}-copy", tag="v2")
        assert copy(client, source, target, (), watcher).transferred_bytes == 0
        assert only.count_requests("GET .*/blobs/") == 1  # the config, which must not be ambiguous
        assert only.count_requests("PUT .*/blobs/") == 0
    assert {words[-1] for words in watcher.words.values()} == {MOUNTED + name.repository}
    assert read_all(client, name) == read_all(client, target.replace(registry=name.registry))


def test_an_index_is_copied_with_all_images(client: Client, name: Reference, target_name: Reference) -> None:
    source_store = sample_images.MemoryStore()
    top, _ = add_index(source_store)
    push(client, name, top, source_store, NullProgress())
    copied = copy(client, name, target_name, (), NullProgress())
    assert (copied.manifest.digest, copied.id) == (top.digest, None)
    assert read_all(client, target_name) == source_store.blobs


def test_one_platform_gives_a_single_image(client: Client, name: Reference, target_name: Reference) -> None:
    source_store = sample_images.MemoryStore()
    top, images = add_index(source_store)
    push(client, name, top, source_store, NullProgress())
    copied = copy(client, name, target_name, (ARM64,), NullProgress())
    assert copied.manifest.digest == images[1].digest
    assert copied.id is not None
    assert client.fetch_head(target_name) == images[1]
    with pytest.raises(RegistryError, match="no matching manifest for linux/mips64"):
        copy(client, name, target_name, (Platform("linux", "mips64"),), NullProgress())


def test_several_platforms_become_an_index(client: Client, name: Reference, target_name: Reference) -> None:
    source_store = sample_images.MemoryStore()
    top, images = add_index(source_store)
    document = json.loads(source_store.blobs[top.digest])
    document["manifests"][3]["annotations"]["vnd.docker.reference.digest"] = images[0].digest
    document["annotations"] = {"kept": "as it was"}
    top = source_store.describe(media_types.OCI_INDEX, encode_json(document))
    push(client, name, top, source_store, NullProgress())
    copied = copy(client, name, target_name, (S390X, AMD64), NullProgress())
    got = json.loads(client.fetch_manifest(target_name).content)
    assert got["manifests"] == [document["manifests"][location] for location in (0, 2, 3)]
    assert got["annotations"] == document["annotations"]
    assert copied.manifest.digest == client.fetch_manifest(target_name).digest
    read_all(client, target_name)
    three = target_name.replace(tag="three")
    assert copy(client, name, three, (S390X, AMD64, ARM64), NullProgress()).manifest.digest == top.digest


def test_a_single_image_of_another_platform_is_copied_with_a_warning(
    client: Client, name: Reference, target_name: Reference
) -> None:
    source_store = sample_images.MemoryStore()
    push(client, name, sample_images.add_image(source_store), source_store, NullProgress())
    (warning,) = copy(client, name, target_name, (ARM64,), NullProgress()).warnings
    assert "wanted linux/arm64, actual: linux/amd64" in warning
    assert copy(client, name, target_name, (AMD64,), NullProgress()).warnings == ()


def test_an_artifact_is_copied(client: Client, name: Reference, target_name: Reference) -> None:
    source_store = sample_images.MemoryStore()
    manifest = {
        "schemaVersion": 2,
        "mediaType": media_types.OCI_MANIFEST,
        "artifactType": "application/vnd.example",
        "config": source_store.describe("application/vnd.cncf.helm.config.v1+json", b"{}").to_json(),
        "layers": [source_store.describe("application/vnd.cncf.helm.chart", b"chart").to_json()],
    }
    push(
        client,
        name,
        source_store.describe(media_types.OCI_MANIFEST, encode_json(manifest)),
        source_store,
        NullProgress(),
    )
    assert copy(client, name, target_name, (), NullProgress()).id is None
    assert read_all(client, target_name) == source_store.blobs


def test_wrong_bytes_are_never_uploaded_whole(client: Client, name: Reference, target_name: Reference) -> None:
    """The last bytes of a layer are held back, so that even a registry that verifies nothing stores no wrong blob."""
    source_store = sample_images.MemoryStore()
    push(client, name, sample_images.add_image(source_store, layers=1), source_store, NullProgress())
    with (
        FaultProxy(name.registry, Fault("GET .*/blobs/", change=fault_proxy.flip_bit)) as source,
        FaultProxy(target_name.registry) as target,
    ):
        with pytest.raises(DigestMismatch, match=f"{source.host} sent content of"):
            copy(
                client,
                name.replace(registry=source.host),
                target_name.replace(registry=target.host),
                (),
                NullProgress(),
            )
        assert target.count_requests("PUT .*/manifests/") == 0
    with pytest.raises(RegistryError):
        client.fetch_manifest(target_name)


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault("GET .*/blobs/", 2, change=fault_proxy.reset(1000)), ""),
        (Fault("GET .*/blobs/", 1, answer=fault_proxy.reply_with(503)), ""),
        (Fault("GET .*/blobs/", answer=fault_proxy.reply_with(503)), "registry"),
        (Fault("GET .*/blobs/", refuse_at=0), "unreachable"),
        (Fault("GET .*/blobs/", change=fault_proxy.truncate(10, valid_length=True)), "truncated"),
        (Fault("GET .*/manifests/", answer=fault_proxy.reply_with(401)), "unauthorized"),
    ],
    ids=["reset twice", "503 once", "503", "refused", "short", "401"],
)
def test_a_source_with_faults(
    connect: Callable[..., Client], name: Reference, target_name: Reference, fault: Fault, code: str
) -> None:
    source_store, retries = sample_images.MemoryStore(), 2
    push(connect(), name, sample_images.add_image(source_store, layers=1), source_store, NullProgress())
    problem: ImqError | None = None
    with FaultProxy(name.registry, Fault(**fault.__dict__)) as source:
        try:
            copy(connect(retries=retries), name.replace(registry=source.host), target_name, (), NullProgress())
        except ImqError as failed:
            problem = failed
        assert problem is None or source.host in problem.message
        assert source.count_requests(fault.on) <= 2 * (retries + 2), (
            "a failure of the source does not restart the upload"
        )
    assert (problem.code if problem else "") == code
    if not code:
        assert read_all(connect(), target_name) == source_store.blobs


@pytest.mark.parametrize("times", [1, None], ids=["once", "always"])
@pytest.mark.parametrize(
    "fault", [Fault("PUT .*/blobs/", refuse_at=1000), Fault("POST ", answer=fault_proxy.reply_with(503))]
)
def test_a_target_with_faults(
    connect: Callable[..., Client], name: Reference, target_name: Reference, fault: Fault, times: int | None
) -> None:
    source_store, retries = sample_images.MemoryStore(), 2
    push(connect(), name, sample_images.add_image(source_store, layers=1), source_store, NullProgress())
    with FaultProxy(target_name.registry, Fault(**{**fault.__dict__, "times": times})) as target:
        location = target_name.replace(registry=target.host)
        if times:
            copy(connect(retries=retries), name, location, (), NullProgress())
            assert read_all(connect(), target_name) == source_store.blobs
        else:
            with pytest.raises(RegistryError, match=target.host):
                copy(connect(retries=retries), name, location, (), NullProgress())
        assert target.count_requests(fault.on) <= 2 * (retries + 1) + 2


def test_a_copy_writes_nothing_to_disk_and_bounds_memory(
    connect: Callable[..., Client], name: Reference, target_name: Reference
) -> None:
    import tracemalloc

    client = connect(jobs=1)
    source_store = sample_images.MemoryStore()
    push(client, name, sample_images.add_image(source_store, layers=1, size=24 << 20), source_store, NullProgress())
    source_store.blobs.clear()
    tracemalloc.start()
    try:
        copy(client, name, target_name, (), NullProgress())
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


# The verb


@pytest.fixture
def opened_store(tmp_path: Path) -> Iterator[StoreSession]:
    with StoreSession(tmp_path / "store", platform=None) as opened_store:
        yield opened_store


def test_the_verb(opened_store: StoreSession, client: Client, name: Reference, second: Registry) -> None:
    source_store = sample_images.MemoryStore()
    manifest = sample_images.add_image(source_store)
    push(client, name, manifest, source_store, NullProgress())
    (outcome,) = opened_store.do(f"copy {name} to {second.host}/mirror/")
    target = Reference.parse(f"{second.host}/mirror/{name.repository}:v1")
    assert (outcome["action"], outcome["target"]) == ("copy", str(target))
    assert outcome["note"] == f"digest: {manifest.digest}"
    assert outcome["size"] > 900_000
    assert client.fetch_head(target) == manifest
    (again,) = opened_store.do(f"copy {name} to {second.host}/mirror/")
    assert (again["note"], again["size"]) == ("it exists already", 0)
    (named,) = opened_store.do(f"copy {name} to {second.host}/other/name:v9 platform linux/amd64")
    assert named["target"] == f"{second.host}/other/name:v9"
    (descriptor,) = opened_store.do(f'copy {name} to "{second.host}/made:of-{{{{.Tag}}}}"')
    assert descriptor["target"] == f"{second.host}/made:of-v1"
    assert not os.path.exists(opened_store.root), "no store is needed, and none is made"


def test_a_failed_item_does_not_stop_the_others(
    opened_store: StoreSession, client: Client, name: Reference, second: Registry
) -> None:
    source_store = sample_images.MemoryStore()
    for tag in ("v1", "v3"):
        push(
            client,
            name.replace(tag=tag),
            sample_images.add_image(source_store, layers=1, size=1000),
            source_store,
            NullProgress(),
        )
    short = str(name).removesuffix(":v1")
    planned = opened_store.outcomes(f"copy {short}:v1, {short}:v2, {short}:v3 to {second.host}/three/", dry_run=True)
    assert [row["note"] for row in planned] == [f"from {short}:v{number}" for number in (1, 2, 3)]
    outcomes = opened_store.outcomes(f"copy {short}:v1, {short}:v2, {short}:v3 to {second.host}/three/")
    assert [row["target"] for row in outcomes] == [row["target"] for row in planned]
    assert [row["error"] for row in outcomes] == [None, "manifest-unknown", None]
    assert f"manifest for {short}:v2 not found" in outcomes[1]["message"]


def test_a_digest_keeps_its_digest(
    opened_store: StoreSession, client: Client, name: Reference, second: Registry
) -> None:
    source_store = sample_images.MemoryStore()
    manifest = sample_images.add_image(source_store, layers=1, size=1000)
    push(client, name, manifest, source_store, NullProgress())
    source = str(name).removesuffix(":v1")
    (outcome,) = opened_store.do(f"copy {source}@{manifest.digest} to {second.host}/kept/")
    assert outcome["target"] == f"{second.host}/kept/{name.repository}@{manifest.digest}"
    assert client.fetch_head(Reference.parse(outcome["target"])) == manifest


@pytest.mark.parametrize(
    ("statement", "targets"),
    [
        ("copy redis to mirror.local:5000", ["mirror.local:5000/redis:latest"]),
        ("copy redis to localhost", ["localhost/redis:latest"]),
        ("copy redis, team/app:1 to m.local/x/", ["m.local/x/redis:latest", "m.local/x/team/app:1"]),
        ("copy ghcr.io/a/b:1 to m.local/x", ["m.local/x/a/b:1"]),
        ("copy ghcr.io/a/b:1 to team/", ["team/a/b:1"]),
        ("copy redis to m.local/x:3", ["m.local/x:3"]),
        ("copy redis to app:5000", ["app:5000"]),
        ("copy redis to app:5000/", ["app:5000/redis:latest"]),
        ('copy redis:7 to "m.local/<<.Repository>>:<<.Tag>>-x"', ["m.local/redis:7-x"]),
        ('copy redis:7, a:1 to "m.local/{{.Repository}}"', ["m.local/redis:7", "m.local/a:1"]),
        ("copy redis:7, redis:7 to m.local/", ["m.local/redis:7"]),
    ],
)
def test_targets_of_copies(opened_store: StoreSession, statement: str, targets: list[str]) -> None:
    assert [row["target"] for row in opened_store.outcomes(statement, dry_run=True)] == targets


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("copy redis", "operand"),
        ("copy redis, a to m.local/b:1", "operand"),
        ('copy redis, a to "m.local/b:1<<if false>>x<<end>>"', "operand"),
        ("copy redis to BAD:1", "reference"),
        ("copy BAD to m.local/", "reference"),
        (f"copy redis to m.local/x@sha256:{'0' * 64}", "reference"),
        ('copy redis to "m.local/{{.Nope}}"', "template-field"),
        ("copy redis to m.local/ platform nope/", "platform"),
        ("copy tags of redis to m.local/", "refused"),
    ],
)
def test_an_impossible_copy_fails_before_any_request(opened_store: StoreSession, statement: str, code: str) -> None:
    with pytest.raises(ImqError) as caught:
        opened_store.rows(statement)
    assert (caught.value.code, caught.value.exit_code) == (code, 2)
    assert caught.value.span is not None or code == "template-field"


def test_an_image_of_the_store_can_be_copied(
    opened_store: StoreSession, client: Client, name: Reference, second: Registry
) -> None:
    source_store = sample_images.MemoryStore()
    push(client, name, sample_images.add_image(source_store, layers=1, size=1000), source_store, NullProgress())
    opened_store.do(f"pull {name}")
    (outcome,) = opened_store.do(f"copy images where tag = v1 to {second.host}/known/")
    assert outcome["target"] == f"{second.host}/known/{name.repository}:v1"
