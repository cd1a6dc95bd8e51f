"""The changes of a container as a layer on top of those of its image, in a temporary file."""

from __future__ import annotations

import hashlib
import os
import tempfile

from imq.engine.oci.digest import Digest
from imq.engine.store.atomic_files import store_errors
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_CHUNK_SIZE = 256 << 10


class ContainerLayer:
    """A layer that is written once, and then read by any thread. Its file goes with the object."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        folder = environment.get("TMPDIR") or ("/var/tmp" if os.path.isdir("/var/tmp") else None)  # noqa: S108
        with store_errors("make a file for the changes of a container"):
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - it is read later
        self._hasher = hashlib.sha256()
        self.size = 0

    def __del__(self) -> None:
        """Remove the file."""
        if hasattr(self, "_file"):
            self._file.close()

    def write(self, data: bytes | memoryview) -> int:
        """Append bytes of the archive, and return how many they are. Raises `StoreError` when the disk is full."""
        self._hasher.update(data)
        with store_errors("write the changes of a container"):
            self._file.write(data)
        self.size += len(data)
        return len(data)

    def finish(self) -> Digest:
        """Return the diff ID of the whole layer."""
        with store_errors("write the changes of a container"):
            self._file.flush()
        return Digest(f"sha256:{self._hasher.hexdigest()}")

    def iter_chunks(self) -> Iterator[bytes]:
        """Yield the bytes of the layer."""
        place = 0
        while chunk := os.pread(self._file.fileno(), _CHUNK_SIZE, place):
            yield chunk
            place += len(chunk)
