"""The common part of sources whose requests go through one reader: what is opened by the first scan is closed once."""

from __future__ import annotations

from imq.engine.query.source import Source
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from imq.engine.sources.context import SourceContext
    from imq.grammar.errors import ImqError


class ReaderSource(Source):
    """A source with a reader, `_reader`, which is None until a scan opens it.

    The reader has the methods `begin`, `take_problems` and `close`, with the meaning that they have in `Source`.
    """

    _reader: Any = None

    def __init__(self, context: SourceContext) -> None:
        self._context = context

    def begin(self) -> None:
        """Forget what was read for the last statement."""
        if self._reader is not None:
            self._reader.begin()

    def take_problems(self) -> tuple[tuple[str, str, ImqError], ...]:
        """Return the problems since the last call."""
        problems: tuple[tuple[str, str, ImqError], ...] = ()
        if self._reader is not None:
            problems = self._reader.take_problems()
        return problems

    def close(self) -> None:
        """Close the connections."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
