"""Registries as a source that acts: removing, verifying, and joining images to an index."""

from __future__ import annotations

from imq.engine.actions import base as a
from imq.grammar.record import TYPE_CHECKING

from .create_index import join
from .delete import Removal
from .verify import Verification

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from imq.engine.progress import Progress
    from imq.engine.registry.client import Client


class Deeds:
    """Does what one statement does in registries, and says what came of each action."""

    def __init__(self, client: Client, progress: Progress) -> None:
        self._client = client
        self._progress = progress
        self._removal = Removal(client)
        self._verification = Verification(client)

    def do(self, action: a.VerifyThere | a.Join) -> a.Outcome:
        """Do one action; raises `ImqError` when it cannot be done, or is no longer what was planned."""
        match action:
            case a.VerifyThere():
                return self._verification.do(action)
            case _:
                return join(self._client, action, self._progress)

    def remove(self, actions: Sequence[a.RemoveTag | a.RemoveManifest]) -> Iterator[a.Outcome]:
        """Do removals, and yield what came of each once all of them have been checked."""
        outcomes = []
        for place, action in enumerate(actions):
            if len(actions) > 1:
                self._progress.count(a.describe(action).action, place, len(actions))
            outcomes.append(self._removal.attempt(action))
        yield from self._removal.check_listings(actions, outcomes, self._progress.warn)
