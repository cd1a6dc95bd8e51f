"""Relays a blob from one registry to another: read like a file, hashed on the way, never stored."""

from __future__ import annotations

from imq.grammar.errors import DigestMismatch, RegistryError
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from imq.engine.oci.manifest import Descriptor
    from imq.engine.oci.reference import Reference
    from imq.engine.registry.mirrors import BlobReader

BUFFER_SIZE = 256 << 10
"""Bytes in memory for each blob."""


class BlobRelay:
    """A blob as the body of an upload.

    The last bytes are held back until the digest is verified, so an upload of wrong bytes never completes.
    `on_mismatch` receives such a blob.
    """

    def __init__(
        self,
        open_reader: Callable[[], BlobReader],
        reference: Reference,
        descriptor: Descriptor,
        on_mismatch: Callable[[Descriptor], None] = lambda _: None,
    ) -> None:
        self._on_mismatch = on_mismatch
        self._reference = reference
        self._descriptor = descriptor
        self._hasher = descriptor.digest.new_hash()
        self._offset = 0
        self._buffer = memoryview(bytearray(BUFFER_SIZE))
        try:
            self._reader = open_reader()
        except RegistryError as error:
            raise _make_permanent(error) from None

    def read(self, count: int = -1) -> memoryview:
        """Return the next bytes, at most `BUFFER_SIZE`; none at the end. They are valid until the next call.

        Raises `DigestMismatch` for wrong bytes.
        """
        try:
            read = self._reader.readinto(self._buffer[:count] if count >= 0 else self._buffer)
        except RegistryError as error:
            raise _make_permanent(error) from None
        piece = self._buffer[:read]
        self._hasher.update(piece)
        self._offset += read
        if (
            read
            and self._offset == self._descriptor.size
            and self._hasher.hexdigest() != self._descriptor.digest.encoded
        ):
            self._on_mismatch(self._descriptor)
            raise DigestMismatch(
                f"{self._reference.registry} sent content of {self._reference.repository} "
                f"that does not match {self._descriptor.digest}",
                hints=("the registry or a proxy is faulty, or the content was manipulated in transit",),
            )
        return piece

    def abort(self) -> None:
        """Make a `read` that waits in another thread raise."""
        self._reader.abort()

    def close(self) -> None:
        """Release the connection."""
        self._reader.close()


def _make_permanent(error: RegistryError) -> RegistryError:
    """Mark an error as permanent: the reader has used up its retries, so the upload is not retried."""
    error.temporary = False
    return error
