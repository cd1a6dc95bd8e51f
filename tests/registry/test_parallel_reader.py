"""Blobs over several connections, from registries that limit the speed of each; and stalled connections."""

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
from registry.support.fault_proxy import Fault, FaultProxy, Reply
from support.waiting import wait_until

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
SLOW = Fault(GET, change=fault_proxy.send_slowly(16 * KIB, 0.01))
"""1.6 MB a second for each connection."""


@pytest.fixture(autouse=True)
def reduced_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reduce the range size, so that a small blob has several ranges."""
    monkeypatch.setattr(parallel_reader, "RANGE_SIZE", 128 * KIB)
    monkeypatch.setattr(parallel_reader, "MIN_REMAINING", 512 * KIB)
    monkeypatch.setattr(parallel_reader, "MEASURE_SECONDS", 0.05)


@pytest.fixture(scope="module")
def repository(registry: Registry) -> Reference:
    """A repository that has the blob."""
    from imq.engine.registry.client import Client
    from imq.engine.registry.settings import Settings

    name = Reference.parse(f"{registry.host}/ranges/{uuid.uuid4().hex[:8]}")
    with Client(Settings()) as direct:
        direct.upload_blob(name, BLOB, lambda: io.BytesIO(CONTENT))
    return name


@pytest.fixture
def proxy(repository: Reference) -> Iterator[FaultProxy]:
    with FaultProxy(repository.registry) as standing:
        yield standing


def connect_impatiently(connect: Callable[..., Client], **more: object) -> Client:
    return connect(retries=2, first_wait=0.005, longest_wait=1.0, **more)


def fetch_blob(client: Client, name: Reference, host: str, offset: int = 0) -> bytes:
    got = bytearray()
    view = memoryview(bytearray(100 * KIB))
    with client.open_blob(name.replace(registry=host), BLOB, offset) as stream:
        while count := stream.readinto(view):
            got += view[:count]
    return bytes(got)


def list_ranges(proxy: FaultProxy) -> list[str]:
    """Return the requested ranges; "" for a request without a range."""
    return [request.headers.get("Range", "") for request in proxy.requests if re.match(GET, f"GET {request.path}")]


def _read_to_end(stream: ParallelReader, view: memoryview) -> None:
    while stream.readinto(view):
        pass


def count_connections(client: Client) -> int:
    """Return the number of connections in use after the threads have ended."""
    wait_until(lambda: not client._connections._in_use)
    return client._connections._in_use


def _ignore_range(reply: Reply) -> None:
    """Change a reply to that of a server that ignores ranges."""
    reply.status = 200
    reply.headers.pop("Content-Range", None)
    reply.body = CONTENT


def _reset_full_range(reply: Reply) -> None:
    """Break the connection within a complete range, but not within the rest of one."""
    if len(reply.body) == parallel_reader.RANGE_SIZE:
        reply.reset_at = 100 * KIB


@pytest.mark.parametrize("offset", [0, 200_001])
def test_a_slow_blob_is_read_in_parallel(
    connect: Callable[..., Client],
    repository: Reference,
    proxy: FaultProxy,
    monkeypatch: pytest.MonkeyPatch,
    offset: int,
) -> None:
    hired: list[str] = []
    hire = parallel_reader.RangeFetcher.add_worker
    monkeypatch.setattr(parallel_reader.RangeFetcher, "add_worker", lambda parts: (hired.append("one"), hire(parts)))
    proxy.faults.append(SLOW)
    client = connect_impatiently(connect, jobs=4)
    assert fetch_blob(client, repository, proxy.host, offset) == CONTENT[offset:]
    assert len(hired) == 4, "as many connections as there may be, the first given up for the last"
    first, *parts = list_ranges(proxy)
    assert first == ("" if not offset else f"bytes={offset}-")
    spans = sorted(tuple(int(number) for number in part.removeprefix("bytes=").split("-")) for part in parts)
    assert len(spans) >= 4
    assert all(after[0] == before[1] + 1 for before, after in pairwise(spans)), "each byte once"
    assert spans[-1][1] == len(CONTENT) - 1
    assert count_connections(client) == 0


def test_a_fast_blob_uses_one_connection(
    connect: Callable[..., Client], repository: Reference, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel_reader, "FAST_SPEED", 500_000)
    proxy.faults.append(SLOW)
    assert fetch_blob(connect_impatiently(connect), repository, proxy.host) == CONTENT
    assert list_ranges(proxy) == [""]


def test_other_blobs_take_precedence_over_parallel_ranges(
    connect: Callable[..., Client], repository: Reference, proxy: FaultProxy
) -> None:
    proxy.faults.append(SLOW)
    client = connect_impatiently(connect, jobs=2)
    with client.open_blob(repository, BLOB):
        assert fetch_blob(client, repository, proxy.host) == CONTENT
        assert list_ranges(proxy) == [""], "no connection is free"
    assert count_connections(client) == 0


def test_a_connection_needed_by_another_blob_is_released() -> None:
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
        _ignore_range,
        lambda reply: reply.headers.update({"Content-Range": "bytes 1000000-1000099/1536000"}),
        lambda reply: reply.headers.pop("Content-Range", None),
    ],
    ids=["whole", "another", "unsaid"],
)
def test_a_registry_without_ranges_uses_one_connection(
    connect: Callable[..., Client], repository: Reference, proxy: FaultProxy, change: Callable[[Reply], None]
) -> None:
    proxy.faults += [SLOW, Fault(GET, change=change, after=1)]
    client = connect_impatiently(connect)
    assert fetch_blob(client, repository, proxy.host) == CONTENT
    assert len(list_ranges(proxy)) == 2, "the first connection goes on, after one question"
    assert count_connections(client) == 0


def test_a_registry_that_stops_serving_ranges_is_read_over_one_connection(
    connect: Callable[..., Client], repository: Reference, proxy: FaultProxy
) -> None:
    proxy.faults += [SLOW, Fault(GET, change=_ignore_range, after=4)]
    client = connect_impatiently(connect)
    assert fetch_blob(client, repository, proxy.host) == CONTENT
    assert count_connections(client) == 0


def test_ranges_that_fail_at_first_are_retried(
    connect: Callable[..., Client], repository: Reference, proxy: FaultProxy
) -> None:
    proxy.faults += [SLOW, Fault(GET, answer=fault_proxy.reply_with(503), after=1)]
    client = connect_impatiently(connect)
    assert fetch_blob(client, repository, proxy.host) == CONTENT
    assert count_connections(client) == 0


def test_each_range_is_resumed(connect: Callable[..., Client], repository: Reference, proxy: FaultProxy) -> None:
    proxy.faults += [SLOW, Fault(GET, change=_reset_full_range, after=1)]
    client = connect_impatiently(connect)
    assert fetch_blob(client, repository, proxy.host) == CONTENT
    parts = [part for part in list_ranges(proxy) if part]
    assert len(parts) > len(CONTENT) / parallel_reader.RANGE_SIZE, "each range breaks once"
    assert count_connections(client) == 0


def test_a_range_that_never_arrives_is_an_error(
    connect: Callable[..., Client], repository: Reference, proxy: FaultProxy
) -> None:
    proxy.faults += [SLOW, Fault(GET, change=fault_proxy.reset(0), after=4)]
    client = connect_impatiently(connect)
    with pytest.raises(RegistryError) as raised:
        fetch_blob(client, repository, proxy.host)
    assert raised.value.code == "unreachable"
    assert proxy.host in raised.value.message
    assert count_connections(client) == 0


def test_workers_end_with_the_download(
    connect: Callable[..., Client], repository: Reference, proxy: FaultProxy
) -> None:
    proxy.faults.append(SLOW)
    client = connect_impatiently(connect)
    view = memoryview(bytearray(64 * KIB))
    with client.open_blob(repository.replace(registry=proxy.host), BLOB) as stream:
        done = 0
        while done < 700 * KIB:
            done += stream.readinto(view)
        assert len(list_ranges(proxy)) > 2
        stream.abort()
        with pytest.raises(Interrupted):
            _read_to_end(stream, view)
    assert count_connections(client) == 0


@pytest.mark.parametrize("times", [1, None], ids=["once", "always"])
def test_a_stalled_blob_is_requested_again(
    connect: Callable[..., Client], repository: Reference, proxy: FaultProxy, times: int | None
) -> None:
    proxy.faults.append(Fault(GET, times=times, change=fault_proxy.send_slowly(100, 0.05)))
    client = connect_impatiently(connect, jobs=1, least_speed=10_000, speed_window=0.3, read_timeout=5.0)
    if times:
        assert fetch_blob(client, repository, proxy.host) == CONTENT
        assert len(list_ranges(proxy)) == 2
        assert re.fullmatch(r"bytes=[1-9][0-9]+-", list_ranges(proxy)[1]), "received bytes are kept"
        return
    with pytest.raises(RegistryError) as raised:
        fetch_blob(client, repository, proxy.host)
    problem = raised.value
    assert problem.code == "too-slow"
    pattern = rf"{proxy.host} sends blob {BLOB.digest.short} of \S+ at [\d,]+ bytes a second; the minimum is 10,000"
    assert re.fullmatch(pattern, problem.message), problem.message
    assert any("least-speed" in hint for hint in problem.hints)
    assert len(list_ranges(proxy)) == 2, "a stalled transfer is retried once"


def test_a_slow_transfer_is_allowed_without_a_minimum_speed(
    connect: Callable[..., Client], repository: Reference, proxy: FaultProxy
) -> None:
    proxy.faults.append(Fault(GET, change=fault_proxy.send_slowly(64 * KIB, 0.02)))
    assert (
        fetch_blob(connect_impatiently(connect, jobs=1, least_speed=0, speed_window=0.1), repository, proxy.host)
        == CONTENT
    )
    assert list_ranges(proxy) == [""]


def test_a_stalled_manifest_is_an_error(
    connect: Callable[..., Client], repository: Reference, proxy: FaultProxy
) -> None:
    page = fault_proxy.reply_with(200, b" " * 100_000, Content_Type=media_types.OCI_MANIFEST)
    proxy.faults.append(Fault("GET .*/manifests/", answer=page, change=fault_proxy.send_slowly(10, 0.02)))
    client = connect_impatiently(connect, least_speed=10_000, speed_window=0.1)
    with pytest.raises(RegistryError) as raised:
        client.fetch_manifest(repository.replace(registry=proxy.host, tag="1"))
    assert raised.value.code == "too-slow"
    assert proxy.count_requests("GET .*/manifests/") == 2


def test_a_slowly_accepted_upload_is_an_error(
    connect: Callable[..., Client], repository: Reference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a file, which the kernel sends, and from memory."""
    monkeypatch.setattr(request_body, "BLOCK_SIZE", 16 * KIB)
    content = os.urandom(30_000_000)
    path = tmp_path / "blob"
    path.write_bytes(content)
    blob = Descriptor(media_types.OCI_LAYER, Digest.of(content), len(content))
    client = connect_impatiently(connect, least_speed=1 << 40, speed_window=1e-9)
    with pytest.raises(RegistryError) as raised:
        client.upload_blob(repository, blob, lambda: path.open("rb"))
    assert raised.value.code == "too-slow"
    assert f"{repository.registry} receives blob {blob.digest.short}" in raised.value.message
    with pytest.raises(RegistryError) as raised:
        client.upload_blob(repository, blob, lambda: io.BytesIO(content))
    assert raised.value.code == "too-slow"
