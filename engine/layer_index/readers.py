"""Chooses the files whose content a scan reads: databases of packages, and what names the operating system."""

from __future__ import annotations

import json

from imq.engine.layers.compression import pack_text, unpack_text
from imq.engine.packages.content_feed import open_feed
from imq.engine.packages.database_files import can_have_reader, parse_list
from imq.engine.packages.database_files import find_reader as find_package_reader
from imq.engine.packages.elf_machine import HEADER_SIZE, find_machine
from imq.engine.packages.os_release import MAX_OS_FILE, OS_FILES
from imq.engine.packages.package import FileList, OwnedFiles, Package, PackageLicence
from imq.engine.packages.versions.order import encode_version
from imq.grammar.record import TYPE_CHECKING

from .content_tap import Findings
from .path_text import to_path, to_text
from .schema import ACCOUNT_NOTE, LICENCE_NOTE, MEMBER_NOTE, OS_NOTE, OWNED_NOTE, PROBLEM_NOTE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from imq.engine.packages.reader import Feed

    from .content_tap import ContentReader

_encode_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_EXECUTABLE = 0o111
_MAX_ACCOUNTS = 4 << 20
"""The most bytes of a list of users or groups that are read."""
_NUMBER_COLUMN = 2
_MAX_DIGITS = 10


def find_reader(path: str, mode: int, size: int, is_sparse: bool) -> ContentReader | None:
    """Return the reader of the content of a file; None when the scan does not need it.

    `size` is that of the content in the archive. It takes about 0.3 µs for a file that is of no interest.
    """
    make = _SYSTEM_FILES.get(path)
    if make is not None:
        return make()
    can_be_elf = mode & _EXECUTABLE or (".so" in path and _is_library(path))
    if not (can_be_elf or can_have_reader(path)):
        return None
    reader = find_package_reader(path.encode("utf-8", "surrogateescape"), mode)
    if reader is not None and reader.scan is None and not size:
        reader = None
    package_file = _PackageFile(open_feed(reader, path)) if reader is not None else None
    return _MachineFile(package_file) if can_be_elf and not is_sparse else package_file


def _is_library(path: str) -> bool:
    return path.endswith(".so") or ".so." in path[path.rfind("/") :]


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
        if self._other is None:
            return Findings((), (), self._machine)
        found = self._other.finish()
        return Findings(found.packages, found.notes, self._machine)


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
            elif isinstance(row, FileList):
                notes.append((OWNED_NOTE, _pack_list(row)))
            elif isinstance(row, PackageLicence):
                licence = {"type": row.type, "package": row.package, "licence": row.licence}
                notes.append((LICENCE_NOTE, json.dumps(licence, ensure_ascii=False)))
            else:
                notes.append((PROBLEM_NOTE, json.dumps([row.offset, row.message])))
        return Findings(tuple(packages), tuple(notes), None)


def _encode_package(row: Package) -> tuple[Any, ...]:
    texts = (
        row.architecture, row.key, row.source, row.source_version, row.licence,
    )  # fmt: skip
    rest = (row.maintainer, row.homepage, row.toolchain, row.vendor)
    return (
        row.type, row.name, encode_version(row.type, row.version),
        *(text or None for text in texts), row.size, *(text or None for text in rest),
    )  # fmt: skip


_SYSTEM_FILES: dict[str, Callable[[], ContentReader]] = {
    **dict.fromkeys((path.decode() for path in OS_FILES), _OsFile),
    **dict.fromkeys(("etc/passwd", "etc/group"), _AccountFile),
}
"""What reads a file of a certain path."""


def _pack_owned(row: OwnedFiles) -> bytes:
    """Return the files of a package as a compressed JSON document: there is a name for each path of the image."""
    document = {
        "type": row.type,
        "package": row.package,
        "listed_by": to_text(row.listed_by),
        "size": row.size,
        "files": [[to_text(path), checksum] for path, checksum in row.files],
    }
    return pack_text(_encode_json(document).encode())


def _pack_list(row: FileList) -> bytes:
    """Return a list as it is, compressed, after a line with its kind and path: most are never read."""
    head = _encode_json([row.kind, to_text(row.path)])
    return pack_text(head.encode() + b"\n" + row.content)


def unpack_owned(packed: bytes) -> Iterator[OwnedFiles]:
    """Yield the files of packages in the document of a note of the kind `OWNED_NOTE`."""
    head, _, content = unpack_text(packed).partition(b"\n")
    document = json.loads(head)
    if isinstance(document, list):
        kind, path = document
        for row in parse_list(FileList(kind, to_path(path), content)):
            if isinstance(row, OwnedFiles):
                yield row
        return
    files = tuple((to_path(path), checksum) for path, checksum in document["files"])
    listed_by = to_path(document["listed_by"])
    yield OwnedFiles(document["type"], document["package"], "", files, document["size"], listed_by)
