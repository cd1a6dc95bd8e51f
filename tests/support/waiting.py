"""Waiting in tests. No test holds imq to a speed: machines differ, and figures belong to `tests/bench/`.

What would go on for ever, or for hours, when it is wrong is given a time that the slowest machine does not need.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = 60.0
"""Seconds: far above what takes a moment, far below what does not end."""


@contextlib.contextmanager
def soon(seconds: float = PATIENCE) -> Iterator[None]:
    """Fail when what is done in it takes as long as what does not end."""
    began = time.monotonic()
    yield
    took = time.monotonic() - began
    assert took < seconds, f"{took:.0f} s"


def until(holds: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Wait for something that comes soon."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.002)
