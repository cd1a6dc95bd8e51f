"""Removes many blobs in parallel, because each removal waits for the file system."""

from __future__ import annotations

from imq.engine.oci.digest import Digest
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .layout import Layout

_THREAD_THRESHOLD = 64
"""The number of blobs from which threads are worth starting."""
_THREAD_COUNT = 8


def remove_blobs(layout: Layout, digests: Sequence[str]) -> list[int | None]:
    """Remove blobs and return the size of each in bytes; None for one that did not exist.

    Raises the first `OSError` after all removals have been tried.
    """
    sizes: list[int | None] = [None] * len(digests)
    problems: list[OSError] = []
    positions = iter(range(len(digests)))  # shared by the threads: next() on it is atomic

    def work() -> None:
        for position in positions:
            digest = Digest(digests[position])
            try:
                blobs = layout.open_blob_directory(digest.algorithm)
                status = blobs.status(digest.encoded)
                if status is not None and blobs.remove_file(digest.encoded):
                    sizes[position] = status.st_size
            except FileNotFoundError:
                continue
            except OSError as problem:
                problems.append(problem)

    if len(digests) < _THREAD_THRESHOLD:
        work()
    else:
        from threading import Thread  # not needed to remove a few blobs

        threads = [Thread(target=work) for _ in range(_THREAD_COUNT)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if problems:
        raise problems[0]
    return sizes
