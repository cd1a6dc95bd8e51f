"""A loopback docker-registry that serves a folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from typing import TYPE_CHECKING

from measure import BenchmarkError

if TYPE_CHECKING:
    from collections.abc import Iterator

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


@contextlib.contextmanager
def registry(folder: str) -> Iterator[str]:
    """Serve the images in `folder`, which is kept, and yield HOST:PORT."""
    if TESTS not in sys.path:
        sys.path.append(TESTS)
    try:
        from support.servers import PROGRAM, Registry  # of the tests; it needs pytest
    except ModuleNotFoundError as error:
        raise BenchmarkError(f"{error.name} is not installed: pip install '.[test]'") from error
    if shutil.which(PROGRAM) is None:
        raise BenchmarkError(f"{PROGRAM} is not installed: apt-get install {PROGRAM}")
    server = Registry(folder)
    try:
        server.start()
    except RuntimeError as error:
        raise BenchmarkError(str(error)) from error
    try:
        yield server.host
    finally:
        server.stop()
        os.remove(server.log)  # the folder is kept, and the log would grow with every run
