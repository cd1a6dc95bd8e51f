"""One entry of a tar archive, in any format of its headers."""

from __future__ import annotations

from imq.grammar.record import Record

Segments = tuple[tuple[int, int], ...]
"""The map of a sparse file: the (offset, size) of each segment of content, in order, with holes between them."""


class TarEntry(Record):
    """One entry of an archive, as its headers describe it."""

    path: str
    """The path as written, without trailing slashes. Bytes that are not UTF-8 are surrogates."""
    type: str
    """file, directory, symlink, link (hard), char, block, fifo or unknown."""
    size: int
    """The size in bytes of the content in the archive."""
    real_size: int
    """The size in bytes of the unpacked file: larger than `size` for a sparse file."""
    mode: int
    uid: int
    gid: int
    uname: str
    gname: str
    mtime: int
    """The modification time in nanoseconds since the epoch."""
    link_target: str
    xattrs: tuple[tuple[str, bytes], ...]
    device: tuple[int, int]
    """The major and minor number of a char or block device."""
    offset: int
    """The offset of the content in the decompressed stream."""
    segments: Segments | None = None
    """The map of a sparse file; None: the file is not sparse, or `map_in_content` is set."""
    map_in_content: bool = False
    """Whether the content begins with the map of a sparse file: see `tar_sparse.parse_content_map`."""
