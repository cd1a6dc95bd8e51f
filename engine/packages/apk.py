"""Reads the database of apk, `lib/apk/db/installed`. Its fields have names of one letter, as those of apk's index.

Packages are paragraphs. `F:` is a folder, `R:` a file in the last folder, `Z:` the checksum of the last file.
"""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

from .package import OwnedFiles, Package, Problem
from .reader import decode, decode_path, drop_partial_line, iter_paragraphs

if TYPE_CHECKING:
    from .package import Rows

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
    files: list[tuple[str, str]] = []
    folder, stray = b"", None
    for line in text.rstrip(b"\n").split(b"\n"):
        kind, value = line[:2], line[2:]
        if kind == b"F:":
            folder = value + b"/" if value else b""
        elif kind == b"R:":
            files.append((decode_path(folder + value), ""))
        elif kind == b"Z:" and files:
            files[-1] = (files[-1][0], _read_checksum(value))
        elif line[1:2] == b":":
            fields.setdefault(kind, value)
        elif stray is None:
            stray = line
    if stray is not None:
        yield Problem(path, offset + text.find(stray), "a line without a field")
    name, version = fields.get(b"P:"), fields.get(b"V:")
    if not name or not version:
        yield Problem(path, offset, f"an entry without {'version' if name else 'name'}")
        return
    size, source = fields.get(b"I:", b""), fields.get(b"o:", b"")
    package = Package(
        "apk",
        decode(name),
        decode(version),
        path,
        architecture=decode(fields.get(b"A:", b"")),
        source=decode(source) if source != name else "",
        licence=decode(fields.get(b"L:", b"")),
        size=int(size) if size.isdigit() and len(size) < _MAX_DIGITS else None,
        maintainer=decode(fields.get(b"m:", b"")),
        homepage=decode(fields.get(b"U:", b"")),
    )
    yield package
    if files:
        yield OwnedFiles("apk", package.key, path, tuple(files))


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
