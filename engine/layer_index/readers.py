"""Chooses the files whose content a scan reads: databases of packages, and what names the operating system."""

from __future__ import annotations

import json
from tempfile import SpooledTemporaryFile

from imq.engine.packages.database_files import find_reader as find_package_reader
from imq.engine.packages.os_release import MAX_OS_FILE, OS_FILES
from imq.engine.packages.package import OwnedFiles, Package, PackageLicence
from imq.engine.packages.versions.order import encode_version
from imq.grammar.record import TYPE_CHECKING

from .content_tap import Findings
from .path_text import to_text
from .schema import LICENCE_NOTE, OS_NOTE, OWNED_NOTE, PROBLEM_NOTE

if TYPE_CHECKING:
    from typing import IO, Any

    from imq.engine.layers.tar_entry import TarEntry
    from imq.engine.packages.reader import Reader

    from .content_tap import ContentReader

_MAX_IN_MEMORY = 8 << 20
"""A larger file that is read whole is held on disk."""
_ELF = b"\x7fELF"
_EXECUTABLE = 0o111


def find_reader(path: str, entry: TarEntry) -> ContentReader | None:
    """Return the reader of the content of a file; None when the scan does not need it."""
    encoded = path.encode("utf-8", "surrogateescape")
    if encoded in OS_FILES:
        return _OsFile()
    reader = find_package_reader(encoded, entry.mode)
    if reader is None or (reader.scan is None and not entry.size):
        return None
    is_executable = reader.scan is not None and bool(entry.mode & _EXECUTABLE)
    return _PackageFile(reader, path, must_be_elf=is_executable and not path.endswith((".sqlite", ".db", "/Packages")))


class _OsFile:
    """Keeps the text of a file that names the operating system."""

    def __init__(self) -> None:
        self._content = bytearray()

    def feed(self, piece: memoryview) -> bool:
        """Keep the next piece."""
        self._content += piece[: MAX_OS_FILE - len(self._content)]
        return True

    def finish(self) -> Findings:
        """Return the text as a note."""
        text = self._content.decode("utf-8", "replace").replace("\0", "\ufffd")
        return Findings(notes=((OS_NOTE, json.dumps(text)),))


class _PackageFile:
    """Keeps the content of a file of a package system until it is complete, and reads it then."""

    def __init__(self, reader: Reader, path: str, *, must_be_elf: bool) -> None:
        self._reader = reader
        self._path = path
        self._remaining = reader.max_size + 1 if reader.scan is None else None
        self._must_be_elf = must_be_elf
        self._file: IO[bytes] = SpooledTemporaryFile(_MAX_IN_MEMORY)  # noqa: SIM115 - closed in `finish`

    def feed(self, piece: memoryview) -> bool:
        """Keep the next piece; return False for an executable of another format than ELF."""
        if self._must_be_elf:
            if piece[: len(_ELF)] != _ELF[: len(piece)]:
                self._file.close()
                return False
            self._must_be_elf = False
        if self._remaining is not None:
            piece = piece[: self._remaining]
            self._remaining -= len(piece)
        self._file.write(piece)
        return True

    def finish(self) -> Findings:
        """Return the packages and what else the file says of packages."""
        packages: list[tuple[Any, ...]] = []
        notes: list[tuple[str, str | bytes]] = []
        with self._file as file:
            file.seek(0)
            for row in self._reader.rows(file, self._path):  # type: ignore[arg-type] # a spooled file is a binary file
                if isinstance(row, Package):
                    packages.append(_encode_package(row))
                elif isinstance(row, OwnedFiles):
                    notes.append((OWNED_NOTE, _pack_owned(row)))
                elif isinstance(row, PackageLicence):
                    licence = {"type": row.type, "package": row.package, "licence": row.licence}
                    notes.append((LICENCE_NOTE, json.dumps(licence, ensure_ascii=False)))
                else:
                    notes.append((PROBLEM_NOTE, json.dumps([row.offset, row.message])))
        return Findings(tuple(packages), tuple(notes))


def _encode_package(row: Package) -> tuple[Any, ...]:
    texts = (
        row.architecture, row.key, row.source, row.source_version, row.licence,
    )  # fmt: skip
    rest = (row.maintainer, row.homepage, row.toolchain, row.vendor)
    return (
        row.type, row.name, encode_version(row.type, row.version),
        *(text or None for text in texts), row.size, *(text or None for text in rest),
    )  # fmt: skip


def _pack_owned(row: OwnedFiles) -> bytes:
    """Return the files of a package as a compressed JSON document: there is a name for each path of the image."""
    from .words import pack_words

    document = {
        "type": row.type,
        "package": row.package,
        "listed_by": to_text(row.listed_by),
        "size": row.size,
        "files": [[to_text(path), checksum] for path, checksum in row.files],
    }
    return pack_words(json.dumps(document, ensure_ascii=False, separators=(",", ":")))
