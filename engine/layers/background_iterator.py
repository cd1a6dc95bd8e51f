"""Runs a generator in a thread, ahead of its consumer: layers are decompressed while files are written."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator
    from queue import SimpleQueue
    from typing import TypeVar

    T = TypeVar("T")


def iterate_in_background(source: Generator[T, None, None], limit: int) -> Generator[T, None, None]:
    """Yield the items of `source`, which runs in a thread of its own, at most `limit` items ahead.

    An exception of `source` is raised here, after the items before it. Closing this generator ends the thread and
    closes `source`.
    """
    from queue import SimpleQueue
    from threading import Thread

    items: SimpleQueue[tuple[T] | BaseException | None] = SimpleQueue()
    slots: SimpleQueue[bool] = SimpleQueue()  # True: there is room for one more item; False: the consumer is gone
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
