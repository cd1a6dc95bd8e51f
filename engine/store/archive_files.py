"""The files of an archive or a folder, by name, for `load`.

Archives are untrusted. Their headers are read by the tar walker that reads layers, within limits, so no archive
decides how much memory or stack depth it takes.
"""

from __future__ import annotations

import io
import os
import stat

from imq.engine.layers.compression import decompress, detect_compression
from imq.engine.layers.rewinding_file import RewindingFile
from imq.engine.layers.tar_walker import TarLimits, TarWalker
from imq.engine.oci.digest import Digest, is_digest
from imq.grammar.errors import Malformed
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, BinaryIO, Protocol, Self

    from imq.engine.layers.tar_entry import TarEntry

    class ImageFiles(Protocol):
        """Named files to read an image from. The reader calls `on_progress` with the number of bytes it has read."""

        on_progress: Callable[[int], None]

        def open(self, name: str) -> BinaryIO | None:
            """Open a file; None when it does not exist."""

        def size(self, name: str) -> int:
            """Return the size of a file in bytes; 0 when it does not exist."""

        def total_size(self) -> int:
            """Return an upper bound of the size of all images, in bytes."""

        def list_folders(self) -> list[str]:
            """Return the names of the top-level folders, sorted."""

        def iter_blob_sizes(self) -> Iterator[tuple[Digest, int]]:
            """Yield the digest and the size of each file of a layout's `blobs` that is named by a digest."""


_READ_SIZE = 64 << 10
_COMPRESSED_READ_SIZE = 256 << 10
_MAGIC_SIZE = 512
_LIMITS = TarLimits(max_entries=250_000, max_name=4096)
"""Generous: an archive of images has a few files for each layer."""
_STREAM_CODES = frozenset({"compression", "truncated"})
"""Codes of errors in the compressed stream of an archive."""
_MAX_CACHED = 64 << 20
"""The maximum bytes of small files of a compressed archive that are held in memory."""
_MAX_LINKS = 8
"""The maximum number of links that are followed to a file."""


def ignore_progress(_count: int) -> None:
    """Do nothing."""


class Folder:
    """The files of a folder. Files outside of it cannot be opened."""

    def __init__(self, root: str) -> None:
        self.on_progress: Callable[[int], None] = ignore_progress
        self.root = os.path.realpath(root)
        """The folder, links resolved."""
        self._folders: dict[str, str] = {}

    def open(self, name: str) -> BinaryIO | None:
        """Open a file; None when it does not exist."""
        path = self.find_path(name)
        return open(path, "rb") if path is not None else None

    def size(self, name: str) -> int:
        """Return the size of a file in bytes; 0 when it does not exist."""
        path = self.find_path(name)
        return os.path.getsize(path) if path is not None else 0

    def total_size(self) -> int:
        """Return the size of all blobs in bytes."""
        return sum(
            os.path.getsize(os.path.join(folder, name))
            for folder, _, names in os.walk(os.path.join(self.root, "blobs"))
            for name in names
        )

    def list_folders(self) -> list[str]:
        """Return the names of the top-level folders, sorted."""
        return sorted(entry.name for entry in os.scandir(self.root) if entry.is_dir())

    def iter_blob_sizes(self) -> Iterator[tuple[Digest, int]]:
        """Yield the digest and the size of each blob."""
        blobs = os.path.join(self.root, "blobs")
        algorithms = sorted(os.listdir(blobs)) if os.path.isdir(blobs) else []
        for algorithm in algorithms:
            if not os.path.isdir(os.path.join(blobs, algorithm)):
                continue
            with os.scandir(os.path.join(blobs, algorithm)) as entries:
                for entry in entries:
                    if is_digest(digest := f"{algorithm}:{entry.name}") and entry.is_file():
                        yield Digest(digest), entry.stat().st_size

    def find_path(self, name: str) -> str | None:
        """Return the path of a file; None when it does not exist, or is outside of the folder."""
        if "\0" in name:
            return None
        parent, base = os.path.split(name)
        folder = self._folders.get(parent)
        if folder is None:  # most files are in a few folders, and links are resolved one component at a time
            folder = self._folders[parent] = os.path.realpath(os.path.join(self.root, parent))
        path = os.path.join(folder, base)
        try:
            mode = os.lstat(path).st_mode
        except OSError:
            return None
        if stat.S_ISLNK(mode):
            path = os.path.realpath(path)
            is_file = os.path.isfile(path)
        else:
            is_file = stat.S_ISREG(mode)
        return path if is_file and path.startswith(self.root + os.sep) else None


class Archive:
    """The files of a tar archive, compressed or not; links are followed within it. Used as a context.

    Raises `Malformed` (code `archive`) for a file that is not a valid archive, and (code `bomb`) for one that exceeds
    the limits. With `takes_damaged` a truncated archive has the files before its end; `damage` is the error then.
    A compressed archive is decompressed to at most `max_size` bytes; None: there is no limit.
    """

    def __init__(self, path: str, *, takes_damaged: bool = False, max_size: int | None = None) -> None:
        self.on_progress: Callable[[int], None] = ignore_progress
        self.damage: Malformed | None = None
        self._path = path
        self._takes_damaged = takes_damaged
        self._source = _open_decompressed(path, max_size)
        self._files: dict[str, tuple[int, int]] = {}
        self._links: dict[str, str] = {}
        self._heads: dict[int, bytes] = {}
        try:
            self._walk()
        except BaseException:
            self._source.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._source.close()

    def open(self, name: str) -> BinaryIO | None:
        """Open a file; None when it does not exist. Several may be open, but only one thread may read them."""
        extent = self._find(name)
        if extent is None:
            return None
        head = self._heads.get(extent[0], b"")
        return io.BufferedReader(_ArchiveMember(self._source, *extent, self._path, name, head), _READ_SIZE)

    def size(self, name: str) -> int:
        """Return the size of a file in bytes; 0 when it does not exist."""
        extent = self._find(name)
        return extent[1] if extent is not None else 0

    def get_offset(self, name: str) -> int:
        """Return the offset of a file in the archive; 0 when it does not exist."""
        extent = self._find(name)
        return extent[0] if extent is not None else 0

    @property
    def is_compressed(self) -> bool:
        """Whether seeking backwards decompresses the archive again."""
        return isinstance(self._source, io.BufferedReader) and isinstance(self._source.raw, _DecompressedFile)

    def total_size(self) -> int:
        """Return the size of all files in bytes."""
        return sum(size for _, size in self._files.values())

    def list_folders(self) -> list[str]:
        """Return the names of the top-level folders, sorted."""
        names = (*self._files, *self._links)
        return sorted({name.partition("/")[0] for name in names if "/" in name})

    def iter_blob_sizes(self) -> Iterator[tuple[Digest, int]]:
        """Yield the digest and the size of each blob."""
        for name in (*self._files, *self._links):
            folder, _, rest = name.partition("/")
            algorithm, _, digits = rest.partition("/")
            if folder == "blobs" and is_digest(digest := f"{algorithm}:{digits}") and self._find(name) is not None:
                yield Digest(digest), self.size(name)

    def cache_documents(self, max_size: int) -> None:
        """Read files of at most `max_size` bytes, and the beginnings of the others, in one pass.

        In a compressed archive every other order would decompress it again and again.
        """
        if not self.is_compressed:
            return
        remaining = _MAX_CACHED
        for start, size in sorted(self._files.values()):
            count = size if size <= min(max_size, remaining) else min(size, _MAGIC_SIZE)
            self._source.seek(start)
            self._heads[start] = self._source.read(count)
            remaining -= count

    def _walk(self) -> None:
        walker = TarWalker(self._add_entry, _LIMITS)
        source = self._source
        try:
            while not walker.has_ended and (piece := source.read(_READ_SIZE)):
                walker.feed(piece)
                if skipped := walker.skip_content():  # contents are read when their file is opened
                    source.seek(skipped, os.SEEK_CUR)
            walker.finish()
            if self._takes_damaged and not self.is_compressed and self._drop_incomplete_files():
                end = source.seek(0, os.SEEK_END)
                words = f"{self._path} is damaged: the archive is truncated after {end:,} bytes"
                self.damage = Malformed(words, code="archive")
        except Malformed as problem:
            if self._takes_damaged and self._files and problem.code != "bomb":
                self._drop_incomplete_files()
                self.damage = _corrupt_archive(self._path, problem)
                return
            if problem.code in _STREAM_CODES:
                raise _corrupt_archive(self._path, problem) from None
            if problem.code == "archive" and not walker.entries:
                raise _not_an_archive(self._path) from None
            raise Malformed(f"{self._path} is damaged: {problem.message}", code=problem.code) from None

    def _drop_incomplete_files(self) -> bool:
        """Forget the file that the end of the archive cuts; return whether there is one."""
        count = len(self._files)
        try:
            end = self._source.seek(0, os.SEEK_END)
        except io.UnsupportedOperation:
            end = self._source.tell()
        self._files = {name: place for name, place in self._files.items() if sum(place) <= end}
        return len(self._files) < count

    def _add_entry(self, entry: TarEntry) -> None:
        name = os.path.normpath(entry.path)
        self._files.pop(name, None)  # the last entry with a name wins
        self._links.pop(name, None)
        if entry.type == "file" and entry.segments is None and not entry.map_in_content:
            self._files[name] = (entry.offset, entry.size)
        elif entry.type == "link":
            self._links[name] = os.path.normpath(entry.link_target)
        elif entry.type == "symlink":
            self._links[name] = os.path.normpath(os.path.join(os.path.dirname(entry.path), entry.link_target))

    def _find(self, name: str) -> tuple[int, int] | None:
        """Return the offset and the size of a file; None when it does not exist."""
        name = os.path.normpath(name)
        for _ in range(_MAX_LINKS):  # docker's old archives link to a layer that they have already
            if name not in self._links:
                break
            name = self._links[name]
        return self._files.get(name)


class _ArchiveMember(io.RawIOBase):
    """A range of a file that other readers share."""

    def __init__(self, source: io.BufferedIOBase, start: int, size: int, path: str, name: str, head: bytes) -> None:
        self._source = source
        self._start = start
        self._size = size
        self._offset = 0
        self._path = path
        self._name = name
        self._head = head
        """The first bytes, if they have been read already."""

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move to an offset in the range."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._offset, os.SEEK_END: self._size}[whence]
        self._offset = min(max(base + offset, 0), self._size)
        return self._offset

    def readinto(self, buffer: Any, /) -> int:
        """Fill `buffer` with the next bytes. Raises `Malformed` when the file ends before the range does."""
        view = memoryview(buffer)[: self._size - self._offset]
        if not view:
            return 0
        if piece := self._head[self._offset : self._offset + len(view)]:
            view[: len(piece)] = piece
            self._offset += len(piece)
            return len(piece)
        try:
            self._source.seek(self._start + self._offset)
            count = self._source.readinto(view)
        except Malformed as problem:
            raise _corrupt_archive(self._path, problem) from None
        if not count:
            raise Malformed(f"{self._path} is damaged: it ends within {self._name}", code="archive")
        self._offset += count
        return count


class _DecompressedFile(RewindingFile):
    """The decompressed content of a file. Seeking backwards decompresses it again from its beginning."""

    def __init__(self, path: str, compression: str, max_size: int | None) -> None:
        self._path = path
        self._max_size = max_size
        self._source = open(path, "rb")  # noqa: SIM115 - closed by close()
        self._compression = compression
        super().__init__()

    def iter_chunks(self) -> Iterator[bytes | memoryview]:
        """Yield the decompressed content from its beginning."""
        self._source.seek(0)
        return decompress(self._compression, iter(lambda: self._source.read(_COMPRESSED_READ_SIZE), b""))

    def close(self) -> None:
        """Close the compressed file too."""
        self._source.close()
        super().close()

    def _take_bytes(self, count: int) -> memoryview:
        taken = super()._take_bytes(count)
        if self._max_size is not None and self._offset > self._max_size:
            raise Malformed(
                f"{self._path} decompresses to more than {self._max_size} bytes, the limit for reading it in place",
                code="bomb",
                hints=(f'to store its images: load "{self._path}"',),
            )
        return taken


def _not_an_archive(path: str) -> Malformed:
    reason = "is not an archive: expected a tar file, plain or compressed with gzip, zstd, bzip2 or xz"
    hints = ("load reads archives of docker save and imq save; import reads a file tree",)
    return Malformed(f"{path} {reason}", code="archive", hints=hints)


def _corrupt_archive(path: str, problem: Malformed) -> Malformed:
    """Return the error for a file whose compressed stream is invalid."""
    return Malformed(f"{path} is damaged: {problem.message}", code="archive")


def _open_decompressed(path: str, max_size: int | None) -> io.BufferedIOBase:
    """Open a file for reading its decompressed content."""
    source = open(path, "rb")  # noqa: SIM115 - returned to the caller
    compression = detect_compression(source.read(_MAGIC_SIZE))
    source.seek(0)
    if not compression:
        return source
    source.close()
    return io.BufferedReader(_DecompressedFile(path, compression, max_size), _READ_SIZE)
