"""A process that is attached to a container: it passes its streams on until the container ends, or it detaches."""

from __future__ import annotations

import json
import os
import select
import sys
from contextlib import contextmanager, nullcontext, suppress

from imq.engine.store.atomic_files import write_all
from imq.grammar.errors import ImqError, StatementError
from imq.grammar.record import TYPE_CHECKING, Record

from .runtime import RuntimeFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

_READ_SIZE = 64 << 10
DETACH_KEYS = "ctrl-p,ctrl-q"
_CONTROLS = {"@": 0, "[": 27, "\\": 28, "]": 29, "^": 30, "_": 31}


class Attachment(Record):
    """The streams of a container that this process is attached to, and the control socket of its monitor.

    `stdin` is where the input of the container is written, -1 without one. `terminal`: it has a terminal.
    """

    control: int
    stdin: int
    stdout: int
    stderr: int
    terminal: bool = False


class NoTerminal(ImqError):
    """Standard input is not a terminal, but a container with a terminal should read it."""

    code = "terminal"


def parse_detach_keys(text: str) -> bytes:
    """Return the bytes of a sequence such as `ctrl-p,ctrl-q`; "" turns detaching off.

    Raises `StatementError` for an invalid one.
    """
    keys = bytearray()
    for name in text.split(",") if text else ():
        control = name.lower().removeprefix("ctrl-")
        if name.lower().startswith("ctrl-") and len(control) == 1 and (control.isascii() and control.isalpha()):
            keys.append(ord(control) - ord("a") + 1)
        elif name.lower().startswith("ctrl-") and control in _CONTROLS:
            keys.append(_CONTROLS[control])
        elif len(name) == 1 and name.isascii():
            keys.append(ord(name))
        else:
            raise StatementError(
                f'invalid detach keys "{text}": unknown key "{name}"',
                code="option",
                hints=("keys are a letter, or ctrl- and a letter or one of @ [ \\ ] ^ _, with commas between them",),
            )
    return bytes(keys)


def read_terminal_size() -> tuple[int, int] | None:
    """Return the rows and columns of the terminal of this process; None without one."""
    for descriptor in (1, 0, 2):
        with suppress(OSError):
            columns, rows = os.get_terminal_size(descriptor)
            return rows, columns
    return None


def require_terminal() -> None:
    """Raise `NoTerminal` when standard input is not a terminal."""
    if not os.isatty(0):
        raise NoTerminal(
            "the input device is not a TTY",
            hints=("leave out -t (terminal) when standard input is a file or a pipe",),
        )


@contextmanager
def raw_terminal(on_resize: Callable[[], object]) -> Iterator[None]:
    """Pass keys on as they are typed during the block. Raises `NoTerminal`.

    `on_resize` is called in a signal handler, whenever the size of the terminal changes.
    """
    import signal
    import termios
    import threading
    import tty

    require_terminal()
    old = termios.tcgetattr(0)
    tty.setraw(0, termios.TCSANOW)  # what was typed already is kept
    is_main = threading.current_thread() is threading.main_thread()  # others cannot set a handler
    handler = signal.signal(signal.SIGWINCH, lambda *_: on_resize()) if is_main else None
    try:
        yield
    finally:
        if handler is not None:
            signal.signal(signal.SIGWINCH, handler)
        termios.tcsetattr(0, termios.TCSADRAIN, old)


def follow(attachment: Attachment, keys: bytes, send_signal: Callable[[str], None]) -> int | None:
    """Pass on the streams until the container ends; return its exit code, None when the user detaches.

    An interrupt is passed on to the container by `send_signal`, as docker does. Raises `RuntimeFailed` when the monitor
    was killed.
    """
    sys.stdout.flush()
    session = _Session(attachment, keys)
    with raw_terminal(session.send_size) if attachment.terminal and attachment.stdin >= 0 else nullcontext():
        try:
            while session.is_open:
                try:
                    session.step()
                except KeyboardInterrupt:
                    with suppress(ImqError):  # it ends already
                        send_signal("SIGINT")
            return session.read_exit_code() if not session.has_detached else None
        finally:
            session.close()


class _Session:
    """One process with the streams of one container."""

    def __init__(self, attachment: Attachment, keys: bytes) -> None:
        self._attachment = attachment
        self._keys = keys
        self._typed = b""
        self._received = b""
        self._outputs = {one: at for at, one in ((1, attachment.stdout), (2, attachment.stderr)) if one >= 0}
        self._stdin = attachment.stdin
        self._poller = select.poll()
        for descriptor in (*self._outputs, attachment.control):
            self._poller.register(descriptor, select.POLLIN)
        if self._stdin >= 0:
            self._poller.register(0, select.POLLIN)
        self.has_detached = False

    @property
    def is_open(self) -> bool:
        """Whether there is output to come, and the user has not detached."""
        return bool(self._outputs) and not self.has_detached

    def step(self) -> None:
        """Wait for the next bytes, and pass them on."""
        for descriptor, _ in self._poller.poll():
            if descriptor in self._outputs:
                self._pass_output(descriptor)
            elif descriptor == self._attachment.control:
                content = os.read(descriptor, _READ_SIZE)
                self._received += content
                if not content:
                    self._poller.unregister(descriptor)
            else:
                self._pass_input()

    def _pass_output(self, descriptor: int) -> None:
        content = os.read(descriptor, _READ_SIZE)
        if not content:
            self._poller.unregister(descriptor)
            os.close(descriptor)
            del self._outputs[descriptor]
            return
        write_all(self._outputs[descriptor], content)

    def _pass_input(self) -> None:
        """Pass on what was typed, without the keys by which the user detaches."""
        try:
            content = os.read(0, _READ_SIZE)
        except OSError:
            content = b""
        if content and self._keys and self._attachment.terminal:
            typed, self._typed = self._typed + content, b""
            if self._keys in typed:
                content, self.has_detached = typed.partition(self._keys)[0], True
            else:
                held = next((n for n in range(len(self._keys) - 1, 0, -1) if typed.endswith(self._keys[:n])), 0)
                content, self._typed = typed[: len(typed) - held], typed[len(typed) - held :]
                if not content:
                    return
        try:
            write_all(self._stdin, content)
        except OSError:
            content = b""  # the container does not read any more
        if not content:
            self._poller.unregister(0)
            os.close(self._stdin)
            self._stdin = -1

    def read_exit_code(self) -> int:
        """Return the exit code that the monitor reports. Raises `RuntimeFailed` when it was killed."""
        while not self._received.endswith(b"\n"):
            try:
                content = os.read(self._attachment.control, _READ_SIZE)
            except KeyboardInterrupt:
                continue
            if not content:
                raise RuntimeFailed("the exit code of the container is unknown: its monitor was killed")
            self._received += content
        report = json.loads(self._received)
        if "error" in report:
            raise RuntimeFailed(report["error"])
        return int(report["exit_code"])

    def send_size(self) -> None:
        """Send the size of the terminal to the monitor."""
        if (size := read_terminal_size()) is not None:
            send_control(self._attachment.control, {"size": size})

    def close(self) -> None:
        """Close all streams."""
        for descriptor in (*self._outputs, self._stdin, self._attachment.control):
            if descriptor >= 0:
                os.close(descriptor)


def send_control(control: int, document: dict[str, Any]) -> None:
    """Send a message to a monitor, if it still exists."""
    with suppress(OSError):
        os.write(control, json.dumps(document).encode() + b"\n")
