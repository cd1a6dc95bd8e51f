"""Decompressors read streams of other tools: intact, concatenated, padded, truncated and corrupt."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import itertools
import lzma
import random
import resource
import subprocess
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from imq.engine.layers.codec import MAX_PIECE
from imq.engine.layers.compression import detect_compression, make_compressor, make_decompressor
from imq.engine.layers.zstd import zstd
from imq.grammar.errors import Malformed
from isal import isal_zlib
from support.servers import require_programs

KINDS = ("", "gzip", "zstd", "bzip2", "xz")
NOISE = random.Random(1).randbytes(40_000)
TEXT = b"".join(b"line %d of a file that packs well\n" % i for i in range(30_000)) + NOISE


def pack(kind: str, data: bytes) -> bytes:
    match kind:
        case "gzip":
            return gzip.compress(data)
        case "zstd":
            return zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1})
        case "bzip2":
            return bz2.compress(data)
        case "xz":
            return lzma.compress(data)
    return data


def unpack(kind: str, packed: bytes, chunk: int = 1 << 20) -> bytes:
    unpacker = make_decompressor(kind)
    out = b"".join(
        bytes(piece)
        for start in range(0, len(packed), chunk)
        for piece in unpacker.feed(memoryview(packed)[start : start + chunk])
    )
    unpacker.finish()
    return out


def refusal(kind: str, packed: bytes, chunk: int = 1 << 20) -> str:
    with pytest.raises(Malformed) as caught:
        unpack(kind, packed, chunk)
    return caught.value.code


def skippable(content: bytes) -> bytes:
    return b"\x5a\x2a\x4d\x18" + len(content).to_bytes(4, "little") + content


def gzip_with_every_field(data: bytes) -> bytes:
    head = b"\x1f\x8b\x08" + bytes([2 | 4 | 8 | 16]) + b"\x01\x02\x03\x04\x00\x03"
    head += b"\x05\x00" + b"extra" + b"name.tar\x00" + b"a comment\x00"
    head += (zlib.crc32(head) & 0xFFFF).to_bytes(2, "little")
    return head + gzip.compress(data)[10:]


def estargz_footer() -> bytes:
    extra = b"SG" + (22).to_bytes(2, "little") + b"%016xSTARGZ" % 12345
    return b"\x1f\x8b\x08\x04" + bytes(6) + len(extra).to_bytes(2, "little") + extra + gzip.compress(b"")[10:]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chunk", [1, 7, 4096, 1 << 20])
def test_round_trip_in_chunks_of_any_size(kind, chunk):
    data = TEXT[-50_000:] if chunk < 100 else TEXT
    assert unpack(kind, pack(kind, data), chunk) == data


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.binary(max_size=5000), cuts=st.lists(st.integers(0, 6000), max_size=6))
def test_any_split_gives_the_same(kind, data, cuts):
    packed = pack(kind, data)
    edges = [0, *sorted(min(cut, len(packed)) for cut in cuts), len(packed)]
    unpacker = make_decompressor(kind)
    out = b""
    for start, end in itertools.pairwise(edges):
        out += b"".join(map(bytes, unpacker.feed(packed[start:end])))
    unpacker.finish()
    assert out == data


@pytest.mark.parametrize("kind", ["gzip", "zstd", "bzip2", "xz"])
@pytest.mark.parametrize("chunk", [1, 13, 1 << 20])
def test_members_are_concatenated_and_may_be_empty(kind, chunk):
    parts = [b"", b"one", b"", b"", TEXT[-3000:], b"last", b""]
    assert unpack(kind, b"".join(pack(kind, part) for part in parts), chunk) == b"".join(parts)


@pytest.mark.parametrize("chunk", [1, 5, 1 << 20])
def test_gzip_headers_with_every_field_and_estargz(chunk):
    packed = gzip_with_every_field(b"one") + b"".join(gzip.compress(b"%d" % i) for i in range(400)) + estargz_footer()
    assert unpack("gzip", packed, chunk) == b"one" + b"".join(b"%d" % i for i in range(400))


@pytest.mark.parametrize("kind", ["gzip", "bzip2", "xz"])
@pytest.mark.parametrize("chunk", [1, 512, 1 << 20])
def test_zeros_after_the_last_member_are_padding(kind, chunk):
    assert unpack(kind, pack(kind, b"data") + bytes(5000), chunk) == b"data"


@pytest.mark.parametrize("chunk", [1, 3, 1 << 20])
def test_skippable_zstd_frames_are_skipped(chunk):
    parameter = zstd.CompressionParameter
    plain = zstd.compress(b"two", options={parameter.checksum_flag: 0, parameter.content_size_flag: 0})
    stream = zstd.ZstdCompressor(level=1)
    unsized = stream.compress(TEXT[-9000:]) + stream.flush()
    packed = (
        skippable(b"")
        + pack("zstd", b"one")
        + skippable(b"\x28\xb5\x2f\xfd" * 40)
        + plain
        + unsized
        + skippable(bytes(300))
    )
    assert unpack("zstd", packed, chunk) == b"onetwo" + TEXT[-9000:]


@pytest.mark.parametrize("chunk", [1, 5, 1 << 20])
def test_skippable_frames_alone_are_truncated(chunk):
    assert refusal("zstd", skippable(b"note"), chunk) == "truncated"
    assert refusal("zstd", skippable(b"") + skippable(b"note"), chunk) == "truncated"
    assert refusal("zstd", pack("zstd", b"data") + skippable(b"note")[:-1], chunk) == "truncated"


@pytest.mark.parametrize("chunk", [1, 512, 1 << 20])
def test_zeros_after_the_last_zstd_frame_are_refused(chunk):
    assert refusal("zstd", pack("zstd", b"data") + bytes(5000), chunk) == "compression"


@pytest.mark.parametrize("arguments", [["-1"], ["-19"], ["--long=27", "--no-check"], ["--fast=5"]])
def test_streams_of_the_zstd_tool_are_decompressed(arguments):
    require_programs("zstd")
    packed = subprocess.run(["zstd", "-q", "-c", *arguments], input=TEXT * 3, capture_output=True, check=True).stdout
    assert unpack("zstd", packed, 10_000) == TEXT * 3


@pytest.mark.parametrize("kind", ["gzip", "zstd", "bzip2", "xz"])
def test_a_truncated_stream_is_rejected(kind):
    packed = pack(kind, TEXT[-5000:])
    for length in {0, 1, 3, 9, len(packed) // 2, len(packed) - 8, len(packed) - 4, len(packed) - 1}:
        assert refusal(kind, packed[:length]) == "truncated"
    cut_in_second = packed + packed[:-1]
    assert refusal(kind, cut_in_second, 100) == "truncated"


@pytest.mark.parametrize("kind", ["gzip", "zstd", "bzip2", "xz"])
@pytest.mark.parametrize("garbage", [b"garbage!", b"\x00\x00 and more", b"<html>"])
@pytest.mark.parametrize("chunk", [1, 1 << 20])
def test_garbage_before_or_after_a_stream_is_rejected(kind, garbage, chunk):
    assert refusal(kind, pack(kind, b"data") + garbage, chunk) == "compression"
    assert refusal(kind, garbage, chunk) == "compression"


def test_a_wrong_checksum_is_rejected():
    packed = gzip.compress(TEXT)
    for offset in (-8, -5, -4, -1):
        damaged = bytearray(packed)
        damaged[offset] ^= 1
        assert refusal("gzip", bytes(damaged)) == "compression"
    damaged = bytearray(pack("zstd", TEXT))
    damaged[-1] ^= 1
    assert refusal("zstd", bytes(damaged)) == "compression"


@pytest.mark.parametrize("kind", ["gzip", "zstd", "bzip2", "xz"])
@given(st.data())
def test_damage_raises_only_malformed(kind, data):
    packed = bytearray(pack(kind, TEXT[-2000:]))
    for _ in range(data.draw(st.integers(1, 4))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(Malformed):  # damage may go unseen where nothing checks it, as in gzip's time
        unpack(kind, bytes(packed), data.draw(st.sampled_from([1, 50, 5000])))


@pytest.mark.parametrize("kind", ["gzip", "zstd", "xz", "bzip2"])
def test_a_bomb_is_decompressed_in_small_pieces(kind):
    size = 1 << 30 if kind in ("gzip", "zstd") else 64 << 20
    packed = io.BytesIO()
    packer = {
        "gzip": lambda: isal_zlib.compressobj(1, wbits=31),
        "zstd": lambda: zstd.ZstdCompressor(level=1),
        "xz": lambda: lzma.LZMACompressor(preset=1),
        "bzip2": lambda: bz2.BZ2Compressor(1),
    }[kind]()
    zeros = bytes(1 << 20)
    for _ in range(size >> 20):
        packed.write(packer.compress(zeros))
    packed.write(packer.flush())
    stream = packed.getvalue()
    del zeros, packed
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tracemalloc.start()
    unpacker = make_decompressor(kind)
    total = 0
    for piece in unpacker.feed(stream):
        assert len(piece) <= MAX_PIECE
        total += len(piece)
    unpacker.finish()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == size
    assert peak < 8 << 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB


def test_an_oversized_zstd_window_is_rejected():
    packer = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 30})
    packed = packer.compress(b"small") + packer.flush()
    assert refusal("zstd", packed) == "compression"


def test_plain_chunks_are_not_copied():
    chunk = memoryview(b"content")
    (piece,) = make_decompressor("").feed(chunk)
    assert piece is chunk
    assert list(make_decompressor("").feed(b"")) == []


@pytest.mark.parametrize("kind", KINDS)
def test_every_supported_compression_is_detected(kind):
    assert detect_compression(pack(kind, b"data")[:6]) == kind


def test_detection_of_a_skippable_frame_and_of_no_compression():
    assert detect_compression(skippable(b"")[:6]) == "zstd"
    assert detect_compression(b"") == ""
    assert detect_compression(b"\x1f\x8b") == ""


def test_an_unknown_compression_is_rejected():
    with pytest.raises(Malformed, match="lz4") as caught:
        make_decompressor("lz4")
    assert caught.value.code == "compression"


@pytest.mark.parametrize("kind", ["", "gzip", "zstd"])
def test_compression_is_deterministic_and_reversible(kind):
    def run(chunk: int) -> bytes:
        packer = make_compressor(kind)
        parts = [bytes(packer.feed(TEXT[start : start + chunk])) for start in range(0, len(TEXT), chunk)]
        return b"".join((*parts, packer.finish()))

    packed = run(100_000)
    assert packed == run(100_000)
    assert unpack(kind, packed) == TEXT
    if kind == "gzip":
        assert packed[:3] == b"\x1f\x8b\x08"
        assert packed[3:8] == bytes(5)  # no flags, so no name; no time
        assert gzip.decompress(packed) == TEXT


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 400_000), st.integers(0, 9)), max_size=5),
    st.lists(st.integers(0, 2_000_000), max_size=4),
)
def test_gzip_of_packed_files_is_that_of_their_bytes(parts, cuts):
    """Pieces that get no smaller are stored; where they begin depends on no cut, and other programs read them."""
    data = b"".join(
        random.Random(seed).randbytes(size) if is_packed else (b"%d packs well" % seed * size)[:size]
        for is_packed, size, seed in parts
    )
    ends = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    packed = []
    for pieces in ([data], [data[start:end] for start, end in itertools.pairwise(ends)]):
        packer = make_compressor("gzip")
        packed.append(b"".join([*(packer.feed(piece) for piece in pieces), packer.finish()]))
    assert packed[0] == packed[1]
    assert gzip.decompress(packed[0]) == data
    reader = zlib.decompressobj(31)
    assert reader.decompress(packed[0]) == data
    assert (reader.eof, reader.unused_data) == (True, b"")
    assert b"".join(make_decompressor("gzip").feed(packed[0])) == data


def test_gzip_stores_what_does_not_pack_and_packs_the_rest_as_before():
    noise = random.Random(2).randbytes(1 << 20)
    packer = make_compressor("gzip")
    packed = packer.feed(noise) + packer.finish()
    assert noise[:60_000] in packed
    assert len(packed) < len(noise) * 1.001
    packer = make_compressor("gzip")
    library = isal_zlib.compressobj(2, isal_zlib.DEFLATED, 31)
    assert packer.feed(TEXT) + packer.finish() == library.compress(TEXT) + library.flush()
