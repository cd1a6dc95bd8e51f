"""Layers on disk as their archives: put together from tar-split records and the files of the layer.

A record is a JSON object on a line. A segment has bytes of the archive, headers and padding, as base64. A file has the
name and the size of a file whose content follows. Docker and containers/storage keep the records of each layer.
The result is the archive that was unpacked, byte for byte.
"""

from __future__ import annotations

import binascii
import json
import os
import stat
from contextlib import suppress

from imq.grammar.errors import Malformed, StoreError
from imq.grammar.record import TYPE_CHECKING

from .compression import decompress
from .rewinding_file import RewindingFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, BinaryIO

_READ_SIZE = 256 << 10
_MAX_RECORD = 4 << 20
"""The maximum bytes of a record: the headers before one file."""
_FILE, _SEGMENT = 1, 2
_DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def iter_records(source: BinaryIO, name: str) -> Iterator[dict[str, Any]]:
    """Yield the records of a compressed tar-split file. Raises `Malformed`."""
    line = b""
    for piece in decompress("gzip", iter(lambda: source.read(_READ_SIZE), b"")):
        *lines, line = (line + bytes(piece)).split(b"\n")
        if len(line) > _MAX_RECORD:
            raise Malformed(f"a record of {name} has more than {_MAX_RECORD} bytes", code="blob")
        yield from (_parse_record(one, name) for one in lines if one)
    if line:
        yield _parse_record(line, name)


def _parse_record(line: bytes, name: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError:
        record = None
    if not isinstance(record, dict) or record.get("type") not in (_FILE, _SEGMENT):
        raise Malformed(f"{name} has a record that is not of tar-split", code="blob")
    return record


def sum_file_sizes(source: BinaryIO, name: str) -> int:
    """Return the bytes of the files in a layer."""
    return sum(_size_of(record, name) for record in iter_records(source, name) if record["type"] == _FILE)


def _size_of(record: dict[str, Any], name: str) -> int:
    size = record.get("size") or 0
    if not isinstance(size, int) or size < 0:
        raise Malformed(f"{name} has a file without a valid size", code="blob")
    return size


class LayerArchive(RewindingFile):
    """The archive of a layer, read from its beginning. `open_records` opens its tar-split file.

    `folder` is the path of the files of the layer below the `root` of the storage. No link below the root is followed.
    """

    def __init__(self, open_records: Callable[[], BinaryIO], root: str, folder: str, name: str) -> None:
        self._open_records = open_records
        self._root = root
        self._folder = folder
        self._name = name
        super().__init__()

    def iter_chunks(self) -> Iterator[bytes]:
        """Yield the archive from its beginning."""
        with self._open_records() as source:
            for record in iter_records(source, self._name):
                if record["type"] == _FILE:
                    yield from self._read_file(record)
                    continue
                try:
                    yield binascii.a2b_base64(record.get("payload") or "")
                except (ValueError, TypeError):
                    raise Malformed(f"{self._name} has a segment that is not base64", code="blob") from None

    def _read_file(self, record: dict[str, Any]) -> Iterator[bytes]:
        remaining = _size_of(record, self._name)
        if not remaining:
            return
        path = self._path_of(record)
        try:
            handle = open_beneath(self._root, f"{self._folder}/{path}")
        except (OSError, StoreError) as problem:
            raise Malformed(f"the file {path} of a layer cannot be read: {problem}", code="blob") from None
        with os.fdopen(handle, "rb") as source:
            while remaining:
                piece = source.read(min(_READ_SIZE, remaining))
                if not piece:
                    raise Malformed(f"the file {path} of a layer is shorter than it was", code="blob")
                remaining -= len(piece)
                yield piece

    def _path_of(self, record: dict[str, Any]) -> str:
        raw = record.get("name_raw")
        if isinstance(raw, str):
            with suppress(ValueError):
                return os.fsdecode(binascii.a2b_base64(raw))
        name = record.get("name")
        return name if isinstance(name, str) else ""


def open_beneath(root: str, path: str) -> int:
    """Open a regular file beneath a folder, through no link. Raises `OSError`, and `StoreError` for anything else."""
    names = [name for name in path.split("/") if name not in ("", ".")]
    if not names or ".." in names or "\0" in path:
        raise StoreError(f"{path!r} is no path beneath a folder", code="unsafe-file")
    folder = os.open(root, _DIRECTORY_FLAGS)
    try:
        for name in names[:-1]:
            inner = os.open(name, _DIRECTORY_FLAGS, dir_fd=folder)
            os.close(folder)
            folder = inner
        handle = os.open(names[-1], _FILE_FLAGS, dir_fd=folder)
    finally:
        os.close(folder)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise StoreError(f"{path} is not a regular file", code="unsafe-file")
    return handle
