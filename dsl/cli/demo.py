"""`imq demo`: a sample store in a temporary folder, and a session on it."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import time

from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imq.engine.session.session import Session

    from .options import Options
    from .output import Console

_DAY = 86_400_000_000_000
_APK = """\
P:musl
V:1.2.5-r0
A:x86_64
L:MIT
I:622592

P:busybox
V:1.36.1-r29
A:x86_64
L:GPL-2.0-only
I:946176

P:openssl
V:3.3.1-r3
A:x86_64
L:Apache-2.0
I:7954432
"""
_WELCOME = """\
A sample store in {folder}; the end of the session removes it.
To begin:

  images
  images as tree
  images where dangling
  packages of base/alpine:3.20
  differences of shop/web:1.1, shop/web:1.2
  dry run rm images where older than 30d except newest 1 per repository

"""


class _Step(Record):
    """One image of the sample: its age in days, its names, the files of its top layer, its Dockerfile instructions."""

    age: int
    names: tuple[str, ...]
    files: tuple[tuple[str, int | str], ...]
    change: tuple[str, ...] = ()


_BASE = _Step(
    420,
    ("base/alpine:3.20",),
    (
        ("etc/os-release", 'ID=alpine\nVERSION_ID=3.20.1\nPRETTY_NAME="Alpine Linux v3.20"\n'),
        ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/srv:/bin/sh\n"),
        ("lib/apk/db/installed", _APK),
        ("bin/busybox", 946_176),
        ("lib/libcrypto.so.3", 400_000),
    ),
)
_BASE_CHANGE = '"CMD [\\"/bin/sh\\"]", "ENV PATH=/usr/sbin:/usr/bin:/sbin:/bin"'
_SERVER = ('CMD [\\"/srv/server\\"]', "ENV APP_ENV=prod", "USER app", "EXPOSE 8080")
_DEBUG, _INFO = ("srv/config.yaml", "log: debug\n"), ("srv/config.yaml", "log: info\n")
_STEPS = (
    _Step(300, ("redis:7",), (("usr/bin/redis-server", 700_000),), ("LABEL tier=cache",)),
    _Step(200, ("redis:7",), (("usr/bin/redis-server", 720_000),), ("LABEL tier=cache",)),
    _Step(150, ("shop/web:1.0",), (("srv/server", 500_000), _DEBUG), _SERVER),
    _Step(60, ("shop/web:1.1",), (("srv/server", 520_000), _INFO), _SERVER),
    _Step(12, ("shop/web:pr-41",), (("srv/server", 531_000), _DEBUG), ("ENV APP_ENV=test", "LABEL team=shop")),
    _Step(
        5,
        ("shop/web:1.2", "shop/web:latest"),
        (("srv/server", 530_000), _INFO, ("srv/assets/logo.svg", 40_000)),
        (*_SERVER, "LABEL team=shop"),
    ),
    _Step(
        2,
        ("tools/backup:2",),
        (("usr/bin/backup", 2_000_000), ("root/.cache/pip/wheel", 600_000)),
        ("USER root", "LABEL team=ops"),
    ),
)


def run_demo(console: Console, options: Options) -> int:
    """Make the sample store, and open a session on it or run a statement.

    Without a terminal and without a statement the store stays, and its folder is written to standard output.
    """
    from .open_session import open_session, run_text

    folder = tempfile.mkdtemp(prefix="imq-demo-")
    root = os.path.join(folder, "store")
    words = options.words[1:]
    stays = not words and not console.stdin.isatty()
    try:
        _fill(root, folder)
        values = {**options.values, "root": (root,)}
        options = options.replace(values=values, flags=options.flags | {"no_config"}, words=words)
        if stays:
            console.stdout.write(f"{root}\n")
            console.stderr.write(f"a sample store: imq --root {root} images; to remove it: rm -r {folder}\n")
            return 0
        session = open_session(console, options)
        try:
            if words:
                console.in_shell = True
                return run_text(console, session, " ".join(words), options, {})
            from imq.repl.repl import Repl

            console.stdout.write(console.wrap(_WELCOME.format(folder=folder)))
            return Repl(console, session, options).run()
        finally:
            session.close()
    finally:
        if not stays:
            shutil.rmtree(folder, ignore_errors=True)


def _fill(root: str, folder: str) -> None:
    """Make the images of the sample, each at its time.

    The time of an image is that of its base, so the base is imported again for each of them; its layer is the same.
    """
    from imq.engine.session.context import SessionContext
    from imq.engine.session.session import Session

    now = time.time_ns()
    clock = [now]
    session = Session(SessionContext(root, {"HOME": folder}, clock=lambda: clock[0]))
    content = random.Random(1)  # noqa: S311 - the same bytes in every sample
    base = os.path.join(folder, "base")
    _write_files(base, _BASE.files, content, now - _BASE.age * _DAY)
    try:
        for step in _STEPS:
            clock[0] = now - step.age * _DAY
            files = os.path.join(folder, "files")
            _write_files(files, step.files, content, clock[0])
            first, *others = step.names
            change = ", ".join(f'"{line}"' for line in step.change)
            _run(
                session,
                f'import "{base}" as sample-base:1 change {_BASE_CHANGE}',
                f'append "{files}" to sample-base:1 as {first} change {change}',
                *(f"tag {first} as {name}" for name in others),
                "rm sample-base:1",
            )
            shutil.rmtree(files)
        clock[0] = now - _BASE.age * _DAY
        _run(session, f'import "{base}" as {_BASE.names[0]} change {_BASE_CHANGE}')
        shutil.rmtree(base)
    finally:
        session.close()


def _run(session: Session, *statements: str) -> None:
    """Run statements that must succeed."""
    for statement in statements:
        for result in session.run(statement):
            for error in getattr(result, "errors", ()):
                raise error


def _write_files(folder: str, files: Sequence[tuple[str, int | str]], content: random.Random, moment: int) -> None:
    """Write files with these contents, or with this number of arbitrary bytes, and with one time."""
    for path, data in files:
        target = os.path.join(folder, path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "wb") as file:
            file.write(data.encode() if isinstance(data, str) else content.randbytes(data))
    for parent, folders, names in os.walk(folder):
        for name in (*folders, *names, "."):
            os.utime(os.path.join(parent, name), ns=(moment, moment))
