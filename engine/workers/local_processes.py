"""Workers on this machine: scan processes of this process.

Each has a thread, which sends it tasks and receives results. So a process gets its next task at once, also while the
coordinator adds an index to its database. Tasks wait in one queue for whichever process is free: none waits behind a
slow layer, or is lost with a process that did not have it yet.
"""

from __future__ import annotations

from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Condition, Thread

from imq.grammar.record import TYPE_CHECKING

from .dispatcher import Event
from .process import ProcessEnded, ScanProcess

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from imq.engine.registry.settings import Settings


class LocalProcesses:
    """A number of scan processes, started when tasks need them."""

    def __init__(self, number: int, environment: Mapping[str, str], settings: Settings) -> None:
        self.slots = self.depth = number
        self._environment = environment
        self._settings = settings
        self._events: SimpleQueue[Event | Exception] = SimpleQueue()
        self._changed = Condition()
        """Guards what follows."""
        self._waiting: dict[int, tuple[Mapping[str, Any], frozenset[str]]] = {}
        self._running: dict[int, _Server] = {}
        self._servers: list[_Server] = []
        self._is_closed = False

    def submit(self, number: int, document: Mapping[str, Any], avoid: frozenset[str]) -> None:
        """Queue a task for a process. A copy of a task that runs may have one more: the others may stand still too."""
        with self._changed:
            is_copy = any(server.document is document for server in self._running.values())
            self._waiting[number] = (document, avoid)
            idle = len(self._servers) - len(self._running)
            if idle < len(self._waiting) and (is_copy or len(self._servers) < self.slots):
                server = _Server(self)
                self._servers.append(server)
                server.thread.start()
            self._changed.notify_all()

    def take(self, server: _Server) -> int | None:
        """Wait for a task for a process; return its number. None: the process is not needed any more."""
        with self._changed:
            while not self._is_closed:
                number = next(
                    (number for number, (_, avoid) in self._waiting.items() if self._may(server, avoid)), None
                )
                if number is not None:
                    server.document = self._waiting.pop(number)[0]
                    self._running[number] = server
                    return number
                if len(self._servers) > self.slots and not self._waiting:
                    break
                self._changed.wait()
            self._servers.remove(server)
            self._changed.notify_all()  # it may have been the last one that others left a task to
            return None

    def _may(self, server: _Server, avoid: frozenset[str]) -> bool:
        """Whether a process may have a task: it is not to be avoided, or all are."""
        return server.name not in avoid or all(one.name in avoid for one in self._servers)

    def is_wanted(self, number: int) -> bool:
        """Whether a task that was taken was not cancelled."""
        with self._changed:
            return number in self._running

    def end(self, number: int, outcome: Event | Exception) -> bool:
        """Note the end of a task; return False when it was cancelled, which ends its process too."""
        with self._changed:
            if self._running.pop(number, None) is None:
                return False
            self._events.put(outcome)
            return True

    def start(self) -> ScanProcess:
        """Start a process. Raises `ImqError`."""
        return ScanProcess(self._environment, self._settings)

    def wait(self, timeout: float) -> list[Event]:
        """Return the tasks that ended. Raises `ImqError` when a process does not start."""
        events: list[Event] = []
        with suppress(Empty):
            event = self._events.get(timeout=timeout)
            while True:
                if isinstance(event, Exception):
                    raise event
                events.append(event)
                event = self._events.get(block=False)
        return events

    def find_workers(self, numbers: Iterable[int]) -> dict[int, str]:
        """Return the processes at which tasks are."""
        with self._changed:
            return {number: self._running[number].name for number in numbers if number in self._running}

    def cancel(self, numbers: Iterable[int]) -> None:
        """Cancel tasks: the processes of those that run are ended."""
        with self._changed:
            for number in numbers:
                self._waiting.pop(number, None)
                if (server := self._running.pop(number, None)) is not None:
                    server.kill()

    def close(self) -> None:
        """End all processes."""
        with self._changed:
            self._is_closed = True
            self._waiting.clear()
            servers = list(self._servers)
            for server in self._running.values():
                server.kill()
            self._running.clear()
            self._changed.notify_all()
        for server in servers:
            server.thread.join()


class _Server:
    """A thread and its scan process, which is started for the first task, and for the next one after a crash."""

    def __init__(self, owner: LocalProcesses) -> None:
        self.thread = Thread(target=self._serve, name="scan-process", daemon=True)
        self.document: Mapping[str, Any] = {}
        self.name = ""
        self._owner = owner
        self._process: ScanProcess | None = None

    def kill(self) -> None:
        """End the process; the thread notices it."""
        if self._process is not None:
            self._process.kill()

    def _serve(self) -> None:
        while (number := self._owner.take(self)) is not None:
            if not self._owner.end(number, self._run(number)):
                self._drop()
        self._drop()

    def _run(self, number: int) -> Event | Exception:
        """Execute a task; return its end, or the exception for the thread of the statement."""
        try:
            if self._process is None:
                self._process = self._owner.start()
                self.name = str(self._process.pid)
            if not self._owner.is_wanted(number):  # it was cancelled while there was no process to end
                return Event(number)
            self._process.send(self.document)
            document, content = self._process.receive()
        except ProcessEnded as ended:
            event = Event(number, crash=ended.reason, worker=self.name)
            self._drop()
            return event
        except Exception as error:  # noqa: BLE001 - it is raised in the thread of the statement
            self._drop()
            return error
        return Event(number, document, content, worker=self.name)

    def _drop(self) -> None:
        """End the process, and free what it takes."""
        if self._process is not None:
            self._process.close()
        self._process, self.name = None, ""
