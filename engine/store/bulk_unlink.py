"""Removing many blobs: several at once, because each removal waits for the file system."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imq.engine.oci.digest import Digest

    from .layout import Layout

_THREAD_THRESHOLD = 64
"""Blobs from which threads are worth starting."""
_THREAD_COUNT = 8


def remove_blobs(layout: Layout, digests: Sequence[Digest]) -> list[int | None]:
    """Remove blobs and return the bytes of each, None for one that was not there.

    What cannot be removed raises its `OSError` when the others have been tried.
    """
    sizes: list[int | None] = [None] * len(digests)
    problems: list[OSError] = []
    positions = iter(range(len(digests)))  # shared: handing out the next number is one step of the interpreter

    def work() -> None:
        for position in positions:
            digest = digests[position]
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
        from threading import Thread  # a change of a few names does without

        threads = [Thread(target=work) for _ in range(_THREAD_COUNT)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if problems:
        raise problems[0]
    return sizes
