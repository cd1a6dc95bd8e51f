"""The part that runs on the workers of a Dask cluster: it keeps a scan process for each thread.

The scheduler and the workers import this module, so it imports little.
"""

from __future__ import annotations

import os
from threading import Lock

from distributed.diagnostics.plugin import WorkerPlugin
from imq.grammar.record import TYPE_CHECKING

from .process import ProcessEnded, ScanProcess

if TYPE_CHECKING:
    from typing import Any

PLUGIN = "imq-layers-3"
"""The name of the plugin; its number is increased when the messages to it change."""
_ENDED = frozenset({"cancelled", "released", "forgotten"})
"""The states of a task that nobody needs any more."""


class ScanPlugin(WorkerPlugin):
    """Scan processes of a worker. A thread of Dask cannot be interrupted; a process can be ended.

    A process that crashes leaves the worker alone. So Dask does not suspect the other tasks of that worker.
    """

    name = PLUGIN
    idempotent = True

    def setup(self, worker: Any) -> None:
        """Prepare the worker; processes are started when tasks need them."""
        self._worker = worker
        self._lock = Lock()
        self._idle: list[ScanProcess] = []
        self._busy: dict[str, ScanProcess] = {}

    def teardown(self, worker: Any) -> None:  # noqa: ARG002 - the signature of distributed
        """End the processes."""
        with self._lock:
            processes = [*self._idle, *self._busy.values()]
            self._idle.clear()
        for process in processes:
            process.kill()

    def transition(self, key: Any, start: str, finish: str, **_: Any) -> None:  # noqa: ARG002 - as above
        """End the process of a task that was cancelled."""
        if finish in _ENDED and (process := self._busy.get(str(key))) is not None:
            process.kill()

    def run(self, key: str, document: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        """Execute a task in a scan process; a process that crashes is a result too."""
        with self._lock:
            process = self._idle.pop() if self._idle else None
        try:
            process = process or ScanProcess(os.environ, None, self._get_memory_limit())
            self._busy[key] = process
            process.send({**document, "folder": self._worker.local_directory, "sharesFolder": False})
            result, content = process.receive()
        except ProcessEnded as ended:
            if process is not None:
                process.close()
            return {"crash": ended.reason, "worker": self._worker.address}, b""
        finally:
            self._busy.pop(key, None)
        with self._lock:
            self._idle.append(process)
        return {**result, "worker": self._worker.address}, content

    def _get_memory_limit(self) -> int:
        """Return the bytes that each process may take: the part of its thread; 0: unlimited."""
        limit = self._worker.memory_manager.memory_limit
        return int(limit) // max(self._worker.state.nthreads, 1) if limit else 0


def run_task(document: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Execute a task on the worker of this thread."""
    from distributed import get_worker

    worker: Any = get_worker()
    plugin: ScanPlugin = worker.plugins[PLUGIN]
    return plugin.run(str(worker.get_current_task()), document)
