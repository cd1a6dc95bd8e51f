"""How a bound query will run: its stages in order, and the SQL of the last one.

The store's tables are native, so most questions are one SQL statement. A question that reads what only unpacking
tells (sizes after a lazy pull) first measures the layers that were never unpacked; one with a list that must not be
empty, or that must hold digests, first looks at the list.
"""

from __future__ import annotations

from imq.engine.catalog.tables import USAGE
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
    from collections.abc import Iterable

    from imq.engine.catalog.schema import FetchLevel, Field

    from .fetch_plan import Step

    NativeLevels = frozenset[tuple[str, str, FetchLevel]]


class Check(Record):
    """A list of a statement that must have rows, or (`digests`) may have no row that is no digest.

    `text` is the list as written; the SQL returns a row when the list has any, or its first string that is no digest.
    """

    sql: Sql
    text: str
    digests: bool = False


class Plan(Record):
    """A query ready to run at the time `now`.

    `native_levels` are what tables in SQLite must know first: source, table and level. `steps` are the stages that
    fetch rows of other sources (see fetch_plan.py). `reads_store`: whether a table of the store is read.
    """

    select: ir.Select
    sql: Sql
    now: int
    native_levels: NativeLevels
    checks: tuple[Check, ...] = ()
    steps: tuple[Step, ...] = ()
    reads_store: bool = False


class Assertion(Record):
    """The plan of an assertion: `sql` returns whether it holds."""

    condition: ir.Expr
    sql: Sql
    now: int
    native_levels: NativeLevels
    checks: tuple[Check, ...] = ()
    steps: tuple[Step, ...] = ()
    reads_store: bool = False


_STORED = frozenset({"images", "layers", "history"})
"""The tables of the store, as SQL knows them: their rows are made of what the documents of images say."""


def reads_documents(select: ir.Select) -> bool:
    """Whether a query, or one inside it, asks about images of the store, other than about given ones."""
    return any(_is_stored(one) for one in ir.subqueries(select))


def depends_on_others(select: ir.Select) -> bool:
    """Whether it depends on other images of the store which rows a query answers."""
    inside = (found for value in ir.walk(ir.expressions_of(select)) if (found := ir.subquery_of(value)) is not None)
    return select.until is not None or any(_is_stored(one) for found in inside for one in ir.subqueries(found))


def _is_stored(select: ir.Select) -> bool:
    given = bool(select.targets) and all(isinstance(target, int) for target in select.targets or ())
    return not given and (select.table.sql_name in _STORED or select.table.name == "usage")


def plan(
    select: ir.Select,
    now: int,
    hidden: tuple[str, ...] = (),
    steps: tuple[Step, ...] = (),
    native_levels: NativeLevels = frozenset(),
) -> Plan:
    """Return the plan of a query; `hidden` are columns of the source to be added after the selected ones."""
    every = tuple(ir.subqueries(select))
    return Plan(
        select,
        write_select(select, now, hidden=hidden),
        now,
        native_levels,
        _checks(every, now),
        steps,
        _reads_store(every),
    )


def plan_assertion(
    condition: ir.Expr, now: int, steps: tuple[Step, ...] = (), native_levels: NativeLevels = frozenset()
) -> Assertion:
    """Return the plan of a condition about no row."""
    every = tuple(
        select
        for value in ir.walk((condition,))
        if (select_ := ir.subquery_of(value))
        for select in ir.subqueries(select_)
    )
    return Assertion(
        condition,
        write_condition(condition, now),
        now,
        native_levels,
        _checks(every, now),
        steps,
        _reads_store(every),
    )


def plan_values(values: tuple[ir.Expr, ...], now: int) -> Sql:
    """Return the SQL of values about no row: what the sides of a comparison are."""
    return write_values(values, now)


def columns_of(select: ir.Select) -> tuple[Column, ...]:
    """Return the headings of a query's answer."""
    return tuple(Column(c.name, c.title, c.value.kind, c.field) for c in select.columns)


def _reads_store(selects: Iterable[ir.Select]) -> bool:
    return any(
        (select.table.name in _STORED and not select.table.is_staged) or select.table.name == USAGE.name
        for select in selects
    )


def _checks(selects: Iterable[ir.Select], now: int) -> tuple[Check, ...]:
    checks: list[Check] = []
    for select in selects:
        if select.nonempty:
            checks.append(Check(write_check(select, now), select.nonempty))
        checks += [
            Check(write_non_digest_check(value.select, now), "", digests=True)
            for value in ir.walk(ir.expressions_of(select))
            if isinstance(value, ir.InSubquery) and value.by_prefix
        ]
    return tuple(checks)


def fields_read(select: ir.Select) -> set[Field]:
    """Return every field that a query itself reads, wherever it stands; not those of queries inside it."""
    return {
        value.field
        for value in ir.walk(ir.expressions_of(select))
        if isinstance(value, ir.Column | ir.MapItem | ir.ImageField)
    }
