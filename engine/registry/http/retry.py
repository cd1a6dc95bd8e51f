"""The retry policy: exponential backoff with jitter, and one budget for all requests of an operation."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from imq.engine.registry.settings import Settings
    from imq.grammar.errors import RegistryError


class RetryBudget:
    """The retries of one operation, such as the transfer of a blob; used by one thread at a time.

    Delays double. Jitter keeps many clients from returning at the same moment.
    """

    __slots__ = ("_attempts", "_has_stalled", "_settings")

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._attempts = 0
        self._has_stalled = False

    def next_delay(self, retry_after: float = 0.0) -> float | None:
        """Return the seconds to wait before the next attempt; None when no retry is left.

        `retry_after` is the delay in seconds that the server requests. A delay above `longest_wait` ends the operation.
        """
        if retry_after > self._settings.longest_wait:
            self._attempts = self._settings.retries
        if self._attempts >= self._settings.retries:
            return None
        import random  # slow to import, and rarely needed

        delay = self._settings.first_wait * (1 << self._attempts) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        self._attempts += 1
        return max(retry_after, min(delay, self._settings.longest_wait))

    def next_delay_after(self, error: RegistryError) -> float | None:
        """Return the seconds to wait before the next attempt after an error; None when no retry is left.

        A stalled transfer is retried once, over another connection: each attempt takes a `speed_window`.
        """
        is_stalled = error.code == "too-slow"
        if not error.temporary or (is_stalled and self._has_stalled):
            return None
        if error.code == "too-many-requests" and not self._settings.waits_for_limits:
            return None
        self._has_stalled = self._has_stalled or is_stalled
        return self.next_delay()

    def reset(self) -> None:
        """Restore the full budget, after progress since the last failure."""
        self._attempts = 0
        self._has_stalled = False
