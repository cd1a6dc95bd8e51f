"""The program `ctr`, for what containerd leaves to its clients: pulls, pushes, imports and exports of images.

Nothing of its output is parsed but its error.
"""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager, suppress

from imq.grammar.errors import EngineError, ImqError, NotFound
from imq.grammar.record import TYPE_CHECKING

from .errors import clean_text

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import IO, Protocol

    class Readable(Protocol):
        """A binary stream."""

        def read(self, size: int, /) -> bytes:
            """Return at most `size` bytes; no bytes at the end."""


_PROGRAM = "ctr"
_PIECE = 1 << 20
_MAX_ERROR = 64 << 10
_ERROR = "ctr: "
_CONNECT_LIMIT = "20s"
_END_LIMIT = 10.0
"""Seconds in which ctr must end after a signal."""


class Ctr:
    """Runs ctr for a namespace of the containerd at `address`. `environment` is that of the processes."""

    def __init__(self, address: str, namespace: str, environment: Mapping[str, str]) -> None:
        self._address = address
        self._namespace = namespace
        self._environment = dict(environment)

    def run(self, *words: str, secret: str = "") -> None:
        """Run a command. `secret` is typed when ctr asks for the password of a user.

        It is not among the words, which all users of a machine can see. Raises `EngineError` and `NotFound`.
        """
        import subprocess

        if not secret:
            with self._start(words, subprocess.DEVNULL, subprocess.DEVNULL) as process:
                process.finish()
            return
        master, terminal = os.openpty()  # ctr reads a password from a terminal only
        try:
            with self._start(words, terminal, subprocess.DEVNULL) as process:
                os.write(master, f"{secret}\n".encode())
                process.finish()
        finally:
            os.close(master)
            os.close(terminal)

    def send(self, archive: Readable | Iterable[bytes], *words: str) -> None:
        """Run a command with an archive as its standard input. Raises as `run` does.

        When the archive raises, ctr is ended, so that a part is not taken for the whole.
        """
        import subprocess

        with self._start(words, subprocess.PIPE, subprocess.DEVNULL) as process:
            stdin = process.process.stdin
            assert stdin is not None
            try:
                for piece in _read_pieces(archive):
                    stdin.write(piece)
                stdin.close()
            except BrokenPipeError:
                pass  # ctr has ended, and says why
            process.finish()

    @contextmanager
    def receive(self, *words: str) -> Iterator[Readable]:
        """Yield the standard output of a command. Its end raises as `run` does when the command failed."""
        import subprocess

        with self._start(words, subprocess.DEVNULL, subprocess.PIPE) as process:
            yield process

    @contextmanager
    def _start(self, words: Sequence[str], stdin: int, stdout: int) -> Iterator[_Process]:
        """Yield the process. It has ended afterwards: by a signal when it was not waited for."""
        import subprocess
        import tempfile

        path = shutil.which(_PROGRAM, path=self._environment.get("PATH", os.defpath))
        if path is None:
            raise EngineError(
                "ctr is not installed",
                code="engine-no-ctr",
                hints=("it comes with containerd: install that package, or add its folder to PATH",),
                endpoint=self._address,
            )
        options = ("--address", self._address, "--namespace", self._namespace, "--connect-timeout", _CONNECT_LIMIT)
        command = [path, *options, *words]
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(  # noqa: S603 - an argument vector, no shell
                command, stdin=stdin, stdout=stdout, stderr=errors, env=self._environment
            )
            try:
                yield _Process(process, errors)
            except BaseException:
                process.terminate()  # before its input ends
                raise
            finally:
                for stream in (process.stdin, process.stdout):
                    if stream is not None:
                        with suppress(BrokenPipeError):
                            stream.close()
                if process.poll() is None:
                    process.terminate()
                    try:
                        process.wait(_END_LIMIT)
                    except subprocess.TimeoutExpired:
                        process.kill()
                        process.wait()


class _Process:
    """A process of ctr, whose errors go to a file."""

    def __init__(self, process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
        self.process = process
        self._errors = errors

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes of the output; no bytes at its end, when the command has succeeded."""
        assert self.process.stdout is not None
        piece = self.process.stdout.read(size)
        if not piece:
            self.finish()
        return piece

    def finish(self) -> None:
        """Wait for the end. Raises `EngineError` and `NotFound` with the words of ctr."""
        code = self.process.wait()
        if code != 0:
            size = self._errors.seek(0, os.SEEK_END)
            self._errors.seek(max(0, size - _MAX_ERROR))
            raise _make_error(self._errors.read().decode("utf-8", "replace"), code)


def _read_pieces(archive: Readable | Iterable[bytes]) -> Iterator[bytes]:
    if not hasattr(archive, "read"):
        yield from archive
        return
    while piece := archive.read(_PIECE):
        yield piece


def _make_error(text: str, code: int) -> ImqError:
    lines = [line for line in text.splitlines() if line.strip()]
    reason = clean_text(next((line for line in reversed(lines) if line.startswith(_ERROR)), lines[-1] if lines else ""))
    reason = reason.removeprefix(_ERROR)
    if reason.endswith(": not found"):
        return NotFound(reason)
    return EngineError(f"ctr failed: {reason or f'exit code {code}'}")
