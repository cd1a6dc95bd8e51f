"""A blob on its way from one registry to another: read like a file, hashed while it passes, never kept."""

from __future__ import annotations

from imq.grammar.errors import DigestMismatch, RegistryError
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from imq.engine.oci.manifest import Descriptor
    from imq.engine.oci.reference import Reference
    from imq.engine.registry.mirrors import Blob

PIECE = 256 << 10
"""Bytes in memory at once, for each blob."""


class Passing:
    """The blob as the body of an upload.

    Its last piece is held back until the digest is right, so that the upload of other bytes is never finished; `wrong`
    is told of such a blob.
    """

    def __init__(
        self,
        opened: Callable[[], Blob],
        reference: Reference,
        descriptor: Descriptor,
        wrong: Callable[[Descriptor], None] = lambda _: None,
    ) -> None:
        self._wrong = wrong
        self._reference = reference
        self._descriptor = descriptor
        self._hasher = descriptor.digest.hasher()
        self._done = 0
        self._buffer = memoryview(bytearray(PIECE))
        try:
            self._stream = opened()
        except RegistryError as problem:
            raise _final(problem) from None

    def read(self, count: int = -1) -> memoryview:
        """Return the next bytes, at most a piece; none at the end. Raises `DigestMismatch` for wrong bytes.

        They are good until the next call.
        """
        try:
            read = self._stream.readinto(self._buffer[:count] if count >= 0 else self._buffer)
        except RegistryError as problem:
            raise _final(problem) from None
        piece = self._buffer[:read]
        self._hasher.update(piece)
        self._done += read
        if read and self._done == self._descriptor.size and self._hasher.hexdigest() != self._descriptor.digest.hex:
            self._wrong(self._descriptor)
            raise DigestMismatch(
                f"{self._reference.registry} sent other bytes than {self._descriptor.digest} "
                f"for {self._reference.repository}",
                hints=("the registry or a proxy before it is broken, or someone meddles with what you get",),
            )
        return piece

    def abort(self) -> None:
        """Make a `read` that waits in another thread raise."""
        self._stream.abort()

    def close(self) -> None:
        """Give the connection back."""
        self._stream.close()


def _final(problem: RegistryError) -> RegistryError:
    """Say that trying the upload again is of no use: reading has been tried as often as it shall be."""
    problem.temporary = False
    return problem
