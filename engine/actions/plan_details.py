"""What a person wants to know of a planned removal: when each image was created, and why it is removed or kept."""

from __future__ import annotations

from imq.engine.catalog.schema import DataType
from imq.engine.result import Column
from imq.grammar import ast
from imq.grammar.errors import ImqError
from imq.grammar.record import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imq.engine.catalog.schema import Raw
    from imq.engine.result import RowSet
    from imq.engine.sources.action import PlanContext

    Row = tuple[Raw, ...]

KEEP = "keep"
"""The action of rows that `except newest` keeps: they are shown, and nothing is done to them."""
_ADDED = (Column("created", "CREATED", DataType.TIME), Column("because", "BECAUSE", DataType.TEXT))


def add_details(planned: RowSet, query: ast.RowSource | None, context: PlanContext) -> RowSet:
    """Return a plan with the columns `created` and `because`, and with the images that `except newest` keeps.

    Only queries of images have details. Their rows are read again, from what the statement has fetched already.
    """
    if not isinstance(query, ast.Query) or query.base is not None or query.table != "images" or query.joins:
        return planned
    try:
        return _Details(query, context).add(planned)
    except ImqError:
        return planned  # details are no reason to fail


class _Details:
    """The details of the rows of one query: by ID and by name, and the text of its condition."""

    def __init__(self, query: ast.Query, context: PlanContext) -> None:
        from imq.grammar.unparser import unparse

        self._query = query
        self._context = context
        self._keys = query.keep_newest.per if query.keep_newest is not None else ()
        self._condition = unparse(query.where) if query.where is not None else ""
        self._chosen = self._read(query)
        self._spared: list[Row] = []
        if query.keep_newest is not None:
            everything = query.replace(keep_newest=None, limit=None, skip=None, until=None)
            chosen = {row[:2] for row in self._chosen}
            self._spared = [row for row in self._read(everything) if row[:2] not in chosen]

    def _read(self, query: ast.Query) -> list[Row]:
        """Return ID, name and time of the rows of a query, and the values of its groups."""
        fields = (ast.Field(("id",)), ast.Field(("name",)), ast.Field(("created",)), *self._keys)
        columns = tuple(ast.Column(field, name=f"column{number}") for number, field in enumerate(fields))
        _, rows = self._context.lookup(query.replace(select=columns, count=False, until=None), ())
        return rows

    def add(self, planned: RowSet) -> RowSet:
        """Return the plan with its details."""
        names = [column.name for column in planned.columns]
        target, image = names.index("target"), names.index("image") if "image" in names else -1
        by_id = {row[0]: row for row in self._chosen}
        by_name = {row[1]: row for row in self._chosen if row[1] is not None}
        rows: list[Row] = []
        for row in planned.rows:
            known = by_name.get(str(row[target]).split(", ")[0]) or (by_id.get(row[image]) if image >= 0 else None)
            rows.append((*row, *((known[2], self._explain_choice(known)) if known is not None else (None, None))))
        for spared in self._spared:
            cells: dict[str, Raw] = {"action": KEEP, "target": spared[1] or "<none>", "image": spared[0]}
            rows.append((*(cells.get(name) for name in names), spared[2], self._explain_rank(spared, "")))
        added = [position for position in (-2, -1) if any(row[position] is not None for row in rows)]
        kept = [*range(len(names)), *(len(names) + 2 + position for position in added)]
        columns = (*planned.columns, *_ADDED)
        return planned.replace(
            columns=tuple(columns[position] for position in kept),
            rows=[tuple(row[position] for position in kept) for row in rows],
        )

    def _explain_choice(self, row: Row) -> str | None:
        ranked = self._explain_rank(row, "not ") if self._query.keep_newest is not None else ""
        return ", ".join(filter(None, (self._condition, ranked))) or None

    def _explain_rank(self, row: Row, negation: str) -> str:
        """Return a text such as `newest 3 of team/app`."""
        from imq.grammar.unparser import unparse

        assert self._query.keep_newest is not None
        group = ", ".join(str(value) for value in row[3:] if value is not None)
        return f"{negation}newest {unparse(self._query.keep_newest.count)}{f' of {group}' if group else ''}"


def count_planned(rows: Sequence[Row], columns: Sequence[Column]) -> int:
    """Return the number of rows of a plan that change something: not those that stay or are kept."""
    action = [column.name for column in columns].index("action")
    return sum(row[action] not in (KEEP, "stay") for row in rows)
