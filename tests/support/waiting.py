"""Deadlines in tests. They detect hangs and do not measure speed: machines differ, and `tests/bench/` measures.

The deadline is longer than the slowest machine needs, and shorter than a hang.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEADLINE = 60.0
"""Seconds."""


@contextlib.contextmanager
def deadline(seconds: float = DEADLINE) -> Iterator[None]:
    """Fail if the block takes longer than this."""
    began = time.monotonic()
    yield
    took = time.monotonic() - began
    assert took < seconds, f"{took:.0f} s"


def wait_until(holds: Callable[[], bool], seconds: float = DEADLINE) -> None:
    """Wait until a condition holds, and fail after the deadline."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"the condition does not hold after {seconds:.0f} s"
        time.sleep(0.002)
