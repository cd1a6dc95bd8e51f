"""Writes a blob to a file while it is hashed and decompressed.

The caller's thread reads and writes. Decompression runs in a thread of its own; so does hashing, unless other blobs
keep the processors busy. All of them release the interpreter lock while they work on a chunk, so the slowest alone
limits the speed. Chunks reuse a few buffers: memory use does not depend on the size of the blob.

Full chunks are written with O_DIRECT where the file system supports it. That takes a quarter of the processor time,
because the kernel does not copy them to the page cache.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from _thread import allocate_lock, start_new_thread
from queue import SimpleQueue

from imq.grammar.errors import DigestMismatch, Interrupted
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from imq.engine.layers.layer_meter import LayerMeter
    from imq.engine.oci.manifest import Descriptor

CHUNK_SIZE = 1 << 20
"""Bytes of a chunk: large enough that the interpreter's overhead is negligible, small enough for the CPU cache.
A multiple of every block size, as O_DIRECT requires of offsets and lengths."""
BUFFER_COUNT = 4
"""Chunks in the pipeline of one blob at the same time."""
_SMALL_SIZE = 512 << 10
"""Blobs below this size in bytes are written in one piece."""
_WRITE_SIZE = 32 << 10
"""Bytes of one write. The kernel caches a write in memory blocks of its size. Blocks of up to eight pages are taken
from recently used memory; larger ones are newly allocated, on a virtual machine by its host. A write of 512 KiB costs
three times as much."""
_WRITEBACK_SIZE = 8 << 20
"""Bytes after which the kernel is advised to start writing to disk, so that the final sync is short."""


class PipelineStage:
    """Processes chunks in a thread of its own, in order, and passes each buffer on."""

    def __init__(
        self,
        work: Callable[[memoryview], None],
        pass_on: Callable[[tuple[mmap.mmap | memoryview, int]], None],
    ) -> None:
        self._work = work
        self._pass_on = pass_on
        self._queue: SimpleQueue[tuple[mmap.mmap | memoryview, int] | None] = SimpleQueue()
        self._ended = allocate_lock()
        self._ended.acquire()
        self.problem: BaseException | None = None
        start_new_thread(self._run, ())

    def put(self, item: tuple[mmap.mmap | memoryview, int]) -> None:
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


def read_ahead(chunks: Iterable[bytes | memoryview]) -> Generator[bytes | memoryview]:
    """Yield chunks that a thread of its own gets from an iterable, some chunks ahead. Its errors are raised here.

    The iterable may reuse the memory of a chunk after the next one. The thread ends with the generator, after the chunk
    that it is getting: so an iterable must not wait for long.
    """
    filled: SimpleQueue[tuple[bytes | memoryview | None, BaseException | None]] = SimpleQueue()
    goes_on: SimpleQueue[bool] = SimpleQueue()
    for _ in range(BUFFER_COUNT):
        goes_on.put(True)
    ended = allocate_lock()
    ended.acquire()

    def run() -> None:
        problem: BaseException | None = None
        try:
            for chunk in chunks:
                if not goes_on.get():
                    break
                filled.put((bytes(chunk), None))
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that reads
            problem = error
        filled.put((None, problem))
        ended.release()

    start_new_thread(run, ())
    try:
        while True:
            chunk, problem = filled.get()
            if problem is not None:
                raise problem
            if chunk is None:
                return
            yield chunk
            goes_on.put(True)
    finally:
        goes_on.put(False)
        ended.acquire()
        ended.release()


def is_small(descriptor: Descriptor) -> bool:
    """Whether a blob is written in one piece, and synced together with others."""
    return descriptor.size < _SMALL_SIZE


def write_blob(
    handle: int,
    descriptor: Descriptor,
    meter: LayerMeter | None,
    readinto: Callable[[memoryview], int],
    is_cancelled: Callable[[], bool],
    partial_size: int = 0,
    *,
    hashes_inline: bool = False,
) -> None:
    """Fill the file `handle` from `readinto` until it returns 0, and feed the same bytes to `meter`.

    The file of a large blob may have its first `partial_size` bytes already. They are read, hashed and decompressed
    like the others, and `readinto` continues after them. A large blob is synced here, a small one is not.
    `hashes_inline`: hash in this thread, which takes less processor time, and longer while a processor is idle.
    Raises `DigestMismatch` when size or digest differ from the descriptor, errors of the meter, and `Interrupted`.
    """
    hasher = descriptor.digest.new_hash()
    if is_small(descriptor):
        _write_small_blob(handle, descriptor, hasher.update, meter, readinto)
    else:
        writer = BlobWriter(handle, partial_size)
        _write_large_blob(writer, descriptor, hasher.update, meter, readinto, is_cancelled, hashes_inline=hashes_inline)
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
    write_slices(handle, buffer[:size])


def _write_large_blob(
    writer: BlobWriter,
    descriptor: Descriptor,
    update: Callable[[memoryview], None],
    meter: LayerMeter | None,
    readinto: Callable[[memoryview], int],
    is_cancelled: Callable[[], bool],
    *,
    hashes_inline: bool,
) -> None:
    free_buffers: SimpleQueue[tuple[mmap.mmap | memoryview, int]] = SimpleQueue()
    unpacking = PipelineStage(meter.feed, free_buffers.put) if meter is not None else None
    hashing = None
    if not hashes_inline:
        hashing = PipelineStage(update, unpacking.put if unpacking is not None else free_buffers.put)
    stages = [stage for stage in (hashing, unpacking) if stage is not None]
    for _ in range(BUFFER_COUNT if stages else 1):
        free_buffers.put((mmap.mmap(-1, CHUNK_SIZE), 0))  # at the start of a page, as O_DIRECT requires
    try:
        size = 0
        while not any(stage.problem for stage in stages):
            if is_cancelled():
                raise Interrupted("stopped")
            buffer, _ = free_buffers.get()
            view = memoryview(buffer)[: CHUNK_SIZE - size % CHUNK_SIZE]  # after a short chunk, to the next full one
            is_present = size < writer.present
            count = writer.read(view, size) if is_present else readinto(view)
            if count <= 0:
                break
            size += count
            _check_size(descriptor, size, at_end=False)
            if hashing is not None:
                hashing.put((buffer, count))
            else:
                update(view[:count])
                (unpacking.put if unpacking is not None else free_buffers.put)((buffer, count))
            if not is_present:
                writer.write(view[:count])
        else:
            count = 0
        os.fsync(writer.handle)
    finally:
        for stage in stages:
            stage.end()
    for stage in stages:
        if stage.problem is not None:
            raise stage.problem
    _check_size(descriptor, size, at_end=True)


class BlobWriter:
    """Appends chunks to a file whose first `present` bytes are there already.

    Full chunks at a multiple of their size bypass the page cache. All others, which a slow connection or a file system
    without O_DIRECT causes, are copied to it, and the kernel is advised to write them to disk early.
    """

    def __init__(self, handle: int, present: int) -> None:
        self.handle = handle
        self.present = present
        self._offset = self._writeback_offset = present
        self._flags = fcntl.fcntl(handle, fcntl.F_GETFL)
        self._is_direct = False
        self._supports_direct = True
        os.lseek(handle, present, os.SEEK_SET)

    def read(self, view: memoryview, offset: int) -> int:
        """Fill `view` with bytes that are there already; return their number."""
        return os.preadv(self.handle, [view[: self.present - offset]], offset)

    def write(self, chunk: memoryview) -> None:
        """Append a chunk."""
        written = 0
        if self._supports_direct and len(chunk) == CHUNK_SIZE and self._offset % CHUNK_SIZE == 0:
            written = self._write_directly(chunk)
            if written == len(chunk):
                self._writeback_offset = self._offset
                return
        self._set_direct(enabled=False)
        write_slices(self.handle, chunk[written:])
        self._offset += len(chunk) - written
        if self._offset - self._writeback_offset >= _WRITEBACK_SIZE:
            os.posix_fadvise(
                self.handle, self._writeback_offset, self._offset - self._writeback_offset, os.POSIX_FADV_DONTNEED
            )
            self._writeback_offset = self._offset

    def _write_directly(self, chunk: memoryview) -> int:
        """Write a chunk past the page cache; return the bytes written, 0 where that is not supported."""
        try:
            self._set_direct(enabled=True)
            written = os.write(self.handle, chunk)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            self._supports_direct = False
            return 0
        self._offset += written
        return written

    def end(self) -> None:
        """Leave the file as other readers and writers of the handle need it."""
        self._set_direct(enabled=False)

    def _set_direct(self, *, enabled: bool) -> None:
        if enabled != self._is_direct:
            fcntl.fcntl(self.handle, fcntl.F_SETFL, self._flags | (os.O_DIRECT if enabled else 0))
            self._is_direct = enabled


def join_chunks(pieces: Iterable[bytes | memoryview]) -> Iterator[memoryview]:
    """Yield pieces of any size as chunks that `BlobWriter` writes directly, and a shorter last one.

    A chunk is valid until the next. Pieces that are such chunks already are not copied.
    """
    buffer: memoryview | None = None
    size = 0
    for piece in pieces:
        rest = memoryview(piece)
        if not size and len(rest) == CHUNK_SIZE and isinstance(rest.obj, mmap.mmap):
            yield rest
            continue
        buffer = buffer or memoryview(mmap.mmap(-1, CHUNK_SIZE))
        while rest:
            count = min(len(rest), CHUNK_SIZE - size)
            buffer[size : size + count] = rest[:count]
            size += count
            rest = rest[count:]
            if size == CHUNK_SIZE:
                yield buffer
                size = 0
    if buffer is not None and size:
        yield buffer[:size]


def write_slices(handle: int, chunk: memoryview) -> None:
    """Write all bytes, in slices of which the page cache takes the least time."""
    while chunk:
        chunk = chunk[os.write(handle, chunk[:_WRITE_SIZE]) :]


def _check_size(descriptor: Descriptor, size: int, *, at_end: bool) -> None:
    if size > descriptor.size:
        raise DigestMismatch(f"the blob {descriptor.digest} is longer than the {descriptor.size} bytes it should have")
    if at_end and size < descriptor.size:
        raise DigestMismatch(f"the blob {descriptor.digest} has {size} bytes instead of {descriptor.size}")
