"""Names to meanings: a query's syntax tree in, a bound query out, nothing in it unresolved.

Variables and views were replaced before (expansion.py).
"""

from __future__ import annotations

from imq.engine import bound as b
from imq.engine.tables import DERIVED, ELSEWHERE, TABLES, Field, Kind, Of, Table, folded
from imq.grammar import ast
from imq.grammar.errors import ImqError, Refused, Span, StatementError, TypeMismatch, UnknownName, listed, nearest
from imq.grammar.printer import write
from imq.grammar.record import TYPE_CHECKING

from .comparisons import comparable
from .expressions import Expressions
from .literals import parse_number, typed
from .scope import NOTHING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .scope import Scope


def bind(rows: ast.Rows, scope: Scope, wanted: Sequence[Field] | None = None) -> b.Select:
    """Return the query with every name resolved.

    `wanted` are the fields of a query without `select` (what its template reads); None: the table's usual ones.
    """
    if isinstance(rows, ast.Combination):
        rows = ast.Query("", base=rows, span=rows.span)
    return _Binder(rows, scope).bind(wanted)


def bind_condition(condition: ast.Expr, scope: Scope) -> b.Bound:
    """Return a condition that is about no row (that of an `assert`) with every name resolved."""
    return Expressions(NOTHING, scope, _related).condition(condition, "assert")


def _related(query: ast.Rows, table: Table, scope: Scope) -> b.Select:
    """Bind the rows inside a condition on a row of `table`: of one of its relations, else of a table."""
    if isinstance(query, ast.Query) and (relation := table.relation(query.table)) is not None and not query.targets:
        return _Binder(query.replace(table=relation.table), scope, relation.link).bind(None)
    if isinstance(query, ast.Query) and query.table in ELSEWHERE and query.table not in TABLES:
        raise elsewhere(query.table, query.span)
    if isinstance(query, ast.Query) and query.base is None and query.table not in TABLES:
        known = [relation.name for relation in table.relations]
        raise UnknownName(
            f'{table.name} have no relation "{query.table}"',
            code="unknown-relation",
            span=query.span,
            hints=(nearest(query.table, [*known, *TABLES]), f"relations: {listed(known)}" if known else ""),
        )
    return bind(query, scope)


def elsewhere(name: str, span: Span | None) -> StatementError:
    """Return what is to be said of a table that no source here has."""
    return StatementError(
        f'"{name}": {ELSEWHERE[name]}',
        code="unavailable",
        span=span,
        hints=("tables here: " + listed(TABLES),),
    )


_ABOUT_WHOLE = "what is meant for the whole stands behind parentheses: (… union …) count"


class _Binder:
    """Binds one query. `link` says how its rows belong to a row outside."""

    def __init__(self, query: ast.Query, scope: Scope, link: str = "") -> None:
        self._query = query
        self._scope = scope
        self._link = link
        self._base = self._bound_base()
        self._table = self._found_table()
        self._expressions = Expressions(self._table, scope, _related)

    def bind(self, wanted: Sequence[Field] | None) -> b.Select:
        query, expressions = self._query, self._expressions
        of = self._targets()
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
        base = self._base
        if isinstance(base, b.Select) and _only_filters(base):  # one query in place of a query of a query
            where = b.Every(tuple(part for part in (base.where, where) if part is not None)) if base.where else where
            of, base = base.of, base.base
        return b.Select(
            self._table,
            columns,
            where,
            of,
            group,
            having,
            order,
            self._cut(query.limit),
            self._cut(query.skip),
            self._spared(),
            self._until(),
            query.count,
            base,
            self._link,
            whole=not query.select and group is None and not query.count,
            nonempty=self._named() if query.nonempty else "",
        )

    # Where the rows come from

    def _bound_base(self) -> b.Select | b.Union | None:
        base = self._query.base
        if isinstance(base, ast.Combination):
            return self._combined(base)
        return bind(base, self._scope) if base is not None else None

    def _found_table(self) -> Table:
        base, query = self._base, self._query
        if isinstance(base, b.Union):
            base = base.left
        if base is not None:
            return base.table if base.whole else derived(base)
        table = TABLES.get(query.table.lower())
        if table is None:
            if query.table.lower() in ELSEWHERE:
                raise elsewhere(query.table.lower(), query.span)
            raise UnknownName(
                f'there is no table "{query.table}"',
                hints=(nearest(query.table, TABLES), "tables: " + listed(TABLES)),
                span=query.span,
            )
        if table.takes is Of.FILE or table.name in ("sources", "usage"):
            try:
                return self._scope.outside(table, self._paths(table))
            except ImqError as error:
                error.span = error.span or query.span
                raise
        return table

    def _paths(self, table: Table) -> tuple[str, ...]:
        paths = []
        for target in self._query.targets:
            if not isinstance(target, ast.Literal):
                raise StatementError("a file is wanted here", code="target", span=getattr(target, "span", None))
            paths.append(target.text)
        if table.takes is Of.FILE and not paths:
            raise StatementError(
                f'"{table.name}" needs a file',
                code="target",
                span=self._query.span,
                hints=(f'such as: {table.name} of "list.txt", or {table.name} of stdin',),
            )
        return tuple(paths)

    def _combined(self, node: ast.Combination) -> b.Select | b.Union:
        """Bind `left union right` and its like: set operations by key."""
        left, right = bind(node.left, self._scope), bind(node.right, self._scope)
        for side, written in ((left, node.left), (right, node.right)):
            if side.count:
                raise StatementError(
                    "a count has no rows to combine", code="combination", span=written.span, hints=(_ABOUT_WHOLE,)
                )
        if node.operator == "union" and left.whole and right.whole and left.table != right.table:
            left, right = left.replace(whole=False), right.replace(whole=False)
        left_rows, right_rows = _as_base(left), _as_base(right)
        if not node.by and _key_names(left_rows.table) != _key_names(right_rows.table):
            raise StatementError(
                "by what are rows of the two sides the same?",
                code="combination",
                span=node.span,
                hints=(f"say it: … {node.operator} … by name", _ABOUT_WHOLE if not right.whole else ""),
            )
        left_keys, right_keys = self._keys(node, left_rows.table), self._keys(node, right_rows.table)
        for one, other in zip(left_keys, right_keys, strict=True):
            comparable(one, other, node.span)
        if node.operator != "union":
            among: b.Bound = b.Keyed(left_keys, _key_select(right_rows, right_keys))
            return left_rows.replace(where=b.Negation(among) if node.operator == "except" else among)
        if left.whole != right.whole or (left.whole and left.table != right.table) or not _same_columns(left, right):
            raise StatementError(
                "the two sides of a union have other columns",
                code="combination",
                span=node.span,
                hints=("select the same ones, in the same order, on both sides",),
            )
        new = b.Negation(b.Keyed(right_keys, _key_select(left_rows, left_keys)))
        return b.Union(left_rows, right_rows.replace(where=new))

    def _keys(self, node: ast.Combination, table: Table) -> tuple[b.Bound, ...]:
        expressions = Expressions(table, self._scope, _related)
        if node.by:
            return tuple(expressions.value(key) for key in node.by)
        return tuple(b.Column(table.field(name, node.span)) for name in _key_names(table))

    def _targets(self) -> tuple[int | b.Select, ...] | None:
        query, table = self._query, self._table
        if not query.targets or table.takes is Of.FILE:
            return None
        if table.takes is Of.NOTHING:
            raise StatementError(
                f'"{table.name}" takes no "of"',
                code="target",
                span=query.span,
                hints=("name the image in where: images where name = redis:7",) if table.name == "images" else (),
            )
        return tuple(self._target(target) for target in query.targets)

    def _target(self, target: ast.Literal | ast.Variable | ast.Rows) -> int | b.Select:
        if isinstance(target, ast.Literal):
            return self._expressions.image(target)
        assert not isinstance(target, ast.Variable)
        select = bind(target, self._scope)
        if not select.whole or select.table.name != "images":
            raise StatementError(
                f"{self._table.name} are of images: the query in parentheses gives something else",
                code="target",
                span=target.span,
            )
        return select

    def _check_sources(self) -> None:
        for node in self._query.sources:
            self._scope.source(self._expressions.literal(node))

    # Clauses

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
                hints=("put the query with groups in parentheses: (… group by …) limit 1 per …",),
            )

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
        base = self._base
        if isinstance(base, b.Select) and base.whole:
            return base.order
        if not self._table.order:
            return (b.Key(b.Place(), descending=False),)
        oldest_first = self._query.until is not None  # what is to go, as long as nothing else was said
        return tuple(
            b.Key(b.Column(self._table.field(name.lstrip("-"))), name.startswith("-") and not oldest_first)
            for name in self._table.order
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

    def _until(self) -> b.Until | None:
        until = self._query.until
        if until is None:
            return None
        if self._table.name != "images" or self._query.group:
            raise StatementError(
                '"until total size" is about images that are to be removed',
                code="until",
                span=until.span,
                hints=("such as: rm images where not in use order by created until total size <= 16GB",),
            )
        if not isinstance(until.size, ast.Literal):
            raise TypeMismatch("a size is wanted here", span=until.size.span, hints=("such as 16GB",))
        size = typed(self._expressions.literal(until.size), Kind.SIZE, self._scope.zone).value
        assert isinstance(size, int)
        return b.Until(size, until.operator == "<")

    def _whole(self, node: ast.Expr) -> int:
        number = _constant(node)
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
        if isinstance(value, b.Kin | b.Keyed) or ((query := b.inner(value)) is not None and query.link):
            raise StatementError(
                "this is about one row, and a group has many",
                code="not-grouped",
                span=place or self._query.span,
                hints=("put it into where, or group by it",),
            )
        for part in b.parts(value):
            self._check_grouped(part, group, place)

    def _named(self) -> str:
        """Return how a message calls the query: as it was written."""
        return write(self._query.replace(nonempty=False))


def derived(select: b.Select) -> Table:
    """Return the table that the columns of a query make for a query of it."""
    fields = tuple(
        Field(column.name, column.value.kind, column.field.doc if column.field else "", title=column.title)
        for column in select.columns
    )
    if select.count:
        fields = (Field("count", Kind.NUMBER, "how many rows there are"),)
    return Table(
        "the rows", "what the query in parentheses answers", fields, tuple(f.name for f in fields), (), view=DERIVED
    )


def _as_base(select: b.Select) -> b.Select:
    """Return a query of all rows of a query."""
    if select.whole:
        return b.Select(select.table, select.columns, base=select, order=select.order, whole=True)
    table = derived(select)
    columns = tuple(b.Selected(f.name, b.Column(f), f.heading, f) for f in table.fields)
    place = (b.Key(b.Place(), descending=False),)
    return b.Select(table, columns, base=select, order=place, whole=True)


def _key_names(table: Table) -> tuple[str, ...]:
    return table.key or tuple(field.name for field in table.fields)


def _key_select(rows: b.Select, keys: tuple[b.Bound, ...]) -> b.Select:
    columns = tuple(b.Selected(f"k{place}", key, "") for place, key in enumerate(keys))
    return rows.replace(columns=columns, order=(), whole=False)


def _same_columns(left: b.Select, right: b.Select) -> bool:
    if left.whole:
        return True
    return [(folded(c.name), c.value.kind) for c in left.columns] == [
        (folded(c.name), c.value.kind) for c in right.columns
    ]


def _only_filters(select: b.Select) -> bool:
    """Whether a query does nothing but choose rows one by one."""
    return select.whole and not select.cut and not select.link and not select.nonempty


def _constant(node: ast.Expr) -> int | float | None:
    """Return the number that a literal writes, or that comes of two; None when it is none."""
    if isinstance(node, ast.Literal):
        return parse_number(node.text)
    if isinstance(node, ast.Arithmetic) and node.operator in "+-*":
        left, right = _constant(node.left), _constant(node.right)
        if left is not None and right is not None:
            return left + right if node.operator == "+" else left - right if node.operator == "-" else left * right
    return None


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


def needs_where(rows: ast.Rows, verb: str) -> None:
    """Refuse an action on a whole table that says neither which rows nor `all`."""
    if isinstance(rows, ast.Combination) or rows.base is not None:
        return
    if rows.where is None and not rows.every and rows.limit is None and rows.until is None and not rows.targets:
        raise Refused(
            f"{verb} {rows.table} would take every one of the {rows.table}",
            span=rows.span,
            hints=(f"say which: {verb} {rows.table} where …", f"or say so: {verb} all {rows.table}"),
        )
