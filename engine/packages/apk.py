"""Reads the database of apk, `lib/apk/db/installed`. Its fields have names of one letter, as those of apk's index.

Packages are paragraphs. `F:` is a folder, `R:` a file in the last folder, `Z:` the checksum of the last file.
"""

from __future__ import annotations

import re

from imq.grammar.record import TYPE_CHECKING

from .package import OwnedFiles, Package, Problem
from .reader import batch_files, decode, decode_path, drop_partial_line, iter_paragraphs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .package import Rows

_FIELD = re.compile(rb"^([PVAoLImU]):(.*)$", re.MULTILINE)
_FILE_LINE = re.compile(rb"^([FRZ]):(.*)$", re.MULTILINE)
_STRAY_LINE = re.compile(rb"^(?!.:|$).", re.MULTILINE)
_CHECKSUMS = {b"Q1": ("sha1", 20), b"Q2": ("sha256", 32)}
_MAX_DIGITS = 16


def read_installed(content: bytes, path: str) -> Rows:
    """Yield each package and its files."""
    content, problem = drop_partial_line(content, path)
    if problem is not None:
        yield problem
    for offset, paragraph in iter_paragraphs(content):
        yield from _read_package(paragraph, offset, path)


def _read_package(text: bytes, offset: int, path: str) -> Rows:
    fields: dict[bytes, bytes] = {}
    for field in _FIELD.finditer(text):
        fields.setdefault(field[1], field[2])
    if stray := _STRAY_LINE.search(text):
        yield Problem(path, offset + stray.start(), "a line without a field")
    name, version = fields.get(b"P"), fields.get(b"V")
    if not name or not version:
        yield Problem(path, offset, f"an entry without {'version' if name else 'name'}")
        return
    size, source = fields.get(b"I", b""), fields.get(b"o", b"")
    package = Package(
        "apk",
        decode(name),
        decode(version),
        path,
        architecture=decode(fields.get(b"A", b"")),
        source=decode(source) if source != name else "",
        licence=decode(fields.get(b"L", b"")),
        size=int(size) if size.isdigit() and len(size) < _MAX_DIGITS else None,
        maintainer=decode(fields.get(b"m", b"")),
        homepage=decode(fields.get(b"U", b"")),
    )
    yield package
    yield from batch_files(OwnedFiles("apk", package.key, path, ()), _iter_files(text))


def _iter_files(text: bytes) -> Iterator[tuple[str, str]]:
    """Yield the files of a package. The checksum of a file follows its name."""
    folder, file, checksum = b"", None, ""
    for line in _FILE_LINE.finditer(text):
        kind, value = line[1], line[2]
        if kind == b"Z":
            checksum = _read_checksum(value)
            continue
        if file is not None:
            yield decode_path(file), checksum
            file = None
        if kind == b"F":
            folder = value + b"/" if value else b""
        else:
            file, checksum = folder + value, ""
    if file is not None:
        yield decode_path(file), checksum


def _read_checksum(value: bytes) -> str:
    """Return `sha1:HEX` for `Q1` and base64; "" for what is none."""
    algorithm, size = _CHECKSUMS.get(value[:2], ("", 0))
    if algorithm:
        from binascii import Error, a2b_base64

        try:
            digest = a2b_base64(value[2:])
        except Error:
            return ""
        if len(digest) == size:
            return f"{algorithm}:{digest.hex()}"
    return ""
