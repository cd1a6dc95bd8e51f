"""Scans of layers for the index of files, made while a pull verifies the layers."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress

from imq.engine.layer_index.readers import find_reader
from imq.engine.layer_index.scan import SCAN_ERRORS, LayerScanner
from imq.engine.layers.tar_walker import TarWalker
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from imq.engine.layers.tar_entry import TarEntry
    from imq.engine.layers.tar_walker import OrdinaryEntry
    from imq.engine.oci.digest import Digest


@contextmanager
def open_scan_folder(environment: Mapping[str, str]) -> Iterator[str]:
    """Yield a temporary folder for the databases of scans, which can be large. It is of this user alone.

    A pull makes it itself: importing tempfile takes 3 ms.
    """
    parent = environment.get("TMPDIR") or ("/var/tmp" if os.path.isdir("/var/tmp") else "/tmp")  # noqa: S108
    folder = os.path.join(parent, f"imq-{os.urandom(8).hex()}")
    os.mkdir(folder, 0o700)
    try:
        yield folder
    finally:
        with suppress(OSError):
            for name in os.listdir(folder):
                os.unlink(os.path.join(folder, name))
            os.rmdir(folder)


def make_scan_path(folder: str) -> str:
    """Return the path for a new database in the folder of `open_scan_folder`."""
    return os.path.join(folder, os.urandom(8).hex())


class ScanningWalker:
    """Walks the archive of a layer as `TarWalker` does, and scans it in the same walk, into a database in `folder`.

    A layer that is stored need not be one that can be unpacked. So an error ends the scan, and the walk goes on.
    """

    def __init__(self, folder: str) -> None:
        self._walker = TarWalker(self._add_entry, on_ordinary=self._add_ordinary)
        self._scanner: LayerScanner | None = None
        with suppress(*SCAN_ERRORS):
            self._path = make_scan_path(folder)
            self._scanner = LayerScanner(self._path, find_reader)

    @property
    def size(self) -> int:
        """The sum of the contents in bytes."""
        return self._walker.size

    @property
    def entries(self) -> int:
        """The number of entries."""
        return self._walker.entries

    def feed(self, piece: bytes | memoryview) -> None:
        """Walk and scan the next piece of the archive."""
        if self._scanner is not None:
            self._scanner.begin_piece(piece)
        self._walker.feed(piece)
        if self._scanner is not None:
            try:
                self._scanner.end_piece()
            except SCAN_ERRORS:
                self.close()

    def _add_entry(self, entry: TarEntry) -> None:
        if self._scanner is not None:
            try:
                self._scanner.add_entry(entry)
            except SCAN_ERRORS:
                self.close()

    def _add_ordinary(self, entry: OrdinaryEntry) -> None:
        if self._scanner is not None:
            try:
                self._scanner.add_ordinary(entry)
            except SCAN_ERRORS:
                self.close()

    def finish(self) -> None:
        """Raise `Malformed` when the archive is incomplete."""
        self._walker.finish()

    def complete(self, diff_id: Digest) -> str | None:
        """Return the path of the scan of a layer that was verified; None when it could not be scanned."""
        if self._scanner is None:
            return None
        try:
            self._scanner.finish(diff_id)
        except SCAN_ERRORS:
            return None
        finally:
            self.close()
        return self._path

    def close(self) -> None:
        """End the scan. Idempotent."""
        if self._scanner is not None:
            self._scanner.close()
            self._scanner = None
