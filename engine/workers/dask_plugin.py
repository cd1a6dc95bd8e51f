"""The part that runs on the workers of a Dask cluster: it keeps a scan process for each thread.

The scheduler and the workers import this module, so it imports little.
"""

from __future__ import annotations

import json
import os
import time
from threading import Lock

from distributed.diagnostics.plugin import WorkerPlugin
from imq.grammar.errors import ImqError
from imq.grammar.record import TYPE_CHECKING

from .outcomes import encode_error
from .process import ProcessEnded, ScanProcess

if TYPE_CHECKING:
    from typing import Any

PLUGIN = "imq-layers-4"
"""The name of the plugin; its number is increased when the messages to it change."""
_ENDED = frozenset({"cancelled", "released", "forgotten"})
"""The states of a task that nobody needs any more."""


class _Run:
    """A batch that a thread executes. `process` is at work for it."""

    def __init__(self) -> None:
        self.process: ScanProcess | None = None
        self._is_cancelled = False
        self._lock = Lock()

    def take(self, process: ScanProcess | None) -> bool:
        """Note the process for the next task, None when it has to be started; return False when none is needed."""
        with self._lock:
            self.process = process
            return not self._is_cancelled

    def cancel(self) -> None:
        """End the process, and begin no further task."""
        with self._lock:
            self._is_cancelled = True
            if self.process is not None:
                self.process.kill()


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
        self._runs: dict[str, _Run] = {}

    def teardown(self, worker: Any) -> None:  # noqa: ARG002 - the signature of distributed
        """End the processes."""
        with self._lock:
            processes = [*self._idle, *(run.process for run in self._runs.values() if run.process is not None)]
            self._idle.clear()
        for process in processes:
            process.kill()

    def transition(self, key: Any, start: str, finish: str, **_: Any) -> None:  # noqa: ARG002 - as above
        """End the process of a batch that was cancelled."""
        if finish in _ENDED and (run := self._runs.get(str(key))) is not None:
            run.cancel()

    def run(self, key: str, documents: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[bytes]]:
        """Execute the tasks of a batch in a scan process; a process that crashes is a result too.

        Returns the documents and the contents of the results. The batch ends early when it was cancelled.
        """
        run = self._runs[key] = _Run()
        results: list[tuple[dict[str, Any], bytes]] = []
        try:
            for document in documents:
                result = self._run_task(run, document)
                if result is None:
                    break
                results.append(result)
        finally:
            with self._lock:
                del self._runs[key]
                if run.process is not None:
                    self._idle.append(run.process)
        return [document for document, _ in results], [content for _, content in results]

    def _run_task(self, run: _Run, document: dict[str, Any]) -> tuple[dict[str, Any], bytes] | None:
        """Execute a task; return None when its batch was cancelled."""
        begun = time.monotonic()
        process = run.process or self._take_idle()
        is_new = process is None
        if not run.take(process):
            return None
        try:
            if process is None:
                process = ScanProcess(os.environ, None, self._get_memory_limit())
                if not run.take(process):
                    return None
            process.send({**document, "folder": self._worker.local_directory, "sharesFolder": False})
            result, content = process.receive()
        except ProcessEnded as ended:
            if process is not None:
                process.close()
            if not run.take(None):
                return None
            return {"crash": ended.reason, "worker": self._worker.address}, b""
        except ImqError as error:
            result, content = {"error": encode_error(error)}, b""
        result["worker"] = self._worker.address
        if not is_new:  # the start of a process is none of the time of its task
            result["seconds"] = time.monotonic() - begun
        return result, content

    def _take_idle(self) -> ScanProcess | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _get_memory_limit(self) -> int:
        """Return the bytes that each process may take: the part of its thread; 0: unlimited."""
        limit = self._worker.memory_manager.memory_limit
        return int(limit) // max(self._worker.state.nthreads, 1) if limit else 0


def run_tasks(packed: bytes) -> tuple[list[dict[str, Any]], list[bytes]]:
    """Execute a batch, a JSON array, on the worker of this thread."""
    from distributed import get_worker

    worker: Any = get_worker()
    plugin: ScanPlugin = worker.plugins[PLUGIN]
    return plugin.run(str(worker.get_current_task()), json.loads(packed))
