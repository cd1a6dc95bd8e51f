"""The streams between this process and the monitor of a container, and the reports of the monitor."""

from __future__ import annotations

import json
import os
import select
import time

from imq.grammar.record import TYPE_CHECKING

from .runtime import RuntimeFailed

if TYPE_CHECKING:
    from typing import Any

    from .attachment import Attachment


class ClientStreams:
    """The streams between this process and a monitor: the ends of this process, and those of the monitor.

    Without a terminal the container reads the standard input of this process itself, unless it is `piped`.
    """

    def __init__(self, terminal: bool, *, attach: bool, stdin: bool, piped: bool = False) -> None:
        pairs = [(-1, os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)) for _ in range(3)]
        if attach:
            for number in range(1, 2 if terminal else 3):
                os.close(pairs[number][1])
                pairs[number] = os.pipe()
        if stdin:
            os.close(pairs[0][1])
            pairs[0] = os.pipe()[::-1] if terminal or piped else (-1, os.dup(0))
        self._terminal = terminal
        self.ours = (pairs[0][0], pairs[1][0], pairs[2][0])
        self.theirs = [pair[1] for pair in pairs]

    def attachment(self, control: int) -> Attachment:
        """Return what this process has, with its control socket."""
        from .attachment import Attachment

        return Attachment(control, *self.ours, terminal=self._terminal)

    def close_theirs(self) -> None:
        """Close the ends that the monitor has now."""
        for descriptor in self.theirs:
            os.close(descriptor)

    def close(self) -> None:
        """Close the ends of this process."""
        for descriptor in self.ours:
            if descriptor >= 0:
                os.close(descriptor)


def read_report(descriptor: int, timeout: float | None) -> dict[str, Any] | None:
    """Return the next report of a monitor; None when it has ended. Raises `RuntimeFailed` after `timeout` seconds."""
    content = b""
    deadline = None if timeout is None else time.monotonic() + timeout
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    while not content.endswith(b"\n"):
        remaining = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
        if not poller.poll(remaining):
            raise RuntimeFailed("the monitor of the container does not respond", code="runtime-timeout")
        piece = os.read(descriptor, 1)  # further reports stay in the pipe
        if not piece:
            return None
        content += piece
    document = json.loads(content)
    return document if isinstance(document, dict) else None
