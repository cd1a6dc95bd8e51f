"""Registries as a source that acts: removing, verifying, and joining images to an index."""

from __future__ import annotations

from imq.engine import actions as a
from imq.grammar.record import TYPE_CHECKING

from .joining import join
from .removal import Removal
from .verification import Verification

if TYPE_CHECKING:
    from imq.engine.progress import Progress
    from imq.engine.registry.client import Client


class Deeds:
    """Does what one statement does in registries, and says what came of each action."""

    def __init__(self, client: Client, progress: Progress) -> None:
        self._client = client
        self._progress = progress
        self._removal = Removal(client)
        self._verification = Verification(client)

    def do(self, action: a.RemoveTag | a.RemoveManifest | a.VerifyThere | a.Join) -> a.Outcome:
        """Do one action; raises `ImqError` when it cannot be done, or is no longer what was planned."""
        match action:
            case a.VerifyThere():
                return self._verification.do(action)
            case a.Join():
                return join(self._client, action, self._progress)
            case _:
                return self._removal.do(action)
