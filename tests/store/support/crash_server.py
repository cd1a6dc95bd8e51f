"""A server that forks a child for each statement; the child can be killed in the middle of its work.

It reads one JSON object per line: `root`, `statement`, `verify` (the setting) and `at`. The child runs the statement
and kills itself with SIGKILL at the `at`-th point (0: never). A point is every operation that changes a file: opening
it for writing, locking, writing, syncing, renaming, removing, creating a folder, and each SQL statement other than a
query. A write at this point is torn: half of it is done. The response is one JSON object per line: `killed`, the kind
of the last `point`, the number of `points`, and the `outcomes` or the code of the `error`.

Forking takes milliseconds, starting Python tenths of a second, and the server has no threads that a fork would lose.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import traceback
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "fcntl.flock"}


class Server:
    """The client of the server; used as a context."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(os.path.dirname(__file__)))},
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=60)

    def run(self, root: object, statement: str, *, verify: str = "full", at: int = 0) -> dict[str, Any]:
        """Run a statement in a child, and return the response."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        asked = {"root": str(root), "statement": statement, "verify": verify, "at": at}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


class _Points:
    """Counts operations that change files, and kills the process at the point `at`."""

    def __init__(self, at: int, pipe: int) -> None:
        self._at = at
        self._pipe = pipe
        self._guard = threading.Lock()
        self._write = os.write
        self.count = 0

    def reach(self, kind: str, torn: Callable[[], object] = lambda: None) -> None:
        with self._guard:
            self.count += 1
            if self.count == self._at:
                torn()
                self._write(self._pipe, json.dumps({"point": kind, "points": self.count}).encode())
                os.kill(os.getpid(), signal.SIGKILL)

    def watch(self) -> None:
        """Start counting, until the process ends."""
        fsync, connect = os.fsync, sqlite3.connect
        points = self

        def written(handle: int, content: bytes | memoryview) -> int:
            points.reach("write", lambda: points._write(handle, memoryview(content)[: len(content) // 2]))
            return points._write(handle, content)

        def synced(handle: int) -> None:
            points.reach("fsync")
            fsync(handle)

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
                points.count_statement(sql)
                return super().execute(sql, *values)

            def executemany(self, sql: str, *values: Any) -> sqlite3.Cursor:
                points.count_statement(sql)
                return super().executemany(sql, *values)

        os.write, os.fsync = written, synced  # type: ignore[assignment]
        sqlite3.connect = lambda *given, **named: connect(*given, factory=Connection, **named)  # type: ignore[assignment]
        sys.addaudithook(self._audited)

    def count_statement(self, sql: str) -> None:
        word = sql.lstrip().partition(" ")[0].upper()
        if word not in ("", "SELECT", "PRAGMA", "WITH"):
            self.reach(f"sqlite {word}")

    def _audited(self, event: str, values: tuple[Any, ...]) -> None:
        if event in _CHANGES or (event == "open" and isinstance(values[2], int) and values[2] & _WRITES):
            self.reach(event)


def serve() -> None:
    """Fork a child for each line of standard input."""
    for line in sys.stdin:
        asked = json.loads(line)
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.close(reading)
            os._exit(_do(asked, writing))
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            said = pipe.read()
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        assert killed or status == 0, status
        sys.stdout.write(json.dumps({"killed": killed, **json.loads(said)}) + "\n")
        sys.stdout.flush()


def _do(asked: dict[str, Any], pipe: int) -> int:
    from imq.grammar.errors import ImqError
    from store.support.stores import StoreSession

    points = _Points(asked["at"], pipe)
    points.watch()
    said: dict[str, Any] = {"outcomes": [], "error": None}
    try:
        with StoreSession(asked["root"]) as held:
            held.session.settings["verify"] = asked["verify"]
            said["outcomes"] = held.outcomes(asked["statement"])
    except ImqError as error:
        said["error"] = error.code
    except BaseException:  # noqa: BLE001 - the test looks for unexpected errors
        said["error"] = traceback.format_exc()
    count = points.count
    points._write(pipe, json.dumps({**said, "point": None, "points": count}).encode())
    return 0


def _prepare() -> None:
    """Run all kinds of statements once, so that children find their modules imported."""
    import requests  # imported only for the network
    from imq.engine.registry import client, settings
    from imq.engine.registry.transfer import pull
    from store.support.stores import StoreSession

    assert requests
    assert client
    assert pull
    assert settings
    with tempfile.TemporaryDirectory() as folder:
        tree, saved = os.path.join(folder, "tree"), os.path.join(folder, "saved.tar")
        os.mkdir(tree)
        with StoreSession(os.path.join(folder, "store")) as held:
            held.do(f'import "{tree}" as warm:1')
            held.do(f'save warm:1 to "{saved}"')
            held.do(f'load "{saved}"')
            for statement in ("tag warm:1 as warm:2", "untag warm:2", "rm warm:1", "prune", "reindex"):
                held.do(statement)


if __name__ == "__main__":
    _prepare()
    serve()
