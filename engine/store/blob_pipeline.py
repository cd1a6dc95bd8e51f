"""A blob on its way in: read, written, hashed and unpacked at the same time.

The caller's thread reads and writes; hashing and unpacking follow in threads of their own. All of them let go of the
interpreter while they work on a piece, so the slowest alone sets the pace. The pieces go round in a few buffers:
memory stays the same whatever the blob's size.
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
"""Bytes of a piece: large enough that the interpreter does not matter, small enough for the processor's cache."""
BUFFER_COUNT = 6
"""Pieces under way at once, for each blob."""
_WRITE_SIZE = 32 << 10
"""Bytes of one write. The kernel caches a write in blocks as large as it is, and up to eight pages it has blocks at
hand that were in use a moment ago. Larger ones come from further away, on a virtual machine from its host: writing
512 KiB at once costs three times as much."""
_WRITEBACK_SIZE = 8 << 20
"""Bytes after which the system is told to begin writing, so that the last sync finds little left to do."""


class _PipelineStage:
    """Works on pieces in a thread of its own, in order, and hands each buffer on."""

    def __init__(self, work: Callable[[memoryview], None], pass_on: Callable[[tuple[bytearray, int]], None]) -> None:
        self._work = work
        self._pass_on = pass_on
        self._queue: SimpleQueue[tuple[bytearray, int] | None] = SimpleQueue()
        self._ended = allocate_lock()
        self._ended.acquire()
        self.problem: BaseException | None = None
        start_new_thread(self._run, ())

    def put(self, item: tuple[bytearray, int]) -> None:
        """Give the stage a buffer and how much of it is filled."""
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
        """Wait until every piece has been worked on; raise what went wrong."""
        self._queue.put(None)
        self._ended.acquire()
        self._ended.release()


def is_small(descriptor: Descriptor) -> bool:
    """Whether a blob is taken in in one piece, and synced with others."""
    return descriptor.size < CHUNK_SIZE


def write_blob(
    handle: int,
    descriptor: Descriptor,
    meter: LayerMeter | None,
    readinto: Callable[[memoryview], int],
    is_cancelled: Callable[[], bool],
    partial_size: int = 0,
) -> None:
    """Fill the file `handle` from `readinto` until that returns 0. `meter` is fed the same bytes.

    Of a large blob the first bytes may be `there` already: they are read, hashed and unpacked like the others, and
    `readinto` goes on behind them. A large blob is synced at once, while others travel; a `small` one is not.
    Raises `DigestMismatch` when size or digest are not the descriptor's, what the meter raises, and `Interrupted`.
    """
    hasher = descriptor.digest.new_hash()
    if is_small(descriptor):
        _write_small_blob(handle, descriptor, hasher.update, meter, readinto)
    else:
        _write_large_blob(handle, descriptor, hasher.update, meter, readinto, is_cancelled, partial_size)
    if hasher.hexdigest() != descriptor.digest.encoded:
        raise DigestMismatch(
            f"what came for the blob {descriptor.digest} hashes to {hasher.hexdigest()}",
            hints=("nothing of it was kept; try again, and if it stays so the sender's copy is damaged",),
        )


def _write_small_blob(
    handle: int,
    descriptor: Descriptor,
    update: Callable[[memoryview], None],
    meter: LayerMeter | None,
    readinto: Callable[[memoryview], int],
) -> None:
    """Take in a small blob in one piece: threads would cost more than they save."""
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
