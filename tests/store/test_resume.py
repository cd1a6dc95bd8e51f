"""Pulls that are killed or interrupted within a blob, and the next pulls, which resume."""

from __future__ import annotations

import json
import os
import random
import signal
import time
import uuid
from typing import TYPE_CHECKING

import pytest
from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Descriptor
from imq.engine.store import ingest, partial_blobs
from imq.engine.store.store import Store
from registry.support.fault_proxy import Fault, FaultProxy, reply_with, reset, send_slowly
from store.support.serve_image import serve
from store.support.stores import StoreSession, blobs_in, check_store, imq, start
from support.images import Image, layer
from support.waiting import wait_until

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from support.servers import Registry

BIG = layer({"big": random.Random(5).randbytes(6_000_000)}, "gzip")
IMAGE = Image([layer({"small": b"small" * 100}, "gzip"), BIG])
SIZE = len(BIG.blob)
OTHER = Image([layer({"other": random.Random(6).randbytes(900_000)}, "gzip")])
WHOLE = f"GET .*{BIG.digest}"


@pytest.fixture(scope="module")
def pushed(registry: Registry) -> str:
    """The repository and tag of an image with a large layer."""
    name = f"resume/{uuid.uuid4().hex[:8]}:1"
    serve(registry, name, IMAGE)
    return name


@pytest.fixture
def slow(registry: Registry) -> Iterator[FaultProxy]:
    """A proxy that slows down blobs."""
    with FaultProxy(registry.host, Fault(change=send_slowly(1 << 16, 0.01))) as between:
        yield between


def begun(root: Path) -> dict[str, int]:
    """Return the partial blobs of a store with their sizes."""
    try:
        return {
            entry.name: entry.stat().st_size for entry in os.scandir(root / "ingest") if entry.name.endswith(".part")
        }
    except FileNotFoundError:
        return {}


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def killed(root: Path, name: str, at: int, *words: str) -> int:
    """Pull in a process of its own, kill it after `at` bytes of the layer, and return the number of received bytes."""
    with start(root, *words, "pull", name) as process:
        wait_until(lambda: process.poll() is not None or sum(begun(root).values()) >= at)
        assert process.poll() is None
        kill(process)
    (size,) = begun(root).values()
    return size


def asked(between: FaultProxy) -> list[int]:
    """Return the offset of each request for the large layer."""
    ranges = [passed.headers.get("Range", "bytes=0-") for passed in between.requests if BIG.digest in passed.path]
    return [int(said.removeprefix("bytes=").removesuffix("-")) for said in ranges]


def pulled(root: Path, name: str, *words: str) -> int:
    """Pull, and return the transferred bytes."""
    (outcome,) = json.loads(imq(root, *words, "pull", name, "as", "json").stdout)
    size: int = outcome["size"]
    return size


@pytest.mark.parametrize("verify", ["full", "lazy"])
def test_a_killed_pull_resumes(root: Path, slow: FaultProxy, pushed: str, verify: str) -> None:
    name = f"{slow.host}/{pushed}"
    here = killed(root, name, 2_000_000, "--set", f"verify={verify}")
    imq(root, "images")
    check_store(root)
    slow.faults.clear()
    slow.requests.clear()
    assert pulled(root, name, "--set", f"verify={verify}") <= SIZE - here + 1000, "the rest, and the small layer"
    assert asked(slow) == [here]
    assert begun(root) == {}
    with StoreSession(root) as held:
        assert held.rows("images select size") == [{"size": IMAGE.size}]
        assert held.do("verify all")
    assert set(blobs_in(root)) == set(IMAGE.blobs)


def test_a_pull_may_be_killed_again_and_again(root: Path, slow: FaultProxy, pushed: str) -> None:
    name = f"{slow.host}/{pushed}"
    ends = [killed(root, name, at) for at in (800_000, 2_000_000, 3_500_000)]
    assert ends == sorted(ends)
    slow.faults.clear()
    pulled(root, name)
    assert asked(slow) == [0, *ends], "every byte that came was asked for once"
    with StoreSession(root) as held:
        assert held.do("verify all")


def test_an_interrupted_pull_keeps_the_received_bytes(
    root: Path, registry: Registry, slow: FaultProxy, pushed: str
) -> None:
    name = f"{slow.host}/{pushed}"
    with start(root, "pull", name) as process:
        wait_until(lambda: process.poll() is not None or sum(begun(root).values()) > 500_000)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 130
    (first,) = begun(root).values()
    check_store(root)
    cutting = Fault(on=WHOLE, times=1, change=reset(2_000_000)), Fault(on=WHOLE, after=1, answer=reply_with(404))
    with FaultProxy(registry.host, *cutting) as between:
        imq(root, "pull", f"{between.host}/{pushed}", code=3)
    (second,) = begun(root).values()
    assert first < second
    slow.faults.clear()
    assert pulled(root, name) == SIZE - second


@pytest.mark.parametrize("spoilt", ["first byte", "last byte", "zeros", "longer", "whole, one byte wrong"])
def test_an_invalid_partial_blob_is_fetched_again(root: Path, slow: FaultProxy, pushed: str, spoilt: str) -> None:
    name = f"{slow.host}/{pushed}"
    here = killed(root, name, 1_000_000)
    (path,) = [root / "ingest" / found for found in begun(root)]
    content = bytearray(path.read_bytes())
    if spoilt == "first byte":
        content[0] ^= 1
    elif spoilt == "last byte":
        content[-1] ^= 1
    elif spoilt == "zeros":
        content = bytearray(here)
    elif spoilt == "longer":
        content += bytes(SIZE)
    else:
        content = bytearray(BIG.blob)
        content[SIZE // 2] ^= 1
    path.write_bytes(content)
    slow.faults.clear()
    slow.requests.clear()
    pulled(root, name)
    assert asked(slow)[-1] == 0
    assert len(asked(slow)) <= 2
    with StoreSession(root) as held:
        assert held.do("verify all")
    assert begun(root) == {}


def test_complete_blobs_are_not_requested(root: Path, slow: FaultProxy, pushed: str) -> None:
    name = f"{slow.host}/{pushed}"
    killed(root, name, 1_000_000)
    (path,) = [root / "ingest" / found for found in begun(root)]
    path.write_bytes(BIG.blob)
    slow.requests.clear()
    assert pulled(root, name) < 1000
    assert asked(slow) == []


def test_a_partial_blob_in_use_is_not_written_by_another_process(
    root: Path, registry: Registry, slow: FaultProxy, pushed: str
) -> None:
    name = f"{slow.host}/{pushed}"
    here = killed(root, name, 1_000_000)
    slow.faults[0].change = send_slowly(1 << 13, 0.02)
    with start(root, "pull", name) as process:  # it goes on with the partial, slowly
        wait_until(lambda: sum(begun(root).values()) > here)
        with FaultProxy(registry.host) as quick:
            pulled(root, f"{quick.host}/{pushed}")
            assert asked(quick) == [0]
        imq(root, "prune")
        assert len(begun(root)) == 1, "prune takes nothing from whoever is at work"
        assert process.poll() is None
        kill(process)
    slow.faults.clear()
    slow.requests.clear()
    pulled(root, name)
    assert asked(slow) == [], "it is here"
    imq(root, "prune")
    assert begun(root) == {}


def test_unused_partial_blobs_are_removed_by_prune_by_age_and_for_space(
    root: Path, registry: Registry, slow: FaultProxy, pushed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"{slow.host}/{pushed}"
    other = serve(registry, f"{pushed.partition(':')[0]}-other:1", OTHER)
    here = killed(root, name, 500_000)
    with StoreSession(root) as held:
        held.do(f"pull {other}")
        held.do(f"tag {other} as other:1")
        assert len(begun(root)) == 1, "a later pull may resume it"
        (collected,) = [row for row in held.do("prune") if row["action"] == "collect"]
        assert begun(root) == {}
        assert collected["size"] >= here
        assert "partial downloads" in collected["note"]
        killed(root, name, 500_000)
        (path,) = [root / "ingest" / found for found in begun(root)]
        old = time.time() - partial_blobs.MAX_AGE - 60
        os.utime(path, (old, old))
        held.do(f"untag {other}")
        assert begun(root) == {}
        killed(root, name, 500_000)
        held.do("rm all images")
        assert len(begun(root)) == 1
        with monkeypatch.context() as patched:
            patched.setattr(ingest, "get_free_space", lambda _: (len(OTHER.layers[0].blob), 4096))
            held.do(f"pull {other}")
        assert begun(root) == {}


def test_the_largest_partial_blob_is_resumed(root: Path) -> None:
    store = Store(os.fspath(root))
    digest = Digest.of(b"x" * 2_000_000)
    with store.start_ingest():
        for number, size in enumerate((700_000, 900_000, 0, 3_000_000, 800_000)):
            with open(root / "ingest" / f"sha256-{digest.encoded}.{number}.part", "wb") as target:
                target.write(b"x" * size)
    with store.start_ingest() as bringing:
        descriptor = Descriptor("application/octet-stream", digest, 2_000_000)
        bringing.reserve([descriptor])
        assert bringing.partial_size(descriptor) == bringing.partial_size(descriptor) == 900_000
        assert list(begun(root).values()) == [900_000]
        left = memoryview(b"x" * 1_100_000)

        def readinto(view: memoryview) -> int:
            nonlocal left
            count = min(len(view), len(left))
            view[:count], left = left[:count], left[count:]
            return count

        bringing.receive_blob(descriptor, None, readinto, lambda: False, 900_000)
    assert blobs_in(root) == {digest: 2_000_000}
    with store.start_transaction() as change:
        change.add_unnamed(Descriptor("application/octet-stream", digest, 2_000_000), 1)
    store.close()
