"""What statements are bound against."""

from __future__ import annotations

from imq.engine.catalog.tables import Table
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import tzinfo

    from imq.engine.query.ir import Select
    from imq.engine.sources.source_ref import Place
    from imq.grammar import ast

NOTHING = Table("no table", "What a condition is about that is about no row.", (), (), ())
"""The table of an `assert`, and of a query that stands alone in an expression."""


class Scope(Record):
    """What a statement is bound against: the time it began, the local zone, and where images and lists are found.

    `find` returns the key of the image that a text names, or raises `NotFound`. `outside` returns a table that no
    store has (lines of a file, the sources) with what it holds now. `place` returns the place that a word names, or
    raises `UnknownName`; `places` are asked when a query names none. `scan` returns a table whose rows are asked for
    before the query runs: what follows its `of`, its places, and the fields of the row outside that drive it.
    """

    now: int
    zone: tzinfo | None
    find: Callable[[str], int]
    outside: Callable[[Table, tuple[str, ...]], Table]
    place: Callable[[ast.Literal], Place]
    places: tuple[Place, ...]
    scan: Callable[[Table, tuple[str | Select, ...], tuple[Place, ...], tuple[str, ...], bool], Table]
