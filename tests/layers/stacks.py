"""Stacks of layers for tests, written by the standard library, and descriptions of trees."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tarfile
from typing import TYPE_CHECKING, Any

from imq.engine.layers.layer_stack import StackedLayer
from imq.engine.oci.digest import Digest
from support.images import pack

if TYPE_CHECKING:
    from collections.abc import Iterable

MOMENT = 1_000_000_000
"""Seconds: the default time of entries."""

Member = tuple[tarfile.TarInfo, bytes]


def member(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, **attributes: Any) -> Member:
    """Return an entry; `attributes` are those of its TarInfo, and `xattrs` its extended attributes."""
    info = tarfile.TarInfo(name)
    info.type, info.size, info.mtime, info.mode = kind, len(content), MOMENT, 0o644
    info.pax_headers = {f"SCHILY.xattr.{key}": value for key, value in attributes.pop("xattrs", {}).items()}
    for key, value in attributes.items():
        setattr(info, key, value)
    return info, content


def folder(name: str, mode: int = 0o755, **attributes: Any) -> Member:
    return member(name, kind=tarfile.DIRTYPE, mode=mode, **attributes)


def symlink(name: str, target: str, **attributes: Any) -> Member:
    return member(name, kind=tarfile.SYMTYPE, linkname=target, mode=0o777, **attributes)


def link(name: str, target: str, **attributes: Any) -> Member:
    return member(name, kind=tarfile.LNKTYPE, linkname=target, **attributes)


def archive(members: Iterable[Member]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as opened:
        for info, content in members:
            opened.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def stacked(content: bytes, packed: str = "", blob: bytes | None = None) -> StackedLayer:
    """Return an archive as a layer; with `blob`, that is read instead of the archive."""
    if blob is None:
        blob = pack(content, packed)
    digest = Digest("sha256:" + hashlib.sha256(blob).hexdigest())
    diff_id = Digest("sha256:" + hashlib.sha256(content).hexdigest())
    return StackedLayer(digest, diff_id, packed, lambda: io.BytesIO(blob))


def layer(*members: Member, packed: str = "gzip") -> StackedLayer:
    return stacked(archive(members), packed)


def describe_tree(root: str | os.PathLike[str]) -> dict[str, tuple[object, ...]]:
    """Return all metadata and the content hash of a folder and of every file below it, by path."""
    found: dict[str, tuple[object, ...]] = {}
    files: dict[tuple[int, int], str] = {}
    for path in _paths(os.fspath(root)):
        about = os.lstat(path)
        name = os.path.relpath(path, root)
        mode = about.st_mode
        content: object = None
        if stat.S_ISREG(mode):
            with open(path, "rb") as source:
                content = hashlib.file_digest(source, "sha256").hexdigest()
        elif stat.S_ISLNK(mode):
            content = os.readlink(path)
        elif stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
            content = about.st_rdev
        first = name if stat.S_ISDIR(mode) else files.setdefault((about.st_dev, about.st_ino), name)
        attributes = tuple(
            (key, os.getxattr(path, key, follow_symlinks=False))
            for key in sorted(os.listxattr(path, follow_symlinks=False))
            if key != "user.rootlesscontainers"  # umoci stores owners here that a user cannot set
        )
        size = about.st_size if stat.S_ISREG(mode) else None
        found[name] = (oct(mode), about.st_uid, about.st_gid, size, about.st_mtime_ns, content, first, attributes)
    return found


def _paths(root: str) -> Iterable[str]:
    yield root
    for above, folders, names in os.walk(root):
        folders.sort()
        for name in sorted([*folders, *names]):
            yield os.path.join(above, name)
