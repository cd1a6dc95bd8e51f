"""Binds queries: takes a syntax tree and returns a typed query without unresolved names.

Variables and views are replaced before (session/expand.py).
"""

from __future__ import annotations

from imq.engine.catalog.functions import AGGREGATES
from imq.engine.catalog.tables import TABLES, UNAVAILABLE_TABLES, DataType, Field, Table, TargetKind, casefold_name
from imq.engine.query import ir
from imq.grammar import ast
from imq.grammar.errors import (
    ImqError,
    Refused,
    Span,
    StatementError,
    TypeMismatch,
    UnknownName,
    closest_hint,
    join_names,
)
from imq.grammar.record import TYPE_CHECKING

from .expressions import Expressions
from .literals import parse_number
from .scope import NOTHING
from .table_source import TableResolver

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imq.engine.catalog.tables import Relation

    from .scope import Scope


def bind(
    rows: ast.RowSource,
    scope: Scope,
    default_fields: Sequence[Field] | None = None,
    mentioned: frozenset[str] = frozenset(),
) -> ir.Select:
    """Return the query with every name resolved.

    `default_fields` are the columns of a query without `select`: those that a template reads; None for the default
    columns of the table. `mentioned` are case-folded names that outer queries use: both sides of a union provide them.
    """
    if isinstance(rows, ast.Combination):
        rows = ast.Query("", base=rows, span=rows.span)
    return _QueryBinder(rows, scope, mentioned=mentioned).bind(default_fields)


def bind_condition(condition: ast.Expr, scope: Scope) -> ir.Expr:
    """Return a condition without a row (that of an `assert`) with every name resolved."""
    return Expressions(NOTHING, scope, _bind_related).bind_condition(condition, "assert")


def _bind_related(query: ast.RowSource, table: Table, scope: Scope) -> ir.Select:
    """Bind a query inside a condition on `table`: of one of its relations, or of another table."""
    if (
        isinstance(query, ast.Query)
        and (relation := table.find_relation(query.table)) is not None
        and not query.targets
    ):
        return _QueryBinder(query.replace(table=relation.table), scope, relation, outer=table).bind(None)
    if isinstance(query, ast.Query) and query.table in UNAVAILABLE_TABLES and query.table not in TABLES:
        raise make_unavailable_error(query.table, query.span)
    if isinstance(query, ast.Query) and query.base is None and query.table not in TABLES:
        known = [relation.name for relation in table.relations]
        is_field = table.find_field(query.table.partition(".")[0]) is not None
        raise UnknownName(
            f'unknown relation "{query.table}" of {table.name}',
            code="unknown-relation",
            span=query.span,
            hints=(
                f"for a field: {query.table} is unknown, {query.table} is known" if is_field else "",
                closest_hint(query.table, [*known, *TABLES]),
                f"relations: {join_names(known)}" if known else "",
            ),
        )
    return bind(query, scope)


def make_unavailable_error(name: str, span: Span | None) -> StatementError:
    """Return the error for a table that no source serves."""
    return StatementError(
        f'"{name}": {UNAVAILABLE_TABLES[name]}',
        code="unavailable",
        span=span,
        hints=("tables: " + join_names(TABLES),),
    )


class _QueryBinder:
    """Binds one query. `relation` relates its rows to rows of `outer`; for `mentioned` see `bind`."""

    def __init__(
        self,
        query: ast.Query,
        scope: Scope,
        relation: Relation | None = None,
        mentioned: frozenset[str] = frozenset(),
        outer: Table | None = None,
    ) -> None:
        self._outer_names = mentioned
        self._mentioned: frozenset[str] = frozenset()
        if query.base is not None:
            from .set_operations import collect_names, merge_union

            if isinstance(query.base, ast.Combination) and (merged := merge_union(query.base)) is not None:
                query = query.replace(base=merged)
            self._mentioned = mentioned | collect_names(query)
        self._query = query
        self._scope = scope
        self._relation = relation
        self._outer = outer
        self._bound: dict[int, ir.Select] = {}
        self._base = self._bind_base()
        self._table = self._resolve_table()
        self._expressions = Expressions(self._table, scope, _bind_related)
        self._expressions.query = query
        self._join_conditions = tuple(self._bind_join(join) for join in query.joins)

    def bind(self, default_fields: Sequence[Field] | None) -> ir.Select:
        query, expressions = self._query, self._expressions
        of = self._bind_targets()
        where = expressions.bind_condition(query.where, "where") if query.where is not None else None
        if not self._is_ready():
            never = ir.Literal(0, DataType.BOOLEAN)
            where = never if where is None else ir.And((never, where))
        expressions.relation_fields.clear()  # a condition may need fewer levels than the columns
        group = tuple(self._bind_key(key) for key in query.group) if query.group else None
        expressions.allows_aggregates = True
        expressions.allows_previous = True
        columns = self._bind_columns(default_fields)
        expressions.allows_previous = False
        if query.select:
            from .list_aggregates import align_lists

            columns = align_lists(columns)
        if group is None and any(ir.has_aggregate(column.value) for column in columns):
            group = ()
        expressions.columns_by_name = {casefold_name(column.name): column.value for column in columns}
        having = expressions.bind_condition(query.having, "having") if query.having is not None else None
        order = self._bind_order(group)
        if group is not None or having is not None or query.order:
            from .group_check import check_groups

            check_groups(query, group, columns, having, order)
        self._check_previous(having, order)
        if query.select:
            columns = tuple(column.replace(value=_set_order(column.value, order)) for column in columns)
        base = self._base
        has_left_rows_only = all(join.kind != "full" for join in query.joins)
        if isinstance(base, ir.Select) and _only_filters(base) and has_left_rows_only:  # merged into one query
            where = ir.And(tuple(part for part in (base.where, where) if part is not None)) if base.where else where
            of, base = base.targets, base.base
        return ir.Select(
            self._table,
            columns,
            where,
            of,
            group,
            having,
            order,
            self._bind_limit(query.limit),
            self._bind_limit(query.skip),
            self._bind_keep_newest(),
            self._bind_until_size(),
            query.count,
            base,
            self._find_join(),
            is_whole_rows=not query.select and group is None and not query.count and has_left_rows_only,
            nonempty=self._unparse_source() if query.nonempty else "",
            joins=tuple(
                joined.finish(condition)
                for joined, condition in zip(expressions.joins.values(), self._join_conditions, strict=True)
            ),
        )

    def _find_join(self) -> str:
        """Return the join of a relation; of a union's relation, the joins of its members."""
        if self._relation is None:
            return ""
        joins = [member.join for member in self._relation.members or (self._relation,)]
        return joins[0] if self._relation.is_of_same_source else "|".join(joins)

    # The source of the rows

    def _bind_base(self) -> ir.Select | ir.Union | None:
        base = self._query.base
        if isinstance(base, ast.Combination):
            from .set_operations import bind_set_operation, collect_names

            mentioned = self._mentioned.union(*map(collect_names, base.by))
            left, right = (
                _keep_joined_fields(bind(side, self._scope, None, mentioned)) for side in (base.left, base.right)
            )
            return bind_set_operation(base, left, right, self._bind_keys, mentioned)
        return _keep_joined_fields(bind(base, self._scope, None, self._mentioned)) if base is not None else None

    def _bind_join(self, node: ast.Join) -> ir.Expr:
        """Add the rows of a join to the fields of the query, and return the condition that they meet."""
        from .joins import JoinedRows, name_fields, normalize_names

        expressions, table = self._expressions, self._table
        joined = JoinedRows(node, bind(node.rows, self._scope, ()))
        if table.find_field(joined.name) or table.find_relation(joined.name) or joined.name in expressions.joins:
            raise StatementError(
                f'"{node.name}" has another meaning here: give the join a different name',
                code="join",
                span=node.span,
                hints=(f"example: … as {node.name}_2 on {node.name}_2.…",),
            )
        if node.kind == "full" and self._relation is not None:
            raise StatementError(
                "the rows of a relation belong to a row, so they take no full join", code="join", span=node.span
            )
        expressions.joins[joined.name] = joined
        condition = expressions.bind_condition(name_fields(node.condition, expressions.is_field), "on")
        return normalize_names(condition, expressions.joins)

    def _resolve_table(self) -> Table:
        base, query = self._base, self._query
        if isinstance(base, ir.Union):
            base = base.left
        if base is not None:
            from .set_operations import make_derived_table

            return base.table if base.is_whole_rows else make_derived_table(base)
        table = TABLES.get(query.table.lower())
        if table is None:
            if query.table.lower() in UNAVAILABLE_TABLES:
                raise make_unavailable_error(query.table.lower(), query.span)
            raise UnknownName(
                f'unknown table "{query.table}"',
                hints=(closest_hint(query.table, TABLES), "tables: " + join_names(TABLES)),
                span=query.span,
            )
        if self._relation is not None:
            assert self._outer is not None
            return self._scope.fetch.bind_relation(self._outer, self._relation)
        resolver = TableResolver(query, self._scope, self._make_expressions(table), self._bind_target_rows)
        try:
            return resolver.bind(table)
        except ImqError as error:
            error.span = error.span or query.span
            raise

    def _bind_target_rows(self, target: ast.Literal | ast.Variable | ast.RowSource) -> ir.Select:
        """Bind a query after `of`, once."""
        assert not isinstance(target, ast.Literal | ast.Variable)
        known = self._bound.get(id(target))
        if known is None:
            known = self._bound[id(target)] = bind(target, self._scope)
        return known

    def _make_expressions(self, table: Table) -> Expressions:
        return Expressions(table, self._scope, _bind_related)

    def _bind_keys(self, node: ast.Combination, table: Table) -> tuple[ir.Expr, ...]:
        """Bind the key of the rows of a table in a set operation."""
        expressions = self._make_expressions(table)
        if node.by:
            return tuple(expressions.bind_value(key) for key in node.by)
        from .set_operations import get_key_names

        return tuple(ir.Column(table.get_field(name, node.span)) for name in get_key_names(table))

    def _bind_targets(self) -> tuple[int | ir.Select, ...] | None:
        query, table = self._query, self._table
        if not query.targets or table.target is TargetKind.FILE or table.is_staged:
            return None
        return tuple(self._bind_target(target) for target in query.targets)

    def _bind_target(self, target: ast.Literal | ast.Variable | ast.RowSource) -> int | ir.Select:
        if isinstance(target, ast.Literal):
            return self._expressions.find_image_key(target)
        select = self._bind_target_rows(target)
        if not select.is_whole_rows or select.table.name != "images":
            raise StatementError(
                f"{self._table.name} of (…) expects a query of images",
                code="target",
                span=target.span,
            )
        return select

    # Clauses

    def _bind_columns(self, default_fields: Sequence[Field] | None) -> tuple[ir.Projection, ...]:
        query = self._query
        if query.select:
            selected = self._expand_stars(query.select)
            columns = tuple(self._bind_column(column) for column in selected)
            seen: set[str] = set()
            for column, column_node in zip(columns, selected, strict=True):
                if casefold_name(column.name) in seen:
                    raise StatementError(
                        f'two columns are called "{column.name}"',
                        code="repeated",
                        span=column_node.span,
                        hints=('add: as "NAME"',),
                    )
                seen.add(casefold_name(column.name))
            return columns
        if query.group:
            keys = tuple(self._bind_column(ast.Column(key, span=key.span)) for key in query.group)
            return (*keys, self._bind_column(ast.Column(ast.Call("count", ()))))
        fields = (
            default_fields
            if default_fields is not None
            else [self._table.get_field(name) for name in self._table.default_columns]
        )
        joins = self._expressions.joins.values()
        if joins:  # the query around this one has only these columns
            outer = [field for field in self._table.fields if casefold_name(field.name) in self._outer_names]
            fields = list(dict.fromkeys((*fields, *outer)))
        own = tuple(ir.Projection(field.name, self._bind_own(field), field.column_title, field) for field in fields)
        paths = [(one.node.name, name) for one in joins for name in one.list_default_columns(self._outer_names)]
        return (*own, *(self._bind_column(ast.Column(ast.Field(path))) for path in paths))

    def _bind_own(self, field: Field) -> ir.Expr:
        """Bind a field of a row: a column of the table, unless the condition makes it."""
        if self._table.find_field(field.name) is None:
            return self._expressions.bind_value(ast.Field((field.name,)))
        return ir.Column(field)

    def _expand_stars(self, columns: Sequence[ast.Column]) -> tuple[ast.Column, ...]:
        """Return the selected columns with the fields in place of `*`, except those that are selected by name too."""
        named = {_get_column_name(column) for column in columns if not _is_star(column.value)}
        return tuple(
            one
            for column in columns
            for one in self._expand_star(column)
            if one is column or _get_column_name(one) not in named
        )

    def _expand_star(self, column: ast.Column) -> tuple[ast.Column, ...]:
        """Return a column for each field of the table in place of `*`; any other column as it is."""
        if not _is_star(column.value):
            return (column,)
        if column.name:
            raise StatementError(
                '"*" selects all fields and cannot have a name',
                code="column",
                span=column.span,
                hints=("to name a single column: select name as image",),
            )
        span = column.value.span
        paths = [(field.name,) for field in self._table.output_fields]
        joins = self._expressions.joins.values()
        joined = [(one.node.name, field.name) for one in joins for field in one.table.output_fields]
        return tuple(ast.Column(ast.Field(path, span), span=span) for path in (*paths, *joined))

    def _bind_column(self, column: ast.Column) -> ir.Projection:
        value = self._bind_shown(column.value)
        field = value.field if isinstance(value, ir.Column) and not value.join else None
        if field is None and value is self._expressions.found:
            from imq.engine.catalog.predicates import FOUND

            field = FOUND
        name = column.name or (field.name if field else _name_column(column.value))
        title = field.column_title if field and not column.name else name.upper().replace("_", " ")
        if not column.name and self._table.name == "images" and value == _COUNT_ROWS:
            title = "NAMES"  # a row is a name, and an image can have several
        return ir.Projection(name, value, title, field)

    def _bind_shown(self, node: ast.Expr) -> ir.Expr:
        """Bind a value that is shown, sorted or grouped by: a condition on rows of another source may be unknown."""
        value = self._expressions.bind_value(node)
        if value.kind is not DataType.BOOLEAN or isinstance(value, ir.Column):
            return value
        from imq.engine.query.certainty import show_unknown

        return show_unknown(value)

    def _bind_key(self, node: ast.Expr) -> ir.Expr:
        """Bind what rows are sorted or grouped by. A constant is refused: all rows would be equal."""
        value = self._bind_shown(node)
        if not isinstance(value, ir.Literal):
            return value
        text = value.text or str(value.value)
        name = text.lstrip("-+")
        hints = [f"for the field: {name}" if self._table.find_field(name) is not None else "", "a field has no quotes"]
        if text.startswith("-") and hints[0]:
            hints = [f"for descending order: {name} desc"]
        elif text.isdigit():
            hints = ["columns have no numbers here: order by size desc"]
        raise StatementError(
            f'"{text}" is a constant, and all rows are equal in it', code="constant", span=node.span, hints=hints
        )

    def _bind_order(self, group: tuple[ir.Expr, ...] | None) -> tuple[ir.SortKey, ...]:
        """Return the requested sort keys, followed by the default ones for equal rows."""
        joined = () if group is not None else tuple(ir.RowNumber(join=name) for name in self._expressions.joins)
        requested = tuple(ir.SortKey(self._bind_key(key.key), key.descending) for key in self._query.order)
        values = [key.value for key in requested]
        return (
            *requested,
            *(key for key in self._make_default_order(group) if key.value not in values),
            *(ir.SortKey(row, descending=False) for row in joined),
        )

    def _check_previous(self, having: ir.Expr | None, order: tuple[ir.SortKey, ...]) -> None:
        """Refuse the row before in clauses that decide which row that is."""
        clauses = [("having", having, self._query.having.span)] if having is not None and self._query.having else []
        clauses += [("order by", key.value, node.span) for key, node in zip(order, self._query.order, strict=False)]
        for clause, value, span in clauses:
            if ir.has_previous(value):
                raise StatementError(
                    f'"{clause}" cannot use a column with previous or bar: it decides which rows these read',
                    code="previous",
                    span=span,
                    hints=("use parentheses: (… select …, previous(…) as before) order by before",),
                )

    def _make_default_order(self, group: tuple[ir.Expr, ...] | None) -> tuple[ir.SortKey, ...]:
        if group is not None:
            return tuple(ir.SortKey(key, descending=False) for key in group)
        base = self._base
        if isinstance(base, ir.Select) and base.is_whole_rows:
            return base.order
        if not self._table.order:
            return (ir.SortKey(ir.RowNumber(), descending=False),)
        oldest_first = self._query.until is not None  # the default order of removal
        keys = [
            ir.SortKey(ir.Column(self._table.get_field(name.lstrip("-"))), name.startswith("-") and not oldest_first)
            for name in self._table.order
        ]
        if self._table.target is TargetKind.CONTAINERS:  # lines of a log can have the same time
            keys.append(ir.SortKey(ir.RowNumber(), descending=False))
        return tuple(keys)

    def _bind_limit(self, limit: ast.Limit | None) -> ir.Limit | None:
        if limit is None:
            return None
        return ir.Limit(self._read_whole_number(limit.count), tuple(self._bind_key(key) for key in limit.per))

    def _bind_keep_newest(self) -> ir.KeepNewest | None:
        newest = self._query.keep_newest
        if newest is None:
            return None
        by = self._bind_key(newest.by) if newest.by is not None else ir.Column(self._table.get_field("created"))
        return ir.KeepNewest(
            self._read_whole_number(newest.count),
            tuple(self._bind_key(key) for key in newest.per),
            by,
            counts_names=self._table.name == "images" and self._has_indexes(),
        )

    def _has_indexes(self) -> bool:
        """Return whether a name can have several rows, one for each platform of an index."""
        fetch = self._scope.fetch
        return any(fetch.sources[name].has_indexes() for name in fetch.list_sources(self._table) if name)

    def _bind_until_size(self) -> ir.UntilSize | None:
        until = self._query.until
        if until is None:
            return None
        if self._table.name != "images" or self._query.group:
            raise StatementError(
                f'"until {until.measure}" is only for the removal of images',
                code="until",
                span=until.span,
                hints=("example: rm images where not in use order by created until total size <= 16GB",),
            )
        from .disk import bind_until, check_sizes, measure_disk

        check_sizes(self._table, self._scope, until)
        limit = bind_until(until, lambda: measure_disk(self._table, self._scope, until.span), self._scope.zone)
        return limit.replace(layers=self._bind_layers(until.span)) if self._table.is_staged else limit

    def _bind_layers(self, span: Span | None) -> ir.Select:
        """Return the query of the layers of all images in the sources of the table."""
        refs = self._scope.fetch.list_refs(self._table)
        if not refs or any(
            "layers" not in self._scope.fetch.sources[name].tables or self._table.find_field("size") is None
            for name in self._scope.fetch.list_sources(self._table)
        ):
            raise StatementError(
                "the layers that images share are unknown here, so their removal cannot be limited by size",
                code="until",
                span=span,
                hints=("limit the number of images: … order by created limit 10",),
            )
        sources = tuple(ast.Literal(ref, quoted=True) for ref in refs)
        names = ("image", "source", "chain_id", "size")
        return bind(
            ast.Query(
                "layers",
                sources=sources,
                select=tuple(ast.Column(ast.Field((name,), span), span=span) for name in names),
                span=span,
            ),
            self._scope,
        )

    def _is_ready(self) -> bool:
        """Whether the disk satisfies `when`."""
        when = self._query.when
        if when is None:
            return True
        from .disk import is_ready, measure_disk

        return is_ready(when, measure_disk(self._table, self._scope, when.span), self._scope.zone)

    def _read_whole_number(self, node: ast.Expr) -> int:
        number = _fold_number(node)
        if not isinstance(number, int) or number < 0 or number >= 1 << 62:
            raise TypeMismatch("expected a whole number", span=node.span)
        return number

    def _unparse_source(self) -> str:
        """Return the text of the query for messages."""
        from imq.grammar.unparser import unparse

        return unparse(self._query.replace(nonempty=False))


_COUNT_ROWS = ir.AggregateCall(AGGREGATES["count"], None, distinct=False, kind=DataType.NUMBER)


def _only_filters(select: ir.Select) -> bool:
    """Whether a query only filters rows."""
    return select.is_whole_rows and not select.is_limited and not select.join and not select.nonempty


def _set_order(value: ir.Expr, order: tuple[ir.SortKey, ...]) -> ir.Expr:
    """Return an expression in which each `previous` has the order of its query."""
    if not ir.has_previous(value):
        return value
    return ir.transform(value, lambda part: part.replace(order=order) if isinstance(part, ir.Previous) else part)


def _keep_joined_fields(select: ir.Select) -> ir.Select:
    """Return the rows of a query with joins as columns, so that the query around it has the joined fields too."""
    return select.replace(is_whole_rows=False) if select.joins else select


def _fold_number(node: ast.Expr) -> int | float | None:
    """Return the number of a literal or of arithmetic on literals; None for any other expression."""
    if isinstance(node, ast.Literal):
        return parse_number(node.text)
    if isinstance(node, ast.Arithmetic) and node.operator in "+-*":
        left, right = _fold_number(node.left), _fold_number(node.right)
        if left is not None and right is not None:
            return left + right if node.operator == "+" else left - right if node.operator == "-" else left * right
    return None


def _is_star(node: ast.Expr) -> bool:
    """Whether a value is the bare `*` of SQL."""
    return isinstance(node, ast.Literal) and node.text == "*" and not node.quoted


def _get_column_name(column: ast.Column) -> str:
    """Return the case-folded name of a selected column."""
    return casefold_name(column.name or _name_column(column.value))


def _name_column(node: ast.Expr) -> str:
    """Return the name of an unnamed column: its text, but `count` for `count()`."""
    match node:
        case ast.Field(path):
            return ".".join(path)
        case ast.Call(name, ()):
            return name
        case _:
            from imq.grammar.unparser import unparse

            return unparse(node)


def require_choice(rows: ast.RowSource, verb: str) -> None:
    """Refuse an action on all rows of a registry or repository without `all`."""
    if isinstance(rows, ast.Combination) or rows.base is not None or rows.explicit_all:
        return
    has_image_names = rows.targets and not any(
        isinstance(target, ast.Literal) and _is_repository_name(target) for target in rows.targets
    )
    if has_image_names or any(part is not None for part in (rows.where, rows.limit, rows.keep_newest, rows.skip)):
        return
    raise Refused(
        f"{verb} {rows.table} would apply to all {rows.table}",
        span=rows.span,
        hints=(
            f"add a condition: {verb} {rows.table} … where …, … except newest 20",
            f"or add all: {verb} all {rows.table} …",
        ),
    )


def _is_repository_name(target: ast.Literal) -> bool:
    """Whether a name has neither tag nor digest."""
    return "@" not in target.text and ":" not in target.text.rpartition("/")[2]


def require_where(rows: ast.RowSource, verb: str) -> None:
    """Refuse an action on a whole table without a condition and without `all`."""
    if isinstance(rows, ast.Combination) or rows.base is not None:
        return
    is_explicit = rows.explicit_all or rows.targets
    if not is_explicit and all(part is None for part in (rows.where, rows.limit, rows.until, rows.keep_newest)):
        raise Refused(
            f"{verb} {rows.table} would apply to all {rows.table}",
            span=rows.span,
            hints=(f"add a condition: {verb} {rows.table} where …", f"or add all: {verb} all {rows.table}"),
        )
