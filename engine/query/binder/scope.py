"""What statements are bound against."""

from __future__ import annotations

from imq.engine.catalog.tables import Table
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import tzinfo

    from imq.engine.query.fetch_executor import FetchExecutor
    from imq.engine.query.source import SourceRef

NOTHING = Table("no table", "What a condition is about that is about no row.", (), (), ())
"""The table of an `assert`, and of a query that stands alone in an expression."""


class Scope(Record):
    """What a statement is bound against: the time it began, the local zone, images of the store, and the sources.

    `find` returns the key of the image that a text names, or raises `NotFound`. `fetch` resolves sources and binds
    their tables; `default_refs` are the sources of a query that names none.
    """

    now: int
    zone: tzinfo | None
    find: Callable[[str], int]
    fetch: FetchExecutor
    default_refs: tuple[SourceRef, ...]
