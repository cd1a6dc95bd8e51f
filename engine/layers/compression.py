"""Compression of layers: detection, compressors and decompressors for gzip, zstd, bzip2 and xz."""

from __future__ import annotations

from imq.grammar.errors import Malformed
from imq.grammar.record import TYPE_CHECKING

from .codec import MAX_PIECE, truncated_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, Protocol

    from .codec import Compressor, Decompressor

    class _StreamDecompressor(Protocol):
        """What bz2, lzma, isal and zstd have in common."""

        @property
        def eof(self) -> bool: ...
        @property
        def needs_input(self) -> bool: ...
        @property
        def unused_data(self) -> bytes: ...
        def decompress(self, data: bytes | memoryview, max_length: int, /) -> bytes: ...

    class _StreamCompressor(Protocol):
        """What zlib, isal and zstd have in common."""

        def compress(self, data: bytes | memoryview, /) -> bytes: ...
        def flush(self) -> bytes: ...


_MAX_SLICE = 128 * 1024  # fed at once, as it bounds what the libraries keep back
_FIRST_SLICE = 8 * 1024  # the same where a member has just ended: when it ends again, the rest of the slice is copied
_MAX_HEADER = 256 * 1024
_MAX_XZ_MEMORY = 128 * 1024 * 1024
_MAX_ZSTD_WINDOW_LOG = 27
"""128 MiB: the window of `zstd --ultra --long`, and the largest that `zstd -d` accepts by default."""
_GZIP_LEVEL = 2
"""A level of isal. It packs 7 % less tightly than zlib's level 6, at twelve times the speed."""
_GZIP_HEADER = b"\x1f\x8b\x08" + bytes(6) + b"\xff"
"""That of isal: without name, time and flags, of an unknown system."""
_WINDOW_BITS = 15
_GZIP_PIECE, _SAMPLE = 256 << 10, 4 << 10
"""The bytes of a piece that is packed or stored, and those of a sample of it."""
_LONGEST_STORED = 0xFFFF
_ZSTD_LEVEL = 3
_TEXT_LEVEL = 1

_MAGIC = (
    (b"\x1f\x8b\x08", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
)
_SKIPPABLE_MAGIC = tuple(bytes([first]) + b"\x2a\x4d\x18" for first in range(0x50, 0x60))
"""How a skippable frame of zstd begins (RFC 8878, section 3.1.2)."""


def detect_compression(head: bytes) -> str:
    """Return how a stream that begins with `head` (6 bytes suffice) is packed: gzip, zstd, bzip2, xz; else "".

    The magic number of bzip2 is text, and a tar archive can begin with it too: the first 512 bytes tell them apart.
    """
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return "" if kind == "bzip2" and _is_tar_header(head) else kind
    return "zstd" if head.startswith(_SKIPPABLE_MAGIC) else ""  # a frame before the first with content


def _is_tar_header(head: bytes) -> bool:
    from .tar_header import BLOCK_SIZE, has_valid_checksum

    try:
        return len(head) >= BLOCK_SIZE and has_valid_checksum(head[:BLOCK_SIZE])
    except ValueError:
        return False


def decompress(kind: str, pieces: Iterable[bytes]) -> Iterator[bytes | memoryview]:
    """Yield what a whole stream, packed as `kind` says, unpacks to; raises `Malformed` as a decompressor does."""
    decompressor = make_decompressor(kind)
    for piece in pieces:
        yield from decompressor.feed(piece)
    decompressor.finish()


def make_decompressor(kind: str) -> Decompressor:
    """Return a decompressor for "" (plain), gzip, zstd, bzip2 or xz."""
    make = _DECOMPRESSORS.get(kind)
    if make is None:
        raise Malformed(
            f"layers packed with {kind!r} cannot be unpacked",
            code="compression",
            hints=("known are gzip, zstd, bzip2, xz and plain tar",),
        )
    return make()


def estimate_saving(chunk: bytes | memoryview) -> int:
    """Return about how many bytes of a chunk gzip would save, by one sample of each 256 KiB."""
    from isal import isal_zlib

    saving = 0
    for start in range(0, len(chunk), _GZIP_PIECE):
        piece = chunk[start : start + _GZIP_PIECE]
        middle = max(len(piece) - _SAMPLE, 0) // 2
        sample = piece[middle : middle + _SAMPLE]
        saving += max(len(sample) - len(isal_zlib.compress(sample, _GZIP_LEVEL)), 0) * len(piece) // len(sample)
    return saving


def make_compressor(kind: str) -> Compressor:
    """Return a compressor for "" (plain), gzip or zstd."""
    return _COMPRESSORS[kind]()


class _PlainDecompressor:
    """Hands every chunk on as it is, uncopied."""

    def feed(self, chunk: bytes | memoryview) -> Iterator[bytes | memoryview]:
        if len(chunk):
            yield chunk

    def finish(self) -> None:
        """Every plain stream is whole; what it holds may know better."""


class _MultiStreamDecompressor:
    """Decompresses concatenated streams: gzip members, zstd frames, bzip2 or xz streams.

    `padding` may follow a stream (gzip(1) and tapes write zeros); other bytes are refused. Bytes are held back until
    `has_whole_header` is true of the start of a stream. A stream that begins with a byte of `skippable` has no content,
    so one alone is not enough.
    """

    def __init__(
        self,
        kind: str,
        start: Callable[[], _StreamDecompressor],
        errors: tuple[type[Exception], ...],
        has_whole_header: Callable[[bytes], bool] = bool,
        *,
        padding: bytes = b"\0",
        skippable: bytes = b"",
    ) -> None:
        self._kind = kind
        self._start = start
        self._errors = errors
        self._has_whole_header = has_whole_header
        self._padding = padding
        self._skippable = skippable
        self._first_bytes = bytes(magic[0] for magic, name in _MAGIC if name == kind) + skippable
        self._partial_header = b""
        self._stream: _StreamDecompressor | None = None
        self._is_skippable = False  # the current stream
        self._finished_streams = 0  # without the skippable ones
        self._slice_size = _FIRST_SLICE

    def feed(self, chunk: bytes | memoryview) -> Iterator[bytes]:
        view = memoryview(chunk)
        start = 0
        while start < len(view):
            end = start + self._slice_size
            self._slice_size = min(2 * self._slice_size, _MAX_SLICE)
            yield from self._decompress(view[start:end])
            start = end

    def _decompress(self, data: bytes | memoryview) -> Iterator[bytes]:
        while True:
            stream = self._stream
            if stream is None:
                data = self._seek_stream(data)
                if not data:
                    return
                stream = self._stream = self._start()
            try:
                piece = stream.decompress(data, MAX_PIECE)
                while len(piece) == MAX_PIECE or not (stream.needs_input or stream.eof):
                    yield piece
                    if stream.eof:
                        piece = b""
                        break
                    piece = stream.decompress(b"", MAX_PIECE)
            except self._errors as error:
                raise self._corrupt_error(error) from None
            if piece:
                yield piece
            if not stream.eof:
                return
            self._finished_streams += not self._is_skippable
            self._stream = None
            self._slice_size = _FIRST_SLICE
            data = stream.unused_data

    def _seek_stream(self, data: bytes | memoryview) -> bytes:
        """Return `data` from the next stream on, or nothing while its header is not whole."""
        data, self._partial_header = self._partial_header + data, b""
        if self._finished_streams and self._padding:
            data = data.lstrip(self._padding)
        if data and data[0] not in self._first_bytes:
            raise Malformed(
                f"bytes follow the end of the {self._kind} stream"
                if self._finished_streams
                else f"not a {self._kind} stream",
                code="compression",
            )
        if self._has_whole_header(data):
            self._is_skippable = data[0] in self._skippable
            return data
        if len(data) > _MAX_HEADER:
            raise self._corrupt_error(ValueError("an endless header"))
        self._partial_header = data
        return b""

    def _corrupt_error(self, error: Exception) -> Malformed:
        reason = str(error).rpartition(": ")[2].strip() or type(error).__name__
        return Malformed(f"damaged {self._kind} stream: {reason}", code="compression")

    def finish(self) -> None:
        if self._stream is not None or self._partial_header or not self._finished_streams:
            raise truncated_error(self._kind)


def _make_gzip() -> Decompressor:
    from isal import igzip_lib

    error: Any = igzip_lib.IsalError  # a class, which isal's stub declares as an instance
    return _MultiStreamDecompressor(
        "gzip", lambda: igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP), (error,), _has_whole_gzip_header
    )


def _has_whole_gzip_header(data: bytes) -> bool:
    """Whether a gzip header (RFC 1952) is all there: isal loses count when it gets one with two fields piecemeal."""
    fixed, extra, name, comment, checksum = 10, 4, 8, 16, 2  # length; flags
    if len(data) < fixed:
        return False
    flags = data[3]
    end = fixed
    if flags & extra:
        end += 2 + int.from_bytes(data[end : end + 2], "little")
    for flag in (name, comment):
        if flags & flag and end <= len(data):
            end = data.find(b"\0", end) + 1 or len(data) + 1
    return end + (2 if flags & checksum else 0) <= len(data)


def _make_bzip2() -> Decompressor:
    from bz2 import BZ2Decompressor

    return _MultiStreamDecompressor("bzip2", lambda: BZ2Decompressor(), (OSError, ValueError))  # noqa: PLW0108 - a type is no factory


def _make_xz() -> Decompressor:
    from lzma import FORMAT_XZ, LZMADecompressor, LZMAError

    return _MultiStreamDecompressor("xz", lambda: LZMADecompressor(FORMAT_XZ, _MAX_XZ_MEMORY), (LZMAError,))


def _make_zstd() -> Decompressor:
    from .zstd import zstd

    options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _MAX_ZSTD_WINDOW_LOG}
    return _MultiStreamDecompressor(
        "zstd",
        lambda: zstd.ZstdDecompressor(options=options),
        (zstd.ZstdError,),
        padding=b"",
        skippable=bytes(magic[0] for magic in _SKIPPABLE_MAGIC),
    )


_DECOMPRESSORS: dict[str, Callable[[], Decompressor]] = {
    "": _PlainDecompressor,
    "gzip": _make_gzip,
    "zstd": _make_zstd,
    "bzip2": _make_bzip2,
    "xz": _make_xz,
}


class _PlainCompressor:
    """Hands every chunk on as it is."""

    def feed(self, chunk: bytes | memoryview) -> bytes | memoryview:
        return chunk

    def finish(self) -> bytes:
        return b""


class _LibraryCompressor:
    """A stream of a library's compressor."""

    def __init__(self, stream: _StreamCompressor) -> None:
        self._stream = stream

    def feed(self, chunk: bytes | memoryview) -> bytes:
        return self._stream.compress(chunk)

    def finish(self) -> bytes:
        return self._stream.flush()


class _GzipCompressor:
    """One gzip member without name or time. Blocks that compression does not shrink are stored as they are.

    Storing such a block takes a quarter of the time of compressing it. The size of a block does not depend on how much
    is passed at once, so the same bytes give the same member.
    """

    def __init__(self) -> None:
        from isal import isal_zlib

        self._library = isal_zlib
        self._stream = isal_zlib.compressobj(_GZIP_LEVEL, isal_zlib.DEFLATED, -_WINDOW_BITS)
        self._checksum = 0
        self._size = 0
        self._rest = b""
        self._is_aligned = True
        """Whether the blocks so far end with a whole byte, and nothing that follows refers to them."""
        self._head = _GZIP_HEADER

    def feed(self, chunk: bytes | memoryview) -> bytes:
        self._checksum = self._library.crc32(chunk, self._checksum)
        self._size += len(chunk)
        head, self._head = self._head, b""
        parts: list[bytes | memoryview] = [head]
        view = memoryview(chunk)
        if self._rest:
            missing = _GZIP_PIECE - len(self._rest)
            self._rest += view[:missing]
            view = view[missing:]
            if len(self._rest) < _GZIP_PIECE:
                return head
            parts += self._feed_piece(memoryview(self._rest))
        whole = len(view) - len(view) % _GZIP_PIECE
        for start in range(0, whole, _GZIP_PIECE):
            parts += self._feed_piece(view[start : start + _GZIP_PIECE])
        self._rest = bytes(view[whole:])
        return b"".join(parts)

    def _feed_piece(self, piece: memoryview) -> Iterator[bytes | memoryview]:
        if not self._is_packed(piece):
            self._is_aligned = False
            yield self._stream.compress(piece)
            return
        if not self._is_aligned:
            yield self._stream.flush(self._library.Z_FULL_FLUSH)
            self._is_aligned = True
        yield from _store(piece)

    def _is_packed(self, piece: memoryview) -> bool:
        """Whether samples of a piece, from the middle of each third, get no smaller by packing.

        At the ends of a piece is often the header of a file, since many files have sizes in whole KiB.
        """
        return all(
            len(self._library.compress(piece[start : start + _SAMPLE], _GZIP_LEVEL)) > _SAMPLE
            for start in range(_GZIP_PIECE // 6 - _SAMPLE // 2, _GZIP_PIECE, _GZIP_PIECE // 3)
        )

    def finish(self) -> bytes:
        trailer = self._checksum.to_bytes(4, "little") + (self._size & 0xFFFFFFFF).to_bytes(4, "little")
        return self._head + self._stream.compress(self._rest) + self._stream.flush() + trailer


def _store(view: memoryview) -> Iterator[bytes | memoryview]:
    """Yield blocks of deflate (RFC 1951, section 3.2.4) that store bytes as they are."""
    for start in range(0, len(view), _LONGEST_STORED):
        block = view[start : start + _LONGEST_STORED]
        yield b"\0" + len(block).to_bytes(2, "little") + (len(block) ^ 0xFFFF).to_bytes(2, "little")
        yield block


def _make_gzip_compressor() -> Compressor:
    """Return a compressor for one gzip member without name or time."""
    return _GzipCompressor()


def _make_zstd_compressor() -> Compressor:
    """Return a compressor for one zstd frame with a checksum."""
    from .zstd import zstd

    parameter = zstd.CompressionParameter
    options: dict[int, int] = {parameter.compression_level: _ZSTD_LEVEL, parameter.checksum_flag: True}
    return _LibraryCompressor(zstd.ZstdCompressor(options=options))


_COMPRESSORS: dict[str, Callable[[], Compressor]] = {
    "": _PlainCompressor,
    "gzip": _make_gzip_compressor,
    "zstd": _make_zstd_compressor,
}


def pack_text(text: bytes) -> bytes:
    """Return a short text, compressed by zlib: as small as by zstd, whose module takes longer to import."""
    from isal import isal_zlib

    packed: bytes = isal_zlib.compress(text, _TEXT_LEVEL)
    return packed


def unpack_text(packed: bytes) -> bytes:
    """Return the text of `pack_text`."""
    from isal import isal_zlib

    text: bytes = isal_zlib.decompress(packed)
    return text
