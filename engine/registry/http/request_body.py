"""A blob as the body of a request: of known length, counted while it is sent, and cancellable.

A blob in a file is sent by sendfile: the kernel copies it to the socket. TLS connections read it instead.
"""

from __future__ import annotations

import os
import select
import stat
import time

from imq.engine.registry.errors import stalled_error
from imq.grammar.errors import DigestMismatch, Interrupted
from imq.grammar.record import TYPE_CHECKING

from .stall import StallDetector

if TYPE_CHECKING:
    import socket
    import threading
    from collections.abc import Callable, Iterator
    from typing import Protocol

    from imq.engine.registry.settings import Settings

    class Content(Protocol):
        """The content of a blob, read once from the beginning."""

        def read(self, count: int = -1, /) -> bytes | bytearray | memoryview:
            """Return the next bytes; none at the end."""

        def close(self) -> None:
            """Close the content."""


BLOCK_SIZE = 256 << 10
"""Bytes to read and send at once; small enough for a slow connection to accept within the timeout."""
_SENDFILE_SIZE = 8 << 20
"""Bytes to pass to the kernel at once."""


class BlobBody:
    """One blob that is sent to `host`. `description` names it in errors, `on_progress` receives the bytes sent.

    Iteration yields blocks of bytes, or `SendfileRange`s of the blob's file. Chunked uploads call
    `read_block`. There is no method `read`: http.client would call it and bypass sendfile.
    """

    def __init__(
        self,
        content: Content,
        size: int,
        on_progress: Callable[[int], None],
        stop: threading.Event | None,
        settings: Settings,
        host: str,
        description: str,
    ) -> None:
        self._content = content
        self._size = size
        self._on_progress = on_progress
        self._stop = stop
        self._settings = settings
        self._host = host
        self._description = description
        self._offset = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes | bytearray | memoryview | SendfileRange]:
        stall_detector = StallDetector(self._settings)
        file_descriptor = _get_file_descriptor(self._content)
        if file_descriptor is None:
            while block := self.read_block(BLOCK_SIZE):
                started = time.monotonic()
                yield block
                self.check_speed(stall_detector, len(block), time.monotonic() - started)
            return
        while self._offset < self._size:
            yield SendfileRange(
                self, file_descriptor, self._offset, min(_SENDFILE_SIZE, self._size - self._offset), stall_detector
            )

    def read_block(self, count: int) -> bytes | bytearray | memoryview:
        """Return the next bytes, at most `count`; none at the end."""
        self.check_stopped()
        block = self._content.read(count)
        self.advance(self._offset + len(block), more=bool(block))
        return block

    def check_stopped(self) -> None:
        """Raise `Interrupted` if the transfer was cancelled."""
        if self._stop is not None and self._stop.is_set():
            raise Interrupted("the transfer was cancelled")

    def advance(self, offset: int, *, more: bool) -> None:
        """Record the bytes sent so far. Raises `DigestMismatch` if they do not match the blob's size."""
        self._offset = offset
        if offset > self._size or (not more and offset < self._size):
            raise DigestMismatch(f"a blob to upload has {offset} bytes, but should have {self._size}")
        self._on_progress(offset)

    def check_speed(self, stall_detector: StallDetector, count: int, seconds: float) -> None:
        """Raise `RegistryError` if the transfer has stalled."""
        speed = stall_detector.record(count, seconds)
        if speed is not None:
            raise stalled_error(self._host, f"receives {self._description}", speed, self._settings.least_speed)

    @property
    def write_timeout(self) -> float:
        """Seconds that the receiver may accept no byte."""
        return self._settings.read_timeout

    def close(self) -> None:
        """Close the content."""
        self._content.close()


class ChunkBody:
    """A chunk of a blob in memory, as the body of a request. The stall detector is that of the whole blob."""

    def __init__(self, body: BlobBody, part: memoryview, stall_detector: StallDetector) -> None:
        self._body = body
        self._part = part
        self._stall_detector = stall_detector

    def __len__(self) -> int:
        return len(self._part)

    def __iter__(self) -> Iterator[memoryview]:
        for start in range(0, len(self._part), BLOCK_SIZE):
            self._body.check_stopped()
            block = self._part[start : start + BLOCK_SIZE]
            started = time.monotonic()
            yield block
            self._body.check_speed(self._stall_detector, len(block), time.monotonic() - started)


class SendfileRange:
    """A range of a file to send: by the kernel, or block by block over TLS."""

    def __init__(
        self, body: BlobBody, file_descriptor: int, start: int, count: int, stall_detector: StallDetector
    ) -> None:
        self._body = body
        self._file_descriptor = file_descriptor
        self._offset = start
        self._end = start + count
        self._stall_detector = stall_detector

    def __iter__(self) -> Iterator[bytes]:
        """Yield blocks. A block counts as sent when the next one is requested."""
        while self._offset < self._end:
            self._body.check_stopped()
            block = os.pread(self._file_descriptor, min(BLOCK_SIZE, self._end - self._offset), self._offset)
            started = time.monotonic()
            if block:
                yield block
            self._advance(len(block), time.monotonic() - started)

    def send(self, sock: socket.socket) -> None:
        """Send the range with sendfile over a connection without TLS."""
        poll = select.poll()
        poll.register(sock, select.POLLOUT)
        sock.setblocking(False)
        try:
            while self._offset < self._end:
                self._body.check_stopped()
                started = time.monotonic()
                if not poll.poll(self._body.write_timeout * 1000):
                    raise TimeoutError("timed out")
                try:
                    count = os.sendfile(sock.fileno(), self._file_descriptor, self._offset, self._end - self._offset)
                except BlockingIOError:
                    continue
                self._advance(count, time.monotonic() - started)
        finally:  # the response of a registry that rejects the body is still read
            sock.settimeout(self._body.write_timeout)

    def _advance(self, count: int, seconds: float) -> None:
        self._offset += count
        self._body.advance(self._offset, more=count > 0)
        self._body.check_speed(self._stall_detector, count, seconds)


def _get_file_descriptor(content: Content) -> int | None:
    """Return the descriptor of the regular file of a content; None for any other content."""
    try:
        file_descriptor: int = content.fileno()  # type: ignore[attr-defined]
    except (AttributeError, OSError):
        return None
    return file_descriptor if stat.S_ISREG(os.fstat(file_descriptor).st_mode) else None
