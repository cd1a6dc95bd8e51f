"""Push, pull and list against a real docker-registry."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING

import pytest
from imq.engine.oci import media_types
from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Descriptor, encode_json
from imq.engine.oci.platform import Platform
from imq.engine.oci.reference import Reference
from imq.engine.progress import EXISTS, LAYER_EXISTS, MOUNTED, PULLED, PUSHED, NullProgress
from imq.engine.registry.transfer.pull import pull
from imq.engine.registry.transfer.push import push
from imq.grammar.errors import DigestMismatch, Malformed, RegistryError
from registry.support import sample_images

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from imq.engine.registry.client import Client
    from support.servers import Registry

AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")


@pytest.fixture
def name(registry: Registry) -> Reference:
    """A repository that only this test uses."""
    return Reference.parse(f"{registry.host}/team/{uuid.uuid4().hex[:8]}:v1")


@pytest.mark.parametrize("docker", [False, True], ids=["oci", "docker"])
def test_a_pushed_image_is_pulled_unchanged(client: Client, name: Reference, docker: bool) -> None:
    source_store, target_store = sample_images.MemoryStore(), sample_images.MemoryStore()
    manifest = sample_images.add_image(source_store, docker=docker)
    pushed = push(client, name, manifest, source_store, NullProgress())
    pulled = pull(client, name, AMD64, target_store, NullProgress())
    assert target_store.blobs == source_store.blobs
    assert pushed.manifest == pulled.manifest == manifest
    assert pulled.digest == manifest.digest
    assert pulled.changed
    assert pulled.warnings == ()
    assert pulled.platform == AMD64
    assert target_store.order[-1] == manifest.digest, "the manifest is stored last"
    assert all(target_store.diff_ids.values())


def test_progress_uses_docker_wording_and_one_total(client: Client, name: Reference) -> None:
    source_store, target_store = sample_images.MemoryStore(), sample_images.MemoryStore()
    manifest = sample_images.add_image(source_store, size=3 << 20)
    sent, got, again = (
        sample_images.ProgressRecorder(),
        sample_images.ProgressRecorder(),
        sample_images.ProgressRecorder(),
    )
    push(client, name, manifest, source_store, sent)
    pulled = pull(client, name, AMD64, target_store, got)
    assert {tuple(words) for words in sent.words.values()} == {("Preparing", "Pushing", PUSHED)}
    assert {tuple(words) for words in got.words.values()} == {
        ("Pulling fs layer", "Downloading", "Download complete", PULLED)
    }
    assert got.expected == got.total == pulled.transferred_bytes == sum(got.done.values())
    assert got.calls <= 4 * 3 * 8, "about one call for each 128 KiB"
    assert got.ended
    assert got.name == str(name)
    repeated = pull(client, name, AMD64, target_store, again)
    assert {tuple(words) for words in again.words.values()} == {(EXISTS,)}
    assert (repeated.changed, repeated.transferred_bytes, again.expected) == (False, 0, 0)


def test_a_pull_by_digest_is_verified(client: Client, name: Reference) -> None:
    source_store, target_store = sample_images.MemoryStore(), sample_images.MemoryStore()
    manifest = sample_images.add_image(source_store)
    push(client, name, manifest, source_store, NullProgress())
    by_digest = name.replace(tag=None, digest=manifest.digest)
    assert pull(client, by_digest, AMD64, target_store, NullProgress()).manifest == manifest
    missing = name.replace(tag=None, digest=Digest.of(b"nothing"))
    with pytest.raises(RegistryError, match=r"manifest for .* not found: manifest unknown") as caught:
        pull(client, missing, AMD64, target_store, NullProgress())
    assert caught.value.code == "manifest-unknown"


def test_a_second_push_sends_one_request(connect: Callable[..., Client], name: Reference, registry: Registry) -> None:
    source_store = sample_images.MemoryStore()
    manifest = sample_images.add_image(source_store)
    first = push(connect(), name, manifest, source_store, NullProgress())
    location = f" /v2/{name.repository}/"
    seen = [line.split()[0] for line in registry.requests(location, 15)]
    assert sorted(seen) == ["HEAD"] * 6 + ["POST"] * 4 + ["PUT"] * 5
    watcher = sample_images.ProgressRecorder()
    again = push(connect(), name, manifest, source_store, watcher)
    assert (first.changed, again.changed, again.transferred_bytes) == (True, False, 0)
    assert {tuple(words) for words in watcher.words.values()} == {(LAYER_EXISTS,)}
    assert registry.requests(location, 16)[15:] == [f"HEAD /v2/{name.repository}/manifests/v1"]
    assert push(connect(), name.replace(tag="v2"), manifest, source_store, NullProgress()).changed
    assert [line.split()[0] for line in registry.requests(location, 19)[16:]] == ["HEAD", "HEAD", "PUT"]


def test_one_connection_serves_many_requests(
    connect: Callable[..., Client], name: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A response without a body, or to HEAD, keeps the connection usable. Uploads have one of their own."""
    from imq.engine.registry.http.direct import DirectTransport
    from urllib3.connection import HTTPConnection

    connected: list[str] = []
    connect_one = DirectTransport.connect

    def count(self: DirectTransport, url: str, *, verify: bool) -> socket.socket:
        connected.append(url)
        return connect_one(self, url, verify=verify)

    monkeypatch.setattr(DirectTransport, "connect", count)

    opened: list[HTTPConnection] = []
    open_one = HTTPConnection.connect
    monkeypatch.setattr(HTTPConnection, "connect", lambda self: (opened.append(self), open_one(self)))
    source_store, client = sample_images.MemoryStore(), connect(jobs=1)
    manifest = sample_images.add_image(source_store)
    push(client, name, manifest, source_store, NullProgress())
    pull(client, name, AMD64, sample_images.MemoryStore(), NullProgress())
    assert client.fetch_head(name.replace(tag="none")) is None
    assert (len(opened), len(connected)) == (1, 1)


def test_only_new_blobs_are_uploaded(connect: Callable[..., Client], name: Reference) -> None:
    source_store = sample_images.MemoryStore()
    manifest = sample_images.add_image(source_store)
    push(connect(), name, manifest, source_store, NullProgress())
    document = json.loads(source_store.blobs[manifest.digest])
    plain, packed = sample_images.make_layer(1000)
    config = json.loads(source_store.blobs[document["config"]["digest"]])
    config["rootfs"]["diff_ids"].append(Digest.of(plain))
    document["config"] = source_store.describe(media_types.OCI_CONFIG, encode_json(config)).to_json()
    document["layers"].append(source_store.describe(media_types.OCI_LAYER_GZIP, packed).to_json())
    grown = source_store.describe(media_types.OCI_MANIFEST, encode_json(document))
    pushed = push(connect(), name, grown, source_store, NullProgress())
    assert pushed.transferred_bytes == len(packed) + document["config"]["size"]


def test_layers_are_mounted_from_another_repository(client: Client, name: Reference) -> None:
    source_store = sample_images.MemoryStore()
    manifest = sample_images.add_image(source_store)
    push(client, name, manifest, source_store, NullProgress())
    other, watcher = name.replace(repository=name.repository + "-copy"), sample_images.ProgressRecorder()
    assert push(client, other, manifest, source_store, watcher, mount_from=name.repository).transferred_bytes == 0
    assert {words[-1] for words in watcher.words.values()} == {MOUNTED + name.repository}
    third = name.replace(repository=name.repository + "-third")
    assert push(client, third, manifest, source_store, NullProgress(), mount_from="no/such").transferred_bytes > 0
    layer = Descriptor("", *next((d, len(b)) for d, b in source_store.blobs.items()))

    def upload_to(repository: str, source: str) -> str:
        target = name.replace(repository=repository)
        return client.upload_blob(target, layer, lambda: source_store.open(layer.digest), source=source)

    assert upload_to("fourth/one", name.repository) == "mounted"
    assert upload_to("fifth/one", "no/such") == "sent"


def test_the_platform_selects_an_image_of_the_index(client: Client, name: Reference) -> None:
    source_store, target_store = sample_images.MemoryStore(), sample_images.MemoryStore()
    amd, arm = (
        sample_images.add_image(source_store, sample_images.AMD64),
        sample_images.add_image(source_store, sample_images.ARM64),
    )
    top = sample_images.add_index(
        source_store,
        [
            sample_images.add_attestation(source_store, amd),
            {**amd.to_json(), "platform": sample_images.AMD64},
            {**arm.to_json(), "platform": {**sample_images.ARM64, "variant": "v8"}},
        ],
    )
    push(client, name, top, source_store, NullProgress())
    pulled = pull(client, name, ARM64, target_store, NullProgress())
    assert pulled.manifest.digest == arm.digest
    assert pulled.digest == top.digest
    assert target_store.order[-1] == arm.digest
    assert not {amd.digest, top.digest} & target_store.blobs.keys(), "no stored object would refer to the index"
    more = pull(client, name, AMD64, target_store, NullProgress())
    assert more.manifest.digest == amd.digest
    assert not pull(client, name, AMD64, target_store, NullProgress()).changed


def test_a_missing_platform_lists_the_available_ones(client: Client, name: Reference) -> None:
    source_store = sample_images.MemoryStore()
    amd, arm = sample_images.add_image(source_store), sample_images.add_image(source_store, sample_images.ARM64)
    entries = [{**amd.to_json(), "platform": sample_images.AMD64}, {**arm.to_json(), "platform": sample_images.ARM64}]
    push(
        client,
        name,
        sample_images.add_index(source_store, [*entries, sample_images.add_attestation(source_store, amd)]),
        source_store,
        NullProgress(),
    )
    with pytest.raises(RegistryError) as caught:
        pull(client, name, Platform.parse("linux/s390x"), sample_images.MemoryStore(), NullProgress())
    assert caught.value.message == "no matching manifest for linux/s390x in the manifest list entries"
    assert caught.value.hints == (f"{name} has: linux/amd64, linux/arm64",)
    assert caught.value.exit_code == 3


def test_configs_are_read_for_entries_without_a_platform(client: Client, name: Reference) -> None:
    source_store = sample_images.MemoryStore()
    amd, arm = sample_images.add_image(source_store), sample_images.add_image(source_store, sample_images.ARM64)
    push(
        client,
        name,
        sample_images.add_index(source_store, [amd.to_json(), arm.to_json()]),
        source_store,
        NullProgress(),
    )
    assert pull(client, name, ARM64, sample_images.MemoryStore(), NullProgress()).manifest.digest == arm.digest
    with pytest.raises(RegistryError, match="no matching manifest"):
        pull(client, name, Platform("linux", "riscv64"), sample_images.MemoryStore(), NullProgress())


def test_a_single_image_of_another_platform_is_pulled_with_a_warning(client: Client, name: Reference) -> None:
    source_store = sample_images.MemoryStore()
    push(client, name, sample_images.add_image(source_store), source_store, NullProgress())
    warned = pull(client, name, ARM64, sample_images.MemoryStore(), NullProgress())
    assert warned.warnings == (
        (
            f"image with reference {name} was found but does not match the specified platform: "
            "wanted linux/arm64, actual: linux/amd64"
        ),
    )
    assert pull(client, name, None, sample_images.MemoryStore(), NullProgress()).warnings == ()


def test_an_image_without_a_variant_matches(client: Client, name: Reference) -> None:
    source_store = sample_images.MemoryStore()
    push(
        client,
        name,
        sample_images.add_image(source_store, {"os": "linux", "architecture": "arm"}),
        source_store,
        NullProgress(),
    )
    assert (
        pull(client, name, Platform.parse("linux/arm/v6"), sample_images.MemoryStore(), NullProgress()).warnings == ()
    )


def test_a_missing_name_has_docker_wording(client: Client, registry: Registry) -> None:
    reference = Reference.parse(f"{registry.host}/no/such:v9")
    with pytest.raises(RegistryError) as caught:
        client.fetch_manifest(reference)
    assert caught.value.message == f"manifest for {reference} not found: manifest unknown: manifest unknown"
    assert (caught.value.code, caught.value.status, caught.value.host) == ("manifest-unknown", 404, registry.host)
    assert client.fetch_head(reference) is None
    with pytest.raises(RegistryError) as caught:
        list(client.list_tags(reference))
    assert caught.value.code == "name-unknown"


def test_head_and_get_return_the_same_descriptor(client: Client, name: Reference) -> None:
    source_store = sample_images.MemoryStore()
    manifest = sample_images.add_image(source_store)
    push(client, name, manifest, source_store, NullProgress())
    assert client.fetch_head(name) == client.fetch_manifest(name).descriptor == manifest


def test_tags_are_listed(client: Client, name: Reference) -> None:
    source_store = sample_images.MemoryStore()
    manifest = sample_images.add_image(source_store, layers=1, size=10)
    requested = [f"t{number:02}" for number in range(11)]
    for tag in requested:
        push(client, name.replace(tag=tag), manifest, source_store, NullProgress())
    assert sorted(client.list_tags(name)) == requested


def test_a_repeated_layer_is_transferred_once(client: Client, name: Reference) -> None:
    source_store, target_store, watcher = (
        sample_images.MemoryStore(),
        sample_images.MemoryStore(),
        sample_images.ProgressRecorder(),
    )
    plain, packed = sample_images.make_layer()
    blob = source_store.describe(media_types.OCI_LAYER_GZIP, packed)
    config = {**sample_images.AMD64, "rootfs": {"type": "layers", "diff_ids": [Digest.of(plain)] * 2}}
    manifest = {
        "schemaVersion": 2,
        "mediaType": media_types.OCI_MANIFEST,
        "config": source_store.describe(media_types.OCI_CONFIG, encode_json(config)).to_json(),
        "layers": [blob.to_json()] * 2,
    }
    push(
        client,
        name,
        source_store.describe(media_types.OCI_MANIFEST, encode_json(manifest)),
        source_store,
        NullProgress(),
    )
    assert pull(client, name, AMD64, target_store, watcher).transferred_bytes == len(packed)
    assert watcher.expected == len(packed)


@pytest.mark.parametrize(("diff_ids", "layer_count"), [(1, 2), (2, 1), (0, 1)], ids=["fewer", "more", "none"])
def test_the_number_of_diff_ids_must_match_the_layers(
    client: Client, name: Reference, diff_ids: int, layer_count: int
) -> None:
    source_store, target_store = sample_images.MemoryStore(), sample_images.MemoryStore()
    image_descriptor = [sample_images.make_layer(100) for _ in range(2)]
    config = {
        **sample_images.AMD64,
        "rootfs": {"type": "layers", "diff_ids": [Digest.of(p) for p, _ in image_descriptor[:diff_ids]]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": media_types.OCI_MANIFEST,
        "config": source_store.describe(media_types.OCI_CONFIG, encode_json(config)).to_json(),
        "layers": [
            source_store.describe(media_types.OCI_LAYER_GZIP, packed).to_json()
            for _, packed in image_descriptor[:layer_count]
        ],
    }
    push(
        client,
        name,
        source_store.describe(media_types.OCI_MANIFEST, encode_json(manifest)),
        source_store,
        NullProgress(),
    )
    with pytest.raises(Malformed, match="diff IDs"):
        pull(client, name, AMD64, target_store, NullProgress())
    assert not any(d in target_store.blobs for d in (Digest.of(packed) for _, packed in image_descriptor))


ARTIFACTS = {
    "helm": ("application/vnd.cncf.helm.config.v1+json", "application/vnd.cncf.helm.chart", ""),
    "oras": (media_types.EMPTY, "text/plain", "application/vnd.example"),
    "cosign": (media_types.OCI_CONFIG, "application/vnd.dev.cosign.simplesigning.v1+json", ""),
}


@pytest.mark.parametrize("kind", ARTIFACTS)
def test_an_artifact_is_pulled_unchanged(client: Client, name: Reference, kind: str) -> None:
    source_store, target_store = sample_images.MemoryStore(), sample_images.MemoryStore()
    config, layer, artifact = ARTIFACTS[kind]
    image_descriptor = sample_images.add_artifact(source_store, config, layer, artifact)
    push(client, name, image_descriptor, source_store, NullProgress())
    pulled = pull(client, name, ARM64, target_store, NullProgress())
    assert target_store.blobs == source_store.blobs
    assert target_store.order[-1] == image_descriptor.digest
    assert set(target_store.diff_ids.values()) == {None}, "its blobs are not unpacked"
    assert (pulled.manifest, pulled.config, pulled.warnings) == (image_descriptor, None, ())
    assert pulled.artifact_type == {"helm": config, "oras": artifact, "cosign": layer}[kind]


def test_blobs_are_read_from_an_offset(client: Client, name: Reference) -> None:
    source_store = sample_images.MemoryStore()
    manifest = sample_images.add_image(source_store, layers=1)
    push(client, name, manifest, source_store, NullProgress())
    digest, content = max(source_store.blobs.items(), key=lambda item: len(item[1]))
    blob = Descriptor("", digest, len(content))
    for offset in (0, 1, 1000, len(content) - 1, len(content)):
        got, buffer = bytearray(), memoryview(bytearray(7000))
        with client.open_blob(name, blob, offset) as stream:
            while count := stream.readinto(buffer):
                got += buffer[:count]
        assert got == content[offset:]
    assert client.has_blob(name, blob)
    assert not client.has_blob(name, Descriptor("", Digest.of(b"?"), 1))


def test_an_empty_blob_is_transferred(client: Client, name: Reference) -> None:
    source_store = sample_images.MemoryStore()
    blob = source_store.describe("", b"")
    assert client.upload_blob(name, blob, lambda: source_store.open(blob.digest)) == "sent"
    assert client.has_blob(name, blob)
    assert client.fetch_blob(name, blob) == b""


def test_a_blob_with_another_digest_is_rejected(client: Client, name: Reference) -> None:
    source_store = sample_images.MemoryStore()
    content = b"some bytes"
    lying = Descriptor("", source_store.add(content), len(content) + 5)
    with pytest.raises(DigestMismatch, match="has 10 bytes, but should have 15"):
        client.upload_blob(name, lying, lambda: source_store.open(lying.digest))
    other = Descriptor("", Digest.of(b"another"), len(content))
    with pytest.raises(RegistryError) as caught:
        client.upload_blob(name, other, lambda: source_store.open(lying.digest))
    assert caught.value.status == 400


def test_several_clients_and_many_threads(connect: Callable[..., Client], name: Reference) -> None:
    source_store, target_store = sample_images.MemoryStore(), sample_images.MemoryStore()
    manifest = sample_images.add_image(source_store, layers=12, size=50_000)
    push(connect(jobs=8), name, manifest, source_store, NullProgress())
    pull(connect(jobs=1), name, AMD64, target_store, NullProgress())
    assert target_store.blobs == source_store.blobs
    many = sample_images.MemoryStore()
    pull(connect(jobs=64), name, AMD64, many, NullProgress())
    assert many.blobs == source_store.blobs
