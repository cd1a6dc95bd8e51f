"""Large blobs are written in full chunks past the page cache, and otherwise through it; the bytes are the same."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import time
from typing import TYPE_CHECKING

import pytest
from imq.engine.oci.digest import Digest
from imq.engine.oci.manifest import Descriptor
from imq.engine.store import blob_pipeline
from imq.engine.store.blob_pipeline import CHUNK_SIZE, write_blob
from imq.grammar.errors import DigestMismatch, Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CONTENT = b"".join(hashlib.sha256(number.to_bytes(4)).digest() for number in range(4 * CHUNK_SIZE // 32)) + b"the end"
BLOB = Descriptor("", Digest.of(CONTENT), len(CONTENT))
FULL = CHUNK_SIZE

SHORT_READS = {
    "full chunks": [],
    "one short chunk": [1000],
    "short chunks": [FULL, FULL - 1, 1, 70_000],
    "a short chunk at the end": [FULL, FULL, FULL, FULL - 5],
}
"""The sizes of the first reads; the following ones are full."""


class Writes:
    """The sizes of the writes with and without O_DIRECT."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, failure: OSError | None = None, short: int = 0) -> None:
        self.direct: list[int] = []
        self.buffered = 0
        write = os.write

        def note(handle: int, data: memoryview) -> int:
            if not fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_DIRECT:
                self.buffered += len(data)
                return write(handle, data)
            self.direct.append(len(data))
            if failure is not None:
                raise failure
            return write(handle, data[:short] if short else data)

        monkeypatch.setattr(blob_pipeline.os, "write", note)


def make_reader(content: bytes, sizes: list[int]) -> Callable[[memoryview], int]:
    remaining, first = memoryview(content), iter(sizes)

    def readinto(view: memoryview) -> int:
        nonlocal remaining
        count = min(next(first, len(view)), len(view), len(remaining))
        view[:count] = remaining[:count]
        remaining = remaining[count:]
        return count

    return readinto


def store(
    path: Path, sizes: list[int], *, present: int = 0, hashes_inline: bool = False, content: bytes = CONTENT
) -> bytes:
    path.write_bytes(content[:present])
    handle = os.open(path, os.O_RDWR)
    try:
        reader = make_reader(content[present:], sizes)
        write_blob(handle, BLOB, None, reader, lambda: False, present, hashes_inline=hashes_inline)
    finally:
        os.close(handle)
    return path.read_bytes()


def supports_direct(folder: Path) -> bool:
    try:
        os.close(os.open(folder / "probe", os.O_WRONLY | os.O_CREAT | os.O_DIRECT))
    except OSError:
        return False
    return True


@pytest.mark.parametrize("hashes_inline", [True, False], ids=["inline", "thread"])
@pytest.mark.parametrize("present", [0, 1, 5000, FULL, 2 * FULL + 512, len(CONTENT)])
@pytest.mark.parametrize("reads", SHORT_READS)
def test_the_bytes_are_stored(tmp_path: Path, reads: str, present: int, hashes_inline: bool) -> None:
    assert store(tmp_path / "blob", SHORT_READS[reads], present=present, hashes_inline=hashes_inline) == CONTENT


def test_full_chunks_bypass_the_page_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a short chunk, only the rest of that chunk is copied to the page cache."""
    if not supports_direct(tmp_path):
        pytest.skip("the file system has no O_DIRECT")
    writes = Writes(monkeypatch)
    assert store(tmp_path / "blob", [FULL, 1000]) == CONTENT
    assert (writes.direct, writes.buffered) == ([FULL] * 3, FULL + len(b"the end"))


@pytest.mark.parametrize("short", [4096, FULL // 2])
def test_a_short_direct_write_is_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short: int) -> None:
    if not supports_direct(tmp_path):
        pytest.skip("the file system has no O_DIRECT")
    writes = Writes(monkeypatch, short=short)
    assert store(tmp_path / "blob", []) == CONTENT
    assert writes.direct == [FULL] * 4


def test_a_file_system_without_direct_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some refuse the flag, and some refuse only the write."""
    if supports_direct(tmp_path):
        writes = Writes(monkeypatch, OSError(errno.EINVAL, "Invalid argument"))
        assert store(tmp_path / "blob", []) == CONTENT
        assert (writes.direct, writes.buffered) == ([FULL], len(CONTENT))
    writes = Writes(monkeypatch)
    control = fcntl.fcntl

    def refuse(handle: int, command: int, argument: int = 0) -> int:
        if command == fcntl.F_SETFL and argument & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return control(handle, command, argument)

    monkeypatch.setattr(blob_pipeline.fcntl, "fcntl", refuse)
    assert store(tmp_path / "blob", []) == CONTENT
    assert (writes.direct, writes.buffered) == ([], len(CONTENT))


def test_other_failures_of_a_direct_write_are_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not supports_direct(tmp_path):
        pytest.skip("the file system has no O_DIRECT")
    Writes(monkeypatch, OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(OSError, match="No space left"):
        store(tmp_path / "blob", [])


@pytest.mark.parametrize("hashes_inline", [True, False], ids=["inline", "thread"])
def test_wrong_bytes_are_refused(tmp_path: Path, hashes_inline: bool) -> None:
    for content in (CONTENT[:-1] + b"?", CONTENT[:-1], CONTENT + b"!"):
        with pytest.raises(DigestMismatch):
            store(tmp_path / "blob", [], content=content, hashes_inline=hashes_inline)


@pytest.mark.parametrize("hashes_inline", [True, False], ids=["inline", "thread"])
def test_a_cancelled_transfer_stops(tmp_path: Path, hashes_inline: bool) -> None:
    handle = os.open(tmp_path / "blob", os.O_RDWR | os.O_CREAT)
    try:
        with pytest.raises(Interrupted):
            write_blob(handle, BLOB, None, make_reader(CONTENT, []), lambda: True, hashes_inline=hashes_inline)
    finally:
        os.close(handle)


# Chunks read ahead


def test_chunks_are_read_ahead_in_order() -> None:
    chunks = [bytes([number]) * 10 for number in range(50)]
    assert list(blob_pipeline.read_ahead(iter(chunks))) == chunks
    assert list(blob_pipeline.read_ahead(iter(()))) == []


def test_an_error_while_chunks_are_read_ahead_is_raised_in_its_place() -> None:
    def read() -> Iterator[bytes]:
        yield b"one"
        yield b"two"
        raise Interrupted("stopped")

    received = []
    with pytest.raises(Interrupted, match="stopped"):
        received += blob_pipeline.read_ahead(read())
    chunks = blob_pipeline.read_ahead(read())
    assert [next(chunks), next(chunks)] == [b"one", b"two"]
    with pytest.raises(Interrupted):
        next(chunks)


def test_no_thread_reads_ahead_after_the_generator_is_closed() -> None:
    count = 0

    def read() -> Iterator[bytes]:
        nonlocal count
        while True:
            count += 1
            yield b"chunk"

    chunks = blob_pipeline.read_ahead(read())
    assert next(chunks) == b"chunk"
    chunks.close()
    last = count
    assert last <= blob_pipeline.BUFFER_COUNT + 2
    time.sleep(0.02)
    assert count == last
