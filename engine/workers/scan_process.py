"""A scan process: reads layers for another process, one after the other, and ends with it.

The other process writes tasks to its standard input and reads results from its standard output: see `frames.py`. A
layer that crashes its reader or takes all memory ends this process and no other one.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from imq.engine.sources.contents.protocol import OUT_OF_MEMORY
from imq.grammar.errors import ImqError
from imq.grammar.record import TYPE_CHECKING

from .frames import read_frame, write_frame
from .outcomes import encode_error

if TYPE_CHECKING:
    from queue import SimpleQueue
    from typing import IO, Any, NoReturn

COMMAND = "__layer_scanner"
"""The hidden command by which the frozen executable runs as a scan process: see cli/main.py."""
_FIRST_TO_KILL = b"1000"
"""The highest score for the kernel's choice of a process to kill when memory is short."""


def main() -> NoReturn:
    """Execute the tasks of standard input. The first message has the settings."""
    import signal
    from queue import SimpleQueue
    from threading import Thread

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal: the other process decides
    source, target = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing else may write between results
    with suppress(OSError), open("/proc/self/oom_score_adj", "wb", buffering=0) as score:
        score.write(_FIRST_TO_KILL)
    tasks: SimpleQueue[tuple[dict[str, Any], bytes]] = SimpleQueue()
    Thread(target=_read_tasks, args=(source, tasks), daemon=True).start()
    _run_tasks(tasks, target)


def _read_tasks(source: IO[bytes], tasks: SimpleQueue[tuple[dict[str, Any], bytes]]) -> NoReturn:
    """Queue the tasks. End the process when the other one has ended, also in the middle of a task."""
    with suppress(OSError):
        while (message := read_frame(source)) is not None:
            tasks.put(message)
    os._exit(0)


def _run_tasks(tasks: SimpleQueue[tuple[dict[str, Any], bytes]], target: IO[bytes]) -> NoReturn:
    import pickle

    from .jobs import JobRunner

    options, settings = tasks.get()
    if options["memory"]:
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (options["memory"], options["memory"]))
    runner = JobRunner(pickle.loads(settings) if settings else None, os.environ)  # noqa: S301 - of the parent process
    while True:
        task, _ = tasks.get()
        document: dict[str, Any] = {}
        content = b""
        try:
            document, content = runner.run(task)
        except ImqError as error:
            document = {"error": encode_error(error)}
        except MemoryError:
            document = {"error": encode_error(make_memory_error(task["diffId"], options["memory"]))}
        except OSError as error:
            problem = ImqError(f"a worker cannot write the index of a layer: {error.strerror}", code="worker-disk")
            document = {"error": encode_error(problem)}
        except Exception as error:  # noqa: BLE001 - the task fails, and those after it need the process
            problem = ImqError(f"a worker failed: {type(error).__name__}: {error}", code="worker")
            document = {"error": encode_error(problem)}
        document["limits"] = runner.get_rate_limits(task)
        try:
            write_frame(target, document, content)
        except OSError:
            os._exit(0)


def make_memory_error(diff_id: str, limit: int) -> ImqError:
    """Return the error of a layer that needs more memory than `limit` bytes, 0 if unknown."""
    from imq.engine.units.size import human_size

    allowed = f" than the {human_size(limit)} of a worker" if limit else " than a worker has"
    return ImqError(
        f"the layer {diff_id} needs more memory{allowed}",
        code=OUT_OF_MEMORY,
        hints=("start workers with more memory, or with fewer threads: dask worker --memory-limit",),
    )


if __name__ == "__main__":
    sys.exit(main())
