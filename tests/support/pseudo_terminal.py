"""A program whose streams are a terminal, and what the terminal receives."""

from __future__ import annotations

import os
import pty
import subprocess
import termios
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def run_on_terminal(
    words: Sequence[str], environment: Mapping[str, str], *, rows: int = 24, columns: int = 80, typed: bytes = b""
) -> bytes:
    """Run a program with all streams on a terminal of this size; return every byte that the terminal received.

    `typed` are keys that are typed before the program reads them.
    """
    controller, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (rows, columns))
    process = subprocess.Popen(
        words, env=environment, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True
    )
    os.close(terminal)
    os.write(controller, typed)
    received = b""
    while chunk := _read(controller):
        received += chunk
    os.close(controller)
    process.wait()
    return received


def _read(controller: int) -> bytes:
    try:
        return os.read(controller, 65536)
    except OSError:  # the other end is closed
        return b""
