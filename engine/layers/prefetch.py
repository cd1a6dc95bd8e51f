"""Runs an iterator ahead of its consumer in a thread, so that decompression goes on while files are written."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator
    from queue import SimpleQueue
    from typing import TypeVar

    T = TypeVar("T")


def prefetch(source: Generator[T, None, None], limit: int) -> Generator[T, None, None]:
    """Yield the items of `source`, which runs in a thread of its own and at most `limit` items ahead.

    Its errors are raised here, after the items before them. A generator that is not exhausted must be closed: that ends
    the thread and closes `source`.
    """
    from queue import SimpleQueue
    from threading import Thread

    items: SimpleQueue[tuple[T] | BaseException | None] = SimpleQueue()
    slots: SimpleQueue[bool] = SimpleQueue()  # True: one more item may be queued; False: stop
    for _ in range(limit):
        slots.put(True)
    thread = Thread(target=_fill_queue, args=(source, items, slots), daemon=True)
    thread.start()
    try:
        while (item := items.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            slots.put(True)
            yield item[0]
    finally:
        slots.put(False)
        thread.join()


def _fill_queue(
    source: Generator[T, None, None], items: SimpleQueue[tuple[T] | BaseException | None], slots: SimpleQueue[bool]
) -> None:
    try:
        for item in source:
            items.put((item,))
            if not slots.get():
                return
        items.put(None)
    except BaseException as error:  # noqa: BLE001 - raised again by the consumer
        items.put(error)
    finally:
        source.close()
