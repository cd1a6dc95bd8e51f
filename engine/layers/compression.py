"""Which compression a layer has, and what packs and unpacks it: gzip, bzip2 and xz here, zstd in `zstd`."""

from __future__ import annotations

from imq.grammar.errors import Malformed
from imq.grammar.record import TYPE_CHECKING

from .codec import PIECE, truncated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, Protocol

    from .codec import Compressor, Decompressor

    class _Member(Protocol):
        """What bz2, lzma and isal have in common."""

        @property
        def eof(self) -> bool: ...
        @property
        def needs_input(self) -> bool: ...
        @property
        def unused_data(self) -> bytes: ...
        def decompress(self, data: bytes | memoryview, max_length: int, /) -> bytes: ...

    class _Packer(Protocol):
        """What zlib and isal have in common."""

        def compress(self, data: bytes | memoryview, /) -> bytes: ...
        def flush(self) -> bytes: ...


_SLICE = 128 * 1024  # fed at once, as it bounds what the libraries keep back
_FIRST_SLICE = 8 * 1024  # the same where a member has just ended: when it ends again, the rest of the slice is copied
_MOST_HEADER = 256 * 1024
_XZ_MEMORY = 128 * 1024 * 1024

_MAGIC = (
    (b"\x1f\x8b\x08", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
)


def sniff(head: bytes) -> str:
    """Return how a stream that begins with `head` (6 bytes suffice) is packed: gzip, zstd, bzip2, xz; else "".

    The magic number of bzip2 is text, and a tar archive can begin with it too: the first 512 bytes tell them apart.
    """
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return "" if kind == "bzip2" and _is_tar(head) else kind
    skippable = head[1:4] == b"\x2a\x4d\x18" and head[:1].hex().startswith("5")  # a frame before the first real one
    return "zstd" if skippable else ""


def _is_tar(head: bytes) -> bool:
    from .tar_header import BLOCK, checksum_holds

    try:
        return len(head) >= BLOCK and checksum_holds(head[:BLOCK])
    except ValueError:
        return False


def unpacked(kind: str, pieces: Iterable[bytes]) -> Iterator[bytes | memoryview]:
    """Yield what a whole stream, packed as `kind` says, unpacks to; raises `Malformed` as a decompressor does."""
    unpack = decompressor(kind)
    for piece in pieces:
        yield from unpack.feed(piece)
    unpack.finish()


def decompressor(kind: str) -> Decompressor:
    """Return a decompressor for "" (plain), gzip, zstd, bzip2 or xz."""
    make = _DECOMPRESSORS.get(kind)
    if make is None:
        raise Malformed(
            f"layers packed with {kind!r} cannot be unpacked",
            code="compression",
            hints=("known are gzip, zstd, bzip2, xz and plain tar",),
        )
    return make()


def compressor(kind: str, level: int | None = None) -> Compressor:
    """Return a compressor for "" (plain), gzip or zstd.

    gzip levels 0 to 3 are isal's (2, the default, packs 7 % less tightly than zlib's 6 at twelve times its speed), 4 to
    9 zlib's; zstd levels are its own, 3 by default.
    """
    if kind == "gzip":
        return _GzipCompressor(2 if level is None else level)
    if kind == "zstd":
        return _ZstdCompressor(3 if level is None else level)
    if kind:
        raise ValueError(f"no compressor for {kind!r}")
    return _PlainCompressor()


class _Plain:
    """Hands every chunk on as it is, uncopied."""

    def feed(self, chunk: bytes | memoryview) -> Iterator[bytes | memoryview]:
        if len(chunk):
            yield chunk

    def finish(self) -> None:
        """Every plain stream is whole; what it holds may know better."""


class _Members:
    """A format whose streams may follow one another (gzip members, bzip2 and xz streams), each with its own check.

    Zero bytes after a member are padding, as gzip(1) and tapes have it; other bytes after it are refused. Bytes are
    held back until `header_whole` of what a member begins with.
    """

    def __init__(
        self,
        kind: str,
        start: Callable[[], _Member],
        errors: tuple[type[Exception], ...],
        header_whole: Callable[[bytes], bool] = bool,
    ) -> None:
        self._kind = kind
        self._start = start
        self._errors = errors
        self._header_whole = header_whole
        self._held = b""
        self._first_byte = next(magic[0] for magic, name in _MAGIC if name == kind)
        self._member: _Member | None = None
        self._whole = 0  # members that have ended
        self._slice = _FIRST_SLICE

    def feed(self, chunk: bytes | memoryview) -> Iterator[bytes]:
        view = memoryview(chunk)
        start = 0
        while start < len(view):
            end = start + self._slice
            self._slice = min(2 * self._slice, _SLICE)
            yield from self._unpack(view[start:end])
            start = end

    def _unpack(self, data: bytes | memoryview) -> Iterator[bytes]:
        while True:
            member = self._member
            if member is None:
                data = self._next_member(data)
                if not data:
                    return
                member = self._member = self._start()
            try:
                piece = member.decompress(data, PIECE)
                while len(piece) == PIECE or not (member.needs_input or member.eof):
                    yield piece
                    if member.eof:
                        piece = b""
                        break
                    piece = member.decompress(b"", PIECE)
            except self._errors as error:
                raise self._damaged(error) from None
            if piece:
                yield piece
            if not member.eof:
                return
            self._whole += 1
            self._member = None
            self._slice = _FIRST_SLICE
            data = member.unused_data

    def _next_member(self, data: bytes | memoryview) -> bytes:
        """Return `data` from the next member on, or nothing while its header is not whole."""
        data, self._held = self._held + data, b""
        if self._whole:
            data = data.lstrip(b"\0")
        if data and data[0] != self._first_byte:
            raise Malformed(
                f"bytes follow the end of the {self._kind} stream" if self._whole else f"not a {self._kind} stream",
                code="compression",
            )
        if self._header_whole(data):
            return data
        if len(data) > _MOST_HEADER:
            raise self._damaged(ValueError("an endless header"))
        self._held = data
        return b""

    def _damaged(self, error: Exception) -> Malformed:
        reason = str(error).strip() or type(error).__name__
        return Malformed(f"damaged {self._kind} stream: {reason}", code="compression")

    def finish(self) -> None:
        if self._member is not None or self._held or not self._whole:
            raise truncated(self._kind)


def _gzip() -> Decompressor:
    from isal import igzip_lib

    error: Any = igzip_lib.IsalError  # a class, which isal's stub declares as an instance
    return _Members(
        "gzip", lambda: igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP), (error,), _gzip_header_whole
    )


def _gzip_header_whole(data: bytes) -> bool:
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


def _bzip2() -> Decompressor:
    from bz2 import BZ2Decompressor

    return _Members("bzip2", lambda: BZ2Decompressor(), (OSError, ValueError))  # noqa: PLW0108 - a type is no factory


def _xz() -> Decompressor:
    from lzma import FORMAT_XZ, LZMADecompressor, LZMAError

    return _Members("xz", lambda: LZMADecompressor(FORMAT_XZ, _XZ_MEMORY), (LZMAError,))


def _zstd() -> Decompressor:
    from .zstd import ZstdFrames

    return ZstdFrames()


_DECOMPRESSORS: dict[str, Callable[[], Decompressor]] = {
    "": _Plain,
    "gzip": _gzip,
    "zstd": _zstd,
    "bzip2": _bzip2,
    "xz": _xz,
}


class _PlainCompressor:
    """Hands every chunk on as it is."""

    def feed(self, chunk: bytes | memoryview) -> bytes | memoryview:
        return chunk

    def finish(self) -> bytes:
        return b""


class _GzipCompressor:
    """One gzip member without name or time."""

    def __init__(self, level: int) -> None:
        if not 0 <= level <= 9:
            raise ValueError(f"gzip has levels 0 to 9, not {level}")
        self._packer: _Packer
        wbits = 31  # a gzip wrapper around 32 KiB of window
        if level <= 3:
            from isal import isal_zlib

            self._packer = isal_zlib.compressobj(level, isal_zlib.DEFLATED, wbits)
        else:
            import zlib

            self._packer = zlib.compressobj(level, zlib.DEFLATED, wbits)

    def feed(self, chunk: bytes | memoryview) -> bytes:
        return self._packer.compress(chunk)

    def finish(self) -> bytes:
        return self._packer.flush()


class _ZstdCompressor:
    """One zstd frame with a checksum."""

    def __init__(self, level: int) -> None:
        from zstandard import MAX_COMPRESSION_LEVEL, ZstdCompressor

        if not 1 <= level <= MAX_COMPRESSION_LEVEL:
            raise ValueError(f"zstd has levels 1 to {MAX_COMPRESSION_LEVEL}, not {level}")
        self._packer = ZstdCompressor(level=level, write_checksum=True).compressobj()

    def feed(self, chunk: bytes | memoryview) -> bytes:
        return self._packer.compress(chunk)

    def finish(self) -> bytes:
        return self._packer.flush()
