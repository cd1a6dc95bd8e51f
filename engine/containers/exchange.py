"""Passes bytes between a running container and its clients: output to the log and to all of them, input from them."""

from __future__ import annotations

import json
import os
import select
import time
from contextlib import suppress

from imq.grammar.record import TYPE_CHECKING

from .sockets import accept, receive_descriptors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from .log_file import LogWriter

_READ_SIZE = 64 << 10
_LONGEST_WAIT = 3600.0
_POLL = 0.05
"""Seconds between two looks at the process, on kernels that cannot wait for one."""
_ADOPTION_POLL = 0.002
"""Seconds between two looks at a process that is no child of this one yet."""
_DRAIN = 2.0
"""The maximum seconds to read what is left in the pipes after the container has ended."""
_MAX_MESSAGE = 64 << 10
CLIENT_STREAMS = ("stdin", "stdout", "stderr")
"""The descriptors that a client sends when it attaches, in this order."""


class Client:
    """An imq that is attached: its control socket, the pipe of its input (-1 without one), and those of its output."""

    def __init__(self, control: int, stdin: int, outputs: Mapping[str, int]) -> None:
        self.control = control
        self.stdin = stdin
        self.outputs = dict(outputs)
        self.received = b""

    def report(self, document: Mapping[str, Any]) -> None:
        """Send a report, if the client still exists."""
        with suppress(OSError):
            os.write(self.control, json.dumps(document).encode() + b"\n")

    def write(self, stream: str, content: bytes) -> None:
        """Write output; a client that does not read any more gets no further output."""
        target = self.outputs.get(stream)
        view = memoryview(content)
        try:
            while view and target is not None:
                view = view[os.write(target, view) :]
        except OSError:
            os.close(self.outputs.pop(stream))

    def close_streams(self) -> None:
        """Close the streams; the control socket stays for the last report."""
        for descriptor in (self.stdin, *self.outputs.values()):
            if descriptor >= 0:
                os.close(descriptor)
        self.stdin, self.outputs = -1, {}


class Exchange:
    """The streams of one container.

    `outputs` are the descriptors from which its output is read, with the names of the streams. `entry` is where its
    input is written, -1 without one; `terminal` is the controlling end of its terminal, -1 without one.
    """

    def __init__(self, log: LogWriter, outputs: Mapping[int, str], entry: int, terminal: int) -> None:
        self.clients: list[Client] = []
        self._log = log
        self._outputs = dict(outputs)
        self._entry = entry
        self._terminal = terminal
        self._input = b""
        self._poller = select.poll()
        self._handlers: dict[int, Callable[[], object]] = {}
        for descriptor in outputs:
            self._handle(descriptor, lambda one=descriptor: self._read_output(one))  # type: ignore[misc]
        if entry >= 0:
            os.set_blocking(entry, False)

    def _handle(self, descriptor: int, handler: Callable[[], object]) -> None:
        self._handlers[descriptor] = handler
        self._poller.register(descriptor, select.POLLIN)

    def _ignore(self, descriptor: int) -> None:
        if self._handlers.pop(descriptor, None) is not None:
            self._poller.unregister(descriptor)

    def listen(self, listener: int) -> None:
        """Accept clients on a listening socket."""
        self._handle(listener, lambda: self._accept(listener))

    def add_client(self, client: Client) -> None:
        """Serve a client until it detaches or ends."""
        self.clients.append(client)
        self._handle(client.control, lambda: self._read_control(client))
        if client.stdin >= 0 and self._entry >= 0:
            self._handle(client.stdin, lambda: self._read_input(client))

    def watch_descriptor(self, descriptor: int, handler: Callable[[], object]) -> None:
        """Call `handler` when a descriptor can be read."""
        self._handle(descriptor, handler)

    def forget_descriptor(self, descriptor: int) -> None:
        """Do not look at a descriptor of `watch_descriptor` any more."""
        self._ignore(descriptor)

    def watch(
        self, pid: int, seconds: float, on_limit: Callable[[], object], step: Callable[[], float] | None = None
    ) -> int:
        """Pass on bytes until a child process has ended; return its wait status.

        After `seconds`, unless they are 0, `on_limit` is called once. `step` is called again and again, at the latest
        after the seconds that it returns.
        """
        try:
            process = os.pidfd_open(pid)
            self._poller.register(process, select.POLLIN)
        except OSError:
            process = -1
        status: int | None = None
        deadline = 0.0
        limit = time.monotonic() + seconds if seconds else None
        while self._outputs or status is None:
            wait = _LONGEST_WAIT if status is None else max(0.0, deadline - time.monotonic())
            if process < 0 and status is None:
                wait = _POLL
            if limit is not None and status is None:
                wait = min(wait, max(0.0, limit - time.monotonic()))
            if step is not None and status is None:
                wait = min(wait, step())
            events = self._poller.poll(wait * 1000)
            if limit is not None and status is None and time.monotonic() >= limit:
                limit = None
                on_limit()
            for descriptor, event in events:
                if descriptor == self._entry and event & select.POLLOUT:
                    self._write_input()
                if descriptor in self._handlers and event & ~select.POLLOUT:
                    self._handlers[descriptor]()
            if status is None:
                done, result = _reap(pid)
                if done:
                    status, deadline = result, time.monotonic() + _DRAIN
                    if process >= 0:
                        self._poller.unregister(process)
                        os.close(process)
            elif time.monotonic() >= deadline:
                break  # a process outside of the container has the pipe
        for client in self.clients:
            client.close_streams()
        self._log.finish()
        assert status is not None
        return status

    # Output

    def _read_output(self, descriptor: int) -> None:
        try:
            content = os.read(descriptor, _READ_SIZE)
        except OSError:  # the last program with the terminal has ended
            content = b""
        if not content:
            self._ignore(descriptor)
            if descriptor == self._entry:
                self._entry = self._terminal = -1
            os.close(descriptor)
            del self._outputs[descriptor]
            return
        stream = self._outputs[descriptor]
        self._log.write(stream, content)
        for client in self.clients:
            client.write(stream, content)

    # Input

    def _read_input(self, client: Client) -> None:
        content = os.read(client.stdin, _READ_SIZE)
        if not content:
            self._ignore(client.stdin)
            return
        self._input += content
        self._write_input()

    def _write_input(self) -> None:
        """Write what the container takes; meanwhile no client is read from."""
        try:
            self._input = self._input[os.write(self._entry, self._input) :]
        except BlockingIOError:
            pass
        except OSError:
            self._input = b""  # the container has closed its input
        is_full = bool(self._input)
        if self._entry in self._handlers:  # a terminal
            self._poller.modify(self._entry, select.POLLIN | (select.POLLOUT if is_full else 0))
        elif is_full:
            self._poller.register(self._entry, select.POLLOUT)
        else:
            with suppress(KeyError):
                self._poller.unregister(self._entry)
        for client in self.clients:
            if client.stdin in self._handlers:
                self._poller.modify(client.stdin, 0 if is_full else select.POLLIN)

    # Clients

    def _accept(self, listener: int) -> None:
        control = -1
        try:
            control = accept(listener)
            content, descriptors = receive_descriptors(control, _MAX_MESSAGE)
        except OSError:
            content, descriptors = b"", []
        if len(descriptors) != len(CLIENT_STREAMS) or not content:
            for one in (control, *descriptors):
                if one >= 0:
                    os.close(one)
            return
        stdin, stdout, stderr = descriptors
        client = Client(control, stdin, {"stdout": stdout, "stderr": stderr})
        self.add_client(client)
        self._obey(client, content)

    def _read_control(self, client: Client) -> None:
        try:
            content = os.read(client.control, _MAX_MESSAGE)
        except OSError:
            content = b""
        if content and len(client.received) < _MAX_MESSAGE:
            self._obey(client, content)
        else:
            self._remove_client(client)

    def _remove_client(self, client: Client) -> None:
        self.clients.remove(client)
        for descriptor in (client.control, client.stdin):
            self._ignore(descriptor)
        client.close_streams()
        os.close(client.control)

    def _obey(self, client: Client, content: bytes) -> None:
        """Obey the complete lines that a client has sent: the size of its terminal is that of the container's too."""
        *lines, client.received = (client.received + content).split(b"\n")
        for line in lines:
            with suppress(ValueError, OSError, TypeError, KeyError):
                rows, columns = json.loads(line)["size"]
                if self._terminal >= 0:
                    set_terminal_size(self._terminal, rows, columns)


def _reap(pid: int) -> tuple[int, int]:
    """Return the ID and the wait status of a process that has ended, (0, 0) while it runs.

    A process of crun becomes a child of this one only after its parent, which runs a moment longer than crun.
    """
    try:
        return os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        if not os.path.exists(f"/proc/{pid}"):
            raise
        time.sleep(_ADOPTION_POLL)
        return 0, 0


def set_terminal_size(terminal: int, rows: int, columns: int) -> None:
    """Set the size of a terminal, which sends SIGWINCH to its programs."""
    import fcntl
    import struct
    import termios

    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
