"""Writes the bytes of a layer of unknown digest to a file.

A layer that is made here is compressed with gzip, unless its content is compressed already (media, archives, packages):
then gzip would save nothing, and cost most of the time. It is stored as a plain archive, whose digest is its diff ID.
"""

from __future__ import annotations

import os
from contextlib import closing, nullcontext
from hashlib import sha256
from itertools import chain
from queue import SimpleQueue

from imq.engine.layers.compression import estimate_saving, make_compressor
from imq.engine.oci.digest import Digest
from imq.grammar.record import TYPE_CHECKING, Record

from .blob_pipeline import CHUNK_SIZE, BlobWriter, PipelineStage, join_chunks, read_ahead

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from imq.engine.layers.codec import Compressor
    from imq.engine.layers.layer_meter import LayerMeter

    OnGrow = Callable[[int, int], None]
    """Called before bytes are written, with the size of the file after them, and their number; it may raise. The number
    is negative for bytes that are of no more use."""

_LEAST_SAVING = 8
"""A layer is compressed when that saves more than this fraction of it, here an eighth."""


class WrittenLayer(Record):
    """The blob of a layer in a file."""

    compression: str
    """gzip, or "" for a plain archive."""
    size: int
    digest: Digest | None
    """None for a plain archive: it is the diff ID, which its meter has."""


def write_layer(handle: int, pieces: Iterable[bytes | memoryview], on_grow: OnGrow) -> tuple[Digest, int]:
    """Write pieces to an empty file; return their digest and their size in bytes."""
    hasher, size = sha256(), 0
    writer = BlobWriter(handle, 0)
    for chunk in join_chunks(pieces):
        size += len(chunk)
        on_grow(size, len(chunk))
        hasher.update(chunk)
        writer.write(chunk)
    return Digest(f"sha256:{hasher.hexdigest()}"), size


def write_plain_layer(
    pieces: Iterable[bytes | memoryview],
    meter: LayerMeter,
    open_file: Callable[[], int],
    on_grow: OnGrow,
    *,
    in_thread: bool = False,
) -> WrittenLayer:
    """Write a plain archive as a layer, measured by `meter`, to an empty file whose handle `open_file` returns.

    The archive is compressed when that saves more than an eighth of the bytes so far. That may show after some of them
    are written as they are: then a second file is opened, the layer is in it, and the first is of no more use. The
    result depends on nothing but the bytes. `in_thread`: another thread gets the pieces while others are compressed,
    see `read_ahead`.
    """
    chunks = join_chunks(pieces)
    plain = open_file()
    size, rest = _write_incompressible(plain, chunks, meter, on_grow)
    if rest is None:
        return WrittenLayer("", size, None)
    if size:
        on_grow(0, -size)
    archive = chain(_read_chunks(plain, size), (rest,), measure(chunks, meter))
    with closing(read_ahead(archive)) if in_thread else nullcontext(archive) as read:
        packed = _compress(read, make_compressor("gzip"))
        digest, packed_size = write_layer(open_file() if size else plain, packed, on_grow)
    return WrittenLayer("gzip", packed_size, digest)


def measure(chunks: Iterable[bytes | memoryview], meter: LayerMeter) -> Iterator[bytes | memoryview]:
    """Yield the chunks, measured."""
    for chunk in chunks:
        meter.feed(chunk)
        yield chunk


def _write_incompressible(
    handle: int, chunks: Iterable[memoryview], meter: LayerMeter, on_grow: OnGrow
) -> tuple[int, memoryview | None]:
    """Write the chunks of an archive until it shows that compression saves enough; a small one is always compressed.

    Returns the size of the file, and the chunk that is not written; None when all are. Each chunk that was read is
    measured, in a thread of its own while it is written.
    """
    size = saving = 0
    writer = BlobWriter(handle, 0)
    measured: SimpleQueue[object] = SimpleQueue()
    measuring = PipelineStage(meter.feed, measured.put)
    try:
        for chunk in chunks:
            measuring.put((chunk, len(chunk)))
            saving += estimate_saving(chunk)
            is_compressed = saving * _LEAST_SAVING > size + len(chunk) or (not size and len(chunk) < CHUNK_SIZE)
            if not is_compressed:
                on_grow(size + len(chunk), len(chunk))
                writer.write(chunk)
            measured.get()
            if measuring.problem is not None:
                raise measuring.problem
            if is_compressed:
                return size, chunk
            size += len(chunk)
    finally:
        measuring.end()
        writer.end()
    return size, None


def _read_chunks(handle: int, size: int) -> Iterator[bytes]:
    """Yield the first bytes of a file."""
    for start in range(0, size, CHUNK_SIZE):
        yield os.pread(handle, min(CHUNK_SIZE, size - start), start)


def _compress(chunks: Iterable[bytes | memoryview], compressor: Compressor) -> Iterator[bytes | memoryview]:
    for chunk in chunks:
        yield compressor.feed(chunk)
    yield compressor.finish()
