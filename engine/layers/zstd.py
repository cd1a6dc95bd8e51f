"""Unpacking zstd streams of any number of frames (RFC 8878), skippable ones (zstd:chunked) included.

The library unpacks all that it is given at once, and four bytes may stand for 128 KiB. The frames are therefore
followed from block header to block header, and the input is cut so that no cut holds more than a few blocks: memory
stays bounded, and where the stream breaks off is known.
"""

from __future__ import annotations

from imq.grammar.errors import Malformed
from imq.grammar.record import TYPE_CHECKING
from zstandard import ZstdDecompressor, ZstdError

from .codec import truncated_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_MAGIC = 0xFD2FB528
_SKIPPABLE = 0x184D2A5  # without its last four bits, which are the writer's
_BLOCKS = 2  # that begin in a cut; with the one that was open before it, they unpack to 384 KiB at most
_OUTPUT = (_BLOCKS + 1) * 128 * 1024
_RLE, _RESERVED = 1, 3
_MOST_WINDOW = 1 << 27
"""Most memory a frame may demand: what zstd --ultra --long makes, and what zstd itself takes unasked."""


class ZstdFrames:
    """A decompressor for zstd; see `stream.Decompressor`."""

    def __init__(self) -> None:
        self._unpack = ZstdDecompressor(max_window_size=_MOST_WINDOW).decompressobj(
            write_size=_OUTPUT, read_across_frames=True
        )
        self._skip = 0  # bytes before the next thing to be read
        self._need = 4  # its length
        self._read: Callable[[bytes], None] = self._read_magic
        self._held = b""  # the part of it that came in an earlier chunk
        self._frames = 0
        self._blocks = 0  # headers of blocks in the current cut
        self._checksum = False

    def feed(self, chunk: bytes | memoryview) -> Iterator[bytes]:
        """Yield what `chunk` unpacks to, in pieces of at most 384 KiB."""
        view = memoryview(chunk)
        end = len(view)
        cut = position = 0
        while True:
            position += self._skip
            if position + self._need - len(self._held) > end:
                break
            self._skip = 0
            after = position + self._need - len(self._held)
            head, self._held = self._held + view[position:after], b""
            self._read(head)
            position = after
            if self._blocks > _BLOCKS:
                yield from self._decompress(view[cut:position])
                cut, self._blocks = position, 0
        if position > end:
            self._skip = position - end
        else:
            self._skip = 0
            self._held += view[position:]
        yield from self._decompress(view[cut:])

    def _decompress(self, data: memoryview) -> Iterator[bytes]:
        try:
            piece = self._unpack.decompress(data)
        except ZstdError as error:
            reason = str(error).rpartition(": ")[2]
            raise Malformed(f"damaged zstd stream: {reason}", code="compression") from None
        if piece:
            yield piece

    def _expect(self, read: Callable[[bytes], None], need: int, skip: int = 0) -> None:
        self._read, self._need, self._skip = read, need, skip

    def _read_magic(self, head: bytes) -> None:
        magic = int.from_bytes(head, "little")
        if magic >> 4 == _SKIPPABLE:
            self._expect(self._read_skippable, 4)
        elif magic == _MAGIC:
            self._expect(self._read_descriptor, 1)
        else:
            raise Malformed(
                "bytes follow the end of the zstd stream" if self._frames else "not a zstd stream", code="compression"
            )

    def _read_skippable(self, head: bytes) -> None:
        self._expect(self._read_magic, 4, skip=int.from_bytes(head, "little"))

    def _read_descriptor(self, head: bytes) -> None:
        """Skip the rest of a frame's header: window, dictionary id, content size."""
        flags = head[0]
        single = flags >> 5 & 1
        self._checksum = bool(flags & 4)
        size = (single, 2, 4, 8)[flags >> 6]
        self._expect(self._read_block, 3, skip=1 - single + (0, 1, 2, 4)[flags & 3] + size)

    def _read_block(self, head: bytes) -> None:
        value = int.from_bytes(head, "little")
        kind = value >> 1 & 3
        size = value >> 3
        if kind == _RESERVED:
            raise Malformed("damaged zstd stream: a block of an unknown type", code="compression")
        self._blocks += 1
        content = 1 if kind == _RLE else size
        if not value & 1:
            self._expect(self._read_block, 3, skip=content)
            return
        self._frames += 1
        self._expect(self._read_magic, 4, skip=content + 4 * self._checksum)

    def finish(self) -> None:
        """Raise `Malformed` when the last frame is not whole, or there is none."""
        between = self._read == self._read_magic
        if not between or self._skip or self._held or not self._frames:
            raise truncated_error("zstd")
