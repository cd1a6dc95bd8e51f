"""Chooses the files whose content a scan reads: databases of packages, and what names the operating system."""

from __future__ import annotations

import json

from imq.engine.packages.content_feed import open_feed
from imq.engine.packages.database_files import find_reader as find_package_reader
from imq.engine.packages.elf_machine import HEADER_SIZE, find_machine
from imq.engine.packages.os_release import MAX_OS_FILE, OS_FILES
from imq.engine.packages.package import OwnedFiles, Package, PackageLicence
from imq.engine.packages.versions.order import encode_version
from imq.grammar.record import TYPE_CHECKING

from .content_tap import Findings
from .path_text import to_text
from .schema import ACCOUNT_NOTE, LICENCE_NOTE, MEMBER_NOTE, OS_NOTE, OWNED_NOTE, PROBLEM_NOTE

if TYPE_CHECKING:
    from typing import Any

    from imq.engine.layers.tar_entry import TarEntry
    from imq.engine.packages.reader import Feed

    from .content_tap import ContentReader

_encode_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_EXECUTABLE = 0o111
_ACCOUNT_FILES = frozenset({b"etc/passwd", b"etc/group"})
_MAX_ACCOUNTS = 4 << 20
"""The most bytes of a list of users or groups that are read."""
_NUMBER_COLUMN = 2
_MAX_DIGITS = 10


def find_reader(path: str, entry: TarEntry) -> ContentReader | None:
    """Return the reader of the content of a file; None when the scan does not need it."""
    encoded = path.encode("utf-8", "surrogateescape")
    if encoded in OS_FILES:
        return _OsFile()
    if encoded in _ACCOUNT_FILES:
        return _AccountFile()
    reader = find_package_reader(encoded, entry.mode)
    if reader is not None and reader.scan is None and not entry.size:
        reader = None
    package_file = _PackageFile(open_feed(reader, path)) if reader is not None else None
    if entry.segments is None and not entry.map_in_content and (entry.mode & _EXECUTABLE or _is_library(encoded)):
        return _MachineFile(package_file)
    return package_file


def _is_library(path: bytes) -> bool:
    return path.endswith(b".so") or b".so." in path[path.rfind(b"/") :]


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


class _AccountFile:
    """Reads the names of users or groups: lines of `name:password:number:…`, as in passwd(5) and group(5)."""

    def __init__(self) -> None:
        self._content = bytearray()

    def feed(self, piece: memoryview) -> bool:
        """Keep the next piece."""
        self._content += piece[: _MAX_ACCOUNTS - len(self._content)]
        return True

    def finish(self) -> Findings:
        """Return the first name of each number as a note, and the first entry of each name.

        An entry has the number and the next part of the line: the group of a user, or the members of a group.
        """
        names: dict[str, str] = {}
        entries: dict[str, tuple[int, str]] = {}
        for line in self._content.decode("utf-8", "replace").replace("\0", "\ufffd").split("\n"):
            parts = line.split(":")
            if len(parts) > _NUMBER_COLUMN and parts[0] and not line.startswith(("#", "+", "-")):
                number = parts[_NUMBER_COLUMN]
                if number.isascii() and number.isdigit() and len(number) <= _MAX_DIGITS:
                    names.setdefault(str(int(number)), parts[0])
                    entries.setdefault(parts[0], (int(number), ":".join(parts[_NUMBER_COLUMN + 1 :][:1])))
        documents = {ACCOUNT_NOTE: names, MEMBER_NOTE: entries}
        return Findings(
            notes=tuple((kind, json.dumps(document, ensure_ascii=False)) for kind, document in documents.items())
        )


class _MachineFile:
    """Reads the machine of an executable or a shared library, and passes its content to another reader."""

    def __init__(self, other: ContentReader | None) -> None:
        self._other = other
        self._head = b""
        self._machine: str | None = None

    def feed(self, piece: memoryview) -> bool:
        """Read the next piece; return False for what is no ELF file and of no interest to the other reader."""
        if len(self._head) < HEADER_SIZE:
            self._head += bytes(piece[: HEADER_SIZE - len(self._head)])
            self._machine = find_machine(self._head)
        if self._other is not None and not self._other.feed(piece):
            self._other = None
        return self._other is not None or self._machine is not None or len(self._head) < HEADER_SIZE

    def finish(self) -> Findings:
        """Return the machine, and what the other reader found."""
        findings = self._other.finish() if self._other is not None else Findings()
        return findings.replace(machine=self._machine)


class _PackageFile:
    """Feeds a file of a package system to its reader."""

    def __init__(self, rows: Feed) -> None:
        self._rows = rows

    def feed(self, piece: memoryview) -> bool:
        """Pass on the next piece; return False when it is no file of a package system."""
        return self._rows.feed(piece)

    def finish(self) -> Findings:
        """Return the packages and what else the file says of packages."""
        packages: list[tuple[Any, ...]] = []
        notes: list[tuple[str, str | bytes]] = []
        for row in self._rows.finish():
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
    return pack_words(_encode_json(document))
