"""Groups tasks that are sent together: a message takes as much processor time as the scan of a small layer.

A batch takes about `_SECONDS`. So a worker that is lost takes little with it, and a large layer has its own batch.
"""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

from .locations import get_host

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

_SECONDS = 0.5
"""The seconds that a batch takes, unless a single task takes longer."""
MAX_TASKS = 32
"""The most tasks of a batch."""
_WEIGHT = 0.2
"""The part of the last task in an average."""


class Durations:
    """How long tasks take, by the registry and the size of their layer, in classes of twice the size each."""

    def __init__(self) -> None:
        self._averages: dict[tuple[str, int], float] = {}
        self._average = _SECONDS

    def note(self, document: Mapping[str, Any], seconds: float) -> None:
        """Note how long a task took."""
        kind = _classify(document)
        before = self._averages.get(kind, seconds)
        self._averages[kind] = before + _WEIGHT * (seconds - before)
        self._average += _WEIGHT * (seconds - self._average)

    @property
    def tasks(self) -> int:
        """The number of tasks that a batch has on average."""
        return max(1, min(int(_SECONDS / max(self._average, 1e-6)), MAX_TASKS))

    def count_batch(self, documents: Sequence[Mapping[str, Any]]) -> int:
        """Return how many of the first tasks a batch has, at least one. One of a class without an average is alone."""
        seconds = 0.0
        for number, document in enumerate(documents[:MAX_TASKS]):
            seconds += self._averages.get(_classify(document), _SECONDS)
            if seconds > _SECONDS:
                return max(number, 1)
        return min(len(documents), MAX_TASKS)


def _classify(document: Mapping[str, Any]) -> tuple[str, int]:
    return get_host(document["locations"][0]), document["descriptor"]["size"].bit_length()
