"""A display of progress that records warnings."""

from __future__ import annotations

from imq.engine.progress import NullProgress


class Warned(NullProgress):
    """Records warnings."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def warn(self, text: str) -> None:
        self.texts.append(text)
