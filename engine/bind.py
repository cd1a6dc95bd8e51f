"""Names to meanings: a query's syntax tree in, a bound query out, nothing in it unresolved."""

from __future__ import annotations

from imq.grammar import ast
from imq.grammar.errors import Refused, Span, StatementError, TypeMismatch, UnknownName, nearest
from imq.grammar.printer import write
from imq.grammar.record import TYPE_CHECKING

from . import bound as b
from .expressions import Expressions
from .literals import parse_number
from .tables import TABLES, Field, Table, folded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .expressions import Scope


def bind(query: ast.Query, scope: Scope, wanted: Sequence[Field] | None = None) -> b.Select:
    """Return the query with every name resolved.

    `wanted` are the fields of a query without `select` (what its template reads); None: the table's usual ones.
    """
    table = TABLES.get(query.table)
    if table is None:
        raise UnknownName(f'there is no table "{query.table}"', hints=(nearest(query.table, TABLES),), span=query.span)
    return _Binder(query, table, scope).bind(wanted)


class _Binder:
    """Binds one query."""

    def __init__(self, query: ast.Query, table: Table, scope: Scope) -> None:
        self._query = query
        self._table = table
        self._scope = scope
        self._expressions = Expressions(table, scope)

    def bind(self, wanted: Sequence[Field] | None) -> b.Select:
        query, expressions = self._query, self._expressions
        images = self._targets()
        self._check_sources()
        where = expressions.condition(query.where, "where") if query.where is not None else None
        group = tuple(expressions.value(key) for key in query.group) if query.group else None
        expressions.totals = True
        columns = self._columns(wanted)
        if group is None and any(_has_total(column.value) for column in columns):
            group = ()
        expressions.named = {folded(column.name): column.value for column in columns}
        having = expressions.condition(query.having, "having") if query.having is not None else None
        order = self._order(group)
        self._check_groups(group, columns, having, order)
        return b.Select(
            self._table,
            columns,
            where,
            images,
            group,
            having,
            order,
            self._cut(query.limit),
            self._cut(query.skip),
            self._spared(),
            query.count,
        )

    # Clauses

    def _check_sources(self) -> None:
        for node in self._query.sources:
            source = self._expressions.literal(node)
            if source.text.lower() != "store":
                raise UnknownName(f'there is no source "{source.text}" here', span=node.span, hints=("sources: store",))

    def _check_groups(
        self,
        group: tuple[b.Bound, ...] | None,
        columns: tuple[b.Selected, ...],
        having: b.Bound | None,
        order: tuple[b.Key, ...],
    ) -> None:
        """See that what is shown of a group has one value in it, and that there are groups where they are needed."""
        query = self._query
        if group is None:
            if having is not None:
                raise StatementError('"having" needs "group by"', code="not-grouped", span=_span(query.having))
            if any(_has_total(key.value) for key in order):
                raise StatementError(
                    'an aggregate in "order by" needs "group by"', code="not-grouped", span=query.order[0].span
                )
            return
        places = [column.span for column in query.select] or [None] * len(columns)
        for column, place in zip(columns, places, strict=True):
            self._check_grouped(column.value, group, place)
        for key, written in zip(order, query.order, strict=False):
            self._check_grouped(key.value, group, written.span)
        if having is not None:
            self._check_grouped(having, group, _span(query.having))
        if query.newest or (query.limit and query.limit.per) or (query.skip and query.skip.per):
            raise StatementError(
                '"per" and "except newest" count rows and cannot stand with "group by"',
                code="not-grouped",
                span=query.span,
            )

    def _targets(self) -> tuple[int, ...] | None:
        query = self._query
        if not query.targets:
            return None
        if self._table.name == "images":
            raise StatementError('"images" takes no "of": name the image in "where"', code="target", span=query.span)
        keys = []
        for target in query.targets:
            if isinstance(target, ast.Query):
                raise StatementError("a query cannot stand here: name images", code="target", span=target.span)
            keys.append(self._expressions.image(self._expressions.literal(target)))
        return tuple(keys)

    def _columns(self, wanted: Sequence[Field] | None) -> tuple[b.Selected, ...]:
        query = self._query
        if query.select:
            columns = tuple(self._selected(column) for column in query.select)
            seen: set[str] = set()
            for column, written in zip(columns, query.select, strict=True):
                if folded(column.name) in seen:
                    raise StatementError(
                        f'two columns are called "{column.name}"',
                        code="repeated",
                        span=written.span,
                        hints=('add: as "NAME"',),
                    )
                seen.add(folded(column.name))
            return columns
        if query.group:
            keys = tuple(self._selected(ast.Column(key, span=key.span)) for key in query.group)
            return (*keys, self._selected(ast.Column(ast.Call("count", ()))))
        fields = wanted if wanted is not None else [self._table.field(name) for name in self._table.shown]
        return tuple(b.Selected(field.name, b.Column(field), field.heading, field) for field in fields)

    def _selected(self, column: ast.Column) -> b.Selected:
        value = self._expressions.value(column.value)
        field = value.field if isinstance(value, b.Column) else None
        name = column.name or (field.name if field else _written(column.value))
        title = field.heading if field and not column.name else name.upper().replace("_", " ")
        return b.Selected(name, value, title, field)

    def _order(self, group: tuple[b.Bound, ...] | None) -> tuple[b.Key, ...]:
        """Return the keys that were asked for; rows that are equal in them stand in the usual order."""
        asked = tuple(b.Key(self._expressions.value(key.key), key.descending) for key in self._query.order)
        values = [key.value for key in asked]
        return (*asked, *(key for key in self._usual_order(group) if key.value not in values))

    def _usual_order(self, group: tuple[b.Bound, ...] | None) -> tuple[b.Key, ...]:
        if group is not None:
            return tuple(b.Key(key, descending=False) for key in group)
        return tuple(
            b.Key(b.Column(self._table.field(name.lstrip("-"))), name.startswith("-")) for name in self._table.order
        )

    def _cut(self, window: ast.Window | None) -> b.Cut | None:
        if window is None:
            return None
        return b.Cut(self._whole(window.count), tuple(self._expressions.value(key) for key in window.per))

    def _spared(self) -> b.Spared | None:
        newest = self._query.newest
        if newest is None:
            return None
        by = self._expressions.value(newest.by) if newest.by is not None else b.Column(self._table.field("created"))
        return b.Spared(self._whole(newest.count), tuple(self._expressions.value(key) for key in newest.per), by)

    def _whole(self, node: ast.Expr) -> int:
        literal = self._expressions.literal(node) if isinstance(node, ast.Literal | ast.Variable) else None
        number = parse_number(literal.text) if literal else None
        if not isinstance(number, int) or number < 0 or number >= 1 << 62:
            raise TypeMismatch("a whole number is wanted here", span=node.span)
        return number

    def _check_grouped(self, value: b.Bound, group: tuple[b.Bound, ...], place: Span | None) -> None:
        """Refuse a field that is neither grouped by nor inside an aggregate: it has many values in a group."""
        if value in group or isinstance(value, b.Total | b.Value | b.Lookup):
            return
        if isinstance(value, b.Column | b.Item):
            raise StatementError(
                f'"{value.field.name}" has many values in a group',
                code="not-grouped",
                span=place or self._query.span,
                hints=(f"add it to group by, or take one of them: max({value.field.name}), list({value.field.name})",),
            )
        for part in b.parts(value):
            self._check_grouped(part, group, place)


def _span(node: ast.Expr | None) -> Span | None:
    return node.span if node is not None else None


def _written(node: ast.Expr) -> str:
    """Return what an unnamed column is called: as it was written, `count` rather than `count()`."""
    match node:
        case ast.Field(path):
            return ".".join(path)
        case ast.Call(name, ()):
            return name
        case _:
            return write(node)


def _has_total(value: b.Bound) -> bool:
    return isinstance(value, b.Total) or any(_has_total(part) for part in b.parts(value))


def needs_where(query: ast.Query, verb: str) -> None:
    """Refuse an action on a whole table that says neither which rows nor `all`."""
    if query.where is None and not query.every and query.limit is None and not query.targets:
        raise Refused(
            f"{verb} {query.table} would take every one of the {query.table}",
            span=query.span,
            hints=(f"say which: {verb} {query.table} where …", f"or say so: {verb} all {query.table}"),
        )
