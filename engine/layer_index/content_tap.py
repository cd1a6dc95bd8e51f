"""Passes the content of some entries to readers while an archive is scanned."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any, Protocol

    class ContentReader(Protocol):
        """Reads the content of one entry."""

        def feed(self, piece: memoryview, /) -> bool:
            """Read the next piece, which may be reused after the call. Return False to stop: nothing is found."""

        def finish(self) -> Findings:
            """Return what the complete content says."""


class Findings(Record):
    """What a file says: rows of `PACKAGE_COLUMNS`, and notes: a kind, and a JSON document, which may be compressed.

    `machine` is that of an ELF file.
    """

    packages: tuple[tuple[Any, ...], ...] = ()
    notes: tuple[tuple[str, str | bytes], ...] = ()
    machine: str | None = None


class ContentTap:
    """Feeds the contents of opened entries to their readers, piece by piece of the archive."""

    def __init__(self) -> None:
        self._offset = 0  # of the current piece in the archive
        self._piece = memoryview(b"")
        self._open: list[tuple[str, int, int, int, ContentReader]] = []  # path, start, next offset, end, reader
        self._findings: list[tuple[str, Findings]] = []
        self._machines: list[tuple[str, int, str]] = []
        self._described: set[str] = set()

    def feed(self, piece: bytes | memoryview) -> None:
        """Take the next piece of the archive, before its entries are opened."""
        self._piece = memoryview(piece)

    def open(self, path: str, offset: int, size: int, reader: ContentReader) -> None:
        """Feed the content of a file, whose header was just read, to a reader: `size` bytes at `offset`."""
        self._open.append((path, offset, offset, offset + size, reader))

    def end_piece(self) -> None:
        """Feed the parts of the current piece, after its entries are opened."""
        end_offset = self._offset + len(self._piece)
        remaining = []
        for path, first, offset, end, reader in self._open:
            start, stop = offset - self._offset, min(end, end_offset) - self._offset
            if start < stop and not reader.feed(self._piece[start:stop]):
                continue
            if end <= end_offset:
                self._keep(path, first, reader.finish())
            else:
                remaining.append((path, first, max(offset, end_offset), end, reader))
        self._open = remaining
        self._offset = end_offset
        self._piece = memoryview(b"")

    def _keep(self, path: str, offset: int, findings: Findings) -> None:
        if findings.machine is not None:
            self._machines.append((path, offset, findings.machine))
        if findings.packages or findings.notes:
            self._described.add(path)
        if path in self._described:  # what says nothing can replace what did
            self._findings.append((path, findings))

    def take_findings(self) -> Iterator[tuple[str, Findings]]:
        """Yield the path and the findings of files since the last call, in the order of the archive.

        Files that never had packages or notes are left out.
        """
        findings, self._findings = self._findings, []
        yield from findings

    def take_machines(self) -> Sequence[tuple[str, int, str]]:
        """Return the path, the offset and the machine of each ELF file since the last call."""
        machines, self._machines = self._machines, []
        return machines
