"""What a source that has to be asked does for a staged query (see stages.py)."""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from sqlite3 import Connection
    from typing import Protocol

    from imq.engine.query.fetch_plan import Scan, Stage
    from imq.engine.render.values import Raw
    from imq.grammar.errors import ImqError
else:
    Protocol = object  # typing is slow to import, and a Protocol says nothing at run time


class Filler(Protocol):
    """Fills the rows of one scan: a temporary view with the columns of its table, `_row`, and `_asked` when driven."""

    def begin(self, names: Sequence[tuple[Raw, ...]], /) -> None:
        """Make the view, and list its rows: what the scan's targets and places say, and these names.

        A driven scan is given the columns that drive it; its rows tell by `_asked` which of the first they are for.
        """

    def fetch(self, stage: Stage, /) -> None:
        """Fetch the stage's fields for the rows in the temporary table `wanted`."""

    def keep(self, rows: str) -> None:
        """Drop the rows whose `_row` is not in this temporary table."""

    def drop(self) -> bool:
        """Drop the view; False when it cannot be, because an answer is being read from it."""


class Filling(Protocol):
    """A source, open for one statement.

    `fresh`: for how long, in nanoseconds, what a name stood for counts as known.
    """

    fresh: int

    def filler(self, scan: Scan, platform: str) -> Filler:
        """Return what fills a scan; `platform` is what its condition says of it, "" when nothing."""

    def problems(self) -> tuple[tuple[str, str, ImqError], ...]:
        """Return what could not be told since this was last asked: of which scan, by its view, of what, and why."""

    def serves(self, connection: Connection) -> bool:
        """Whether the rows still go to this connection."""

    def close(self) -> None:
        """Close the connections."""
