"""Removing many files: several at once, because each removal waits for the file system."""

from __future__ import annotations

import os

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_WORTH_THREADS = 64
"""Files from which threads are worth starting."""
_THREADS = 8


def remove_files(paths: Sequence[str]) -> list[int | None]:
    """Remove the files and return the bytes of each, None for one that was not there.

    What cannot be removed raises its `OSError` when the others have been tried.
    """
    sizes: list[int | None] = [None] * len(paths)
    problems: list[OSError] = []
    waiting = iter(range(len(paths)))  # shared: handing out the next number is one step of the interpreter

    def work() -> None:
        for place in waiting:
            path = paths[place]
            try:
                size = os.stat(path).st_size
                os.unlink(path)
            except FileNotFoundError:
                continue
            except OSError as problem:
                problems.append(problem)
                continue
            sizes[place] = size

    if len(paths) < _WORTH_THREADS:
        work()
    else:
        from threading import Thread  # a change of a few names does without

        threads = [Thread(target=work) for _ in range(_THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if problems:
        raise problems[0]
    return sizes
