"""The handle of a scan process."""

from __future__ import annotations

import os
import subprocess
import sys

from imq.grammar.errors import ImqError
from imq.grammar.record import TYPE_CHECKING

from .frames import read_frame, write_frame

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from imq.engine.registry.settings import Settings

_INHERITED = ("PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH")
"""Variables by which the interpreter finds its modules, whatever environment the session has."""
_START = "from imq.engine.workers.scan_process import main; main()"


class ProcessEnded(Exception):
    """A scan process ended in the middle of a task. `reason` says how."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ScanProcess:
    """A scan process. `settings` None: it reads its own configuration. `memory` is its limit in bytes, 0 for none.

    One thread calls `send` and `receive`; any thread may call `kill`.
    """

    def __init__(self, environment: Mapping[str, str], settings: Settings | None, memory: int = 0) -> None:
        import pickle

        variables = {name: os.environ[name] for name in _INHERITED if name in os.environ} | dict(environment)
        if getattr(sys, "frozen", False):
            from .scan_process import COMMAND

            archive = next(path for path in reversed(sys.path) if path.startswith("/proc/self/fd/"))
            program, arguments = archive.replace("self", str(os.getpid()), 1), ["imq", COMMAND]
        else:
            program, arguments = sys.executable, [sys.executable, "-P", "-c", _START]
        try:
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter
                arguments,
                executable=program,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=variables,
            )
        except OSError as error:
            raise ImqError(f"a scan process does not start: {error.strerror}", code="worker-start") from None
        packed = pickle.dumps(settings.replace(environment={})) if settings is not None else b""
        self.send({"memory": memory}, packed)

    @property
    def pid(self) -> int:
        """The ID of the process."""
        return self._process.pid

    def fileno(self) -> int:
        """Return the descriptor of its results, for `select`."""
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    def send(self, document: Mapping[str, Any], content: bytes = b"") -> None:
        """Send a task. Raises `ProcessEnded`."""
        assert self._process.stdin is not None
        try:
            write_frame(self._process.stdin, dict(document), content)
        except OSError:
            raise self._make_ended() from None

    def receive(self) -> tuple[dict[str, Any], bytes]:
        """Return the result of the task. Raises `ProcessEnded`."""
        assert self._process.stdout is not None
        message = read_frame(self._process.stdout)
        if message is None:
            raise self._make_ended()
        return message

    def kill(self) -> None:
        """End the process at once. Idempotent."""
        self._process.kill()

    def close(self) -> None:
        """End the process, and free what it takes."""
        self.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:  # what was not written yet
                    pass
        self._process.wait()

    def _make_ended(self) -> ProcessEnded:
        code = self._process.wait()
        if code >= 0:
            return ProcessEnded(f"it ended with exit code {code}")
        import signal

        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return ProcessEnded(f"it was ended by {name}" + (", as when memory is short" if name == "SIGKILL" else ""))
