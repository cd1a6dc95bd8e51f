"""How fast bytes must travel: a connection over which they only drip is given up, and another one is made."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from imq.engine.registry.settings import Settings


class TooSlowError(Exception):
    """Bytes only drip, at `speed` of them a second."""

    def __init__(self, speed: float) -> None:
        super().__init__()
        self.speed = speed


class Pace:
    """The speed of one connection, over one window of time after another; used by one thread at a time.

    Only the time that is spent waiting for the other side counts, so that a slow disk here is not taken for a slow
    registry.
    """

    __slots__ = ("_bytes", "_least", "_seconds", "_window")

    def __init__(self, settings: Settings) -> None:
        self._least = settings.least_speed
        self._window = settings.speed_window
        self._bytes = 0
        self._seconds = 0.0

    def note(self, count: int, seconds: float) -> float | None:
        """Note bytes and the seconds that they took; return bytes a second when a whole window was too slow."""
        self._bytes += count
        self._seconds += seconds
        if self._seconds < self._window:
            return None
        speed = self._bytes / self._seconds
        self._bytes, self._seconds = 0, 0.0
        return speed if speed < self._least else None
