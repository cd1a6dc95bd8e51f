"""Tables of contents of layers: what is read equals what was written, or is an error, whatever is damaged."""

from __future__ import annotations

import json
import random
import tarfile
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from imq.engine.layer_index.scan import scan_entries
from imq.engine.layers.table_of_contents import (
    MergedRanges,
    TableLocation,
    TableOfContents,
    find_table,
    parse_table,
    read_table,
)
from imq.engine.oci.digest import Digest
from imq.grammar.errors import DigestMismatch, Malformed
from support.chunked import ChunkedLayer, make_estargz, make_zstd_chunked, member

if TYPE_CHECKING:
    from collections.abc import Iterator

NOISE = random.Random(5)
MEMBERS = [
    member("usr", kind=tarfile.DIRTYPE),
    *(member(f"usr/{name}", NOISE.randbytes(30_000)) for name in range(10)),
    member("usr/large", NOISE.randbytes(100_000)),
    member("usr/link", kind=tarfile.LNKTYPE, linkname="usr/large"),
    member("usr/zeros", bytes(50_000)),
]
EXPECTED = {info.name: content for info, content in MEMBERS if content}
LAYERS = {"estargz": make_estargz(MEMBERS, 32_768), "zstd:chunked": make_zstd_chunked(MEMBERS, 32_768)}


def locate(layer: ChunkedLayer) -> TableLocation:
    location = find_table(layer.annotations, len(layer.blob))
    assert location is not None
    return location


def read_all(table: TableOfContents, blob: bytes, step: int = 1000) -> dict[str, bytes]:
    def read(start: int, end: int) -> Iterator[bytes]:
        yield from (blob[at : min(at + step, end)] for at in range(start, end, step))

    return {
        path: b"".join(
            bytes(piece) for chunk in table.list_chunks(path) for piece in table.read_chunk(path, chunk, read)
        )
        for path in EXPECTED
    }


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
@pytest.mark.parametrize("step", [1, 1000, 1 << 20])
def test_contents_equal_what_was_written(layer: ChunkedLayer, step: int) -> None:
    table = read_table(locate(layer), lambda start, end: [layer.blob[start:end]])
    assert table is not None
    assert [entry.path for entry in table.entries][: len(MEMBERS)] == [info.name for info, _ in MEMBERS]
    assert read_all(table, layer.blob, step) == EXPECTED
    assert table.list_chunks("/usr/link") == table.list_chunks("usr/large")
    for path in ("usr", "nothing", ""):
        with pytest.raises(Malformed):
            table.list_chunks(path)


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_changed_byte_is_an_error_or_changes_nothing(layer: ChunkedLayer, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(layer.blob) - 1) | st.integers(layer.table_at - 50, len(layer.blob) - 1))
    changed = bytearray(layer.blob)
    changed[at] ^= data.draw(st.integers(1, 255))
    blob = bytes(changed)
    found: object
    try:
        table = read_table(locate(layer), lambda start, end: [blob[start:end]])
        found = table and read_all(table, blob)
    except (DigestMismatch, Malformed) as error:
        found = "byte" in error.message
    assert found in (EXPECTED, True)


_KEYS = (
    "name", "size", "mode", "uid", "gid", "modtime", "linkName", "xattrs", "offset", "chunkOffset", "chunkSize",
    "chunkDigest", "digest", "devMajor", "chunkType",
)  # fmt: skip
_VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just({}) | st.just([])
_ENTRIES = st.lists(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["reg", "dir", "chunk", "hardlink", "symlink", "char", "x"]) | _VALUES},
        optional=dict.fromkeys(_KEYS, _VALUES),
    )
    | _VALUES
)  # fmt: skip


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_ENTRIES)
@example([{"type": "dir", "name": "a", "uid": 1 << 70}])
@example([{"type": "dir", "name": "\ud800"}])
@example([{"type": "reg", "name": "a\0b"}])
@example([{"type": "reg", "name": "a", "size": 1e300}])
def test_any_json_is_a_table_or_an_error(tmp_path_factory: pytest.TempPathFactory, entries: list[Any]) -> None:
    location = TableLocation(Digest.of(b"table"), "gzip", 1 << 20)
    path = tmp_path_factory.mktemp("table") / "scan"
    try:
        table = parse_table(json.dumps({"version": 1, "entries": entries}).encode(), location, 1000, ())
        scan_entries(table.entries, str(path), location.digest)
    except Malformed:
        pass


_USELESS = (
    "", "1", "1:2:3", "1:2:3:2", "1::3:1", ":::", "²:1:1:1", "-1:2:3:1", "9" * 40 + ":1:1:1", "999999999:5:5:1",
    "1:0:0:1",
)  # fmt: skip


@pytest.mark.parametrize("place", _USELESS)
def test_annotations_of_no_use(place: str) -> None:
    annotations = {
        "io.github.containers.zstd-chunked.manifest-checksum": Digest.of(b""),
        "io.github.containers.zstd-chunked.manifest-position": place,
    }
    assert find_table(annotations, 1 << 20) is None
    assert find_table({"containerd.io/snapshot/stargz/toc.digest": "sha256:1"}, 1 << 20) is None
    assert find_table(LAYERS["estargz"].annotations, 1000) is None, "a small layer is read as a whole"


@given(st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 100)), max_size=20), st.integers(1, 70))
def test_merged_ranges_are_the_ranges(pairs: list[tuple[int, int]], step: int) -> None:
    content = bytes(at * 7 % 256 for at in range(3000))
    requests = []

    def read(start: int, end: int) -> Iterator[bytes]:
        requests.append((start, end))
        yield from (content[at : min(at + step, end)] for at in range(start, end, step))

    ranges = sorted((start, start + size) for start, size in pairs)
    merged = MergedRanges(read, ranges)
    for start, end in ranges:
        assert b"".join(map(bytes, merged.read(start, end))) == content[start:end]
    distinct = {pair for pair in ranges if pair[0] < pair[1]}
    ascending = all(before[1] <= after[0] for before, after in pairwise(ranges))
    assert not distinct or not ascending or len(requests) == 1
