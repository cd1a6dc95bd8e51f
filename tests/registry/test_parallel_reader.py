"""Blobs over several connections, from registries that give each of them only so much; and connections that drip."""

from __future__ import annotations

import io
import os
import re
import uuid
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from imq.engine.oci import media_types
from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Descriptor
from imq.engine.oci.reference import Reference
from imq.engine.registry.http import request_body
from imq.engine.registry.transfer import parallel_reader
from imq.grammar.errors import Interrupted, RegistryError
from registry.support import fault_proxy
from registry.support.fault_proxy import Fault, Proxy, Reply
from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from imq.engine.registry.client import Client
    from imq.engine.registry.transfer.parallel_reader import ParallelReader
    from support.servers import Registry

KIB = 1 << 10
CONTENT = os.urandom(1500 * KIB)
BLOB = Descriptor(media_types.OCI_LAYER, Digest.of(CONTENT), len(CONTENT))
GET = "GET .*/blobs/"
SLOW = Fault(GET, change=fault_proxy.dripping(16 * KIB, 0.01))
"""1.6 MB a second for each connection."""


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have parts that make several of a small blob."""
    monkeypatch.setattr(parallel_reader, "RANGE_SIZE", 128 * KIB)
    monkeypatch.setattr(parallel_reader, "MIN_REMAINING", 512 * KIB)
    monkeypatch.setattr(parallel_reader, "MEASURE_SECONDS", 0.05)


@pytest.fixture(scope="module")
def kept(registry: Registry) -> Reference:
    """A repository that has the blob."""
    from imq.engine.registry.client import Client
    from imq.engine.registry.settings import Settings

    name = Reference.parse(f"{registry.host}/ranges/{uuid.uuid4().hex[:8]}")
    with Client(Settings()) as direct:
        direct.upload_blob(name, BLOB, lambda: io.BytesIO(CONTENT))
    return name


@pytest.fixture
def between(kept: Reference) -> Iterator[Proxy]:
    with Proxy(kept.registry) as standing:
        yield standing


def impatient(connect: Callable[..., Client], **more: object) -> Client:
    return connect(retries=2, first_wait=0.005, longest_wait=1.0, **more)


def fetched(client: Client, name: Reference, host: str, offset: int = 0) -> bytes:
    got = bytearray()
    view = memoryview(bytearray(100 * KIB))
    with client.open_blob(name.replace(registry=host), BLOB, offset) as stream:
        while count := stream.readinto(view):
            got += view[:count]
    return bytes(got)


def asked(between: Proxy) -> list[str]:
    """The ranges that were asked for, "" for all."""
    return [request.headers.get("Range", "") for request in between.requests if re.match(GET, f"GET {request.path}")]


def _read_on(stream: ParallelReader, view: memoryview) -> None:
    while stream.readinto(view):
        pass


def lanes(client: Client) -> int:
    """The connections that are still counted, once the threads have ended."""
    until(lambda: not client._connections._in_use)
    return client._connections._in_use


def _as_whole(reply: Reply) -> None:
    """Answer as a server does that ignores ranges."""
    reply.status = 200
    reply.headers.pop("Content-Range", None)
    reply.body = CONTENT


def _broken(reply: Reply) -> None:
    """Break off within a whole part, and not within what is left of one."""
    if len(reply.body) == parallel_reader.RANGE_SIZE:
        reply.reset_at = 100 * KIB


@pytest.mark.parametrize("offset", [0, 200_001])
def test_a_slow_blob_comes_in_parts(
    connect: Callable[..., Client],
    kept: Reference,
    between: Proxy,
    monkeypatch: pytest.MonkeyPatch,
    offset: int,
) -> None:
    hired: list[str] = []
    hire = parallel_reader.RangeFetcher.add_worker
    monkeypatch.setattr(parallel_reader.RangeFetcher, "add_worker", lambda parts: (hired.append("one"), hire(parts)))
    between.faults.append(SLOW)
    client = impatient(connect, jobs=4)
    assert fetched(client, kept, between.host, offset) == CONTENT[offset:]
    assert len(hired) == 4, "as many connections as there may be, the first given up for the last"
    first, *parts = asked(between)
    assert first == ("" if not offset else f"bytes={offset}-")
    spans = sorted(tuple(int(number) for number in part.removeprefix("bytes=").split("-")) for part in parts)
    assert len(spans) >= 4
    assert all(after[0] == before[1] + 1 for before, after in pairwise(spans)), "each byte once"
    assert spans[-1][1] == len(CONTENT) - 1
    assert lanes(client) == 0


def test_a_fast_blob_comes_whole(
    connect: Callable[..., Client], kept: Reference, between: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel_reader, "FAST_SPEED", 500_000)
    between.faults.append(SLOW)
    assert fetched(impatient(connect), kept, between.host) == CONTENT
    assert asked(between) == [""]


def test_other_blobs_go_first(connect: Callable[..., Client], kept: Reference, between: Proxy) -> None:
    between.faults.append(SLOW)
    client = impatient(connect, jobs=2)
    with client.open_blob(kept, BLOB):
        assert fetched(client, kept, between.host) == CONTENT
        assert asked(between) == [""], "there is no connection to spare"
    assert lanes(client) == 0


def test_a_connection_that_another_blob_needs_is_given_back() -> None:
    shared = parallel_reader.ConnectionBudget(2)
    shared.acquire()
    assert shared.try_acquire()
    assert not shared.try_acquire()
    assert not shared.is_exceeded
    shared.acquire()
    assert shared.is_exceeded
    shared.release()
    assert not shared.is_exceeded


@pytest.mark.parametrize(
    "change",
    [
        _as_whole,
        lambda reply: reply.headers.update({"Content-Range": "bytes 1000000-1000099/1536000"}),
        lambda reply: reply.headers.pop("Content-Range", None),
    ],
    ids=["whole", "another", "unsaid"],
)
def test_a_registry_without_ranges_is_left_alone(
    connect: Callable[..., Client], kept: Reference, between: Proxy, change: Callable[[Reply], None]
) -> None:
    between.faults += [SLOW, Fault(GET, change=change, after=1)]
    client = impatient(connect)
    assert fetched(client, kept, between.host) == CONTENT
    assert len(asked(between)) == 2, "the first connection goes on, after one question"
    assert lanes(client) == 0


def test_a_registry_that_gives_no_more_parts_is_read_over_one_connection(
    connect: Callable[..., Client], kept: Reference, between: Proxy
) -> None:
    between.faults += [SLOW, Fault(GET, change=_as_whole, after=4)]
    client = impatient(connect)
    assert fetched(client, kept, between.host) == CONTENT
    assert lanes(client) == 0


def test_parts_that_cannot_be_had_at_first_do_not_matter(
    connect: Callable[..., Client], kept: Reference, between: Proxy
) -> None:
    between.faults += [SLOW, Fault(GET, answer=fault_proxy.status(503), after=1)]
    client = impatient(connect)
    assert fetched(client, kept, between.host) == CONTENT
    assert lanes(client) == 0


def test_each_part_is_taken_up_again(connect: Callable[..., Client], kept: Reference, between: Proxy) -> None:
    between.faults += [SLOW, Fault(GET, change=_broken, after=1)]
    client = impatient(connect)
    assert fetched(client, kept, between.host) == CONTENT
    parts = [part for part in asked(between) if part]
    assert len(parts) > len(CONTENT) / parallel_reader.RANGE_SIZE, "each breaks once"
    assert lanes(client) == 0


def test_a_part_that_never_comes_is_told(connect: Callable[..., Client], kept: Reference, between: Proxy) -> None:
    between.faults += [SLOW, Fault(GET, change=fault_proxy.reset(0), after=4)]
    client = impatient(connect)
    with pytest.raises(RegistryError) as raised:
        fetched(client, kept, between.host)
    assert raised.value.code == "unreachable"
    assert between.host in raised.value.message
    assert lanes(client) == 0


def test_parts_end_with_the_download(connect: Callable[..., Client], kept: Reference, between: Proxy) -> None:
    between.faults.append(SLOW)
    client = impatient(connect)
    view = memoryview(bytearray(64 * KIB))
    with client.open_blob(kept.replace(registry=between.host), BLOB) as stream:
        done = 0
        while done < 700 * KIB:
            done += stream.readinto(view)
        assert len(asked(between)) > 2
        stream.abort()
        with pytest.raises(Interrupted):
            _read_on(stream, view)
    assert lanes(client) == 0


@pytest.mark.parametrize("times", [1, None], ids=["once", "always"])
def test_a_blob_that_drips_is_asked_for_again(
    connect: Callable[..., Client], kept: Reference, between: Proxy, times: int | None
) -> None:
    between.faults.append(Fault(GET, times=times, change=fault_proxy.dripping(100, 0.05)))
    client = impatient(connect, jobs=1, least_speed=10_000, speed_window=0.3, read_timeout=5.0)
    if times:
        assert fetched(client, kept, between.host) == CONTENT
        assert len(asked(between)) == 2
        assert re.fullmatch(r"bytes=[1-9][0-9]+-", asked(between)[1]), "what has come is kept"
        return
    with pytest.raises(RegistryError) as raised:
        fetched(client, kept, between.host)
    problem = raised.value
    assert problem.code == "too-slow"
    told = rf"{between.host} sends blob {BLOB.digest.short} of \S+ at [\d,]+ bytes a second; the minimum is 10,000"
    assert re.fullmatch(told, problem.message), problem.message
    assert any("least-speed" in hint for hint in problem.hints)
    assert len(asked(between)) == 2, "a stalled transfer is retried once"


def test_slow_is_allowed(connect: Callable[..., Client], kept: Reference, between: Proxy) -> None:
    between.faults.append(Fault(GET, change=fault_proxy.dripping(64 * KIB, 0.02)))
    assert fetched(impatient(connect, jobs=1, least_speed=0, speed_window=0.1), kept, between.host) == CONTENT
    assert asked(between) == [""]


def test_a_manifest_that_drips_is_told(connect: Callable[..., Client], kept: Reference, between: Proxy) -> None:
    page = fault_proxy.status(200, b" " * 100_000, Content_Type=media_types.OCI_MANIFEST)
    between.faults.append(Fault("GET .*/manifests/", answer=page, change=fault_proxy.dripping(10, 0.02)))
    client = impatient(connect, least_speed=10_000, speed_window=0.1)
    with pytest.raises(RegistryError) as raised:
        client.fetch_manifest(kept.replace(registry=between.host, tag="1"))
    assert raised.value.code == "too-slow"
    assert between.count("GET .*/manifests/") == 2


def test_an_upload_that_is_hardly_taken_is_told(
    connect: Callable[..., Client], kept: Reference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a file, which the kernel sends, and from memory."""
    monkeypatch.setattr(request_body, "BLOCK_SIZE", 16 * KIB)
    content = os.urandom(30_000_000)
    path = tmp_path / "blob"
    path.write_bytes(content)
    blob = Descriptor(media_types.OCI_LAYER, Digest.of(content), len(content))
    client = impatient(connect, least_speed=1 << 40, speed_window=1e-9)
    with pytest.raises(RegistryError) as raised:
        client.upload_blob(kept, blob, lambda: path.open("rb"))
    assert raised.value.code == "too-slow"
    assert f"{kept.registry} receives blob {blob.digest.short}" in raised.value.message
    with pytest.raises(RegistryError) as raised:
        client.upload_blob(kept, blob, lambda: io.BytesIO(content))
    assert raised.value.code == "too-slow"
