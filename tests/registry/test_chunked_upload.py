"""Uploads in chunks, for registries that refuse a blob in one request."""

from __future__ import annotations

import io
import os
import uuid
from typing import TYPE_CHECKING

import pytest
from imq.engine.oci import media_types
from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Descriptor
from imq.engine.oci.reference import Reference
from imq.engine.progress import NullProgress
from imq.engine.registry.auth.authorizer import make_push_scope
from imq.engine.registry.http import request_body
from imq.engine.registry.http.retry import RetryBudget
from imq.engine.registry.transfer import chunked_upload
from imq.engine.registry.transfer.pull import pull
from imq.engine.registry.transfer.push import push
from imq.engine.registry.transfer.upload import BlobUploader
from imq.grammar.errors import DigestMismatch, RegistryError
from registry.support import sample_images
from registry.support.fault_proxy import Fault, FaultProxy, Reply
from registry.support.scripted_server import ScriptedServer, Step

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from imq.engine.registry.client import Client
    from support.servers import Registry

CONTENT = os.urandom(250_000)
BLOB = Descriptor(media_types.OCI_LAYER, Digest.of(CONTENT), len(CONTENT))
HEAD = Step("HEAD", f"/v2/a/blobs/{BLOB.digest}", 404)
UPLOADS = "/v2/a/blobs/uploads/"
CLOSED = f"digest=sha256%3A{BLOB.digest.encoded}"


@pytest.fixture(autouse=True)
def reduced_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reduce the chunk size, so that a small blob has several chunks."""
    monkeypatch.setattr(chunked_upload, "CHUNK_SIZE", 100_000)
    monkeypatch.setattr(chunked_upload, "_MIN_CHUNK_SIZE", 20_000)


def make_post_step(name: str, **headers: str) -> Step:
    header_values = {key.replace("_", "-"): value for key, value in headers.items()}
    return Step("POST", UPLOADS, 202, {"Location": f"{UPLOADS}{name}", **header_values})


def make_patch_step(name: str, to: str, end: int | None, status: int = 202) -> Step:
    headers = {"Location": f"{UPLOADS}{to}?state={to}"} if to else {}
    if end is not None:
        headers["Range"] = f"0-{end}"
    return Step("PATCH", f"{UPLOADS}{name}", status, headers)


def upload(client: Client, server: ScriptedServer) -> str:
    return client.upload_blob(Reference.parse(f"{server.host}/a"), BLOB, lambda: io.BytesIO(CONTENT))


def list_ranges(server: ScriptedServer) -> list[str]:
    return [seen.headers["Content-Range"] for seen in server.requests if seen.method == "PATCH"]


def read_uploaded(server: ScriptedServer) -> bytes:
    return b"".join(seen.body for seen in server.requests if seen.method == "PATCH")


@pytest.mark.parametrize("status", [413, 416])
def test_a_blob_rejected_as_too_large_is_sent_in_chunks(client: Client, status: int) -> None:
    with ScriptedServer(
        HEAD,
        make_post_step("one"),
        Step("PUT", f"{UPLOADS}one", status),
        make_post_step("two"),
        make_patch_step("two", "three", 99_999),
        make_patch_step("three", "four", None),
        make_patch_step("four", "", 249_999),
        Step("PUT", f"{UPLOADS}four?state=four&{CLOSED}", 201),
    ) as server:
        assert upload(client, server) == "sent"
    assert read_uploaded(server) == CONTENT
    assert list_ranges(server) == ["0-99999", "100000-199999", "200000-249999"]
    assert server.requests[-1].body == b""


def test_chunks_that_are_too_large_are_halved(client: Client) -> None:
    with ScriptedServer(
        HEAD,
        make_post_step("one"),
        Step("PUT", f"{UPLOADS}one", 413),
        make_post_step("two"),
        make_patch_step("two", "", None, 413),
        make_patch_step("two", "", None, 413),
        *[make_patch_step("two", "", None)] * 10,
        Step("PUT", f"{UPLOADS}two?{CLOSED}", 201),
    ) as server:
        assert upload(client, server) == "sent"
    assert list_ranges(server)[:4] == ["0-99999", "0-49999", "0-24999", "25000-49999"]


def test_no_chunk_is_smaller_than_the_minimum_of_the_registry(client: Client) -> None:
    with (
        ScriptedServer(
            HEAD,
            make_post_step("one"),
            Step("PUT", f"{UPLOADS}one", 413),
            make_post_step("two", OCI_Chunk_Min_Length="120000"),
            make_patch_step("two", "", None, 413),
        ) as server,
        pytest.raises(RegistryError) as caught,
    ):
        upload(client, server)
    assert list_ranges(server) == ["0-119999"]
    assert (caught.value.code, caught.value.status) == ("too-large", 413)
    assert caught.value.hints


def test_an_upload_continues_after_a_lost_response(client: Client) -> None:
    where = Step("GET", f"{UPLOADS}two", 204, {"Location": f"{UPLOADS}three", "Range": "0-59999"})
    with ScriptedServer(
        HEAD,
        make_post_step("one"),
        Step("PUT", f"{UPLOADS}one", 413),
        make_post_step("two"),
        Step("PATCH", f"{UPLOADS}two", cut=True),
        make_patch_step("two", "", None, 416),
        where,
        make_patch_step("three", "", 99_999),
        make_patch_step("three", "", None),
        make_patch_step("three", "", None),
        Step("PUT", f"{UPLOADS}three?{CLOSED}", 201),
    ) as server:
        assert upload(client, server) == "sent"
    assert list_ranges(server) == ["0-99999", "0-99999", "60000-99999", "100000-199999", "200000-249999"]


@pytest.mark.parametrize("range_header", ["0-300000", "5-9", ""])
def test_a_registry_with_an_invalid_offset_is_given_up(client: Client, range_header: str) -> None:
    with (
        ScriptedServer(
            HEAD,
            make_post_step("one"),
            Step("PUT", f"{UPLOADS}one", 413),
            make_post_step("two"),
            make_patch_step("two", "", None, 416),
            Step("GET", f"{UPLOADS}two", 204, {"Range": range_header}),
        ) as server,
        pytest.raises(RegistryError) as caught,
    ):
        upload(client, server)
    assert (caught.value.status, caught.value.host) == (416, server.host)


def test_a_registry_that_rejects_every_chunk_is_given_up(connect: Callable[..., Client]) -> None:
    with (
        ScriptedServer(
            HEAD,
            make_post_step("one"),
            Step("PUT", f"{UPLOADS}one", 413),
            make_post_step("two"),
            make_patch_step("two", "", None, 416),
            Step("GET", f"{UPLOADS}two", 204, {"Range": "0-0"}),
            make_patch_step("two", "", None, 416),
        ) as server,
        pytest.raises(RegistryError),
    ):
        upload(connect(), server)


def test_a_blob_shorter_than_its_size(client: Client) -> None:
    lying = BLOB.replace(size=len(CONTENT) + 5)
    with ScriptedServer(
        HEAD,
        make_post_step("one"),
        Step("PUT", f"{UPLOADS}one", 413),
        make_post_step("two"),
        *[make_patch_step("two", "", None)] * 2,
        any_order=True,
    ) as server:
        name = Reference.parse(f"{server.host}/a")
        with pytest.raises(DigestMismatch, match="should have 250005"):
            client.upload_blob(name, lying, lambda: io.BytesIO(CONTENT))


def test_a_real_registry_accepts_chunks(connect: Callable[..., Client], registry: Registry) -> None:
    """A proxy in front of the registry refuses requests of more than 30 kB."""
    source_store, there, client = sample_images.MemoryStore(), sample_images.MemoryStore(), connect()
    manifest = sample_images.add_image(source_store, layers=2)
    name = Reference.parse(f"{registry.host}/chunked/{uuid.uuid4().hex[:8]}:1")
    with FaultProxy(registry.host) as proxy:
        proxy.max_body_size = 30_000
        push(client, name.replace(registry=proxy.host), manifest, source_store, NullProgress())
        assert proxy.count_requests("PATCH ") >= 20
    pull(client, name, None, there, NullProgress())
    assert there.blobs == source_store.blobs


def test_a_chunk_whose_response_is_lost(connect: Callable[..., Client], registry: Registry) -> None:
    source_store, there, client = sample_images.MemoryStore(), sample_images.MemoryStore(), connect()
    manifest = sample_images.add_image(source_store, layers=1)
    name = Reference.parse(f"{registry.host}/chunked/{uuid.uuid4().hex[:8]}:1")
    lost: list[int] = []

    def once(reply: Reply) -> None:
        lost.append(reply.status)
        reply.reset_at = 0

    with FaultProxy(registry.host, Fault("PATCH ", 1, after=1, change=once)) as proxy:
        proxy.max_body_size = 200_000  # enough for the config, but not for the layer
        push(client, name.replace(registry=proxy.host), manifest, source_store, NullProgress())
    assert lost == [202]
    pull(client, name, None, there, NullProgress())
    assert there.blobs == source_store.blobs


def test_a_file_rejected_as_too_large_is_sent_in_chunks(
    client: Client, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel sends the file in several parts, and the registry responds before it has all of them."""
    monkeypatch.setattr(chunked_upload, "CHUNK_SIZE", 1 << 20)
    monkeypatch.setattr(request_body, "_SENDFILE_SIZE", 1 << 20)
    content = os.urandom(5_000_000)
    path = tmp_path / "blob"
    path.write_bytes(content)
    blob = Descriptor(media_types.OCI_LAYER, Digest.of(content), len(content))
    name = f"chunks/{uuid.uuid4().hex[:8]}"
    sent: list[int] = []
    with FaultProxy(registry.host) as proxy:
        proxy.max_body_size = 2 << 20
        reference = Reference.parse(f"{proxy.host}/{name}")
        assert client.upload_blob(reference, blob, lambda: path.open("rb"), on_progress=sent.append) == "sent"
        assert proxy.count_requests("PATCH") == 5
    assert sent[-1] == len(content)
    with client.open_blob(Reference.parse(f"{registry.host}/{name}"), blob) as stream:
        got = bytearray(len(content) + 1)
        done = 0
        while count := stream.readinto(memoryview(got)[done:]):
            done += count
    assert got[:done] == content


def test_slowly_accepted_chunks_are_an_error(
    connect: Callable[..., Client], registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_body, "BLOCK_SIZE", 16 << 10)
    monkeypatch.setattr(chunked_upload, "CHUNK_SIZE", 3_000_000)
    content = os.urandom(3_000_000)
    blob = Descriptor(media_types.OCI_LAYER, Digest.of(content), len(content))
    exchange = connect(least_speed=1 << 40, speed_window=1e-9, retries=1, first_wait=0.01).http
    settings = exchange.settings
    name = Reference.parse(f"{registry.host}/chunks/{uuid.uuid4().hex[:8]}")
    opened = BlobUploader(exchange)._open_session(name, blob, None, None, RetryBudget(settings))
    assert opened is not None
    upload = chunked_upload.ChunkedUpload(
        exchange, name, make_push_scope(name.repository), opened, RetryBudget(settings), None
    )
    sending = request_body.BlobBody(
        io.BytesIO(content), blob.size, lambda _: None, None, settings, name.registry, "a blob"
    )
    with pytest.raises(RegistryError) as raised:
        upload.send(sending, lambda address: address)
    assert raised.value.code == "too-slow"
    assert f"{name.registry} receives a blob at " in raised.value.message
    assert "least-speed" in "".join(raised.value.hints)


def test_a_truncated_file_is_an_error(client: Client, registry: Registry, tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(CONTENT[:-1])
    reference = Reference.parse(f"{registry.host}/chunks/{uuid.uuid4().hex[:8]}")
    with pytest.raises(DigestMismatch, match="has 249999 bytes, but should have 250000"):
        client.upload_blob(reference, BLOB, lambda: path.open("rb"))
