"""Queries: a table and its clauses. Each method returns a new query with one more clause."""

from __future__ import annotations

from imq.grammar import ast
from imq.grammar._lalr_tables import WORDS
from imq.grammar.errors import StatementError
from imq.grammar.lexer import is_percentage
from imq.grammar.record import TYPE_CHECKING

from .expressions import (
    Column,
    Expression,
    Order,
    Path,
    join_conditions,
    parse_path,
    to_condition,
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
    """A query of a table, of a view, or of the rows of other queries.

    The order in which clauses are added does not matter: `where` applies first, `select` last. To query the rows of a
    query, start with `as_table()`.

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
        """Select the rows for which all conditions hold. A second call adds conditions.

        >>> from imq import images, field as f
        >>> str(images.where(f.dangling).where(f.user.is_unknown() | (f.user == "root")))
        'images where dangling and (user is unknown or user = root)'
        """
        return self._add_conditions("where", conditions)

    def join(self, rows: Query, *, as_: str, on: Expression, kind: str = "left") -> Query:
        """Add the fields of other rows, `f["NAME.FIELD"]`, to the rows for which a condition holds.

        `kind` is "left" (rows without a partner stay), "inner", or "full" (rows of both sides stay).

        >>> from imq import images, rows, field as f
        >>> owners = rows.of("owners.csv")
        >>> joined = images.join(owners, as_="o", on=f["o.repository"] == f.repository)
        >>> str(joined.select(f.name, f["o.team"]))
        'images join rows of owners.csv as o on o.repository = .repository select name, o.team'
        """
        if kind not in ("left", "inner", "full"):
            raise StatementError(f'unknown kind of join "{kind}"', hints=("expected left, inner or full",))
        if not isinstance(rows, Query):
            raise Misuse(f"expected a query to join, not {describe(rows)}", hints=('example: rows.of("owners.csv")',))
        if not as_.isidentifier():
            raise Misuse(f"{as_!r} is not a valid name of a join")
        query = self._open_query()
        join = ast.Join(kind, rows.node, as_, to_condition(on))
        return Query(query.replace(joins=(*query.joins, join)))

    def having(self, *conditions: Expression) -> Query:
        """Select the groups for which all conditions hold. A second call adds conditions."""
        return self._add_conditions("having", conditions)

    def group_by(self, *keys: Expression) -> Query:
        """Group rows with equal keys into one row each."""
        return self._with_clause("group", _to_keys(keys, "group_by"))

    def order_by(self, *keys: Expression | Order) -> Query:
        """Sort the rows: `order_by(f.size.desc(), f.name)`. Unknown values sort last."""
        orders = (one.node if isinstance(one, Order) else ast.Ordering(to_key(one)) for one in keys)
        return self._with_clause("order", _require_some(tuple(orders), "order_by"))

    def limit(self, count: Value, *, per: Keys = ()) -> Query:
        """Return at most `count` rows, or at most `count` rows of each group with equal `per`."""
        return self._with_clause("limit", ast.Limit(to_right_operand(count), _to_per_keys(per)))

    def skip(self, count: Value, *, per: Keys = ()) -> Query:
        """Skip the first `count` rows, or the first `count` rows of each group with equal `per`."""
        return self._with_clause("skip", ast.Limit(to_right_operand(count), _to_per_keys(per)))

    def except_newest(self, count: Value, *, per: Keys = (), by: Expression | None = None) -> Query:
        """Exclude the newest rows, by creation time or by `by`, as a retention rule does.

        >>> from imq import images, field as f
        >>> str(images.except_newest(3, per=f.repository))
        'images except newest 3 per repository'
        """
        return self._with_clause(
            "keep_newest",
            ast.KeepNewest(to_right_operand(count), _to_per_keys(per), to_key(by) if by is not None else None),
        )

    def until(
        self,
        *,
        total_size: Value | None = None,
        disk_use: str | None = None,
        free: Value | None = None,
        below: bool = False,
    ) -> Query:
        """Select rows in order until what remains satisfies a limit, the only keyword argument of the first three.

        `total_size`: the remaining images use at most this many bytes. `disk_use`: at most this part of the disk is
        used, `"80%"`. `free`: at least this many bytes of the disk are free. With `below`, less use, or more space.

        >>> from imq import images
        >>> str(images.until(disk_use="80%")), str(images.until(free="20GB"))
        ('images until disk use <= 80%', 'images until free >= 20GB')
        """
        limits = {"total size": total_size, "disk use": disk_use, "free": free}
        measure, limit = _take_one(limits, "until")
        operator = (">" if below else ">=") if measure == "free" else "<" if below else "<="
        return self._with_clause("until", ast.UntilSize(operator, _to_bound(limit), measure))

    def when(self, *, disk_use: str | None = None, free: Value | None = None) -> Query:
        """Select no rows unless more than this part of the disk is used, or fewer bytes of it are free.

        >>> from imq import images
        >>> str(images.when(disk_use="85%").until(disk_use="80%"))
        'images until disk use <= 80% when disk use > 85%'
        """
        measure, limit = _take_one({"disk use": disk_use, "free": free}, "when")
        return self._with_clause("when", ast.When("<" if measure == "free" else ">", _to_bound(limit), measure))

    def select(self, *values: Expression | Column, **named: Value) -> Query:
        """Select the columns. Keyword arguments name them.

        >>> import imq
        >>> from imq import images, field as f
        >>> str(images.group_by(f.tag).select(f.tag, total=imq.sum(f.size)))
        'images group by tag select tag, sum(size) as "total"'
        """
        columns = [one.node if isinstance(one, Column) else ast.Column(to_key(one)) for one in values]
        columns += [ast.Column(to_left_operand(value), name) for name, value in named.items()]
        return self._with_clause("select", _require_some(tuple(columns), "select"))

    def count(self) -> Query:
        """Return the number of rows."""
        return self._with_clause("count", value=True)

    def all(self) -> Query:
        """Select every row explicitly, which actions without a condition require: `imq.verify(images.all())`."""
        return self._with_clause("explicit_all", value=True)

    def nonempty(self) -> Query:
        """Fail when there are no rows, so that an empty list of exceptions cannot remove everything."""
        return Query(self._open_query().replace(nonempty=True))

    def as_table(self) -> Query:
        """Return the rows of this query as a table for further clauses.

        >>> from imq import images, field as f
        >>> str(images.limit(5).as_table().where(f.dangling))
        '(images limit 5) where dangling'
        """
        return Query(self.node, whole=True)

    def _add_conditions(self, clause: str, conditions: tuple[Expression, ...]) -> Query:
        if not conditions:
            raise Misuse(f"{clause} requires at least one condition")
        query = self._open_query()
        before = getattr(query, clause)
        parts = conditions if before is None else (Expression(before), *conditions)
        return Query(query.replace(**{clause: join_conditions(parts).node}))

    def _with_clause(self, clause: str, value: Any) -> Query:
        query = self._open_query()
        if getattr(query, clause) not in (None, (), False):
            raise StatementError(
                f'"{_CLAUSE_WORDS.get(clause, clause)}" is given twice',
                code="repeated",
                hints=("to query the rows of this query: .as_table()",),
            )
        return Query(query.replace(**{clause: value}))

    def _open_query(self) -> ast.Query:
        """Return the query that a clause is added to."""
        if isinstance(self.node, ast.Query) and (not self._is_complete or self._is_bare_table()):
            return self.node
        return ast.Query("", base=self.node)

    def _is_bare_table(self) -> bool:
        return isinstance(self.node, ast.Query) and self.node == ast.Query(self.node.table)

    # Combinations

    def union(self, other: Query, *, by: Keys = ()) -> Query:
        """Return the rows of both. Rows with equal `by` are the same row. Without `by`: `a | b`.

        >>> from imq import images, field as f
        >>> str(images.union(images.in_("store"), by=f.name))
        'images union images in store by name'
        """
        return self._combine("union", other, by)

    def except_(self, other: Query, *, by: Keys = ()) -> Query:
        """Return the rows of this query that the other does not have. Without `by`: `a - b`."""
        return self._combine("except", other, by)

    def intersect(self, other: Query, *, by: Keys = ()) -> Query:
        """Return the rows of this query that the other has too. Without `by`: `a & b`."""
        return self._combine("intersect", other, by)

    def __or__(self, other: Query) -> Query:
        return self._combine("union", other, ())

    def __sub__(self, other: Query) -> Query:
        return self._combine("except", other, ())

    def __and__(self, other: Query) -> Query:
        return self._combine("intersect", other, ())

    def _combine(self, operator: str, other: Query, by: Keys) -> Query:
        operand: object = other
        if not isinstance(operand, Query):
            raise Misuse(
                f"expected a query to combine with, not {describe(operand)}",
                hints=("a condition belongs in .where(…)",),
            )
        return Query(ast.Combination(operator, self.node, operand.node, _to_per_keys(by)))

    # As a value

    @property
    def value(self) -> Expression:
        """The single value of the query, for comparisons and arithmetic: `images.count().value * 2`."""
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
        """Set the output format: `str(session(images.as_("json")))`."""
        return Statement(ast.QueryStatement(self.node, to_output(form=form)))

    def format(self, template: str) -> Statement:
        """Format each row with a Go template: `images.format("{{.ID}}")`."""
        return Statement(ast.QueryStatement(self.node, to_output(template=template)))


class Table(Query):
    """A table of the language, or a view: `images`, `layers.of("redis:7")`, `imq.table("stale")`."""

    __slots__ = ()

    node: ast.Query

    def of(self, *targets: str | os.PathLike[str] | Query | Expression) -> Table:
        """Select the owners of the rows: images by reference or by a query; a file for `lines` and `rows`.

        >>> from imq import layers, images, field as f
        >>> str(layers.of("redis:7", images.where(f.dangling)))
        'layers of redis:7, (images where dangling)'
        """
        nodes = (target.node if isinstance(target, Query) else to_operand(target) for target in targets)
        return self._with_source("targets", tuple(nodes))

    def at(self, path: str) -> Table:
        """Select the values at a path of keys in a JSON or YAML file; lists on the way are unnested.

        >>> from imq import rows
        >>> str(rows.of("pod.yaml").at("spec.containers"))
        'rows of pod.yaml at spec.containers'
        """
        return Table(self.node.replace(at=parse_path(path)))

    def in_(self, *sources: str | Expression) -> Table:
        """Select the sources, such as `store`."""
        return self._with_source("sources", tuple(to_operand(source) for source in sources))

    def _with_source(self, clause: str, value: tuple[ast.Literal | ast.Variable | ast.RowSource, ...]) -> Table:
        if getattr(self.node, clause):
            raise StatementError(f'"{"of" if clause == "targets" else "in"}" is given twice', code="repeated")
        return Table(self.node.replace(**{clause: _require_some(value, "in_" if clause == "sources" else "of")}))


def table(name: str) -> Table:
    """Return a table, or a view that `imq.view` defined, by its name. Raises `Misuse` for an invalid name."""
    if not name.isidentifier() or name.lower() in WORDS:
        raise Misuse(f"{name!r} is not a valid name of a table or view")
    return Table(ast.Query(name.lower()))


def any_(rows: Query | Expression) -> Expression:
    """Whether there is a row: `imq.any_(images.where(f.dangling))`. For a relation: `f.layers.any(…)`."""
    return Expression(ast.Exists(_to_rows(rows)))


def no(rows: Query | Expression) -> Expression:
    """Whether there is no row: `imq.assert_(imq.no(images.where(f.user == "root")))`."""
    return Expression(ast.Exists(_to_rows(rows), negated=True))


def _to_rows(rows: object) -> ast.RowSource:
    if isinstance(rows, Query):
        return rows.node
    if isinstance(rows, Path):
        return rows.relation()
    raise Misuse(f"expected a query or relation, not {describe(rows)}", hints=("example: imq.any_(images.where(…))",))


def _take_one(limits: dict[str, Value | None], clause: str) -> tuple[str, Value]:
    """Return the only limit that is given, with its measure."""
    given = [(measure, limit) for measure, limit in limits.items() if limit is not None]
    if len(given) != 1:
        raise Misuse(f"{clause} requires one of: {', '.join(name.replace(' ', '_') for name in limits)}")
    return given[0]


def _to_bound(limit: Value) -> ast.Expr:
    return ast.Literal(limit) if isinstance(limit, str) and is_percentage(limit) else to_right_operand(limit)


def _to_keys(keys: Iterable[Expression], what: str) -> tuple[ast.Expr, ...]:
    return _require_some(tuple(to_key(one) for one in keys), what)


def _to_per_keys(keys: Keys) -> tuple[ast.Expr, ...]:
    return (to_key(keys),) if isinstance(keys, Node | str) else tuple(to_key(one) for one in keys)


def _require_some(values: tuple[_Any, ...], what: str) -> tuple[_Any, ...]:
    if not values:
        raise Misuse(f"{what} requires at least one value")
    return values


__all__ = ["Keys", "Query", "Table", "any_", "no", "table"]
