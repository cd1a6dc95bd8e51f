"""Signatures, attestations and SBOMs are copied with their subjects, and their digests do not change."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING

import pytest
from imq.engine.oci import media_types
from imq.engine.oci.platform import Platform
from imq.engine.oci.reference import Reference
from imq.engine.progress import NullProgress
from imq.engine.registry.referrers import make_referrers_tag
from imq.engine.registry.transfer.copy import copy
from imq.engine.registry.transfer.push import push
from registry.support import sample_images
from registry.support.referrers_server import ReferrersServer
from store.support.stores import StoreSession

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from imq.engine.oci.manifest import Descriptor
    from imq.engine.registry.client import Client
    from support.servers import Registry

BILL, SIGNATURE = "application/spdx+json", "application/vnd.example.signature"
COSIGN = "application/vnd.dev.cosign.simplesigning.v1+json"


class AttachedArtifacts:
    """An index of two images in a registry, with referrers of the index, of an image, and of another referrer."""

    def __init__(self, client: Client, name: Reference) -> None:
        self.name = name
        self.store = source_store = sample_images.MemoryStore()
        self._client = client
        self.images = [
            sample_images.add_image(source_store, p, layers=1, size=1000)
            for p in (sample_images.AMD64, sample_images.ARM64)
        ]
        entries = zip(self.images, (sample_images.AMD64, sample_images.ARM64), strict=True)
        self.top = sample_images.add_index(
            source_store, [{**descriptor.to_json(), "platform": platform} for descriptor, platform in entries]
        )
        push(client, name, self.top, source_store, NullProgress())
        self.bill = self.attach(self.top, BILL, b"a bill")
        self.signed_bill = self.attach(self.bill, SIGNATURE, b"of the bill")
        self.of_image = self.attach(self.images[1], SIGNATURE, b"of the image")
        signature = sample_images.add_artifact(source_store, media_types.OCI_CONFIG, COSIGN, content=b"signed")
        self.cosign = {f"{make_referrers_tag(self.top.digest)}.sig": signature}
        self.cosign[f"{make_referrers_tag(signature.digest)}.att"] = sample_images.add_artifact(
            source_store, media_types.EMPTY, "text/plain", BILL
        )
        for tag, descriptor in self.cosign.items():
            push(client, name.replace(tag=tag), descriptor, source_store, NullProgress())

    def attach(self, subject: Descriptor, kind: str, content: bytes) -> Descriptor:
        """Push an artifact, and list it under the referrers tag, as clients do without the API."""
        plain = subject.replace(annotations={}, platform=None, artifact_type="")
        descriptor = sample_images.add_artifact(self.store, media_types.EMPTY, "text/plain", kind, plain, content)
        location = self.name.replace(tag=None, digest=descriptor.digest)
        push(self._client, location, descriptor, self.store, NullProgress())
        described = descriptor.replace(artifact_type=kind)
        self.list_under(subject, [described])
        return described

    def list_under(self, subject: Descriptor, entries: Sequence[Descriptor], name: Reference | None = None) -> None:
        index = sample_images.add_index(self.store, [entry.to_json() for entry in entries])
        tag = make_referrers_tag(subject.digest)
        push(self._client, (name or self.name).replace(tag=tag, digest=None), index, self.store, NullProgress())

    def check_copied(self, client: Client, location: Reference) -> None:
        """Check that another location has all manifests and blobs, byte for byte."""
        for subject, expected in (
            (self.top, self.bill), (self.bill, self.signed_bill), (self.images[1], self.of_image),
        ):  # fmt: skip
            assert list(client.list_referrers(location, subject.digest)) == [expected]
            fetched = client.fetch_manifest(location.replace(tag=None, digest=expected.digest))
            assert fetched.content == self.store.blobs[expected.digest]
            (layer,) = json.loads(fetched.content)["layers"]
            assert client.has_blob(location, expected.replace(digest=layer["digest"], size=layer["size"]))
        for tag, descriptor in self.cosign.items():
            assert client.fetch_head(location.replace(tag=tag)) == descriptor


@pytest.fixture
def attached(client: Client, registry: Registry) -> AttachedArtifacts:
    return AttachedArtifacts(client, Reference.parse(f"{registry.host}/signed/{uuid.uuid4().hex[:8]}:v1"))


@pytest.fixture
def target(second: Registry) -> Reference:
    return Reference.parse(f"{second.host}/mirror/{uuid.uuid4().hex[:8]}:v1")


@pytest.fixture
def server() -> Iterator[ReferrersServer]:
    with ReferrersServer() as running_server:
        yield running_server


def test_all_referrers_are_copied_between_registries_without_the_api(
    connect: Callable[..., Client], attached: AttachedArtifacts, target: Reference
) -> None:
    client = connect()
    copied = copy(client, attached.name, target, (), NullProgress(), referrers=True)
    assert (copied.referrer_count, copied.changed) == (5, True)
    attached.check_copied(client, target)
    again = copy(connect(), attached.name, target, (), NullProgress(), referrers=True)
    assert (again.referrer_count, again.transferred_bytes, again.changed) == (5, 0, False)
    tag = make_referrers_tag(attached.top.digest)
    assert client.fetch_head(target.replace(tag=tag)) == client.fetch_head(attached.name.replace(tag=tag))


def test_referrers_are_not_copied_without_the_option(
    client: Client, attached: AttachedArtifacts, target: Reference
) -> None:
    copied = copy(client, attached.name, target, (), NullProgress())
    assert copied.referrer_count == 0
    assert list(client.list_tags(target)) == ["v1"]


def test_only_referrers_of_the_selected_platforms_are_copied(
    client: Client, attached: AttachedArtifacts, target: Reference
) -> None:
    copied = copy(client, attached.name, target, (Platform("linux", "arm64"),), NullProgress(), referrers=True)
    assert (copied.referrer_count, copied.manifest.digest) == (1, attached.images[1].digest)
    assert list(client.list_referrers(target, attached.images[1].digest)) == [attached.of_image]
    assert list(client.list_referrers(target, attached.top.digest)) == []


def test_a_registry_that_interprets_the_fallback_tag_as_a_digest(
    client: Client, server: ReferrersServer, target: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The images of an index are not its referrers."""
    name, source_store = Reference.parse(f"{server.host}/plain:v1"), sample_images.MemoryStore()
    descriptor = sample_images.add_image(source_store, sample_images.AMD64, layers=1, size=1000)
    top = sample_images.add_index(source_store, [{**descriptor.to_json(), "platform": sample_images.AMD64}])
    push(client, name, top, source_store, NullProgress())
    result = server.find

    def as_digest(repository: str, selector: str) -> tuple[str, str, bytes] | None:
        return result(repository, selector.replace("sha256-", "sha256:").removesuffix(".sig"))

    monkeypatch.setattr(server, "find", as_digest)
    monkeypatch.setattr(server, "has_api", False)
    assert copy(client, name, target, (), NullProgress(), referrers=True).referrer_count == 0
    assert list(client.list_tags(target)) == ["v1"]


def test_referrers_listed_at_the_target_are_kept(
    client: Client, attached: AttachedArtifacts, target: Reference
) -> None:
    push(client, target, attached.top, attached.store, NullProgress())
    own = sample_images.add_artifact(
        attached.store, media_types.EMPTY, "text/plain", SIGNATURE, attached.top, b"our own"
    )
    push(client, target.replace(tag=None, digest=own.digest), own, attached.store, NullProgress())
    attached.list_under(attached.top, [own], target)
    copy(client, attached.name, target, (), NullProgress(), referrers=True)
    listed = {result.digest for result in client.list_referrers(target, attached.top.digest)}
    assert listed == {own.digest, attached.bill.digest}


def test_no_referrers_tags_are_written_where_the_api_exists(
    client: Client, attached: AttachedArtifacts, server: ReferrersServer
) -> None:
    location = Reference.parse(f"{server.host}/mirror:v1")
    copy(client, attached.name, location, (), NullProgress(), referrers=True)
    attached.check_copied(client, location)
    assert {tag for _, tag in server.tags} == {"v1", *attached.cosign}


def test_copy_from_a_registry_with_the_api_to_one_without(
    client: Client, server: ReferrersServer, target: Reference
) -> None:
    attached = AttachedArtifacts(client, Reference.parse(f"{server.host}/signed:v1"))
    for repository, tag in list(server.tags):
        if tag.startswith("sha256-") and "." not in tag:
            del server.tags[repository, tag]
    copied = copy(client, attached.name, target, (), NullProgress(), referrers=True)
    assert copied.referrer_count == 5
    attached.check_copied(client, target)


def test_referrers_are_copied_before_the_tag(
    client: Client, attached: AttachedArtifacts, server: ReferrersServer
) -> None:
    copy(client, attached.name, Reference.parse(f"{server.host}/mirror:v1"), (), NullProgress(), referrers=True)
    written = [line for line in server.requests if line.startswith("PUT") and "/manifests/" in line]
    assert written[-1] == "PUT /v2/mirror/manifests/v1"


def test_a_cycle_of_referrers_ends(client: Client, server: ReferrersServer, target: Reference) -> None:
    """A manifest cannot contain its own digest, but a registry may list it as its own referrer."""
    attached = AttachedArtifacts(client, Reference.parse(f"{server.host}/signed:v1"))
    listing = server.list_referrers
    server.list_referrers = lambda location, subject: [*listing(location, subject), attached.bill.to_json()]  # type: ignore[method-assign]
    assert copy(client, attached.name, target, (), NullProgress(), referrers=True).referrer_count == 5


def test_the_verb(tmp_path: Path, client: Client, attached: AttachedArtifacts, target: Reference) -> None:
    with StoreSession(tmp_path / "store", platform=None) as opened_store:
        statement = f"copy {attached.name} to {target} with referrers"
        (planned,) = opened_store.outcomes(statement, dry_run=True)
        assert planned["note"] == f"from {attached.name} with referrers"
        (outcome,) = opened_store.do(statement)
        assert outcome["note"] == f"digest: {attached.top.digest}; 5 attached artifacts"
        attached.check_copied(client, target)


def test_the_platform_of_the_session_is_the_default(
    tmp_path: Path, client: Client, attached: AttachedArtifacts, target: Reference
) -> None:
    with StoreSession(tmp_path / "store", platform=Platform("linux", "arm64")) as opened_store:
        opened_store.do(f"copy {attached.name} to {target}")
        assert client.fetch_head(target) == attached.images[1]
        opened_store.do(f"copy {attached.name} to {target} platform all")
        assert client.fetch_head(target) == attached.top


# Mounts from other repositories of a host


def test_an_uploaded_blob_is_mounted_in_the_next_repository(
    connect: Callable[..., Client], registry: Registry, second: Registry
) -> None:
    source_store, client = sample_images.MemoryStore(), connect()
    names = [Reference.parse(f"{registry.host}/shared/{uuid.uuid4().hex[:8]}:v1") for _ in range(2)]
    manifest = sample_images.add_image(source_store, layers=3, size=100_000)
    for name in names:
        push(client, name, manifest, source_store, NullProgress())
    fresh = connect()
    sent = [
        copy(fresh, name, name.replace(registry=second.host), (), NullProgress()).transferred_bytes for name in names
    ]
    assert sent[0] > 300_000
    assert sent[1] == 0
    seen = second.requests(f" /v2/{names[1].repository}/", 7)
    assert [line.split()[0] for line in seen] == ["HEAD", "HEAD", "POST", "POST", "POST", "POST", "PUT"]
    assert all(f"from={names[0].repository.replace('/', '%2F')}" in line for line in seen if line.startswith("POST"))
    tagged = names[0].replace(registry=second.host, tag="v2")
    grown = copy(fresh, names[0], tagged, (), NullProgress())
    assert (grown.changed, grown.transferred_bytes) == (True, 0)
