"""The quota of a store (`set quota`) and the free space of its disk, checked before blobs are transferred.

An ingest claims space for its blobs first, so that a transfer that does not fit is refused before it starts. Streams of
unknown size are checked as they arrive. A claim is a file next to the lease and ends with it, so two processes cannot
claim the same space. The quota covers the blobs, each once, as `usage` sums them, and partial downloads. Unused partial
downloads are removed when their space is needed.
"""

from __future__ import annotations

import os
import re

from imq.engine.oci.digest import Digest, is_digest
from imq.engine.units.size import human_size
from imq.grammar.errors import StoreError
from imq.grammar.record import TYPE_CHECKING

from . import partial_blobs
from .atomic_files import get_free_space, write_all
from .bounded_read import read_bounded
from .leases import find_token, is_sweep_marked

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .layout import Layout

_SUFFIX = ".room"
_MAX_CLAIMS_SIZE = 64 << 20
"""The maximum size in bytes of one file of claims."""


class Quota:
    """The space of one ingest. `max_bytes` is the quota of the store; None: limited by the disk."""

    def __init__(self, layout: Layout, max_bytes: int | None, token: str) -> None:
        self._layout = layout
        self._max_bytes = max_bytes
        self._name = token + _SUFFIX
        self._claimed: dict[Digest, int] = {}
        self._known_bytes: int | None = None
        """The size of the store when it was last summed, plus the bytes received since."""

    def claim(self, sizes: Mapping[Digest, int]) -> None:
        """Claim space for blobs of these `sizes`; raises `StoreError` (codes: quota, no-space).

        Blobs that are stored or claimed already need no more space. The caller holds the lock of the store.
        """
        new = {
            digest: size
            for digest, size in sizes.items()
            if digest not in self._claimed and not self._layout.has_blob(digest)
        }
        if not new:
            return
        if self._max_bytes is not None:
            stored_sizes = self._list_sizes()
            stored = sum(stored_sizes.values())
            added = sum(max(size - stored_sizes.get(digest, 0), 0) for digest, size in new.items())
            if stored + added > self._max_bytes:
                stored -= self._drop_partials(sizes)
            if stored + added > self._max_bytes:
                raise self._quota_exceeded(stored, added)
            self._known_bytes = stored + added
        self._check_disk(new.values())
        self._layout.ingest_directory.ensure_file(self._name)
        handle = self._layout.ingest_directory.open_file(self._name, os.O_WRONLY | os.O_APPEND)
        try:
            write_all(handle, "".join(f"{digest} {size}\n" for digest, size in new.items()).encode())
        finally:
            os.close(handle)
        self._claimed |= new

    def has_room(self, size: int) -> bool:
        """Whether `size` new bytes certainly fit."""
        free, _ = get_free_space(self._layout.root)
        return self._max_bytes is None and (free is None or size < free)

    def extend(self, size: int, added: int) -> None:
        """Count `added` more bytes of a blob of unknown size, whose `size` they are part of; negative: that many less.

        Raises `StoreError` when they exceed the quota.
        """
        if self._max_bytes is None:
            return
        if self._known_bytes is None:
            self._known_bytes = sum(self._list_sizes().values())
        self._known_bytes += added
        if self._known_bytes > self._max_bytes:
            with self._layout.lock():
                self._known_bytes -= self._drop_partials()
        if self._known_bytes > self._max_bytes:
            raise self._quota_exceeded(self._known_bytes - size, size, at_least=True)

    def release(self) -> None:
        """Release the claims."""
        self._layout.ingest_directory.remove_file(self._name)

    def _drop_partials(self, keep: Iterable[Digest] = ()) -> int:
        """Remove partial blobs that are neither in `keep` nor claimed; return their total size."""
        return partial_blobs.remove_unused(self._layout, any_age=True, keep=frozenset({*keep, *self._read_claims()}))

    def _read_claims(self) -> dict[Digest, int]:
        """Return the blobs and sizes claimed by all ingests."""
        claimed: dict[Digest, int] = {}
        for name in self._layout.ingest_directory.list_names():
            if find_token(name) is None or not name.endswith(_SUFFIX):
                continue
            try:
                with self._layout.ingest_directory.open_reader(name) as source:
                    lines = read_bounded(source, _MAX_CLAIMS_SIZE).decode("ascii", "replace").splitlines(keepends=True)
            except FileNotFoundError:
                continue
            for line in lines:
                digest, _, size = line.partition(" ")
                if is_digest(digest) and re.match(r"[0-9]{1,18}\n\Z", size):  # a full disk may have truncated the line
                    claimed[Digest(digest)] = int(size)
        return claimed

    def _list_sizes(self) -> dict[Digest, int]:
        """Return the sizes of stored, partial and claimed blobs."""
        return partial_blobs.read_sizes(self._layout) | self._read_claims() | dict(self._layout.iter_blob_sizes())

    def _quota_exceeded(self, stored: int, added: int, *, at_least: bool = False) -> StoreError:
        assert self._max_bytes is not None
        added_text = f"at least {human_size(added)}" if at_least else human_size(added)
        hints = []
        if is_sweep_marked(self._layout):
            hints.append("there may be blobs that no image needs; to remove them: imq prune")
        if added <= self._max_bytes:
            target = round_size(self._max_bytes - added, up=False)
            hints.append(f"to free space: imq 'rm images where not in use until total size <= {target}'")
        hints.append(f"to allow more: set quota = {round_size(stored + added, up=True)}")
        return StoreError(
            f"the store has {human_size(stored)} of a quota of {human_size(self._max_bytes)}; {added_text} more would"
            f" exceed it by {human_size(stored + added - self._max_bytes)}",
            code="quota",
            hints=tuple(hints),
        )

    def _check_disk(self, sizes: Iterable[int]) -> None:
        """Raise `StoreError` when the disk has no space. Temporary files count as free: they may be part of them."""
        free, block = get_free_space(self._layout.root)
        if free is None:
            return
        needed = sum(-(-size // block) * block for size in sizes)
        if needed <= free:
            return
        reclaimable = sum(about.st_blocks * 512 for _, about in self._layout.ingest_directory.iter_files())
        if needed > free + reclaimable:
            raise StoreError(
                f"not enough space at {self._layout.root}: {human_size(needed)} are needed, and"
                f" {human_size(free + reclaimable)} are free; {human_size(needed - free - reclaimable)} are missing",
                code="no-space",
                hints=("imq prune removes blobs that no image needs; or choose another folder with --root",),
            )


def round_size(size: int, *, up: bool) -> str:
    """Return a size with three significant digits, rounded down or `up`, in the syntax of the language."""
    unit = 10 ** max(len(str(size)) - 3, 0)
    return human_size((-(-size // unit) if up else size // unit) * unit)
