"""Detects stalled connections: below a minimum speed a connection is closed and replaced."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from imq.engine.registry.settings import Settings


class StalledError(Exception):
    """A transfer below the minimum speed; `speed` is in bytes a second."""

    def __init__(self, speed: float) -> None:
        super().__init__()
        self.speed = speed


class StallDetector:
    """Measures the speed of one connection in consecutive time windows; used by one thread at a time.

    Only time spent waiting for the other side counts, so a slow local disk is not a slow registry.
    """

    __slots__ = ("_bytes", "_min_speed", "_seconds", "_window")

    def __init__(self, settings: Settings) -> None:
        self._min_speed = settings.least_speed
        self._window = settings.speed_window
        self._bytes = 0
        self._seconds = 0.0

    def record(self, count: int, seconds: float) -> float | None:
        """Record bytes and the seconds they took; return bytes a second when a whole window was too slow."""
        self._bytes += count
        self._seconds += seconds
        if self._seconds < self._window:
            return None
        speed = self._bytes / self._seconds
        self._bytes, self._seconds = 0, 0.0
        return speed if speed < self._min_speed else None
