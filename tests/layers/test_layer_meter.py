"""The layer meter: correct for every compression and chunk size, bounded for bombs, without leaked threads."""

from __future__ import annotations

import gzip
import hashlib
import io
import itertools
import random
import resource
import tarfile
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from imq.engine.layers.layer_meter import LayerMeter, LayerSummary
from imq.engine.layers.layer_reader import LayerLimits
from imq.engine.layers.tar_walker import TarLimits
from imq.engine.layers.zstd import zstd
from imq.grammar.errors import Malformed
from isal import isal_zlib

PACKERS = {
    "": lambda data: data,
    "gzip": lambda data: gzip.compress(data, 1),
    "zstd": zstd.compress,
}


def archive(sizes: list[int]) -> bytes:
    noise = random.Random(3)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as opened:
        for number, size in enumerate(sizes):
            info = tarfile.TarInfo(f"directory/file-{number}")
            info.size = size
            opened.addfile(info, io.BytesIO(noise.randbytes(size // 2) + bytes(size - size // 2)))
    return stream.getvalue()


SMALL = archive([0, 1, 511, 512, 513, 10_000])
LARGE = archive([0, 5_000_000, 17, 300_000, 1_000_001])


def measured(data: bytes) -> LayerSummary:
    with tarfile.open(fileobj=io.BytesIO(data)) as opened:
        members = opened.getmembers()
    digest = hashlib.sha256(data).hexdigest()
    return LayerSummary(f"sha256:{digest}", sum(member.size for member in members), len(data), len(members))


def measure(kind: str, packed: bytes, chunk: int = 1 << 18, **options: object) -> LayerSummary:
    with LayerMeter(kind, **options) as meter:
        for start in range(0, len(packed), chunk):
            meter.feed(memoryview(packed)[start : start + chunk])
        return meter.finish()


def refusal(kind: str, packed: bytes, **options: object) -> str:
    threads = threading.active_count()
    with pytest.raises(Malformed) as caught:
        measure(kind, packed, **options)
    assert threading.active_count() == threads
    return caught.value.code


@pytest.mark.parametrize("kind", PACKERS)
@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("chunk", [999, 1 << 16, 1 << 24])
def test_the_measures_match_the_decompressed_layer(kind, data, chunk):
    assert measure(kind, PACKERS[kind](data), chunk) == measured(data)


@pytest.mark.parametrize("kind", PACKERS)
@given(cuts=st.lists(st.integers(0, 15_000), max_size=5))
def test_any_split_gives_the_same(kind, cuts):
    packed = PACKERS[kind](SMALL)
    edges = [0, *sorted(min(cut, len(packed)) for cut in cuts), len(packed)]
    meter = LayerMeter(kind)
    for start, end in itertools.pairwise(edges):
        meter.feed(packed[start:end])
    assert meter.finish() == measured(SMALL)


@pytest.mark.parametrize("kind", PACKERS)
def test_the_buffer_may_be_reused(kind):
    packed = PACKERS[kind](LARGE)
    buffer = bytearray(64 * 1024)
    meter = LayerMeter(kind)
    stream = io.BytesIO(packed)
    while count := stream.readinto(buffer):
        meter.feed(memoryview(buffer)[:count])
        buffer[:] = bytes(len(buffer))
    assert meter.finish() == measured(LARGE)


def test_a_plain_layer_can_share_the_hash_of_its_blob():
    shared = hashlib.sha256()
    meter = LayerMeter("", blob_hash=shared)
    for start in range(0, len(SMALL), 1000):
        shared.update(SMALL[start : start + 1000])
        meter.feed(SMALL[start : start + 1000])
    assert meter.finish() == measured(SMALL)


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_a_compressed_layer_does_not_use_the_hash_of_its_blob(kind):
    shared = hashlib.sha256(b"the packed bytes")
    assert measure(kind, PACKERS[kind](SMALL), blob_hash=shared) == measured(SMALL)
    assert shared.digest() == hashlib.sha256(b"the packed bytes").digest()


@pytest.mark.parametrize("kind", PACKERS)
def test_diff_ids_in_sha512(kind):
    found = measure(kind, PACKERS[kind](SMALL), diff_algorithm="sha512")
    assert found.diff_id == "sha512:" + hashlib.sha512(SMALL).hexdigest()


def test_entries_are_described_on_demand():
    paths: list[str] = []
    measure("gzip", PACKERS["gzip"](SMALL), on_entry=lambda entry: paths.append(entry.path))
    assert paths == [f"directory/file-{number}" for number in range(6)]


@pytest.mark.parametrize(
    ("kind", "packed", "code"),
    [
        ("gzip", PACKERS["gzip"](LARGE)[:-1], "truncated"),
        ("zstd", PACKERS["zstd"](LARGE)[:-1], "truncated"),
        ("gzip", PACKERS["gzip"](LARGE)[:3_000_000], "truncated"),
        ("gzip", PACKERS["gzip"](LARGE[:3_000_000]), "archive"),
        ("", LARGE[:3_000_000], "archive"),
        ("gzip", PACKERS["gzip"](LARGE) + b"garbage", "compression"),
        ("gzip", LARGE, "compression"),
        ("zstd", PACKERS["gzip"](LARGE), "compression"),
        ("", PACKERS["gzip"](LARGE), "archive"),
        ("gzip", PACKERS["gzip"](b"\x01" * 4_000_000), "archive"),
        ("gzip", PACKERS["gzip"](LARGE[:-10240] + b"\x01" * 512), "archive"),
    ],
)
def test_incomplete_layers_are_rejected(kind, packed, code):
    assert refusal(kind, packed) == code


@pytest.mark.parametrize("kind", PACKERS)
def test_limits(kind):
    packed = PACKERS[kind](LARGE)
    assert refusal(kind, packed, limits=LayerLimits(max_bytes=len(LARGE) - 1)) == "bomb"
    measure(kind, packed, limits=LayerLimits(max_bytes=len(LARGE)))
    assert refusal(kind, packed, limits=LayerLimits(archive=TarLimits(max_entries=4))) == "bomb"


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_a_bomb_is_refused_for_its_ratio_in_bounded_memory(kind):
    """A file of 1 GiB of zeros: accepted by default, rejected with a lower limit."""
    info = tarfile.TarInfo("zeros")
    info.size = 1 << 30
    zeros = bytes(1 << 20)
    packer = isal_zlib.compressobj(1, wbits=31) if kind == "gzip" else zstd.ZstdCompressor(level=1)
    parts = [packer.compress(info.tobuf())] + [packer.compress(zeros) for _ in range(1024)]
    packed = b"".join((*parts, packer.compress(bytes(10240)), packer.flush()))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = measure(kind, packed, 1 << 24)
    assert (found.size, found.entries, found.tar_size) == (1 << 30, 1, (1 << 30) + 512 + 10240)
    assert refusal(kind, packed, limits=LayerLimits(max_ratio=100, ratio_threshold=1 << 24)) == "bomb"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 << 10  # KiB


def test_closing_early_ends_the_thread():
    threads = threading.active_count()
    with LayerMeter("gzip") as meter:
        meter.feed(PACKERS["gzip"](LARGE)[:4_000_000])
        assert threading.active_count() == threads + 1
    assert threading.active_count() == threads
    meter.close()


@pytest.mark.parametrize("kind", PACKERS)
def test_one_thread_gives_the_same(kind):
    threads = threading.active_count()
    packed = PACKERS[kind](LARGE)
    with LayerMeter(kind, hashes_inline=True) as meter:
        for start in range(0, len(packed), 1 << 18):
            meter.feed(packed[start : start + (1 << 18)])
            assert threading.active_count() == threads
        assert meter.finish() == measured(LARGE)
