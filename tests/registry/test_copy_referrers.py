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
        self.here = here = sample_images.MemoryStore()
        self._client = client
        self.images = [
            sample_images.add_image(here, p, layers=1, size=1000) for p in (sample_images.AMD64, sample_images.ARM64)
        ]
        entries = zip(self.images, (sample_images.AMD64, sample_images.ARM64), strict=True)
        self.top = sample_images.add_index(
            here, [{**made.to_json(), "platform": platform} for made, platform in entries]
        )
        push(client, name, self.top, here, NullProgress())
        self.bill = self.attach(self.top, BILL, b"a bill")
        self.signed_bill = self.attach(self.bill, SIGNATURE, b"of the bill")
        self.of_image = self.attach(self.images[1], SIGNATURE, b"of the image")
        signature = sample_images.add_artifact(here, media_types.OCI_CONFIG, COSIGN, content=b"signed")
        self.cosign = {f"{make_referrers_tag(self.top.digest)}.sig": signature}
        self.cosign[f"{make_referrers_tag(signature.digest)}.att"] = sample_images.add_artifact(
            here, media_types.EMPTY, "text/plain", BILL
        )
        for tag, made in self.cosign.items():
            push(client, name.replace(tag=tag), made, here, NullProgress())

    def attach(self, subject: Descriptor, kind: str, content: bytes) -> Descriptor:
        """Push an artifact, and list it under the referrers tag, as clients do without the API."""
        plain = subject.replace(annotations={}, platform=None, artifact_type="")
        made = sample_images.add_artifact(self.here, media_types.EMPTY, "text/plain", kind, plain, content)
        place = self.name.replace(tag=None, digest=made.digest)
        push(self._client, place, made, self.here, NullProgress())
        described = made.replace(artifact_type=kind)
        self.list_under(subject, [described])
        return described

    def list_under(self, subject: Descriptor, entries: Sequence[Descriptor], name: Reference | None = None) -> None:
        index = sample_images.add_index(self.here, [entry.to_json() for entry in entries])
        tag = make_referrers_tag(subject.digest)
        push(self._client, (name or self.name).replace(tag=tag, digest=None), index, self.here, NullProgress())

    def check_copied(self, client: Client, place: Reference) -> None:
        """Check that another location has all manifests and blobs, byte for byte."""
        for subject, wanted in (
            (self.top, self.bill), (self.bill, self.signed_bill), (self.images[1], self.of_image),
        ):  # fmt: skip
            assert list(client.list_referrers(place, subject.digest)) == [wanted]
            fetched = client.fetch_manifest(place.replace(tag=None, digest=wanted.digest))
            assert fetched.content == self.here.blobs[wanted.digest]
            (layer,) = json.loads(fetched.content)["layers"]
            assert client.has_blob(place, wanted.replace(digest=layer["digest"], size=layer["size"]))
        for tag, made in self.cosign.items():
            assert client.fetch_head(place.replace(tag=tag)) == made


@pytest.fixture
def attached(client: Client, registry: Registry) -> AttachedArtifacts:
    return AttachedArtifacts(client, Reference.parse(f"{registry.host}/signed/{uuid.uuid4().hex[:8]}:v1"))


@pytest.fixture
def there(second: Registry) -> Reference:
    return Reference.parse(f"{second.host}/mirror/{uuid.uuid4().hex[:8]}:v1")


@pytest.fixture
def new() -> Iterator[ReferrersServer]:
    with ReferrersServer() as running:
        yield running


def test_all_referrers_are_copied_between_registries_without_the_api(
    connect: Callable[..., Client], attached: AttachedArtifacts, there: Reference
) -> None:
    client = connect()
    copied = copy(client, attached.name, there, (), NullProgress(), referrers=True)
    assert (copied.referrer_count, copied.changed) == (5, True)
    attached.check_copied(client, there)
    again = copy(connect(), attached.name, there, (), NullProgress(), referrers=True)
    assert (again.referrer_count, again.transferred_bytes, again.changed) == (5, 0, False)
    tag = make_referrers_tag(attached.top.digest)
    assert client.fetch_head(there.replace(tag=tag)) == client.fetch_head(attached.name.replace(tag=tag))


def test_referrers_are_not_copied_without_the_option(
    client: Client, attached: AttachedArtifacts, there: Reference
) -> None:
    copied = copy(client, attached.name, there, (), NullProgress())
    assert copied.referrer_count == 0
    assert list(client.list_tags(there)) == ["v1"]


def test_only_referrers_of_the_selected_platforms_are_copied(
    client: Client, attached: AttachedArtifacts, there: Reference
) -> None:
    copied = copy(client, attached.name, there, (Platform("linux", "arm64"),), NullProgress(), referrers=True)
    assert (copied.referrer_count, copied.manifest.digest) == (1, attached.images[1].digest)
    assert list(client.list_referrers(there, attached.images[1].digest)) == [attached.of_image]
    assert list(client.list_referrers(there, attached.top.digest)) == []


def test_a_registry_that_interprets_the_fallback_tag_as_a_digest(
    client: Client, new: ReferrersServer, there: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The images of an index are not its referrers."""
    name, here = Reference.parse(f"{new.host}/plain:v1"), sample_images.MemoryStore()
    made = sample_images.add_image(here, sample_images.AMD64, layers=1, size=1000)
    top = sample_images.add_index(here, [{**made.to_json(), "platform": sample_images.AMD64}])
    push(client, name, top, here, NullProgress())
    found = new.find

    def as_digest(repository: str, selector: str) -> tuple[str, str, bytes] | None:
        return found(repository, selector.replace("sha256-", "sha256:").removesuffix(".sig"))

    monkeypatch.setattr(new, "find", as_digest)
    monkeypatch.setattr(new, "has_api", False)
    assert copy(client, name, there, (), NullProgress(), referrers=True).referrer_count == 0
    assert list(client.list_tags(there)) == ["v1"]


def test_referrers_listed_at_the_target_are_kept(client: Client, attached: AttachedArtifacts, there: Reference) -> None:
    push(client, there, attached.top, attached.here, NullProgress())
    own = sample_images.add_artifact(
        attached.here, media_types.EMPTY, "text/plain", SIGNATURE, attached.top, b"our own"
    )
    push(client, there.replace(tag=None, digest=own.digest), own, attached.here, NullProgress())
    attached.list_under(attached.top, [own], there)
    copy(client, attached.name, there, (), NullProgress(), referrers=True)
    listed = {found.digest for found in client.list_referrers(there, attached.top.digest)}
    assert listed == {own.digest, attached.bill.digest}


def test_no_referrers_tags_are_written_where_the_api_exists(
    client: Client, attached: AttachedArtifacts, new: ReferrersServer
) -> None:
    place = Reference.parse(f"{new.host}/mirror:v1")
    copy(client, attached.name, place, (), NullProgress(), referrers=True)
    attached.check_copied(client, place)
    assert {tag for _, tag in new.tags} == {"v1", *attached.cosign}


def test_copy_from_a_registry_with_the_api_to_one_without(
    client: Client, new: ReferrersServer, there: Reference
) -> None:
    attached = AttachedArtifacts(client, Reference.parse(f"{new.host}/signed:v1"))
    for repository, tag in list(new.tags):
        if tag.startswith("sha256-") and "." not in tag:
            del new.tags[repository, tag]
    copied = copy(client, attached.name, there, (), NullProgress(), referrers=True)
    assert copied.referrer_count == 5
    attached.check_copied(client, there)


def test_referrers_are_copied_before_the_tag(client: Client, attached: AttachedArtifacts, new: ReferrersServer) -> None:
    copy(client, attached.name, Reference.parse(f"{new.host}/mirror:v1"), (), NullProgress(), referrers=True)
    written = [line for line in new.requests if line.startswith("PUT") and "/manifests/" in line]
    assert written[-1] == "PUT /v2/mirror/manifests/v1"


def test_a_cycle_of_referrers_ends(client: Client, new: ReferrersServer, there: Reference) -> None:
    """A manifest cannot contain its own digest, but a registry may list it as its own referrer."""
    attached = AttachedArtifacts(client, Reference.parse(f"{new.host}/signed:v1"))
    listing = new.list_referrers
    new.list_referrers = lambda place, subject: [*listing(place, subject), attached.bill.to_json()]  # type: ignore[method-assign]
    assert copy(client, attached.name, there, (), NullProgress(), referrers=True).referrer_count == 5


def test_the_verb(tmp_path: Path, client: Client, attached: AttachedArtifacts, there: Reference) -> None:
    with StoreSession(tmp_path / "store", platform=None) as held:
        statement = f"copy {attached.name} to {there} with referrers"
        (planned,) = held.outcomes(statement, dry_run=True)
        assert planned["note"] == f"from {attached.name} with referrers"
        (outcome,) = held.do(statement)
        assert outcome["note"] == f"digest: {attached.top.digest}; 5 attached artifacts"
        attached.check_copied(client, there)


def test_the_platform_of_the_session_is_the_default(
    tmp_path: Path, client: Client, attached: AttachedArtifacts, there: Reference
) -> None:
    with StoreSession(tmp_path / "store", platform=Platform("linux", "arm64")) as held:
        held.do(f"copy {attached.name} to {there}")
        assert client.fetch_head(there) == attached.images[1]
        held.do(f"copy {attached.name} to {there} platform all")
        assert client.fetch_head(there) == attached.top


# Mounts from other repositories of a host


def test_an_uploaded_blob_is_mounted_in_the_next_repository(
    connect: Callable[..., Client], registry: Registry, second: Registry
) -> None:
    here, client = sample_images.MemoryStore(), connect()
    names = [Reference.parse(f"{registry.host}/shared/{uuid.uuid4().hex[:8]}:v1") for _ in range(2)]
    manifest = sample_images.add_image(here, layers=3, size=100_000)
    for name in names:
        push(client, name, manifest, here, NullProgress())
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
