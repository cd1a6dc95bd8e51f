"""Writes a blob to a file while it is hashed and decompressed.

The caller's thread reads and writes. Hashing and decompression run in threads of their own. All of them release the
interpreter lock while they work on a chunk, so the slowest alone limits the speed. Chunks reuse a few buffers: memory
use does not depend on the size of the blob.
"""

from __future__ import annotations

import os
from _thread import allocate_lock, start_new_thread
from queue import SimpleQueue

from imq.grammar.errors import DigestMismatch, Interrupted
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from imq.engine.layers.layer_meter import LayerMeter
    from imq.engine.oci.manifest import Descriptor

CHUNK_SIZE = 512 << 10
"""Bytes of a chunk: large enough that the interpreter's overhead is negligible, small enough for the CPU cache."""
BUFFER_COUNT = 6
"""Chunks in the pipeline of one blob at the same time."""
_WRITE_SIZE = 32 << 10
"""Bytes of one write. The kernel caches a write in memory blocks of its size. Blocks of up to eight pages are taken
from recently used memory; larger ones are allocated anew, on a virtual machine by its host. A write of 512 KiB costs
three times as much."""
_WRITEBACK_SIZE = 8 << 20
"""Bytes after which the kernel is advised to start writing to disk, so that the final sync is short."""


class _PipelineStage:
    """Processes chunks in a thread of its own, in order, and passes each buffer on."""

    def __init__(self, work: Callable[[memoryview], None], pass_on: Callable[[tuple[bytearray, int]], None]) -> None:
        self._work = work
        self._pass_on = pass_on
        self._queue: SimpleQueue[tuple[bytearray, int] | None] = SimpleQueue()
        self._ended = allocate_lock()
        self._ended.acquire()
        self.problem: BaseException | None = None
        start_new_thread(self._run, ())

    def put(self, item: tuple[bytearray, int]) -> None:
        """Queue a buffer and the number of bytes in it."""
        self._queue.put(item)

    def _run(self) -> None:
        try:
            while (item := self._queue.get()) is not None:
                if self.problem is None:
                    buffer, count = item
                    try:
                        self._work(memoryview(buffer)[:count])
                    except BaseException as problem:  # noqa: BLE001 - raised again in the thread that reads
                        self.problem = problem
                self._pass_on(item)
        finally:
            self._ended.release()

    def end(self) -> None:
        """Wait until every chunk has been processed. Errors are in `problem`."""
        self._queue.put(None)
        self._ended.acquire()
        self._ended.release()


def is_small(descriptor: Descriptor) -> bool:
    """Whether a blob is written in one piece, and synced together with others."""
    return descriptor.size < CHUNK_SIZE


def write_blob(
    handle: int,
    descriptor: Descriptor,
    meter: LayerMeter | None,
    readinto: Callable[[memoryview], int],
    is_cancelled: Callable[[], bool],
    partial_size: int = 0,
) -> None:
    """Fill the file `handle` from `readinto` until it returns 0, and feed the same bytes to `meter`.

    The file of a large blob may have its first `partial_size` bytes already. They are read, hashed and decompressed
    like the others, and `readinto` continues after them. A large blob is synced here, a small one is not.
    Raises `DigestMismatch` when size or digest differ from the descriptor, errors of the meter, and `Interrupted`.
    """
    hasher = descriptor.digest.new_hash()
    if is_small(descriptor):
        _write_small_blob(handle, descriptor, hasher.update, meter, readinto)
    else:
        _write_large_blob(handle, descriptor, hasher.update, meter, readinto, is_cancelled, partial_size)
    if hasher.hexdigest() != descriptor.digest.encoded:
        raise DigestMismatch(
            f"the content received for the blob {descriptor.digest} hashes to {hasher.hexdigest()}",
            hints=("nothing was stored; try again, and if this error repeats, the sender's copy is damaged",),
        )


def _write_small_blob(
    handle: int,
    descriptor: Descriptor,
    update: Callable[[memoryview], None],
    meter: LayerMeter | None,
    readinto: Callable[[memoryview], int],
) -> None:
    """Write a small blob in one piece: threads would cost more than they save."""
    buffer = memoryview(bytearray(descriptor.size + 1))
    size = 0
    while size <= descriptor.size and (count := readinto(buffer[size:])) > 0:
        size += count
    _check_size(descriptor, size, at_end=True)
    update(buffer[:size])
    if meter is not None:
        meter.feed(buffer[:size])
    _write(handle, buffer[:size])


def _write_large_blob(
    handle: int,
    descriptor: Descriptor,
    update: Callable[[memoryview], None],
    meter: LayerMeter | None,
    readinto: Callable[[memoryview], int],
    is_cancelled: Callable[[], bool],
    partial_size: int,
) -> None:
    free_buffers: SimpleQueue[tuple[bytearray, int]] = SimpleQueue()
    for _ in range(BUFFER_COUNT):
        free_buffers.put((bytearray(CHUNK_SIZE), 0))
    unpacking = _PipelineStage(meter.feed, free_buffers.put) if meter is not None else None
    hashing = _PipelineStage(update, unpacking.put if unpacking is not None else free_buffers.put)
    stages = [stage for stage in (hashing, unpacking) if stage is not None]
    try:
        size, writeback_offset = 0, partial_size
        os.lseek(handle, partial_size, os.SEEK_SET)
        while not any(stage.problem for stage in stages):
            if is_cancelled():
                raise Interrupted("stopped")
            buffer, _ = free_buffers.get()
            view = memoryview(buffer)
            is_partial = size < partial_size
            count = os.preadv(handle, [view[: partial_size - size]], size) if is_partial else readinto(view)
            if count <= 0:
                break
            size += count
            _check_size(descriptor, size, at_end=False)
            hashing.put((buffer, count))
            if is_partial:
                continue
            _write(handle, view[:count])
            if size - writeback_offset >= _WRITEBACK_SIZE:
                os.posix_fadvise(handle, writeback_offset, size - writeback_offset, os.POSIX_FADV_DONTNEED)
                writeback_offset = size
        else:
            count = 0
        os.fsync(handle)
    finally:
        for stage in stages:
            stage.end()
    for stage in stages:
        if stage.problem is not None:
            raise stage.problem
    _check_size(descriptor, size, at_end=True)


def _write(handle: int, chunk: memoryview) -> None:
    while chunk:
        chunk = chunk[os.write(handle, chunk[:_WRITE_SIZE]) :]


def _check_size(descriptor: Descriptor, size: int, *, at_end: bool) -> None:
    if size > descriptor.size:
        raise DigestMismatch(f"the blob {descriptor.digest} is longer than the {descriptor.size} bytes it should have")
    if at_end and size < descriptor.size:
        raise DigestMismatch(f"the blob {descriptor.digest} has {size} bytes instead of {descriptor.size}")
