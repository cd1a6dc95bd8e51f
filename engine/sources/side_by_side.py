"""Reads several streams side by side, in batches: a few are in memory at a time, however long the streams are."""

from __future__ import annotations

from imq.grammar.errors import ImqError, Interrupted
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from typing import TypeVar

    T = TypeVar("T")
    K = TypeVar("K")

_MAX_WAITING = 16
"""Batches that wait for the consumer."""


def iterate_side_by_side(
    items: Sequence[K], work: Callable[[K], Iterator[T]], workers: int
) -> Generator[tuple[K, T | ImqError | None], None, None]:
    """Yield each item with the batches that `work` yields for it, in order, then with None or with its error.

    Batches of different items mix. Closing this generator ends the threads after the batch that each waits for.
    """
    if workers < 2 or len(items) < 2:
        for item in items:
            yield from ((item, result) for result in _run(item, work))
        return
    from queue import SimpleQueue
    from threading import Event, Semaphore, Thread

    results: SimpleQueue[tuple[K, T | ImqError | BaseException | None]] = SimpleQueue()
    pending: SimpleQueue[K] = SimpleQueue()
    slots = Semaphore(_MAX_WAITING)
    closed = Event()
    for item in items:
        pending.put(item)

    def run() -> None:
        while not closed.is_set():
            try:
                item = pending.get(block=False)
            except Exception:  # noqa: BLE001 - _queue.Empty: another thread took the last item
                return
            try:
                for result in _run(item, work):
                    slots.acquire()
                    if closed.is_set():
                        return
                    results.put((item, result))
            except BaseException as error:  # noqa: BLE001 - raised again by the consumer
                results.put((item, error))
                return

    threads = [Thread(target=run, daemon=True) for _ in range(min(workers, len(items)))]
    for thread in threads:
        thread.start()
    left = len(items)
    try:
        while left:
            item, result = results.get()
            slots.release()
            if isinstance(result, BaseException) and (isinstance(result, Interrupted) or not _is_result(result)):
                raise result
            left -= result is None or isinstance(result, ImqError)
            yield item, result  # type: ignore[misc] # other exceptions were raised
    finally:
        closed.set()
        for _ in threads:
            slots.release()


def _run(item: K, work: Callable[[K], Iterator[T]]) -> Iterator[T | ImqError | None]:
    """Yield the batches of an item, then None or its error."""
    try:
        yield from work(item)
    except Interrupted:
        raise
    except ImqError as error:
        yield error
    else:
        yield None


def _is_result(result: BaseException) -> bool:
    return isinstance(result, ImqError)
