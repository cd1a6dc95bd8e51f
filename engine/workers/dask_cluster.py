"""Workers of a Dask cluster: tasks are submitted to its scheduler, and results come back through it."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread

from imq.grammar.errors import ImqError
from imq.grammar.record import TYPE_CHECKING

from .dispatcher import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

_REFRESH = 2.0
"""Seconds between two requests of the list of workers."""
_MIN_SLOTS = 4
"""Tasks to submit to a cluster without workers: one that adapts its size starts workers for them."""
_NO_WORKERS = 10.0
"""Seconds without workers after which the user is notified."""
_CONNECT_TIMEOUT = "10s"
_CLOSE_TIMEOUT = 2.0
_GATHERERS = 4
"""Threads that fetch results."""


class DaskCluster:
    """A Dask cluster, by a client of it. An `owned` client is closed at the end."""

    def __init__(self, client: Any, name: str, warn: Callable[[str], None], *, owned: bool) -> None:
        self._client = client
        self._name = name
        self._warn = warn
        self._owned = owned
        self._threads: dict[str, int] = {}
        self._refreshed = self._last_seen = 0.0
        self._has_warned = False
        self._pending: list[tuple[int, dict[str, Any], frozenset[str]]] = []
        self._futures: dict[int, Any] = {}
        self._ended: SimpleQueue[tuple[int, Any] | None] = SimpleQueue()
        self._events: SimpleQueue[Event | ImqError] = SimpleQueue()
        self._token = f"{time.time_ns():x}"
        self._register()
        for _ in range(_GATHERERS):
            Thread(target=self._gather, daemon=True).start()

    def _register(self) -> None:
        """Install the plugin on the workers, those of now and of later."""
        from .dask_plugin import ScanPlugin

        try:
            self._client.register_plugin(ScanPlugin())
        except Exception as error:
            raise _make_plugin_error(self._name, error) from error

    @property
    def slots(self) -> int:
        """The threads of all workers."""
        now = time.monotonic()
        if now - self._refreshed >= _REFRESH:
            with suppress(OSError, TimeoutError):  # a lost scheduler is noticed by its tasks
                self._threads = dict(self._client.nthreads())
            self._refreshed = now
            self._last_seen = now if self._threads or not self._last_seen else self._last_seen
            if not self._threads and not self._has_warned and now - self._last_seen > _NO_WORKERS:
                self._has_warned = True
                self._warn(f"{self._name} has no workers; the statement waits for one")
        return sum(self._threads.values()) or _MIN_SLOTS

    @property
    def depth(self) -> int:
        """Twice as many tasks as there are threads wait, half of them at the scheduler: see `wait`."""
        return 2 * self.slots

    def submit(self, number: int, document: Mapping[str, Any], avoid: frozenset[str]) -> None:
        """Queue a task; `wait` sends several at once."""
        self._pending.append((number, dict(document), avoid))

    def _flush(self) -> None:
        """Send the queued tasks to the scheduler."""
        from .dask_plugin import run_task

        pending, self._pending = self._pending, []
        plain = [(number, document) for number, document, avoid in pending if not self._list_others(avoid)]
        groups: list[tuple[list[tuple[int, dict[str, Any]]], list[str] | None]] = [(plain, None)]
        groups += [
            ([(number, document)], others)
            for number, document, avoid in pending
            if (others := self._list_others(avoid))
        ]
        for tasks, workers in groups:
            if not tasks:
                continue
            futures = self._client.map(
                run_task,
                [document for _, document in tasks],
                key=[self._make_key(number, document) for number, document in tasks],
                pure=False,
                workers=workers,
                allow_other_workers=bool(workers),
            )
            for (number, _), future in zip(tasks, futures, strict=True):
                self._futures[number] = future
                future.add_done_callback(lambda ended, number=number: self._ended.put((number, ended)))

    def _list_others(self, avoid: frozenset[str]) -> list[str] | None:
        """Return the workers that are not in `avoid`; None when it has none of them, or all."""
        if not avoid or avoid.isdisjoint(self._threads):
            return None
        return [address for address in self._threads if address not in avoid] or None

    def _make_key(self, number: int, document: Mapping[str, Any]) -> str:
        """Return the key that the dashboard shows: what is done, and of which layer."""
        return f"imq-{document['kind']}-{document['diffId'].rpartition(':')[2][:12]}-{self._token}-{number}"

    def _gather(self) -> None:
        """Fetch the results of ended tasks, each by itself: a worker that stands still must not hold back others."""
        while (ended := self._ended.get()) is not None:
            self._events.put(self._make_event(*ended))

    def _make_event(self, number: int, future: Any) -> Event | ImqError:
        """Return the event of a task that ended."""
        from distributed import KilledWorker

        try:
            return _read_result(number, future.result())
        except KilledWorker as error:
            address = getattr(error.last_worker, "address", "")
            return Event(number, crash="Dask gave it up after several", worker=str(address), is_last=True)
        except BaseException as error:  # noqa: BLE001 - what distributed raises has no common class
            if number not in self._futures:
                return Event(number)  # this process cancelled it
            if future.status == "cancelled" or self._client.status != "running":
                return self._make_lost_error()
            from .outcomes import encode_error

            problem = _make_task_error(self._name, error)
            return Event(number, {"error": encode_error(problem)})

    def _make_lost_error(self) -> ImqError:
        return ImqError(
            f"the scheduler of {self._name} is gone",
            code="workers-lost",
            hints=(
                "what was scanned is in the index of files, and in the index cache if there is one",
                "start the scheduler again, and run the statement again: it goes on with the other layers",
            ),
        )

    def wait(self, timeout: float) -> list[Event]:
        """Return the tasks that ended. Raises `ImqError` (code `workers-lost`) when the scheduler is gone.

        Queued tasks are sent when the scheduler has fewer than one for each thread beside those at work: a message with
        several tasks costs little more than one with a single task.
        """
        if self._pending and len(self._futures) <= 2 * self.slots:
            self._flush()
        events: list[Event] = []
        with suppress(Empty):
            event = self._events.get(timeout=timeout)
            while True:
                number = event.number if isinstance(event, Event) else None
                if isinstance(event, ImqError):
                    raise event
                if number in self._futures:  # otherwise it was cancelled
                    self._futures.pop(number).release()
                    events.append(event)
                event = self._events.get(block=False)
        if not events and self._client.status in ("closed", "closing"):
            raise self._make_lost_error()
        return events

    def find_workers(self, numbers: Iterable[int]) -> dict[int, str]:
        """Return the workers at which tasks are."""
        keys = {self._futures[number].key: number for number in numbers if number in self._futures}
        with suppress(OSError, TimeoutError):
            return {
                keys[key]: address
                for address, processing in self._client.processing().items()
                for key in processing
                if key in keys
            }
        return {}

    def cancel(self, numbers: Iterable[int]) -> None:
        """Cancel tasks: those that run are ended by the plugin."""
        numbers = set(numbers)
        self._pending = [one for one in self._pending if one[0] not in numbers]
        futures = [self._futures.pop(number) for number in numbers if number in self._futures]
        if futures and self._client.status == "running":
            with suppress(OSError, TimeoutError):
                self._client.cancel(futures, force=True)

    def close(self) -> None:
        """Cancel all tasks, and close an own client."""
        self.cancel(list(self._futures))
        for _ in range(_GATHERERS):
            self._ended.put(None)
        if self._owned:
            with suppress(Exception):
                self._client.close(timeout=_CLOSE_TIMEOUT)


def _read_result(number: int, result: Any) -> Event:
    document, content = result
    return Event(number, document, content, document.get("crash", ""), document.get("worker", ""))


def connect(address: str, name: str) -> Any:
    """Return a client of the scheduler at `address`. Raises `ImqError` (codes `no-dask`, `workers-unreachable`)."""
    distributed = import_distributed()
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # errors are reported as those of the statement
    try:
        return distributed.Client(
            address, set_as_default=False, timeout=_CONNECT_TIMEOUT, name="imq", direct_to_workers=False
        )
    except Exception as error:
        raise ImqError(
            f"the scheduler {name} cannot be reached: {_describe(error)}",
            code="workers-unreachable",
            hints=("start one with dask scheduler, and its workers with dask worker HOST:8786",),
        ) from error


def import_distributed() -> Any:
    """Return Dask's package `distributed`. Raises `ImqError` (code `no-dask`) when it is not installed."""
    import importlib
    import sys

    try:
        return importlib.import_module("distributed")  # heavy, and only present when it was installed
    except ImportError:
        frozen = "the single executable has no Dask: install imq with pip" if getattr(sys, "frozen", False) else ""
        raise ImqError(
            "Dask is not installed",
            code="no-dask",
            hints=('pip install "imq[dask]"', frozen, "workers = N needs no Dask: N processes of this machine"),
        ) from None


def _describe(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _make_plugin_error(name: str, error: BaseException) -> ImqError:
    if isinstance(error, ImportError):
        return _make_task_error(name, error)
    return ImqError(f"the workers of {name} cannot be prepared: {_describe(error)}", code="workers")


def _make_task_error(name: str, error: BaseException) -> ImqError:
    """Return the error of a task that could not start on a worker."""
    if isinstance(error, ImportError | AttributeError | KeyError):
        return ImqError(
            f"the workers of {name} have no imq, or another version: {_describe(error)}",
            code="worker-version",
            hints=('pip install "imq[dask]" where the scheduler and the workers run, in the same version as here',),
        )
    return ImqError(f"a task failed on {name}: {_describe(error)}", code="worker")
