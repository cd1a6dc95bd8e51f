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
    here, there = sample_images.MemoryStore(), sample_images.MemoryStore()
    manifest = sample_images.add_image(here, docker=docker)
    pushed = push(client, name, manifest, here, NullProgress())
    pulled = pull(client, name, AMD64, there, NullProgress())
    assert there.blobs == here.blobs
    assert pushed.manifest == pulled.manifest == manifest
    assert pulled.digest == manifest.digest
    assert pulled.changed
    assert pulled.warnings == ()
    assert pulled.platform == AMD64
    assert there.order[-1] == manifest.digest, "the manifest is stored last"
    assert all(there.diff_ids.values())


def test_progress_uses_docker_wording_and_one_total(client: Client, name: Reference) -> None:
    here, there = sample_images.MemoryStore(), sample_images.MemoryStore()
    manifest = sample_images.add_image(here, size=3 << 20)
    sent, got, again = (
        sample_images.ProgressRecorder(),
        sample_images.ProgressRecorder(),
        sample_images.ProgressRecorder(),
    )
    push(client, name, manifest, here, sent)
    pulled = pull(client, name, AMD64, there, got)
    assert {tuple(words) for words in sent.words.values()} == {("Preparing", "Pushing", PUSHED)}
    assert {tuple(words) for words in got.words.values()} == {
        ("Pulling fs layer", "Downloading", "Download complete", PULLED)
    }
    assert got.expected == got.total == pulled.transferred_bytes == sum(got.done.values())
    assert got.calls <= 4 * 3 * 8, "about one call for each 128 KiB"
    assert got.ended
    assert got.name == str(name)
    repeated = pull(client, name, AMD64, there, again)
    assert {tuple(words) for words in again.words.values()} == {(EXISTS,)}
    assert (repeated.changed, repeated.transferred_bytes, again.expected) == (False, 0, 0)


def test_a_pull_by_digest_is_verified(client: Client, name: Reference) -> None:
    here, there = sample_images.MemoryStore(), sample_images.MemoryStore()
    manifest = sample_images.add_image(here)
    push(client, name, manifest, here, NullProgress())
    by_digest = name.replace(tag=None, digest=manifest.digest)
    assert pull(client, by_digest, AMD64, there, NullProgress()).manifest == manifest
    missing = name.replace(tag=None, digest=Digest.of(b"nothing"))
    with pytest.raises(RegistryError, match=r"manifest for .* not found: manifest unknown") as caught:
        pull(client, missing, AMD64, there, NullProgress())
    assert caught.value.code == "manifest-unknown"


def test_a_second_push_sends_one_request(connect: Callable[..., Client], name: Reference, registry: Registry) -> None:
    here = sample_images.MemoryStore()
    manifest = sample_images.add_image(here)
    first = push(connect(), name, manifest, here, NullProgress())
    place = f" /v2/{name.repository}/"
    seen = [line.split()[0] for line in registry.requests(place, 15)]
    assert sorted(seen) == ["HEAD"] * 6 + ["POST"] * 4 + ["PUT"] * 5
    watcher = sample_images.ProgressRecorder()
    again = push(connect(), name, manifest, here, watcher)
    assert (first.changed, again.changed, again.transferred_bytes) == (True, False, 0)
    assert {tuple(words) for words in watcher.words.values()} == {(LAYER_EXISTS,)}
    assert registry.requests(place, 16)[15:] == [f"HEAD /v2/{name.repository}/manifests/v1"]
    assert push(connect(), name.replace(tag="v2"), manifest, here, NullProgress()).changed
    assert [line.split()[0] for line in registry.requests(place, 19)[16:]] == ["HEAD", "HEAD", "PUT"]


def test_one_connection_serves_many_requests(
    connect: Callable[..., Client], name: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A response without a body, or to HEAD, keeps the connection usable."""
    from urllib3.connection import HTTPConnection

    opened: list[HTTPConnection] = []
    open_one = HTTPConnection.connect
    monkeypatch.setattr(HTTPConnection, "connect", lambda self: (opened.append(self), open_one(self)))
    here, client = sample_images.MemoryStore(), connect(jobs=1)
    manifest = sample_images.add_image(here)
    push(client, name, manifest, here, NullProgress())
    pull(client, name, AMD64, sample_images.MemoryStore(), NullProgress())
    assert client.fetch_head(name.replace(tag="none")) is None
    assert len(opened) == 1


def test_only_new_blobs_are_uploaded(connect: Callable[..., Client], name: Reference) -> None:
    here = sample_images.MemoryStore()
    manifest = sample_images.add_image(here)
    push(connect(), name, manifest, here, NullProgress())
    document = json.loads(here.blobs[manifest.digest])
    plain, packed = sample_images.make_layer(1000)
    config = json.loads(here.blobs[document["config"]["digest"]])
    config["rootfs"]["diff_ids"].append(Digest.of(plain))
    document["config"] = here.describe(media_types.OCI_CONFIG, encode_json(config)).to_json()
    document["layers"].append(here.describe(media_types.OCI_LAYER_GZIP, packed).to_json())
    grown = here.describe(media_types.OCI_MANIFEST, encode_json(document))
    pushed = push(connect(), name, grown, here, NullProgress())
    assert pushed.transferred_bytes == len(packed) + document["config"]["size"]


def test_layers_are_mounted_from_another_repository(client: Client, name: Reference) -> None:
    here = sample_images.MemoryStore()
    manifest = sample_images.add_image(here)
    push(client, name, manifest, here, NullProgress())
    other, watcher = name.replace(repository=name.repository + "-copy"), sample_images.ProgressRecorder()
    assert push(client, other, manifest, here, watcher, mount_from=name.repository).transferred_bytes == 0
    assert {words[-1] for words in watcher.words.values()} == {MOUNTED + name.repository}
    third = name.replace(repository=name.repository + "-third")
    assert push(client, third, manifest, here, NullProgress(), mount_from="no/such").transferred_bytes > 0
    layer = Descriptor("", *next((d, len(b)) for d, b in here.blobs.items()))

    def upload_to(repository: str, source: str) -> str:
        target = name.replace(repository=repository)
        return client.upload_blob(target, layer, lambda: here.open(layer.digest), source=source)

    assert upload_to("fourth/one", name.repository) == "mounted"
    assert upload_to("fifth/one", "no/such") == "sent"


def test_the_platform_selects_an_image_of_the_index(client: Client, name: Reference) -> None:
    here, there = sample_images.MemoryStore(), sample_images.MemoryStore()
    amd, arm = sample_images.add_image(here, sample_images.AMD64), sample_images.add_image(here, sample_images.ARM64)
    top = sample_images.add_index(
        here,
        [
            sample_images.add_attestation(here, amd),
            {**amd.to_json(), "platform": sample_images.AMD64},
            {**arm.to_json(), "platform": {**sample_images.ARM64, "variant": "v8"}},
        ],
    )
    push(client, name, top, here, NullProgress())
    pulled = pull(client, name, ARM64, there, NullProgress())
    assert pulled.manifest.digest == arm.digest
    assert pulled.digest == top.digest
    assert there.order[-1] == arm.digest
    assert not {amd.digest, top.digest} & there.blobs.keys(), "no stored object would refer to the index"
    more = pull(client, name, AMD64, there, NullProgress())
    assert more.manifest.digest == amd.digest
    assert not pull(client, name, AMD64, there, NullProgress()).changed


def test_a_missing_platform_lists_the_available_ones(client: Client, name: Reference) -> None:
    here = sample_images.MemoryStore()
    amd, arm = sample_images.add_image(here), sample_images.add_image(here, sample_images.ARM64)
    entries = [{**amd.to_json(), "platform": sample_images.AMD64}, {**arm.to_json(), "platform": sample_images.ARM64}]
    push(
        client,
        name,
        sample_images.add_index(here, [*entries, sample_images.add_attestation(here, amd)]),
        here,
        NullProgress(),
    )
    with pytest.raises(RegistryError) as caught:
        pull(client, name, Platform.parse("linux/s390x"), sample_images.MemoryStore(), NullProgress())
    assert caught.value.message == "no matching manifest for linux/s390x in the manifest list entries"
    assert caught.value.hints == (f"{name} has: linux/amd64, linux/arm64",)
    assert caught.value.exit_code == 3


def test_configs_are_read_for_entries_without_a_platform(client: Client, name: Reference) -> None:
    here = sample_images.MemoryStore()
    amd, arm = sample_images.add_image(here), sample_images.add_image(here, sample_images.ARM64)
    push(client, name, sample_images.add_index(here, [amd.to_json(), arm.to_json()]), here, NullProgress())
    assert pull(client, name, ARM64, sample_images.MemoryStore(), NullProgress()).manifest.digest == arm.digest
    with pytest.raises(RegistryError, match="no matching manifest"):
        pull(client, name, Platform("linux", "riscv64"), sample_images.MemoryStore(), NullProgress())


def test_a_single_image_of_another_platform_is_pulled_with_a_warning(client: Client, name: Reference) -> None:
    here = sample_images.MemoryStore()
    push(client, name, sample_images.add_image(here), here, NullProgress())
    warned = pull(client, name, ARM64, sample_images.MemoryStore(), NullProgress())
    assert warned.warnings == (
        (
            f"image with reference {name} was found but does not match the specified platform: "
            "wanted linux/arm64, actual: linux/amd64"
        ),
    )
    assert pull(client, name, None, sample_images.MemoryStore(), NullProgress()).warnings == ()


def test_an_image_without_a_variant_matches(client: Client, name: Reference) -> None:
    here = sample_images.MemoryStore()
    push(client, name, sample_images.add_image(here, {"os": "linux", "architecture": "arm"}), here, NullProgress())
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
    here = sample_images.MemoryStore()
    manifest = sample_images.add_image(here)
    push(client, name, manifest, here, NullProgress())
    assert client.fetch_head(name) == client.fetch_manifest(name).descriptor == manifest


def test_tags_are_listed(client: Client, name: Reference) -> None:
    here = sample_images.MemoryStore()
    manifest = sample_images.add_image(here, layers=1, size=10)
    wanted = [f"t{number:02}" for number in range(11)]
    for tag in wanted:
        push(client, name.replace(tag=tag), manifest, here, NullProgress())
    assert sorted(client.list_tags(name)) == wanted


def test_a_repeated_layer_is_transferred_once(client: Client, name: Reference) -> None:
    here, there, watcher = sample_images.MemoryStore(), sample_images.MemoryStore(), sample_images.ProgressRecorder()
    plain, packed = sample_images.make_layer()
    blob = here.describe(media_types.OCI_LAYER_GZIP, packed)
    config = {**sample_images.AMD64, "rootfs": {"type": "layers", "diff_ids": [Digest.of(plain)] * 2}}
    manifest = {
        "schemaVersion": 2,
        "mediaType": media_types.OCI_MANIFEST,
        "config": here.describe(media_types.OCI_CONFIG, encode_json(config)).to_json(),
        "layers": [blob.to_json()] * 2,
    }
    push(client, name, here.describe(media_types.OCI_MANIFEST, encode_json(manifest)), here, NullProgress())
    assert pull(client, name, AMD64, there, watcher).transferred_bytes == len(packed)
    assert watcher.expected == len(packed)


@pytest.mark.parametrize(("diff_ids", "layer_count"), [(1, 2), (2, 1), (0, 1)], ids=["fewer", "more", "none"])
def test_the_number_of_diff_ids_must_match_the_layers(
    client: Client, name: Reference, diff_ids: int, layer_count: int
) -> None:
    here, there = sample_images.MemoryStore(), sample_images.MemoryStore()
    made = [sample_images.make_layer(100) for _ in range(2)]
    config = {
        **sample_images.AMD64,
        "rootfs": {"type": "layers", "diff_ids": [Digest.of(p) for p, _ in made[:diff_ids]]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": media_types.OCI_MANIFEST,
        "config": here.describe(media_types.OCI_CONFIG, encode_json(config)).to_json(),
        "layers": [here.describe(media_types.OCI_LAYER_GZIP, packed).to_json() for _, packed in made[:layer_count]],
    }
    push(client, name, here.describe(media_types.OCI_MANIFEST, encode_json(manifest)), here, NullProgress())
    with pytest.raises(Malformed, match="diff IDs"):
        pull(client, name, AMD64, there, NullProgress())
    assert not any(d in there.blobs for d in (Digest.of(packed) for _, packed in made))


ARTIFACTS = {
    "helm": ("application/vnd.cncf.helm.config.v1+json", "application/vnd.cncf.helm.chart", ""),
    "oras": (media_types.EMPTY, "text/plain", "application/vnd.example"),
    "cosign": (media_types.OCI_CONFIG, "application/vnd.dev.cosign.simplesigning.v1+json", ""),
}


@pytest.mark.parametrize("kind", ARTIFACTS)
def test_an_artifact_is_pulled_unchanged(client: Client, name: Reference, kind: str) -> None:
    here, there = sample_images.MemoryStore(), sample_images.MemoryStore()
    config, layer, artifact = ARTIFACTS[kind]
    made = sample_images.add_artifact(here, config, layer, artifact)
    push(client, name, made, here, NullProgress())
    pulled = pull(client, name, ARM64, there, NullProgress())
    assert there.blobs == here.blobs
    assert there.order[-1] == made.digest
    assert set(there.diff_ids.values()) == {None}, "its blobs are not unpacked"
    assert (pulled.manifest, pulled.config, pulled.warnings) == (made, None, ())
    assert pulled.artifact_type == {"helm": config, "oras": artifact, "cosign": layer}[kind]


def test_blobs_are_read_from_an_offset(client: Client, name: Reference) -> None:
    here = sample_images.MemoryStore()
    manifest = sample_images.add_image(here, layers=1)
    push(client, name, manifest, here, NullProgress())
    digest, content = max(here.blobs.items(), key=lambda item: len(item[1]))
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
    here = sample_images.MemoryStore()
    blob = here.describe("", b"")
    assert client.upload_blob(name, blob, lambda: here.open(blob.digest)) == "sent"
    assert client.has_blob(name, blob)
    assert client.fetch_blob(name, blob) == b""


def test_a_blob_with_another_digest_is_rejected(client: Client, name: Reference) -> None:
    here = sample_images.MemoryStore()
    content = b"some bytes"
    lying = Descriptor("", here.add(content), len(content) + 5)
    with pytest.raises(DigestMismatch, match="has 10 bytes, but should have 15"):
        client.upload_blob(name, lying, lambda: here.open(lying.digest))
    other = Descriptor("", Digest.of(b"another"), len(content))
    with pytest.raises(RegistryError) as caught:
        client.upload_blob(name, other, lambda: here.open(lying.digest))
    assert caught.value.status == 400


def test_several_clients_and_many_threads(connect: Callable[..., Client], name: Reference) -> None:
    here, there = sample_images.MemoryStore(), sample_images.MemoryStore()
    manifest = sample_images.add_image(here, layers=12, size=50_000)
    push(connect(jobs=8), name, manifest, here, NullProgress())
    pull(connect(jobs=1), name, AMD64, there, NullProgress())
    assert there.blobs == here.blobs
    many = sample_images.MemoryStore()
    pull(connect(jobs=64), name, AMD64, many, NullProgress())
    assert many.blobs == here.blobs
