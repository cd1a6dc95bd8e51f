"""Starts monitors, and the workers of ordinary users, as processes of their own.

The command line forks a launcher before it imports most modules: a small process that forks one for each job it
receives over a socket. So it starts at once and has none of the memory of the process that ordered it. Other processes,
which may have threads and large heaps, execute a new interpreter for each job.

A command line that runs one container in the foreground forks its monitor itself: it has loaded what the monitor needs,
and both end together.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

COMMAND = "__container_monitor"
"""The hidden command by which the frozen executable runs as a monitor or a worker: see cli/main.py."""
MONITOR, WORKER = "monitor", "worker"
"""The kinds of jobs, by the modules whose function `run` does them: they start jobs themselves."""
_MESSAGE_SIZE = 16
FIRST_DESCRIPTOR = 3
"""The descriptors of an executed job are this one and those after it."""

_ITSELF = -2
"""In place of a launcher: the process forks monitors itself."""
_launcher = -1
"""The descriptor of the socket to the launcher of this process, -1 without one, or `_ITSELF`."""
_owner = 0
"""The process that has the launcher."""
_own: tuple[int, ...] = ()
"""The descriptors that monitors keep which are forked by this process itself."""


def start_launcher(private: Sequence[int] = ()) -> None:
    """Fork the launcher of this process, which must have no threads. It has none of the `private` descriptors."""
    global _launcher, _owner
    from .sockets import make_pair

    ours, theirs = make_pair()
    if os.fork() == 0:
        for descriptor in (ours, *private):
            os.close(descriptor)
        _serve(theirs)
    os.close(theirs)
    _launcher, _owner = ours, os.getpid()


def fork_monitors() -> None:
    """Let this process fork monitors itself. It must have no threads, and exit soon: they have its memory.

    It has opened nothing yet but what the frozen executable needs, which monitors have too.
    """
    global _launcher, _owner, _own
    _launcher, _owner, _own = _ITSELF, os.getpid(), _list_own_descriptors()


def stop_forking() -> None:
    """Start a launcher in place of what `fork_monitors` allows: the process goes on to do more. It has no threads."""
    if _launcher == _ITSELF and _owner == os.getpid():
        start_launcher()


def launch(kind: str, descriptors: Sequence[int], timeout: float) -> None:
    """Start a monitor or a worker with these descriptors, by the launcher, by a fork or as a new program.

    Raises `RuntimeFailed` when the program does not start in `timeout` seconds.
    """
    launcher = _launcher if _owner == os.getpid() else -1
    if launcher == _ITSELF:
        if os.fork() == 0:
            _leave_parent(descriptors)
            _run(kind, descriptors)
    elif launcher < 0 or not _send(kind, descriptors):
        _execute(kind, descriptors, timeout)


def _send(kind: str, descriptors: Sequence[int]) -> bool:
    """Send a job to the launcher; return False when it does not exist any more."""
    from .sockets import send_descriptors

    try:
        send_descriptors(_launcher, kind.encode(), descriptors)
    except OSError:
        return False
    return True


def _serve(socket: int) -> NoReturn:
    """Fork a process for each job until the process that started the launcher has ended."""
    try:
        _become_daemon()
        from . import monitor  # noqa: F401 - while the other process opens its store
        from .sockets import receive_descriptors

        while (message := receive_descriptors(socket, _MESSAGE_SIZE))[1]:
            kind, descriptors = message
            if os.fork() == 0:
                os.close(socket)
                _run(kind.decode(), descriptors)
            for descriptor in descriptors:
                os.close(descriptor)
    finally:
        os._exit(0)


def _run(kind: str, descriptors: Sequence[int]) -> NoReturn:
    from importlib import import_module

    import_module(f"{__package__}.{kind}").run(descriptors)
    os._exit(0)


def _become_daemon() -> None:
    """Leave the session of the terminal, and close the descriptors that the process has been started with.

    The frozen executable reads its modules from one of them.
    """
    import signal

    os.setsid()
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    _close_standard_streams()
    archives = {path.rpartition("/")[2] for path in sys.path if path.startswith("/proc/self/fd/")}
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the listing's own is closed already
            if int(name) > 2 and name not in archives and os.get_inheritable(int(name)):
                os.close(int(name))


def _leave_parent(kept: Sequence[int]) -> None:
    """Leave the session of the terminal, and close the parent's descriptors except its first ones and those `kept`.

    No object of the parent may be collected: it would close a descriptor whose number is another file's by then.
    """
    import gc

    gc.freeze()
    os.setsid()
    _close_standard_streams()
    after = 3
    for descriptor in sorted({*kept, *_own}):
        os.closerange(after, descriptor)
        after = descriptor + 1
    os.closerange(after, os.sysconf("SC_OPEN_MAX"))


def _close_standard_streams() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(null, standard)


def _list_own_descriptors() -> tuple[int, ...]:
    """Return the descriptors that this process has opened itself, without those of its standard streams."""
    own = []
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the listing's own is closed already
            if int(name) > 2 and not os.get_inheritable(int(name)):
                own.append(int(name))
    return tuple(own)


def _execute(kind: str, descriptors: Sequence[int], timeout: float) -> None:
    """Execute an interpreter, or the frozen executable, for a job."""
    import fcntl

    from .runtime import RuntimeFailed, wait_for

    if getattr(sys, "frozen", False):
        archive = next(path for path in reversed(sys.path) if path.startswith("/proc/self/fd/"))
        program = archive.replace("self", str(os.getpid()), 1)  # in the new process the number is another file's
        arguments = ["imq", COMMAND, kind, str(len(descriptors))]
    else:
        program = sys.executable
        arguments = [program, "-P", "-c", "from imq.engine.containers.launcher import main; main()"]
        arguments += [kind, str(len(descriptors))]
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    everything = (*[null] * FIRST_DESCRIPTOR, *descriptors)
    copies = [fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, 64) for one in everything]  # above all of the new numbers
    try:
        actions: list[tuple[object, ...]] = [(os.POSIX_SPAWN_DUP2, copy, at) for at, copy in enumerate(copies)]
        pid = os.posix_spawn(program, arguments, dict(os.environ), file_actions=actions, setsigmask=())
    finally:
        for descriptor in (null, *copies):
            os.close(descriptor)
    if wait_for(pid, timeout) is None:
        raise RuntimeFailed("the process for the container does not start", code="runtime-timeout")


def main() -> NoReturn:
    """Run an executed job; the process that was started exits at once, so that nobody has to wait for it."""
    kind, count = sys.argv[-2:]
    if os.fork():
        os._exit(0)
    _run(kind, range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + int(count)))
