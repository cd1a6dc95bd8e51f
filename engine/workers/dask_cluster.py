"""Workers of a Dask cluster: tasks are submitted to its scheduler, and results come back through it."""

from __future__ import annotations

import json
import logging
import time
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread

from imq.grammar.errors import ImqError
from imq.grammar.record import TYPE_CHECKING, Record

from .batches import MAX_TASKS, Durations
from .dispatcher import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    _Results = tuple[list[dict[str, Any]], list[bytes]]

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


class _Task(Record):
    """A task that waits to be sent. `is_alone`: nothing is sent together with it."""

    document: Mapping[str, Any]
    avoid: frozenset[str]
    is_alone: bool = False


class _Batch:
    """Tasks that are one task of Dask. `left` is the number of those that have no event and were not cancelled."""

    __slots__ = ("future", "is_cancelled", "left", "tasks")

    def __init__(self, tasks: Mapping[int, _Task], future: Any) -> None:
        self.tasks = tasks
        self.future = future
        self.left = len(tasks)
        self.is_cancelled = False


class DaskCluster:
    """A Dask cluster, by a client of it. An `owned` client is closed at the end.

    Several tasks are one task of Dask, as `batches.py` groups them.
    """

    def __init__(self, client: Any, name: str, warn: Callable[[str], None], *, owned: bool) -> None:
        self._client = client
        self._name = name
        self._warn = warn
        self._owned = owned
        self._threads: dict[str, int] = {}
        self._refreshed = self._last_seen = 0.0
        self._has_warned = False
        self._durations = Durations()
        self._waiting: dict[int, _Task] = {}
        self._sent: dict[int, _Batch] = {}
        self._batches: dict[str, _Batch] = {}
        self._ended: SimpleQueue[_Batch | None] = SimpleQueue()
        self._outcomes: SimpleQueue[tuple[_Batch, _Results | BaseException]] = SimpleQueue()
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
        """Three batches for each thread: one that runs, one that waits where it will, and one at the scheduler."""
        return (3 * self._durations.tasks - 1) * self.slots

    def submit(self, number: int, document: Mapping[str, Any], avoid: frozenset[str]) -> None:
        """Queue a task; `wait` sends several at once."""
        self._waiting[number] = _Task(document, avoid)

    def _flush(self) -> None:
        """Send the queued tasks to the scheduler, as far as it has not three batches for each thread."""
        slots = self.slots
        joined: list[int] = []
        for number, task in list(self._waiting.items()):
            others = self._list_others(task.avoid)
            if others or task.is_alone:
                self._send([[number]], others)
            else:
                joined.append(number)
        share = -(-len(joined) // slots)
        groups: list[list[int]] = []
        while joined and len(self._batches) + len(groups) < 3 * slots:
            first = joined[: min(share, MAX_TASKS)]
            count = self._durations.count_batch([self._waiting[number].document for number in first])
            groups.append(joined[:count])
            del joined[:count]
        self._send(groups)

    def _send(self, groups: Sequence[Sequence[int]], workers: list[str] | None = None) -> None:
        """Send batches of queued tasks: a message with several costs little more than one with a single batch."""
        from .dask_plugin import run_tasks

        batches = [{number: self._waiting.pop(number) for number in group} for group in groups]
        if not batches:
            return
        futures = self._client.map(
            run_tasks,
            # bytes, which Dask does not search for keys of other tasks
            [json.dumps([task.document for task in tasks.values()]).encode() for tasks in batches],
            key=[self._make_key(tasks) for tasks in batches],
            pure=False,
            workers=workers,
            allow_other_workers=bool(workers),
        )
        for tasks, future in zip(batches, futures, strict=True):
            batch = self._batches[future.key] = _Batch(tasks, future)
            self._sent.update(dict.fromkeys(tasks, batch))
            future.add_done_callback(lambda _, batch=batch: self._ended.put(batch))

    def _list_others(self, avoid: frozenset[str]) -> list[str] | None:
        """Return the workers that are not in `avoid`; None when it has none of them, or all."""
        if not avoid or avoid.isdisjoint(self._threads):
            return None
        return [address for address in self._threads if address not in avoid] or None

    def _make_key(self, tasks: Mapping[int, _Task]) -> str:
        """Return the key that the dashboard shows: what is done, of which layer, and the number of those with it."""
        number, first = next(iter(tasks.items()))
        document = first.document
        layer = document["diffId"].rpartition(":")[2][:12]
        more = f"+{len(tasks) - 1}" if len(tasks) > 1 else ""
        return f"imq-{document['kind']}-{layer}{more}-{self._token}-{number}"

    def _gather(self) -> None:
        """Fetch the results of ended batches, each by itself: a worker that stands still must not hold back others."""
        while (batch := self._ended.get()) is not None:
            try:
                self._outcomes.put((batch, batch.future.result()))
            except BaseException as error:  # noqa: BLE001 - what distributed raises has no common class
                self._outcomes.put((batch, error))

    def _take(self, batch: _Batch, outcome: _Results | BaseException) -> list[Event]:
        """Return the events of a batch that ended. Raises `ImqError` when the scheduler is gone."""
        if batch.is_cancelled:
            return []
        is_lost = batch.future.status == "cancelled" or self._client.status != "running"
        del self._batches[batch.future.key]
        batch.future.release()
        needed = {number for number in batch.tasks if self._sent.pop(number, None) is not None}
        if isinstance(outcome, BaseException):
            return self._take_error({number: batch.tasks[number] for number in needed}, batch, outcome, is_lost=is_lost)
        events = []
        results = dict(zip(batch.tasks, zip(*outcome, strict=True), strict=False))
        for number, (document, content) in results.items():
            if (seconds := document.pop("seconds", None)) is not None:
                self._durations.note(batch.tasks[number].document, seconds)
            if number in needed:
                events.append(Event(number, document, content, document.get("crash", ""), document.get("worker", "")))
        # Dask may take a batch from a worker and leave it there after all: it has ended early
        self._waiting |= {number: batch.tasks[number] for number in needed - results.keys()}
        return events

    def _take_error(
        self, tasks: Mapping[int, _Task], batch: _Batch, error: BaseException, *, is_lost: bool
    ) -> list[Event]:
        """Return the events of the `tasks` that are left of a batch that failed as a whole."""
        from distributed import KilledWorker

        if isinstance(error, KilledWorker):
            if len(batch.tasks) > 1:  # one of them may have ended the workers
                self._waiting |= {number: task.replace(is_alone=True) for number, task in tasks.items()}
                return []
            address = str(getattr(error.last_worker, "address", ""))
            return [
                Event(number, crash="Dask gave it up after several", worker=address, is_last=True) for number in tasks
            ]
        if is_lost:
            raise self._make_lost_error()
        from .outcomes import encode_error

        problem = encode_error(_make_task_error(self._name, error))
        return [Event(number, {"error": problem}) for number in tasks]

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

        Queued tasks are sent when the scheduler has no more than two batches for each thread. So several are sent
        together, and a thread that ends its batch has the next one.
        """
        if self._waiting and len(self._batches) <= 2 * self.slots:
            self._flush()
        events: list[Event] = []
        with suppress(Empty):
            ended = self._outcomes.get(timeout=timeout)
            while True:
                events += self._take(*ended)
                ended = self._outcomes.get(block=False)
        if not events and self._client.status in ("closed", "closing"):
            raise self._make_lost_error()
        return events

    def find_workers(self, numbers: Iterable[int]) -> dict[int, str]:
        """Return the workers at which tasks are."""
        keys = {number: self._sent[number].future.key for number in numbers if number in self._sent}
        with suppress(OSError, TimeoutError):
            at = {key: address for address, processing in self._client.processing().items() for key in processing}
            return {number: at[key] for number, key in keys.items() if key in at}
        return {}

    def cancel(self, numbers: Iterable[int]) -> None:
        """Cancel tasks. Those of a batch run on while others of it are needed; else the plugin ends them."""
        futures = []
        for number in numbers:
            self._waiting.pop(number, None)
            batch = self._sent.pop(number, None)
            if batch is not None:
                batch.left -= 1
                if not batch.left:
                    batch.is_cancelled = True
                    del self._batches[batch.future.key]
                    futures.append(batch.future)
        if futures and self._client.status == "running":
            with suppress(OSError, TimeoutError):
                self._client.cancel(futures, force=True)

    def close(self) -> None:
        """Cancel all tasks, and close an own client."""
        self.cancel([*self._waiting, *self._sent])
        for _ in range(_GATHERERS):
            self._ended.put(None)
        if self._owned:
            with suppress(Exception):
                self._client.close(timeout=_CLOSE_TIMEOUT)


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
