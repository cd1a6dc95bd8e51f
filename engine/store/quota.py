"""Room for what comes in: what the store may hold (`set quota`), and what the disk still takes.

Who brings blobs in says first which ones, so what would not fit is refused before a byte of it travels; what has no
size yet is watched while it comes. A claim lies beside its lease and ends with it: two processes cannot both count on
the same bytes. The quota bounds the bytes of the blobs, each once, as `usage` sums them up, and of the parts of
downloads that are kept to be gone on with: those that nobody wants now make room for what is wanted.
"""

from __future__ import annotations

import os
import re

from imq.engine.oci.digest import Digest, is_digest
from imq.engine.units.size import human_size
from imq.grammar.errors import StoreError
from imq.grammar.record import TYPE_CHECKING

from . import partial_blobs
from .atomic_files import free_at, write_all
from .leases import is_sweep_marked, owner_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from .layout import Layout

_ENDING = ".room"
_LARGEST_CLAIMS = 64 << 20
"""Bytes of one file of claims that are read at most."""


class Room:
    """What one bringing-in of blobs may take. `quota` None: as much as the disk does."""

    def __init__(self, layout: Layout, quota: int | None, token: str) -> None:
        self._layout = layout
        self._quota = quota
        self._name = token + _ENDING
        self._claimed: dict[Digest, int] = {}
        self._seen: int | None = None
        """The bytes that the store had when it was last looked at, and those that have come since."""

    def claim(self, wanted: Mapping[Digest, int]) -> None:
        """Claim room for these blobs, given with their bytes, or raise `StoreError` (codes: quota, no-space).

        What is stored or claimed already takes no more. The caller holds the store's lock.
        """
        new = {
            digest: size
            for digest, size in wanted.items()
            if digest not in self._claimed and not self._layout.has_blob(digest)
        }
        if not new:
            return
        if self._quota is not None:
            held = self._held()
            here = sum(held.values())
            more = sum(max(size - held.get(digest, 0), 0) for digest, size in new.items())
            if here + more > self._quota:
                here -= self._drop_begun(wanted)
            if here + more > self._quota:
                raise self._over(here, more)
            self._seen = here + more
        self._check_disk(new.values())
        self._layout.ingest.ensure_file(self._name)
        handle = self._layout.ingest.open_file(self._name, os.O_WRONLY | os.O_APPEND)
        try:
            write_all(handle, "".join(f"{digest} {size}\n" for digest, size in new.items()).encode())
        finally:
            os.close(handle)
        self._claimed |= new

    def roomy(self, size: int) -> bool:
        """Whether so many bytes find room for sure, even if nothing of them is here already."""
        free, _ = free_at(self._layout.root)
        return self._quota is None and (free is None or size < free)

    def watched(self, pieces: Iterable[bytes | memoryview]) -> Iterator[bytes | memoryview]:
        """Yield the pieces of a blob whose size nobody knows, and stop where they exceed the quota."""
        if self._quota is None:
            yield from pieces
            return
        if self._seen is None:
            self._seen = sum(self._held().values())
        size = 0
        for piece in pieces:
            size += len(piece)
            self._seen += len(piece)
            if self._seen > self._quota:
                with self._layout.locked():
                    self._seen -= self._drop_begun()
            if self._seen > self._quota:
                raise self._over(self._seen - size, size, at_least=True)
            yield piece

    def close(self) -> None:
        """Give back what was claimed."""
        self._layout.ingest.remove_file(self._name)

    def _drop_begun(self, wanted: Iterable[Digest] = ()) -> int:
        """Remove the parts of blobs that nobody wants or has claimed room for; return their bytes."""
        return partial_blobs.drop(self._layout, everything=True, but=frozenset({*wanted, *self._claims()}))

    def _claims(self) -> dict[Digest, int]:
        """Return the blobs that anybody has claimed room for, with their bytes."""
        claimed: dict[Digest, int] = {}
        for name in self._layout.ingest.names():
            if owner_of(name) is None or not name.endswith(_ENDING):
                continue
            try:
                with self._layout.ingest.open_to_read(name) as source:
                    lines = source.read(_LARGEST_CLAIMS).decode("ascii", "replace").splitlines(keepends=True)
            except FileNotFoundError:
                continue
            for line in lines:
                digest, _, size = line.partition(" ")
                if is_digest(digest) and re.match(r"[0-9]{1,18}\n\Z", size):  # the disk may have been full
                    claimed[Digest(digest)] = int(size)
        return claimed

    def _held(self) -> dict[Digest, int]:
        """Return the blobs that are here or in part, and those that room is claimed for, with their bytes."""
        return partial_blobs.sizes(self._layout) | self._claims() | dict(self._layout.blob_sizes())

    def _over(self, held: int, more: int, *, at_least: bool = False) -> StoreError:
        assert self._quota is not None
        wanted = f"at least {human_size(more)}" if at_least else human_size(more)
        hints = []
        if is_sweep_marked(self._layout):
            hints.append("imq prune removes what no image needs, and there may be some of it")
        if more <= self._quota:
            most = rounded(self._quota - more, up=False)
            hints.append(f"to make room: imq 'rm images where not in use until total size <= {most}'")
        hints.append(f"to allow more: set quota = {rounded(held + more, up=True)}")
        return StoreError(
            f"the store has {human_size(held)} and may hold {human_size(self._quota)}; {wanted} more would be "
            f"{human_size(held + more - self._quota)} too much",
            code="quota",
            hints=tuple(hints),
        )

    def _check_disk(self, sizes: Iterable[int]) -> None:
        """Refuse what the disk has no room for; what lies half-written may be a part of it, and counts as room."""
        free, block = free_at(self._layout.root)
        if free is None:
            return
        more = sum(-(-size // block) * block for size in sizes)
        if more <= free:
            return
        begun = sum(about.st_blocks * 512 for _, about in self._layout.ingest.files())
        if more > free + begun:
            raise StoreError(
                f"no space for what is wanted: {human_size(more)}, and {human_size(free + begun)} are free at "
                f"{self._layout.root}; {human_size(more - free - begun)} are missing",
                code="no-space",
                hints=("imq prune removes what no image needs; or give another place with --root",),
            )


def rounded(size: int, *, up: bool) -> str:
    """Return a size in three digits, as a statement takes it: never more, or (`up`) never less."""
    unit = 10 ** max(len(str(size)) - 3, 0)
    return human_size((-(-size // unit) if up else size // unit) * unit)
