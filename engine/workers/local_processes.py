"""Workers on this machine: scan processes of this process."""

from __future__ import annotations

from select import select

from imq.grammar.record import TYPE_CHECKING

from .dispatcher import Event
from .process import ProcessEnded, ScanProcess

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from imq.engine.registry.settings import Settings


class LocalProcesses:
    """A number of scan processes, started when the first tasks need them."""

    depth = 0

    def __init__(self, number: int, environment: Mapping[str, str], settings: Settings) -> None:
        self.slots = number
        self._environment = environment
        self._settings = settings
        self._idle: list[ScanProcess] = []
        self._busy: dict[int, ScanProcess] = {}
        self._failed: list[Event] = []

    def submit(self, number: int, document: Mapping[str, Any], avoid: frozenset[str]) -> None:
        """Give a task to a process that is free."""
        at = next((at for at, one in enumerate(self._idle) if str(one.pid) not in avoid), None)
        process = self._idle.pop(at) if at is not None else self._start()
        try:
            process.send(document)
        except ProcessEnded as ended:
            self._failed.append(Event(number, crash=ended.reason, worker=str(process.pid)))
            process.close()
        else:
            self._busy[number] = process

    def _start(self) -> ScanProcess:
        return ScanProcess(self._environment, self._settings)

    def wait(self, timeout: float) -> list[Event]:
        """Return the tasks that ended."""
        events, self._failed = self._failed, []
        numbers = {process.fileno(): number for number, process in self._busy.items()}
        ready, _, _ = select(numbers, (), (), 0.0 if events else timeout)
        for descriptor in ready:
            number = numbers[descriptor]
            process = self._busy.pop(number)
            try:
                document, content = process.receive()
            except ProcessEnded as ended:
                events.append(Event(number, crash=ended.reason, worker=str(process.pid)))
                process.close()
            else:
                events.append(Event(number, document, content, worker=str(process.pid)))
                self._idle.append(process)
        return events

    def find_workers(self, numbers: Iterable[int]) -> dict[int, str]:
        """Return the processes at which tasks are."""
        return {number: str(self._busy[number].pid) for number in numbers if number in self._busy}

    def cancel(self, numbers: Iterable[int]) -> None:
        """End the processes of tasks."""
        for number in numbers:
            if (process := self._busy.pop(number, None)) is not None:
                process.close()

    def close(self) -> None:
        """End all processes."""
        for process in (*self._idle, *self._busy.values()):
            process.close()
        self._idle.clear()
        self._busy.clear()
