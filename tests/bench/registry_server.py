"""A loopback docker-registry over the cached images: started for one run and stopped after it."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from typing import TYPE_CHECKING

from measure import CannotRunError

if TYPE_CHECKING:
    from collections.abc import Iterator

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


@contextlib.contextmanager
def registry(folder: str) -> Iterator[str]:
    """Serve what `folder` holds (it outlives the server) and yield HOST:PORT."""
    if TESTS not in sys.path:
        sys.path.append(TESTS)
    try:
        from support.servers import PROGRAM, Registry  # the tests' own starter; it needs pytest
    except ModuleNotFoundError as error:
        raise CannotRunError(f"{error.name} is not installed here: pip install '.[test]'") from error
    if shutil.which(PROGRAM) is None:
        raise CannotRunError(f"{PROGRAM} is not installed: apt-get install {PROGRAM}")
    server = Registry(folder)
    try:
        server.start()
    except RuntimeError as error:
        raise CannotRunError(str(error)) from error
    try:
        yield server.host
    finally:
        server.stop()
        os.remove(server.log)  # the folder stays, and the log would grow with every run
