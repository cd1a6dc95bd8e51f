"""One entry of a tar archive, in whatever dialect its headers are written."""

from __future__ import annotations

from imq.grammar.record import Record

Segments = tuple[tuple[int, int], ...]
"""The map of a sparse file: (offset in the file, bytes of content there), in order; holes lie between them."""


class TarEntry(Record):
    """One entry of an archive, as its headers describe it."""

    path: str
    """As written, without slashes at its end; bytes that are not UTF-8 are surrogates."""
    type: str
    """file, directory, symlink, link (hard), char, block, fifo or unknown."""
    size: int
    """Bytes of content that the archive holds."""
    real_size: int
    """Length of the unpacked file: more than `size` for a sparse one."""
    mode: int
    uid: int
    gid: int
    uname: str
    gname: str
    mtime: int
    """Nanoseconds since 1970."""
    link_target: str
    xattrs: tuple[tuple[str, bytes], ...]
    device: tuple[int, int]
    """Major and minor number of a char or block device."""
    offset: int
    """Where the content begins in the unpacked stream."""
    segments: Segments | None = None
    """Where the content lies in a sparse file; None: it is the whole file, or as the next field says."""
    map_in_content: bool = False
    """The content begins with the map of a sparse file: see `tar_sparse.parse_content_map`."""
