"""The streams of a program in a container of an engine, passed on to those of this process.

Without a terminal, output comes in frames with a header of 8 bytes, which has the stream and the length.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from threading import Thread
from time import sleep

from imq.engine.containers.attachment import raw_terminal
from imq.engine.docker_engine.errors import protocol_error
from imq.grammar.errors import EngineError, ImqError
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from imq.engine.docker_engine.client import EngineClient, EngineStream

_HEADER_BYTES = 8
_READ_SIZE = 64 << 10
_STANDARD_OUTPUT, _STANDARD_ERROR = 1, 2
_MAX_INTERRUPTS = 3
_RESIZE_PAUSES = (0.01, 0.05, 0.2, 0.5)
"""Seconds before the size of a terminal is sent again."""
_STREAMS = (_STANDARD_OUTPUT, _STANDARD_OUTPUT, _STANDARD_ERROR)
"""The stream of this process for each stream of a frame: 0 is the echo of standard input."""


def pass_on(stream: EngineStream, *, is_multiplexed: bool, reads_stdin: bool, interrupt: Callable[[], object]) -> None:
    """Copy the output of a program until it ends, and standard input to it. `interrupt` is called for each interrupt.

    After some of them this process gives up, as docker's client does. Raises `EngineError` when the connection ends
    within a frame.
    """
    sys.stdout.flush()
    if reads_stdin:
        Thread(target=_send_stdin, args=(stream,), daemon=True).start()
    copy = _FrameCopier(stream) if is_multiplexed else None
    interrupts = 0
    while True:
        try:
            data = stream.read(_READ_SIZE)
            if copy is not None:
                copy.write(data)
            elif data:
                _write(_STANDARD_OUTPUT, data)
        except KeyboardInterrupt:
            interrupts += 1
            if interrupts == _MAX_INTERRUPTS:
                raise
            interrupt()
            continue
        if not data:
            return


@contextmanager
def resized_terminal(client: EngineClient, path: str) -> Iterator[None]:
    """Make the terminal of this process that of a program: keys go to the program, and sizes to the engine.

    `path` is that of the request for a size. Raises `NoTerminal` when standard input is no terminal.
    """

    def start_resize() -> None:  # a handler of a signal must not wait
        Thread(target=_resize, args=(client, path), daemon=True).start()

    with raw_terminal(start_resize):
        start_resize()
        yield


def _resize(client: EngineClient, path: str) -> None:
    for pause in _RESIZE_PAUSES:  # the program may not have started yet
        try:
            size = os.get_terminal_size(0)
            client.post_json(path, {"h": str(size.lines), "w": str(size.columns)})
        except (OSError, ImqError):
            sleep(pause)
        else:
            return


class _FrameCopier:
    """Copies the contents of frames, which arrive in pieces of any size."""

    def __init__(self, stream: EngineStream) -> None:
        self._stream = stream
        self._header = b""
        self._left = 0
        self._target = _STANDARD_OUTPUT

    def write(self, data: bytes) -> None:
        """Copy a piece; none is the end."""
        if not data and (self._left or self._header):
            raise protocol_error(self._stream.endpoint, "the output of the program ends within a frame")
        view = memoryview(data)
        while view:
            if not self._left:
                missing = _HEADER_BYTES - len(self._header)
                self._header += bytes(view[:missing])
                view = view[missing:]
                if len(self._header) == _HEADER_BYTES:
                    self._start_frame()
                continue
            part, view = view[: self._left], view[self._left :]
            self._left -= len(part)
            _write(self._target, part)

    def _start_frame(self) -> None:
        number = self._header[0]
        if number >= len(_STREAMS) or any(self._header[1:4]):
            raise protocol_error(self._stream.endpoint, "the output of the program is not in frames")
        self._target, self._left = _STREAMS[number], int.from_bytes(self._header[4:], "big")
        self._header = b""


def _send_stdin(stream: EngineStream) -> None:
    """Send standard input to a program until it ends. The program may end before."""
    try:
        while data := os.read(0, _READ_SIZE):
            stream.send(data)
        stream.end_input()
    except (OSError, EngineError):
        pass  # what reads the output reports it


def _write(target: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(target, view) :]
