"""Running an iterator ahead of who uses it, in a thread: so inflating goes on while files are written."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator
    from queue import SimpleQueue
    from typing import TypeVar

    T = TypeVar("T")


def prefetch(source: Generator[T, None, None], limit: int) -> Generator[T, None, None]:
    """Yield what `source` yields, which runs in a thread of its own and at most `most` items ahead.

    What it raises is raised here, after what came before. Who gives the generator up closes it: that ends the thread
    and closes `source`.
    """
    from queue import SimpleQueue
    from threading import Thread

    items: SimpleQueue[tuple[T] | BaseException | None] = SimpleQueue()
    slots: SimpleQueue[bool] = SimpleQueue()  # True: there is room for one more; False: nobody wants more
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
    except BaseException as error:  # noqa: BLE001 - raised again where the items are used
        items.put(error)
    finally:
        source.close()
