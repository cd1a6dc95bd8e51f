"""Queries: a table and its clauses, each added by a method that leaves the query it is called on as it was."""

from __future__ import annotations

from imq.grammar import ast
from imq.grammar._lalr_tables import WORDS
from imq.grammar.errors import StatementError
from imq.grammar.record import TYPE_CHECKING

from .expressions import (
    Column,
    Expression,
    Order,
    Path,
    join_conditions,
    to_key,
    to_left_operand,
    to_right_operand,
    to_subquery,
)
from .literals import Misuse, Node, describe, to_operand
from .statements import Statement, to_output

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable
    from typing import Any, TypeVar

    from .expressions import Value

    _Any = TypeVar("_Any")
    Keys = Expression | Iterable[Expression]

_CLAUSE_WORDS = {
    "group": "group by",
    "order": "order by",
    "keep_newest": "except newest",
    "explicit_all": "all",
    "sources": "in",
}


class Query(Node):
    """A query: of a table, of a view, or of what other queries answer.

    Clauses may come in any order, as in text, and mean the same in any: `where` chooses first, `select` last. What is
    to be asked of the rows that a query answers follows `as_table()`.

    >>> from imq import images, field as f
    >>> str(images.where(f.dangling).order_by(f.size.desc()).limit(3))
    'images where dangling order by size desc limit 3'
    """

    __slots__ = ("_is_complete",)

    node: ast.RowSource

    def __init__(self, node: ast.RowSource, *, whole: bool = False) -> None:
        super().__init__(node)
        self._is_complete = whole or isinstance(node, ast.Combination)

    # Clauses

    def where(self, *conditions: Expression) -> Query:
        """Take the rows for which all conditions hold; said again, it adds to them.

        >>> from imq import images, field as f
        >>> str(images.where(f.dangling).where(f.user.is_unknown() | (f.user == "root")))
        'images where dangling and (user is unknown or user = root)'
        """
        return self._add_conditions("where", conditions)

    def having(self, *conditions: Expression) -> Query:
        """Take the groups for which all conditions hold; said again, it adds to them."""
        return self._add_conditions("having", conditions)

    def group_by(self, *keys: Expression) -> Query:
        """Make one row of each group of rows that are equal in these."""
        return self._with_clause("group", _to_keys(keys, "group_by"))

    def order_by(self, *keys: Expression | Order) -> Query:
        """Put the rows in the order of these: `order_by(f.size.desc(), f.name)`; what is unknown comes last."""
        orders = (one.node if isinstance(one, Order) else ast.Ordering(to_key(one)) for one in keys)
        return self._with_clause("order", _require_some(tuple(orders), "order_by"))

    def limit(self, count: Value, *, per: Keys = ()) -> Query:
        """Take the first rows, or the first of each group of rows that are equal in `per`."""
        return self._with_clause("limit", ast.Limit(to_right_operand(count), _to_per_keys(per)))

    def skip(self, count: Value, *, per: Keys = ()) -> Query:
        """Leave out the first rows, or the first of each group of rows that are equal in `per`."""
        return self._with_clause("skip", ast.Limit(to_right_operand(count), _to_per_keys(per)))

    def except_newest(self, count: Value, *, per: Keys = (), by: Expression | None = None) -> Query:
        """Leave out the newest rows, by their creation or by `by`, as a retention rule keeps them.

        >>> from imq import images, field as f
        >>> str(images.except_newest(3, per=f.repository))
        'images except newest 3 per repository'
        """
        return self._with_clause(
            "keep_newest",
            ast.KeepNewest(to_right_operand(count), _to_per_keys(per), to_key(by) if by is not None else None),
        )

    def until(self, *, total_size: Value, below: bool = False) -> Query:
        """Take rows in their order until what is left takes no more bytes than this, or less with `below`."""
        return self._with_clause("until", ast.UntilSize("<" if below else "<=", to_right_operand(total_size)))

    def select(self, *values: Expression | Column, **named: Value) -> Query:
        """Choose the columns, and name them.

        >>> import imq
        >>> from imq import images, field as f
        >>> str(images.group_by(f.tag).select(f.tag, total=imq.sum(f.size)))
        'images group by tag select tag, sum(size) as "total"'
        """
        columns = [one.node if isinstance(one, Column) else ast.Column(to_key(one)) for one in values]
        columns += [ast.Column(to_left_operand(value), name) for name, value in named.items()]
        return self._with_clause("select", _require_some(tuple(columns), "select"))

    def count(self) -> Query:
        """Answer how many rows there are."""
        return self._with_clause("count", value=True)

    def all(self) -> Query:
        """Say that every row is meant, which actions want to hear: `imq.verify(images.all())`."""
        return self._with_clause("explicit_all", value=True)

    def nonempty(self) -> Query:
        """Refuse to go on when there are no rows: an empty list that is to be kept removes nothing."""
        return Query(self._open_query().replace(nonempty=True))

    def as_table(self) -> Query:
        """Take what this answers as a table, which further clauses ask.

        >>> from imq import images, field as f
        >>> str(images.limit(5).as_table().where(f.dangling))
        '(images limit 5) where dangling'
        """
        return Query(self.node, whole=True)

    def _add_conditions(self, clause: str, conditions: tuple[Expression, ...]) -> Query:
        if not conditions:
            raise Misuse(f"{clause} takes one condition or more")
        asked = self._open_query()
        before = getattr(asked, clause)
        parts = conditions if before is None else (Expression(before), *conditions)
        return Query(asked.replace(**{clause: join_conditions(parts).node}))

    def _with_clause(self, clause: str, value: Any) -> Query:
        asked = self._open_query()
        if getattr(asked, clause) not in (None, (), False):
            raise StatementError(
                f'"{_CLAUSE_WORDS.get(clause, clause)}" is said twice',
                code="repeated",
                hints=("to ask further of the rows that this answers: .as_table()",),
            )
        return Query(asked.replace(**{clause: value}))

    def _open_query(self) -> ast.Query:
        """Return the query that a clause is added to."""
        if isinstance(self.node, ast.Query) and (not self._is_complete or self._is_bare_table()):
            return self.node
        return ast.Query("", base=self.node)

    def _is_bare_table(self) -> bool:
        return isinstance(self.node, ast.Query) and self.node == ast.Query(self.node.table)

    # Combinations

    def union(self, other: Query, *, by: Keys = ()) -> Query:
        """Return the rows of both; `by` says in which fields rows are the same. Without `by`, `a | b` is short.

        >>> from imq import images, field as f
        >>> str(images.union(images.in_("store"), by=f.name))
        'images union images in store by name'
        """
        return self._combine("union", other, by)

    def except_(self, other: Query, *, by: Keys = ()) -> Query:
        """Return the rows of this that the other does not have. Without `by`, `a - b` is short."""
        return self._combine("except", other, by)

    def intersect(self, other: Query, *, by: Keys = ()) -> Query:
        """Return the rows of this that the other has too. Without `by`, `a & b` is short."""
        return self._combine("intersect", other, by)

    def __or__(self, other: Query) -> Query:
        return self._combine("union", other, ())

    def __sub__(self, other: Query) -> Query:
        return self._combine("except", other, ())

    def __and__(self, other: Query) -> Query:
        return self._combine("intersect", other, ())

    def _combine(self, operator: str, other: Query, by: Keys) -> Query:
        given: object = other
        if not isinstance(given, Query):
            raise Misuse(
                f"queries are combined with queries, not with {describe(given)}",
                hints=("a condition belongs into .where(…)",),
            )
        return Query(ast.Combination(operator, self.node, given.node, _to_per_keys(by)))

    # As a value

    @property
    def value(self) -> Expression:
        """The one value that the query answers, to be compared and computed with: `images.count().value * 2`."""
        return Expression(to_subquery(self.node))

    def __eq__(self, other: Value) -> Expression:  # type: ignore[override]
        return self.value == other

    def __ne__(self, other: Value) -> Expression:  # type: ignore[override]
        return self.value != other

    def __lt__(self, other: Value) -> Expression:
        return self.value < other

    def __le__(self, other: Value) -> Expression:
        return self.value <= other

    def __gt__(self, other: Value) -> Expression:
        return self.value > other

    def __ge__(self, other: Value) -> Expression:
        return self.value >= other

    def __hash__(self) -> int:
        return hash(self.node)

    # As a statement

    def as_(self, form: str) -> Statement:
        """Ask for an output form: `session(images.as_("json")).text`."""
        return Statement(ast.QueryStatement(self.node, to_output(form=form)))

    def format(self, template: str) -> Statement:
        """Write each row through a template in Go's language: `images.format("{{.ID}}")`."""
        return Statement(ast.QueryStatement(self.node, to_output(template=template)))


class Table(Query):
    """A table of the language, or a view: `images`, `layers.of("redis:7")`, `imq.table("stale")`."""

    __slots__ = ()

    node: ast.Query

    def of(self, *targets: str | os.PathLike[str] | Query | Expression) -> Table:
        """Say whose rows are meant: images by reference or by a query; a file for `lines` and `rows`.

        >>> from imq import layers, images, field as f
        >>> str(layers.of("redis:7", images.where(f.dangling)))
        'layers of redis:7, (images where dangling)'
        """
        found = (target.node if isinstance(target, Query) else to_operand(target) for target in targets)
        return self._with_source("targets", tuple(found))

    def in_(self, *sources: str | Expression) -> Table:
        """Say which places are asked, such as `store`."""
        return self._with_source("sources", tuple(to_operand(source) for source in sources))

    def _with_source(self, clause: str, value: tuple[ast.Literal | ast.Variable | ast.RowSource, ...]) -> Table:
        if getattr(self.node, clause):
            raise StatementError(f'"{"of" if clause == "targets" else "in"}" is said twice', code="repeated")
        return Table(self.node.replace(**{clause: _require_some(value, "in_" if clause == "sources" else "of")}))


def table(name: str) -> Table:
    """Return a table or view by its name, for views that `imq.view` has named. Raises `Misuse` when it can be none."""
    if not name.isidentifier() or name.lower() in WORDS:
        raise Misuse(f"{name!r} is no name of a table or view")
    return Table(ast.Query(name.lower()))


def any_(rows: Query | Expression) -> Expression:
    """Whether there is such a row: `imq.any_(images.where(f.dangling))`; of a relation, `f.layers.any(…)` is short."""
    return Expression(ast.Exists(_to_rows(rows)))


def no(rows: Query | Expression) -> Expression:
    """Whether there is no such row: `imq.assert_(imq.no(images.where(f.user == "root")))`."""
    return Expression(ast.Exists(_to_rows(rows), negated=True))


def _to_rows(rows: object) -> ast.RowSource:
    if isinstance(rows, Query):
        return rows.node
    if isinstance(rows, Path):
        return rows.relation()
    raise Misuse(f"a query or relation is wanted, not {describe(rows)}", hints=("such as: imq.any_(images.where(…))",))


def _to_keys(keys: Iterable[Expression], what: str) -> tuple[ast.Expr, ...]:
    return _require_some(tuple(to_key(one) for one in keys), what)


def _to_per_keys(keys: Keys) -> tuple[ast.Expr, ...]:
    return (to_key(keys),) if isinstance(keys, Node | str) else tuple(to_key(one) for one in keys)


def _require_some(values: tuple[_Any, ...], what: str) -> tuple[_Any, ...]:
    if not values:
        raise Misuse(f"{what} takes one value or more")
    return values


__all__ = ["Keys", "Query", "Table", "any_", "no", "table"]
