"""Layers with a table of contents, written from the published formats and without imq: eStargz and zstd:chunked.

https://github.com/containerd/stargz-snapshotter/blob/main/docs/estargz.md
https://github.com/containers/storage/tree/main/pkg/chunked
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import struct
import subprocess
import tarfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from .images import LAYER_TYPES, Layer, digest_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_TYPES = {
    tarfile.REGTYPE: "reg", tarfile.DIRTYPE: "dir", tarfile.SYMTYPE: "symlink", tarfile.LNKTYPE: "hardlink",
    tarfile.CHRTYPE: "char", tarfile.BLKTYPE: "block", tarfile.FIFOTYPE: "fifo",
}  # fmt: skip
_XATTR = "SCHILY.xattr."
_CHUNKED = "io.github.containers.zstd-chunked."
_SKIPPABLE = b"\x50\x2a\x4d\x18"

Member = tuple[tarfile.TarInfo, bytes]


@dataclass(frozen=True)
class ChunkedLayer(Layer):
    """A layer with a table of contents at the offset `table_at`."""

    table_at: int = 0
    entries: list[dict[str, Any]] = field(default_factory=list, repr=False)


def member(path: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, **values: Any) -> Member:
    """Return an entry of an archive; `values` are attributes of its `TarInfo`."""
    info = tarfile.TarInfo(path)
    info.type = kind
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    info.mtime = 1_700_000_000
    info.size = len(content)
    for name, value in values.items():
        setattr(info, name, value)
    return info, content


def _describe(info: tarfile.TarInfo) -> dict[str, Any]:
    xattrs = {
        name.removeprefix(_XATTR): base64.b64encode(value.encode("utf-8", "surrogateescape")).decode()
        for name, value in info.pax_headers.items()
        if name.startswith(_XATTR)
    }
    entry = {
        "name": info.name + ("/" if info.isdir() else ""),
        "type": _TYPES[info.type],
        "size": info.size,
        "modtime": datetime.fromtimestamp(info.mtime, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "linkName": info.linkname,
        "mode": info.mode,
        "uid": info.uid,
        "gid": info.gid,
        "devMajor": info.devmajor,
        "devMinor": info.devminor,
        "xattrs": xattrs,
    }
    return {name: value for name, value in entry.items() if value or name in ("name", "type")}


class _Writer:
    """Writes parts of an archive, each compressed by itself."""

    def __init__(self, compress: Callable[[bytes], bytes]) -> None:
        self.blob = bytearray()
        self.archive = bytearray()
        self.entries: list[dict[str, Any]] = []
        self._pending = bytearray()
        self._compress = compress

    def add(self, content: bytes) -> None:
        self._pending += content

    def flush(self) -> int:
        """Write what is pending, and return the offset after it."""
        if self._pending:
            self.archive += self._pending
            self.blob += self._compress(bytes(self._pending))
            self._pending.clear()
        return len(self.blob)

    def add_members(self, members: Sequence[Member], chunk_size: int) -> None:
        for info, content in members:
            entry = _describe(info)
            self.entries.append(entry)
            self.add(info.tobuf(tarfile.PAX_FORMAT))
            for offset in range(0, len(content), chunk_size):
                piece = content[offset : offset + chunk_size]
                is_last = offset + chunk_size >= len(content)
                part = entry if offset == 0 else {"name": entry["name"], "type": "chunk"}
                part["offset"] = self.flush()
                part["chunkOffset"] = offset
                part["chunkSize"] = 0 if is_last else len(piece)
                part["chunkDigest"] = digest_of(piece)
                if offset:
                    self.entries.append(part)
                self.add(piece)
                entry["endOffset"] = self.flush()
            if content:
                entry["digest"] = digest_of(content)
                self.add(bytes(-len(content) % 512))


def make_estargz(members: Sequence[Member], chunk_size: int = 1 << 20) -> ChunkedLayer:
    """Return an eStargz layer."""
    writer = _Writer(lambda content: gzip.compress(content, mtime=0))
    writer.add_members(members, chunk_size)
    for entry in writer.entries:
        entry.pop("endOffset", None)
    table_at = writer.flush()
    table = json.dumps({"version": 1, "entries": writer.entries}).encode()
    info = tarfile.TarInfo("stargz.index.json")
    info.size = len(table)
    writer.add(info.tobuf(tarfile.USTAR_FORMAT) + table + bytes(-len(table) % 512) + bytes(1024))
    writer.flush()
    subfield = b"%016xSTARGZ" % table_at
    footer = b"\x1f\x8b\x08\x04\x00\x00\x00\x00\x00\xff" + struct.pack("<H", 26) + b"SG" + struct.pack("<H", 22)
    footer += subfield + b"\x01\x00\x00\xff\xff" + bytes(8)
    assert len(footer) == 51
    assert gzip.decompress(footer) == b""
    annotations = {"containerd.io/snapshot/stargz/toc.digest": digest_of(table)}
    blob, diff_id = bytes(writer.blob) + footer, digest_of(bytes(writer.archive))
    return ChunkedLayer(blob, diff_id, LAYER_TYPES["gzip"], 0, annotations, table_at, writer.entries)


def make_zstd_chunked(members: Sequence[Member], chunk_size: int = 1 << 20) -> ChunkedLayer:
    """Return a layer in zstd:chunked."""
    writer = _Writer(_compress_zstd)
    writer.add_members(members, chunk_size)
    writer.add(bytes(1024))
    end = writer.flush()
    table = json.dumps({"version": 1, "entries": writer.entries}).encode()
    packed = _compress_zstd(table)
    table_at = end + 8
    footer = struct.pack("<7Q", table_at, len(packed), len(table), 1, 0, 0, 0) + b"GNUlInUx"
    blob = bytes(writer.blob) + _skippable(packed) + _skippable(footer)
    annotations = {
        f"{_CHUNKED}manifest-checksum": digest_of(packed),
        f"{_CHUNKED}manifest-position": f"{table_at}:{len(packed)}:{len(table)}:1",
    }
    diff_id = digest_of(bytes(writer.archive))
    return ChunkedLayer(blob, diff_id, LAYER_TYPES["zstd"], 0, annotations, table_at, writer.entries)


def _compress_zstd(content: bytes) -> bytes:
    from imq.engine.layers.zstd import zstd

    return bytes(zstd.compress(content, 3))


def _skippable(content: bytes) -> bytes:
    return _SKIPPABLE + struct.pack("<I", len(content)) + content


def list_archive(layer: ChunkedLayer) -> list[str]:
    """Return the names of the entries, as another program lists them."""
    option = "-z" if layer.blob.startswith(b"\x1f\x8b") else "--zstd"
    done = subprocess.run(["tar", option, "-tf", "-"], input=layer.blob, capture_output=True, check=True)
    with io.StringIO(done.stdout.decode()) as lines:
        return [line.rstrip("\n") for line in lines]
