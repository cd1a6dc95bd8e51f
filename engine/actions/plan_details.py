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
STAY = "stay"
"""The action of rows for which the condition is unknown; their note says why."""
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
    """The details of the rows of one query: by ID and by name, and which parts of its condition hold for them."""

    def __init__(self, query: ast.Query, context: PlanContext) -> None:
        self._query = query
        self._context = context
        self._newest = query.keep_newest
        self._keys = self._newest.per if self._newest is not None else ()
        self._everything = query.replace(keep_newest=None, limit=None, skip=None, until=None)
        self._chosen = self._read(query)
        self._spared: list[Row] = []
        if self._newest is not None:
            chosen = {row[:2] for row in self._chosen}
            self._spared = [row for row in self._read(self._everything) if row[:2] not in chosen]
        where = query.where
        self._conjuncts = where.operands if isinstance(where, ast.And) else () if where is None else (where,)
        self._branches = [self._find_branches(position) for position in range(len(self._conjuncts))]
        self._found = self._find_texts()
        self._texts: dict[tuple[tuple[ast.Expr, ...], ...], str] = {}

    def _read(self, query: ast.Query) -> list[Row]:
        """Return ID, name and time of the rows, and the order and groups of `except newest`."""
        created = ast.Field(("created",))
        by = self._newest.by if self._newest is not None else None
        fields = (ast.Field(("id",)), ast.Field(("name",)), created, by or created, *self._keys)
        _, rows = self._context.lookup(_select(query, fields), ())
        return rows

    def _find_texts(self) -> dict[Row, str]:
        """Return where `contains text` found its strings, by ID and name; empty without such a condition."""
        from imq.engine.query.binder.found_texts import list_found_texts

        if not list_found_texts(self._query):
            return {}
        from imq.engine.catalog.predicates import FOUND
        from imq.engine.render.values import format_some

        fields = (ast.Field(("id",)), ast.Field(("name",)), ast.Field((FOUND.name,)))
        _, rows = self._context.lookup(_select(self._query, fields), ())
        return {row[:2]: format_some(row[2], FOUND.shown_items) for row in rows}

    def _find_branches(self, position: int) -> dict[ast.Expr, set[Row]]:
        """Return the rows, as ID and name, for which each operand of an `or` certainly holds; empty without an `or`."""
        conjunct = self._conjuncts[position]
        found: dict[ast.Expr, set[Row]] = {}
        for branch in conjunct.operands if isinstance(conjunct, ast.Or) else ():
            where = _join((*self._conjuncts[:position], branch, *self._conjuncts[position + 1 :]))
            fields = (ast.Field(("id",)), ast.Field(("name",)))
            _, rows = self._context.rows(_select(self._everything.replace(where=where), fields), ())
            found[branch] = set(rows)
        return found

    def add(self, planned: RowSet) -> RowSet:
        """Return the plan with its details."""
        names = [column.name for column in planned.columns]
        action, target = names.index("action"), names.index("target")
        image = names.index("image") if "image" in names else -1
        by_id = {row[0]: row for row in self._chosen}
        by_name = {row[1]: row for row in self._chosen if row[1] is not None}
        rows: list[Row] = []
        for row in planned.rows:
            known = by_name.get(str(row[target]).split(", ")[0]) or (by_id.get(row[image]) if image >= 0 else None)
            created = known[2] if known is not None else None
            reason = self._explain_choice(known) if known is not None and row[action] != STAY else None
            rows.append((*row, created, reason))
        for spared in self._spared:
            cells: dict[str, Raw] = {"action": KEEP, "target": spared[1] or "<none>", "image": spared[0]}
            rows.append((*(cells.get(name) for name in names), spared[2], self._explain_rank(spared)))
        added = [position for position in (-2, -1) if any(row[position] is not None for row in rows)]
        kept = [*range(len(names)), *(len(names) + 2 + position for position in added)]
        columns = (*planned.columns, *_ADDED)
        return planned.replace(
            columns=tuple(columns[position] for position in kept),
            rows=[tuple(row[position] for position in kept) for row in rows],
        )

    def _explain_choice(self, row: Row) -> str | None:
        ranked = f"not {self._explain_rank(row)}" if self._newest is not None else ""
        found = self._found.get(row[:2])
        where = f"found in {found}" if found else ""
        return ", ".join(filter(None, (self._explain_condition(row), where, ranked))) or None

    def _explain_condition(self, row: Row) -> str:
        """Return the operands of each `or` that hold for the row; the whole condition when it has no `or`.

        What else the condition says holds for all rows of the plan.
        """
        parts = []
        for conjunct, branches in zip(self._conjuncts, self._branches, strict=True):
            if branches or not any(self._branches):
                holding = tuple(branch for branch, rows in branches.items() if row[:2] in rows)
                parts.append(holding or (conjunct,))  # none: each may fail, but not all of them
        return self._texts.get(key := tuple(parts)) or self._texts.setdefault(key, _unparse_branches(parts))

    def _explain_rank(self, row: Row) -> str:
        """Return a text such as `newest 3 of team/app`, or `repository is unknown` for a row without a rank."""
        from imq.grammar.unparser import unparse

        assert self._newest is not None
        order = self._newest.by or ast.Field(("created",))
        for key, value in zip((*self._keys, order), (*row[4:], row[3]), strict=True):
            if value is None:
                return f"{unparse(key)} is unknown"
        group = ", ".join(map(str, row[4:]))
        return f"newest {unparse(self._newest.count)}{f' of {group}' if group else ''}"


def _select(query: ast.Query, fields: Sequence[ast.Expr]) -> ast.Query:
    """Return the query of these fields of all rows of a query."""
    columns = tuple(ast.Column(field, name=f"column{number}") for number, field in enumerate(fields))
    return query.replace(select=columns, count=False, until=None)


def _join(conditions: Sequence[ast.Expr]) -> ast.Expr:
    """Return the conjunction of conditions, without one in another."""
    flat = [part for one in conditions for part in (one.operands if isinstance(one, ast.And) else (one,))]
    return ast.And(tuple(flat)) if len(flat) > 1 else flat[0]


def _unparse_branches(parts: Sequence[tuple[ast.Expr, ...]]) -> str:
    """Return the text of a condition whose conjuncts have these alternatives."""
    from imq.grammar.unparser import unparse

    return unparse(_join([ast.Or(part) if len(part) > 1 else part[0] for part in parts])) if parts else ""


def count_planned(rows: Sequence[Row], columns: Sequence[Column]) -> int:
    """Return the number of rows of a plan that change something: not those that stay or are kept."""
    action = [column.name for column in columns].index("action")
    return sum(row[action] not in (KEEP, STAY) for row in rows)
