"""How often a piece of work is tried again: one budget for all of its requests, however they fail."""

from __future__ import annotations

import random

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from imq.engine.registry.settings import Settings
    from imq.grammar.errors import RegistryError


class Patience:
    """The budget of one piece of work, such as a blob; used by one thread at a time.

    Waits double, and are drawn at random so that many clients do not all come back at the same moment.
    """

    __slots__ = ("_settings", "_used", "_was_slow")

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._used = 0
        self._was_slow = False

    def wait_after(self, problem: RegistryError) -> float | None:
        """Return the seconds to wait before the next attempt after an error; None when there is none.

        A server that is too slow is tried once more, over another connection: each attempt takes a `speed_window`.
        """
        if not problem.temporary or (problem.code == "too-slow" and self._was_slow):
            return None
        self._was_slow = self._was_slow or problem.code == "too-slow"
        return self.wait()

    def wait(self, asked: float = 0.0) -> float | None:
        """Return the seconds to wait before the next attempt; None when there shall be none.

        `asked` are the seconds that the server asks for. More than the settings' longest wait is not waited for,
        and ends the work.
        """
        if asked > self._settings.longest_wait:
            self._used = self._settings.retries
        if self._used >= self._settings.retries:
            return None
        drawn = self._settings.first_wait * (1 << self._used) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        self._used += 1
        return max(asked, min(drawn, self._settings.longest_wait))

    def renew(self) -> None:
        """Begin anew: what has been done since the last failure was worth it."""
        self._used = 0
        self._was_slow = False
