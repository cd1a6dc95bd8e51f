"""The plan of a bound query: its steps in order, and the final SQL statement.

The tables of the store are native, so most queries are one SQL statement. A query that reads sizes after a lazy pull
first measures the layers that were never unpacked. A list that must not be empty, or must hold digests, is checked
first.
"""

from __future__ import annotations

from imq.engine.query.sql.statements import (
    Sql,
    write_check,
    write_condition,
    write_non_digest_check,
    write_select,
    write_values,
)
from imq.engine.result import Column
from imq.grammar.record import TYPE_CHECKING, Record

from . import ir

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from imq.engine.catalog.schema import FetchLevel, Field

    from .fetch_plan import Step

    NativeLevels = frozenset[tuple[str, str, FetchLevel]]


class Check(Record):
    """A check of a list in a statement: it must not be empty, or (`digests`) every item must be a digest.

    `text` is the list as written. The SQL returns a row if the list is not empty, or the first item that is no digest.
    `image`: the list is the rows of the image with this name, which the statement needs.
    """

    sql: Sql
    text: str
    digests: bool = False
    image: str = ""


class Plan(Record):
    """SQL ready to run at the time `now`, after the fetch steps.

    `native_levels` are the levels to prepare in native tables first: source, table and level. `steps` are the stages
    that fetch rows of other sources (see fetch_plan.py). `reads_store`: whether a table of the store is read.
    """

    sql: Sql
    now: int
    native_levels: NativeLevels
    checks: tuple[Check, ...]
    steps: tuple[Step, ...]
    reads_store: bool


class QueryPlan(Plan):
    """The plan of a query."""

    select: ir.Select


class AssertionPlan(Plan):
    """The plan of an assertion: `sql` returns whether it holds."""

    condition: ir.Expr


_STORED = frozenset({"images", "layers", "history"})
"""The tables of the store, by their names in SQL. Their rows come from the manifests and configs of images."""
_READ_FROM_STORE = _STORED | {"containers", "usage"}
"""The tables whose rows are in the store when they are not staged."""


def reads_documents(select: ir.Select) -> bool:
    """Whether a query, or one inside it, reads images of the store that it does not name."""
    return any(_is_stored(one) for one in ir.walk_subqueries(select))


def depends_on_others(select: ir.Select) -> bool:
    """Whether other images of the store decide which rows a query returns.

    They do by queries inside it, by its limits, and by the chain ID of the base.
    """
    if any(isinstance(value, ir.Column) and value.field.name == "base_chain_id" for value in _walk_conditions(select)):
        return True
    subqueries = (
        subquery for value in ir.walk(ir.list_expressions(select)) if (subquery := ir.get_subquery(value)) is not None
    )
    return select.until is not None or any(_is_stored(one) for found in subqueries for one in ir.walk_subqueries(found))


def _walk_conditions(select: ir.Select) -> Iterator[ir.Expr]:
    return ir.walk(value for value in (select.where, select.having) if value is not None)


def _is_stored(select: ir.Select) -> bool:
    has_image_targets = bool(select.targets) and all(isinstance(target, int) for target in select.targets or ())
    is_usage = select.table.name == "usage" and not select.table.is_staged
    return not has_image_targets and (select.table.sql_name in _STORED or is_usage)


def plan(
    select: ir.Select,
    now: int,
    hidden: tuple[str, ...] = (),
    steps: tuple[Step, ...] = (),
    native_levels: NativeLevels = frozenset(),
) -> QueryPlan:
    """Return the plan of a query. `hidden` are columns of the source to add after the selected ones."""
    selects = tuple(ir.walk_subqueries(select))
    return QueryPlan(
        write_select(select, now, hidden=hidden),
        now,
        native_levels,
        _plan_checks(selects, now),
        steps,
        _reads_store(selects),
        select,
    )


def plan_assertion(
    condition: ir.Expr, now: int, steps: tuple[Step, ...] = (), native_levels: NativeLevels = frozenset()
) -> AssertionPlan:
    """Return the plan of a condition about no row."""
    selects = tuple(
        select
        for value in ir.walk((condition,))
        if (select_ := ir.get_subquery(value))
        for select in ir.walk_subqueries(select_)
    )
    return AssertionPlan(
        write_condition(condition, now),
        now,
        native_levels,
        _plan_checks(selects, now),
        steps,
        _reads_store(selects),
        condition,
    )


def plan_values(values: tuple[ir.Expr, ...], now: int) -> Sql:
    """Return the SQL for values that do not depend on a row, such as the two sides of a comparison."""
    return write_values(values, now)


def list_columns(select: ir.Select) -> tuple[Column, ...]:
    """Return the columns of the result of a query."""
    return tuple(Column(c.name, c.title, c.value.kind, c.field) for c in select.columns)


def _reads_store(selects: Iterable[ir.Select]) -> bool:
    return any(not select.table.is_staged and select.table.name in _READ_FROM_STORE for select in selects)


def _plan_checks(selects: Iterable[ir.Select], now: int) -> tuple[Check, ...]:
    checks: list[Check] = []
    for select in selects:
        if select.nonempty:
            checks.append(Check(write_check(select, now), select.nonempty))
        if select.image:
            checks.append(Check(write_check(select, now), select.image, image=select.image))
        checks += [
            Check(write_non_digest_check(value.select, now), "", digests=True)
            for value in ir.walk(ir.list_expressions(select))
            if isinstance(value, ir.InSubquery) and value.by_prefix
        ]
    return tuple(checks)


def collect_fields(select: ir.Select) -> set[Field]:
    """Return the fields that the clauses of a query read, without those of queries inside it."""
    return {
        value.field
        for value in ir.walk(ir.list_expressions(select))
        if isinstance(value, ir.ImageField) or (isinstance(value, ir.Column | ir.MapItem) and not value.join)
    }
