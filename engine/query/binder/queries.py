"""Names to meanings: a query's syntax tree in, a bound query out, nothing in it unresolved.

Variables and views were replaced before (expansion.py).
"""

from __future__ import annotations

from imq.engine.catalog.functions import AGGREGATES
from imq.engine.catalog.tables import ELSEWHERE, TABLES, Field, Kind, Of, Table, folded
from imq.engine.oci.reference import Reference
from imq.engine.query import ir as b
from imq.engine.sources.source_ref import is_host
from imq.grammar import ast
from imq.grammar.errors import (
    ImqError,
    InvalidReference,
    NotFound,
    Refused,
    Span,
    StatementError,
    TypeMismatch,
    UnknownName,
    listed,
    nearest,
)
from imq.grammar.record import TYPE_CHECKING
from imq.grammar.unparser import write

from .expressions import Expressions
from .group_check import check_groups, has_total
from .literals import is_text, parse_number, typed
from .parallel_lists import aligned
from .scope import NOTHING
from .set_operations import combine, derived, joined, key_names, names_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imq.engine.catalog.tables import Relation
    from imq.engine.sources.source_ref import Place

    from .scope import Scope


def bind(
    rows: ast.Rows,
    scope: Scope,
    wanted: Sequence[Field] | None = None,
    mentioned: frozenset[str] = frozenset(),
) -> b.Select:
    """Return the query with every name resolved.

    `wanted` are the fields of a query without `select` (what its template reads); None: the table's usual ones.
    `mentioned` are names, folded, that queries of this one say: the two sides of a union then bring these fields.
    """
    if isinstance(rows, ast.Combination):
        rows = ast.Query("", base=rows, span=rows.span)
    return _Binder(rows, scope, mentioned=mentioned).bind(wanted)


def bind_condition(condition: ast.Expr, scope: Scope) -> b.Bound:
    """Return a condition that is about no row (that of an `assert`) with every name resolved."""
    return Expressions(NOTHING, scope, _related).condition(condition, "assert")


def _related(query: ast.Rows, table: Table, scope: Scope) -> b.Select:
    """Bind the rows inside a condition on a row of `table`: of one of its relations, else of a table."""
    if isinstance(query, ast.Query) and (relation := table.relation(query.table)) is not None and not query.targets:
        return _Binder(query.replace(table=relation.table), scope, relation).bind(None)
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


def _check_reference(node: ast.Literal) -> None:
    """Raise `InvalidReference`, with its place, for a text that can name nothing in a registry."""
    try:
        Reference.parse(node.text.strip())
    except InvalidReference as error:
        error.span = node.span
        raise


def elsewhere(name: str, span: Span | None) -> StatementError:
    """Return what is to be said of a table that no source here has."""
    return StatementError(
        f'"{name}": {ELSEWHERE[name]}',
        code="unavailable",
        span=span,
        hints=("tables here: " + listed(TABLES),),
    )


class _Binder:
    """Binds one query. `relation` says how its rows belong to a row outside; `mentioned` is as `bind` has it."""

    def __init__(
        self,
        query: ast.Query,
        scope: Scope,
        relation: Relation | None = None,
        mentioned: frozenset[str] = frozenset(),
    ) -> None:
        if isinstance(query.base, ast.Combination) and (both := joined(query.base)) is not None:
            query = query.replace(base=both)
        self._mentioned = mentioned | names_in(query) if query.base is not None else frozenset()
        self._query = query
        self._scope = scope
        self._relation = relation
        self._bound: dict[int, b.Select] = {}
        self._base = self._bound_base()
        self._table = self._found_table()
        self._expressions = Expressions(self._table, scope, _related)

    def bind(self, wanted: Sequence[Field] | None) -> b.Select:
        query, expressions = self._query, self._expressions
        of = self._targets()
        where = expressions.condition(query.where, "where") if query.where is not None else None
        expressions.singles.clear()  # what a condition asks for may be less than what is shown
        group = tuple(expressions.value(key) for key in query.group) if query.group else None
        expressions.totals = True
        columns = aligned(self._columns(wanted))
        if group is None and any(has_total(column.value) for column in columns):
            group = ()
        expressions.named = {folded(column.name): column.value for column in columns}
        having = expressions.condition(query.having, "having") if query.having is not None else None
        order = self._order(group)
        check_groups(query, group, columns, having, order)
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
            self._relation.link if self._relation is not None else "",
            whole=not query.select and group is None and not query.count,
            nonempty=self._named() if query.nonempty else "",
        )

    # Where the rows come from

    def _bound_base(self) -> b.Select | b.Union | None:
        base = self._query.base
        if isinstance(base, ast.Combination):
            mentioned = self._mentioned.union(*map(names_in, base.by))
            left, right = (bind(side, self._scope, None, mentioned) for side in (base.left, base.right))
            return combine(base, left, right, self._keys, mentioned)
        return bind(base, self._scope, None, self._mentioned) if base is not None else None

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
        places = self._places(table)
        asked = table.remote or (self._relation is not None and self._relation.drives) or self._of_registries(table)
        if asked or any(place.registry for place in places):
            return self._scanned(table, places)
        if table.takes is Of.FILE or table.name in ("sources", "usage"):
            try:
                return self._scope.outside(table, self._paths(table))
            except ImqError as error:
                error.span = error.span or query.span
                raise
        return table

    def _places(self, table: Table) -> tuple[Place, ...]:
        """Return the places that a query asks: those it names, else the session's, where they can have its rows."""
        query = self._query
        places = tuple(self._scope.place(self._expressions_of(table).literal(node)) for node in query.sources)
        for place, node in zip(places, query.sources, strict=True):
            if place.registry and not (table.places or table.name == "images"):
                raise StatementError(
                    f"{table.name} cannot be asked of {place.said}",
                    code="place",
                    span=node.span,
                    hints=(
                        f"such as: {table.name} of {place.said}/app:1"
                        if table.takes is Of.IMAGES or table.remote
                        else "asked of registries are: images, tags, repositories, manifests, search",
                    ),
                )
            if not place.registry and table.remote:
                raise StatementError(
                    f"{table.name} are of registries, not of the store",
                    code="place",
                    span=node.span,
                    hints=(f"such as: {table.name} in registry.local:5000",),
                )
        if places or self._relation is not None or query.targets:
            return places
        if table.name == "images" or table.places:
            return tuple(place for place in self._scope.places if place.registry or not table.remote)
        return ()

    def _of_registries(self, table: Table) -> bool:
        """Whether the images that a query is of are in registries: rows of theirs, or names that no image here has."""
        if table.takes is not Of.IMAGES or self._relation is not None:
            return False
        return any(
            self._is_there(target) if isinstance(target, ast.Literal) else self._target_rows(target).table.remote
            for target in self._query.targets
        )

    def _is_there(self, target: ast.Literal) -> bool:
        """Whether a name says its registry, and is that of no image here."""
        host, _, path = target.text.partition("/")
        if not path or not is_host(host):
            return False
        try:
            self._scope.find(target.text)
        except NotFound:
            return True
        return False

    def _target_rows(self, target: ast.Literal | ast.Variable | ast.Rows) -> b.Select:
        """Bind a query that this one is of, once."""
        assert not isinstance(target, ast.Literal | ast.Variable)
        known = self._bound.get(id(target))
        if known is None:
            known = self._bound[id(target)] = bind(target, self._scope)
        return known

    def _expressions_of(self, table: Table) -> Expressions:
        return Expressions(table, self._scope, _related)

    def _scanned(self, table: Table, places: tuple[Place, ...]) -> Table:
        """Return a table of registries, whose rows are asked for before the query runs."""
        query, relation = self._query, self._relation
        targets: list[str | b.Select] = []
        for target in query.targets if relation is None else ():
            if isinstance(target, ast.Literal):
                said = self._expressions_of(table).literal(target)
                if table.takes is not Of.TERM:
                    _check_reference(said)
                targets.append(said.text)
            else:
                targets.append(self._names(target, table))
        drives = relation.drives if relation is not None else ()
        one = relation is not None and not relation.many
        if not targets and not places and not drives:
            such = {
                Of.NAMES: f"{table.name} of registry.local:5000/team/app:1",
                Of.TERM: f"{table.name} redis",
                Of.REPOSITORIES: f"{table.name} of registry.local:5000/team/app",
            }
            raise StatementError(
                f'"{table.name}": of what?',
                code="target",
                span=query.span,
                hints=(f"such as: {such.get(table.takes, f'{table.name} in registry.local:5000')}",),
            )
        try:
            return self._scope.scan(table, tuple(targets), places, drives, one)
        except ImqError as error:
            error.span = error.span or query.span
            raise

    def _names(self, target: ast.Variable | ast.Rows, table: Table) -> b.Select:
        """Bind a query of names: of whole rows their names, else its one column of texts.

        What is inside of images is asked of the very ones that the rows tell of, by the drives of that relation.
        """
        select = self._target_rows(target)
        inside = select.table.relation(table.name)
        if select.whole and inside is not None and inside.drives and table.takes is Of.IMAGES:
            fields = [select.table.field(name) for name in inside.drives]
            columns = tuple(b.Selected(field.name, b.Column(field), field.heading, field) for field in fields)
            return select.replace(columns=columns, whole=False)
        name = select.table.find("name") or (select.table.find("line") if select.table.name == "lines" else None)
        if select.whole and name is not None:
            return select.replace(columns=(b.Selected(name.name, b.Column(name), name.heading, name),), whole=False)
        if len(select.columns) != 1 or select.count or not is_text(select.columns[0].value.kind):
            raise StatementError(
                "names are wanted here: a query of rows that have names, or one with one column of texts",
                code="target",
                span=target.span,
                hints=("add to the query: select name",),
            )
        return select

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

    def _keys(self, node: ast.Combination, table: Table) -> tuple[b.Bound, ...]:
        """Return what rows of a table are told apart by in a combination."""
        expressions = self._expressions_of(table)
        if node.by:
            return tuple(expressions.value(key) for key in node.by)
        return tuple(b.Column(table.field(name, node.span)) for name in key_names(table))

    def _targets(self) -> tuple[int | b.Select, ...] | None:
        query, table = self._query, self._table
        if not query.targets or table.takes is Of.FILE or table.remote:
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
        select = self._target_rows(target)
        if not select.whole or select.table.name != "images":
            raise StatementError(
                f"{self._table.name} are of images: the query in parentheses gives something else",
                code="target",
                span=target.span,
            )
        return select

    # Clauses

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
        if not column.name and self._table.name == "images" and value == _ROWS:
            title = "COUNT(NAMES)"  # a row is a name, and an image can have several
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

    def _named(self) -> str:
        """Return how a message calls the query: as it was written."""
        return write(self._query.replace(nonempty=False))


_ROWS = b.Total(AGGREGATES["count"], None, distinct=False, kind=Kind.NUMBER)


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


def needs_choice(rows: ast.Rows, verb: str) -> None:
    """Refuse an action on everything that a registry or one of its repositories has, when `all` was not said."""
    if isinstance(rows, ast.Combination) or rows.base is not None or rows.every:
        return
    named = rows.targets and not any(isinstance(target, ast.Literal) and _is_bare(target) for target in rows.targets)
    if named or any(part is not None for part in (rows.where, rows.limit, rows.newest, rows.skip)):
        return
    raise Refused(
        f"{verb} {rows.table} would take every one of the {rows.table}",
        span=rows.span,
        hints=(
            f"say which: {verb} {rows.table} … where …, … except newest 20",
            f"or say so: {verb} all {rows.table} …",
        ),
    )


def _is_bare(target: ast.Literal) -> bool:
    """Whether a name has neither tag nor digest, so that it means a repository."""
    return "@" not in target.text and ":" not in target.text.rpartition("/")[2]


def needs_where(rows: ast.Rows, verb: str) -> None:
    """Refuse an action on a whole table that says neither which rows nor `all`."""
    if isinstance(rows, ast.Combination) or rows.base is not None:
        return
    chosen = rows.every or rows.targets
    if not chosen and all(part is None for part in (rows.where, rows.limit, rows.until, rows.newest)):
        raise Refused(
            f"{verb} {rows.table} would take every one of the {rows.table}",
            span=rows.span,
            hints=(f"say which: {verb} {rows.table} where …", f"or say so: {verb} all {rows.table}"),
        )
