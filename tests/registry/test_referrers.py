"""Referrers of an image: from the referrers API, or from the referrers tag."""

from __future__ import annotations

import hashlib
import json
import uuid
from typing import TYPE_CHECKING

import pytest
from imq.engine.oci import media_types
from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Descriptor, encode_json
from imq.engine.oci.platform import Platform
from imq.engine.oci.reference import Reference
from imq.engine.progress import NullProgress
from imq.engine.registry.batch.client import BatchClient
from imq.engine.registry.referrers import make_referrers_tag
from imq.engine.registry.transfer.push import push
from imq.grammar.errors import Malformed, RegistryError
from registry.support import sample_images
from registry.support.scripted_server import ScriptedServer, Step

if TYPE_CHECKING:
    from collections.abc import Callable

    from imq.engine.registry.client import Client
    from support.servers import Registry

SUBJECT = Digest.of(b"an image")
PATH = f"/v2/a/referrers/{SUBJECT}"
SIGNATURE = Descriptor(
    media_types.OCI_MANIFEST, Digest.of(b"s"), 1, {"by": "ann"}, artifact_type="application/vnd.signature"
)
BILL = Descriptor(media_types.OCI_MANIFEST, Digest.of(b"b"), 2, artifact_type="application/spdx+json")


def make_page(*referrers: Descriptor) -> bytes:
    manifests = [referrer.to_json() for referrer in referrers]
    return json.dumps({"schemaVersion": 2, "mediaType": media_types.OCI_INDEX, "manifests": manifests}).encode()


def make_reference(server: ScriptedServer) -> Reference:
    return Reference.parse(f"{server.host}/a")


def test_the_api(client: Client) -> None:
    more = {"Link": f'<{PATH}?page=2>; rel="next"'}
    with ScriptedServer(
        Step("GET", PATH, 200, {"Content-Type": media_types.OCI_INDEX, **more}, make_page(SIGNATURE)),
        Step("GET", f"{PATH}?page=2", 200, {"Content-Type": media_types.OCI_INDEX}, make_page(BILL)),
    ) as server:
        assert list(client.list_referrers(make_reference(server), SUBJECT)) == [SIGNATURE, BILL]
    assert server.requests[0].headers["Accept"] == media_types.OCI_INDEX


@pytest.mark.parametrize("filtered", [True, False], ids=["by the registry", "by imq"])
def test_referrers_of_one_type(client: Client, filtered: bool) -> None:
    answer = make_page(BILL) if filtered else make_page(SIGNATURE, BILL)
    with ScriptedServer(Step("GET", f"{PATH}?artifactType=application%2Fspdx%2Bjson", 200, {}, answer)) as server:
        assert list(client.list_referrers(make_reference(server), SUBJECT, BILL.artifact_type)) == [BILL]


@pytest.mark.parametrize("status", [400, 404, 405, 501])
def test_without_the_api_the_referrers_tag_is_read(client: Client, status: int) -> None:
    tagged = f"/v2/a/manifests/{make_referrers_tag(SUBJECT)}"
    with ScriptedServer(
        Step("GET", PATH, status),
        Step("GET", tagged, 200, {"Content-Type": media_types.OCI_INDEX}, make_page(SIGNATURE, BILL)),
    ) as server:
        assert list(client.list_referrers(make_reference(server), SUBJECT, SIGNATURE.artifact_type)) == [SIGNATURE]
    with ScriptedServer(Step("GET", PATH, status), Step("GET", tagged, 404)) as server:
        assert list(client.list_referrers(make_reference(server), SUBJECT)) == []


def list_with_client(client: Client, server: ScriptedServer, subject: Digest) -> list[Descriptor]:
    return list(client.list_referrers(make_reference(server), subject))


def list_with_batch(client: Client, server: ScriptedServer, subject: Digest) -> list[Descriptor]:
    with BatchClient(client) as batch_client:
        ((_, result),) = batch_client.fetch_referrers([(0, make_reference(server), subject)])
    assert isinstance(result, list)
    return result


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("list_referrers_with", [list_with_client, list_with_batch])
def test_a_registry_that_interprets_the_referrers_tag_as_a_digest(
    client: Client, list_referrers_with: Callable[[Client, ScriptedServer, Digest], list[Descriptor]], algorithm: str
) -> None:
    """The entries of an index are not its referrers."""
    index = make_page(SIGNATURE, BILL)
    subject = Digest(f"{algorithm}:{hashlib.new(algorithm, index).hexdigest()}")
    with ScriptedServer(
        Step("GET", f"/v2/a/referrers/{subject}", 404),
        Step(
            "GET", f"/v2/a/manifests/{make_referrers_tag(subject)}", 200, {"Content-Type": media_types.OCI_INDEX}, index
        ),
    ) as server:
        assert list_referrers_with(client, server, subject) == []


@pytest.mark.parametrize("list_referrers_with", [list_with_client, list_with_batch])
def test_an_index_of_platforms_under_the_referrers_tag_has_no_referrers(
    client: Client, list_referrers_with: Callable[[Client, ScriptedServer, Digest], list[Descriptor]]
) -> None:
    image = SIGNATURE.replace(artifact_type="", platform=Platform("linux", "amd64"))
    index = make_page(image, BILL)
    with ScriptedServer(
        Step("GET", f"/v2/a/referrers/{SUBJECT}", 404),
        Step(
            "GET", f"/v2/a/manifests/{make_referrers_tag(SUBJECT)}", 200, {"Content-Type": media_types.OCI_INDEX}, index
        ),
    ) as server:
        assert list_referrers_with(client, server, SUBJECT) == [BILL]


def test_the_referrers_tag_has_a_maximum_length() -> None:
    assert make_referrers_tag(SUBJECT) == f"sha256-{SUBJECT.encoded}"
    assert make_referrers_tag(Digest(f"sha512:{'a' * 128}")) == f"sha512-{'a' * 64}"


@pytest.mark.parametrize("status", [403, 418])
def test_a_rejection_is_reported(client: Client, status: int) -> None:
    with ScriptedServer(Step("GET", PATH, status)) as server, pytest.raises(RegistryError) as caught:
        list(client.list_referrers(make_reference(server), SUBJECT))
    assert (caught.value.status, caught.value.host) == (status, server.host)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"manifests":{}}', b'{"manifests":[5]}', b"<html>"])
def test_a_response_that_is_not_a_list_is_refused(client: Client, body: bytes) -> None:
    with ScriptedServer(Step("GET", PATH, 200, {}, body)) as server, pytest.raises(Malformed):
        list(client.list_referrers(make_reference(server), SUBJECT))


def test_referrers_of_a_real_registry(connect: Callable[..., Client], registry: Registry) -> None:
    """Debian's registry is older than the API."""
    here, client = sample_images.MemoryStore(), connect()
    name = Reference.parse(f"{registry.host}/referred/{uuid.uuid4().hex[:8]}:v1")
    subject = sample_images.add_image(here, layers=1, size=1000)
    push(client, name, subject, here, NullProgress())
    assert list(client.list_referrers(name, subject.digest)) == []
    artifact = {
        "schemaVersion": 2,
        "mediaType": media_types.OCI_MANIFEST,
        "artifactType": "application/spdx+json",
        "config": here.describe("application/vnd.oci.empty.v1+json", b"{}").to_json(),
        "layers": [here.describe("text/plain", b"a bill").to_json()],
        "subject": subject.to_json(),
    }
    bill = here.describe(media_types.OCI_MANIFEST, encode_json(artifact)).replace(artifact_type="application/spdx+json")
    index = sample_images.add_index(here, [bill.to_json()])
    push(client, name.replace(tag=make_referrers_tag(subject.digest)), index, here, NullProgress())
    assert list(client.list_referrers(name, subject.digest)) == [bill]
    assert list(client.list_referrers(name, subject.digest, "application/other")) == []
