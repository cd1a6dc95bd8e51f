"""Reads test data with the readers of package databases."""

from __future__ import annotations

import gzip
import io
import pathlib
from typing import TYPE_CHECKING

from imq.engine.packages.content_feed import open_feed
from imq.engine.packages.database_files import find_reader, parse_list
from imq.engine.packages.package import FileList, OwnedFiles, Package, Problem

if TYPE_CHECKING:
    from typing import BinaryIO

    from imq.engine.packages.package import Row

DATA = pathlib.Path(__file__).parent / "data"


class Stream(io.RawIOBase):
    """A file that can only be read forwards, a few bytes at a time."""

    def __init__(self, content: bytes, piece: int = 1000) -> None:
        self._content = io.BytesIO(content)
        self._piece = piece

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        piece = self._content.read(min(len(view), self._piece))
        view[: len(piece)] = piece
        return len(piece)


def data(name: str) -> bytes:
    return gzip.decompress((DATA / f"{name}.gz").read_bytes())


def lines(name: str) -> list[list[str]]:
    return [line.split("\t") for line in (DATA / name).read_text().splitlines()]


def read(path: str, content: bytes | BinaryIO, mode: int = 0) -> list[Row]:
    reader = find_reader(path.encode("utf-8", "surrogateescape"), mode)
    assert reader is not None
    file = io.BytesIO(content) if isinstance(content, bytes) else content
    return list(reader.rows(file, path))


def read_pieces(path: str, content: bytes, size: int, mode: int = 0) -> list[Row]:
    """Read a file whose content comes in pieces, as a scan does, and parse the lists that it keeps."""
    reader = find_reader(path.encode("utf-8", "surrogateescape"), mode)
    assert reader is not None
    feed = open_feed(reader, path)
    buffer = bytearray(size)
    for start in range(0, len(content), size):
        piece = content[start : start + size]
        buffer[: len(piece)] = piece
        needed = feed.feed(memoryview(buffer)[: len(piece)])
        buffer[: len(piece)] = bytes(len(piece))  # it is reused
        if not needed:
            feed.close()
            return []
    found: list[Row] = []
    for row in feed.finish():
        found += parse_list(row) if isinstance(row, FileList) else (row,)
    return found


def packages(rows: list[Row]) -> list[Package]:
    return [row for row in rows if isinstance(row, Package)]


def owned(rows: list[Row]) -> list[OwnedFiles]:
    return [row for row in rows if isinstance(row, OwnedFiles)]


def problems(rows: list[Row]) -> list[str]:
    return [str(row) for row in rows if isinstance(row, Problem)]
