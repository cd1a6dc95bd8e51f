"""Runs a program in a running container on a terminal, whose controlling end this process has.

The runtimes can pass a terminal on themselves, but crun 1.8 does not change its size, and both refuse to when this
process has no terminal, as in `docker exec -t web ls --color | less`.
"""

from __future__ import annotations

import os
import select
import sys
from contextlib import nullcontext, suppress

from imq.engine.store.atomic_files import write_all
from imq.grammar.record import TYPE_CHECKING

from .attachment import raw_terminal, read_terminal_size
from .exchange import set_terminal_size
from .runtime import RuntimeFailed
from .sockets import accept, open_listener, receive_descriptors
from .system_calls import adopt_descendants

if TYPE_CHECKING:
    from collections.abc import Callable

_READ_SIZE = 64 << 10


def run_on_terminal(folder: int, call_runtime: Callable[..., object], timeout: float, *, reads: bool) -> int:
    """Run a program and return its wait status. Its output goes to standard output; it `reads` standard input.

    `call_runtime` starts it, with further options that it is given; the sockets and files that they name are in the
    open `folder`. Raises `RuntimeFailed` when it has not started, and `NoTerminal` when it reads no terminal.
    """
    name = f"program.{os.getpid()}"
    console, pid_file = f"{name}.console", f"{name}.pid"
    place = f"/proc/self/fd/{folder}"
    sys.stdout.flush()
    listener = open_listener(folder, console)
    os.set_inheritable(folder, True)
    adopt_descendants()
    terminal = -1
    try:
        call_runtime("--detach", "--console-socket", f"{place}/{console}", "--pid-file", f"{place}/{pid_file}")
        with open(f"{place}/{pid_file}", encoding="ascii") as file:
            pid = int(file.read())
        control = accept(listener, timeout)
        _, (terminal, *_) = receive_descriptors(control)
        os.close(control)
        _set_size(terminal)
        with raw_terminal(lambda: _set_size(terminal)) if reads else nullcontext():
            return _pass_on(terminal, pid, reads=reads)
    except (ValueError, FileNotFoundError, TimeoutError):
        raise RuntimeFailed("the runtime has sent no terminal") from None
    finally:
        adopt_descendants(adopt=False)
        os.set_inheritable(folder, False)
        for descriptor in (listener, terminal):
            if descriptor >= 0:
                os.close(descriptor)
        for file_name in (console, pid_file):
            with suppress(FileNotFoundError):
                os.unlink(file_name, dir_fd=folder)


def _set_size(terminal: int) -> None:
    """Give a terminal the size of that of this process."""
    if (size := read_terminal_size()) is not None:
        set_terminal_size(terminal, *size)


def _pass_on(terminal: int, pid: int, *, reads: bool) -> int:
    """Pass on what is typed and shown until the program ends; return its wait status."""
    process = os.pidfd_open(pid)
    poller = select.poll()
    poller.register(process, select.POLLIN)
    os.set_blocking(terminal, False)  # a program that writes before it reads must not wait for this process
    typed = b""
    try:
        while True:
            poller.register(terminal, select.POLLIN | (select.POLLOUT if typed else 0))
            if reads:
                poller.register(0, 0 if typed else select.POLLIN)
            ready = dict(poller.poll())
            if ready.get(terminal, 0) & ~select.POLLOUT:
                if not _show(terminal):
                    break
            elif process in ready:  # and all of its output is shown
                break
            if typed and ready.get(terminal, 0) & select.POLLOUT:
                typed = typed[os.write(terminal, typed) :]
            elif 0 in ready:
                typed = os.read(0, _READ_SIZE)
                if not typed:
                    poller.unregister(0)
                    reads = False
    finally:
        os.close(process)
    return os.waitpid(pid, 0)[1]


def _show(terminal: int) -> bool:
    """Write output to standard output; return False when there is no further output."""
    try:
        content = os.read(terminal, _READ_SIZE)
    except OSError:  # no program has the terminal open any more
        return False
    write_all(1, content)
    return bool(content)
