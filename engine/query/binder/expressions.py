"""Binds expressions: resolves fields, converts literals to typed values, expands predicates and checks types.

A bare word on the left of an operator is a field. On the right it is a value of the type of the left operand.
"""

from __future__ import annotations

from imq.engine.catalog.functions import AGGREGATES, FUNCTIONS
from imq.engine.catalog.tables import TABLES, UNAVAILABLE_TABLES, DataType, casefold_name
from imq.engine.oci.digest import parse_hex_prefix
from imq.engine.query import ir
from imq.engine.query.source import NativeTable
from imq.engine.units.time import parse_duration, parse_named_time, parse_time
from imq.grammar import ast
from imq.grammar.errors import (
    ImqError,
    InvalidReference,
    NotFound,
    Span,
    StatementError,
    TypeMismatch,
    UnknownName,
    join_names,
)
from imq.grammar.lexer import is_field_path, split_path
from imq.grammar.record import TYPE_CHECKING

from .comparisons import (
    ORDER_OPERATORS,
    STRING_OPERATORS,
    bind_comparison,
    describe,
    get_arithmetic_type,
    suggest_comparison,
)
from .literals import convert_literal, infer_literal, make_date_error, make_duration_error
from .scope import NOTHING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from imq.engine.catalog.tables import Field, Table
    from imq.engine.query.source import Source

    from .joins import JoinedRows
    from .scope import Scope

    BindRelated = Callable[[ast.RowSource, Table, Scope], ir.Select]

_LAYER_FIELDS = {
    "based on": (("chain_ids", "chain_id"), ("chain_id",)),
    "shares layers with": (("diff_ids", "id"), ("diff_ids", "id")),
}
"""The fields that a relation of layers reads: those of the row, and those of the other images."""
_OTHER_TIMES = frozenset(
    {"tomorrow", "week", "month", "year", "midnight", "noon", "mon", "tue", "wed", "thu", "fri", "sat", "sun"}
)
"""Words that mean times and have no meaning in the language, unless they are the names of images."""
_FOUND = ("found",)
_TIME_OPERATORS = {"before": "<", "after": ">", "since": ">=", "within": ">="}


class Expressions:
    """Binds the expressions of one query.

    `related` binds a query inside an expression. `columns_by_name` are the selected columns by their case-folded names,
    for clauses after `select`. `allows_aggregates` and `allows_previous`: aggregates, and values of the row before, are
    allowed in this clause. `relation_fields` are the
    bound fields of relations, by path, so that a field in `group by` equals the same field in `select`. `joins` are the
    rows joined to the row, by their case-folded names. `query` is the query itself, None for a condition without a row.
    """

    def __init__(self, table: Table, scope: Scope, related: BindRelated) -> None:
        self.table = table
        self.scope = scope
        self._bind_related = related
        self.columns_by_name: dict[str, ir.Expr] = {}
        self.allows_aggregates = False
        self.allows_previous = False
        self.relation_fields: dict[tuple[str, ...], ir.Expr] = {}
        self.joins: dict[str, JoinedRows] = {}
        self.query: ast.Query | None = None

    @property
    def found(self) -> ir.Expr | None:
        """The value of `found`, if a clause has read it."""
        return self.relation_fields.get(_FOUND)

    def bind_condition(self, node: ast.Expr, clause: str) -> ir.Expr:
        """Bind a condition; `clause` is the keyword that it follows."""
        value = self.bind_value(node)
        if value.kind is not DataType.BOOLEAN:
            from imq.grammar.unparser import unparse

            raise TypeMismatch(
                f'"{clause}" expects a condition, but {unparse(node)} is {value.kind.value}',
                span=node.span,
                hints=(
                    f"compare a field with it: FIELD = {unparse(node)}"
                    if isinstance(node, ast.Literal | ast.Variable)
                    else f"compare it with a value: {unparse(node)} {_operator_of(value.kind)} VALUE",
                ),
            )
        return value

    def _bind_operands(self, operands: Sequence[ast.Expr], word: str) -> tuple[ir.Expr, ...]:
        """Bind the conditions around a word, `and` or `or`."""
        bound: list[ir.Expr] = []
        for number, operand in enumerate(operands):
            try:
                bound.append(self.bind_condition(operand, word))
            except (TypeMismatch, UnknownName) as error:
                if number and (hint := suggest_comparison(operands[number - 1], word, operand)):
                    error.hints = (hint,)
                raise
        return tuple(bound)

    def bind_value(self, node: ast.Expr) -> ir.Expr:
        """Bind an expression; a bare word is a field."""
        match node:
            case ast.And(operands):
                return ir.And(self._bind_operands(operands, "and"))
            case ast.Or(operands):
                return ir.Or(self._bind_operands(operands, "or"))
            case ast.Not(operand):
                return ir.Not(self.bind_condition(operand, "not"))
            case ast.Field():
                return self._bind_field(node)
            case ast.ImageField():
                return self._bind_image_field(node)
            case ast.Literal("*", False):
                raise StatementError('"*" is only allowed in select and count(…)', code="column", span=node.span)
            case ast.Literal():
                return infer_literal(self.require_literal(node), self.scope.zone)
            case ast.Call():
                return self.bind_call(node)
            case ast.Arithmetic():
                return self._bind_arithmetic(node)
            case ast.Comparison():
                return self._bind_comparison(node)
            case ast.Between(operand, low, high):
                left = self.bind_value(operand)
                for end in (low, high):
                    if isinstance(end, ast.Literal):
                        self._check_order(left, end)
                return ir.And(
                    (
                        bind_comparison(node, ">=", left, self._bind_right_operand(low, left)),
                        bind_comparison(node, "<=", left, self._bind_right_operand(high, left)),
                    )
                )
            case ast.Subquery(rows):
                from .subqueries import bind_scalar

                return bind_scalar(self._bind_related(rows, NOTHING, self._make_inner_scope()), node)
            case ast.Exists(ast.Query(name) as rows, negated) if self._is_list_field(rows):
                return ir.IsKnown(ir.Column(self.table.get_field(name)), not negated)
            case ast.Exists(rows, negated):
                return self._bind_exists(node, rows, negated=negated)
            case ast.In(operand, _, rows) if rows is not None:
                assert not isinstance(rows, ast.Variable)
                return self._bind_in_subquery(node, operand, rows)
            case ast.In(operand, (ast.Subquery(rows),)):
                return self._bind_in_subquery(node, operand, rows)
            case ast.In(operand, items):
                return self._bind_in_list(node, self.bind_value(operand), items)
            case ast.IsKnown(operand, known):
                return self._bind_is_known(operand, known=known)
            case ast.Predicate():
                return self._bind_predicate(node)
            case ast.Variable():
                raise UnknownName(f"${node.name} has no value", code="unknown-variable", span=node.span)

    def _bind_exists(self, node: ast.Exists, rows: ast.RowSource, *, negated: bool) -> ir.Expr:
        exists = ir.Exists(self.bind_rows(rows))
        if isinstance(rows, ast.Query) and rows.where is not None and self.table is not NOTHING:
            from .open_conditions import check_exists

            scope = self.scope
            check_exists(node, self.table, exists.select.table, scope.note, is_removal=scope.is_removal)
        return ir.Not(exists) if negated else exists

    def _bind_in_subquery(self, node: ast.In, operand: ast.Expr, rows: ast.RowSource) -> ir.Expr:
        from .subqueries import bind_in_subquery

        left = self.bind_value(operand)
        return bind_in_subquery(node, left, self._bind_related(rows, NOTHING, self._make_inner_scope()))

    def _is_list_field(self, rows: ast.Query) -> bool:
        """Whether `no tags` refers to a list field, as manifests have one, and not to a relation."""
        field = self.table.find_field(rows.table)
        bare = rows == ast.Query(rows.table) and self.table.find_relation(rows.table) is None
        return bare and field is not None and field.type is DataType.LIST

    def _bind_is_known(self, operand: ast.Expr, *, known: bool) -> ir.Expr:
        """Bind `is known` and `has`. A relation (`base is known`) is known if it has a row."""
        from .subqueries import find_relation

        if isinstance(operand, ast.Field) and len(operand.path) == 1 and self.table.find_relation(operand.path[0]):
            self._refuse_known_count(operand.path[0], operand.span)

        if (relation := find_relation(self, operand)) is not None:
            exists = ir.Exists(self.bind_rows(ast.Query(relation.name, span=operand.span)))
            return exists if known else ir.Not(exists)
        return ir.IsKnown(self.bind_value(operand), known)

    def _refuse_known_count(self, name: str, span: Span | None) -> None:
        """Refuse `has containers`, which would ask whether their number is known; 0 is."""
        field = self.table.find_field(name)
        if field is not None and field.type is DataType.NUMBER:
            raise StatementError(
                f'"{name}" is a number here, which is known when it is 0',
                code="ambiguous",
                span=span,
                hints=(f"with at least one: any {name}", f"with none: no {name}"),
            )

    def _bind_comparison(self, node: ast.Comparison) -> ir.Expr:
        if node.operator in _TIME_OPERATORS:
            return self._bind_time_predicate(node)
        if node.operator in ("=", "!=") and isinstance(node.right, ast.Literal) and node.right.text.lower() == "null":
            _refuse_null(node, node.right)
        if isinstance(node.left, ast.Literal) and not isinstance(node.right, ast.Literal):
            right = self.bind_value(node.right)
            return bind_comparison(node, node.operator, self._bind_right_operand(node.left, right), right)
        if node.operator == "has":
            from .subqueries import bind_has_row, find_relation

            if (relation := find_relation(self, node.left)) and relation.item_fields:
                return bind_has_row(self, relation, node)
        left = self.bind_value(node.left)
        if node.operator in STRING_OPERATORS and isinstance(node.right, ast.Literal):
            if node.operator == "has" and isinstance(left, ir.Column) and left.field.items is not DataType.TEXT:
                self._check_word(node.right, left)
                item = convert_literal(
                    self.require_literal(node.right), left.field.items, self.scope.zone, describe(left)
                )
                return bind_comparison(node, node.operator, left, item.replace(kind=DataType.TEXT))
            text = self.require_literal(node.right).text
            if left.kind is not DataType.MAP or node.operator != "has":  # any word can be a key of a map
                self._check_word(node.right, left)
            return bind_comparison(node, node.operator, left, ir.Literal(text, DataType.TEXT, text))
        right = self._bind_right_operand(node.right, left)
        if node.operator in ORDER_OPERATORS and isinstance(node.right, ast.Literal):
            self._check_order(left, node.right)
        return bind_comparison(node, node.operator, left, right)

    def _check_order(self, left: ir.Expr, literal: ast.Literal) -> None:
        if left.kind in (DataType.TEXT, DataType.TAG):
            from .ambiguous_units import check_string_order

            check_string_order(left, literal)

    def _bind_right_operand(self, node: ast.Expr, other: ir.Expr) -> ir.Expr:
        """Bind a right operand: a bare word is a value of the type of the other operand."""
        if not isinstance(node, ast.Literal):
            return self.bind_value(node)
        literal = self.require_literal(node)
        if isinstance(other, ir.Column) and other.field.takes_any_text and parse_hex_prefix(literal.text) is None:
            self._check_word(literal, other)
            return ir.Literal(literal.text, other.kind, literal.text)
        try:
            value = _normalize(
                convert_literal(literal, other.kind, self.scope.zone, describe(other), self.scope.now), other, literal
            )
        except TypeMismatch as error:
            if self._is_field_name(literal):
                error.hints = (f"for the field, add a dot: .{literal.text}",)
                error.replacement = f".{literal.text}"
            elif other.kind is DataType.TIME and parse_duration(literal.text) is not None:
                error.hints = _explain_age(other, literal)
            raise
        except StatementError:  # not a platform, but possibly a field
            self._check_word(literal, other)
            raise
        self._check_word(literal, other)
        if other.kind is DataType.DURATION:
            self._check_age(literal)
        elif self.scope.is_removal and other.kind is DataType.SIZE:
            from .ambiguous_units import check_size

            check_size(value, literal)
        return value

    def _check_age(self, literal: ast.Literal) -> None:
        if self.scope.is_removal:
            from .ambiguous_units import check_age

            check_age(literal.text, literal.span)

    def _check_word(self, node: ast.Literal, other: ir.Expr) -> None:
        """Refuse a bare word as a value if it also names a field, a relation or a condition."""
        known = other.field.values if isinstance(other, ir.Column) else ()
        if node.text.lower() in known or node.quoted or node.span is None or not is_field_path(node.text):
            return
        meaning, hint = self._find_other_meaning(node)
        if meaning:
            from imq.grammar.unparser import quote

            raise StatementError(
                f'"{node.text}" is ambiguous: it could be a value or the name of {meaning}',
                code="ambiguous-word",
                span=node.span,
                hints=(hint, f"for the value: {quote(node.text)}"),
            )

    def _find_other_meaning(self, node: ast.Literal) -> tuple[str, str]:
        """Return what else a bare word can name, and a hint for that meaning; empty strings for nothing."""
        if self._is_field_name(node):
            return "a field", f"for the field: .{node.text}"
        name = casefold_name(node.text)
        if self.table.find_relation(name) is not None:
            return "a relation", f"for the relation: any {name}, no {name}, count({name}), or one of its fields"
        from imq.engine.catalog.predicates import PREDICATES

        if name in PREDICATES:
            return "a condition", f"for the condition: and {name}"
        first, *rest = split_path(node.text)
        for table in self.scope.outer:
            is_of_row = bool(rest) and casefold_name(first) in (table.name, table.name.removesuffix("s"))
            if table.find_field(rest[0] if is_of_row else first) is not None:
                hint = "a query inside a condition can only use its own fields"
                return "a field of the outer row", f"{hint}; to compare rows: FIELD in (QUERY select FIELD)"
        return "", ""

    def is_field(self, node: ast.Literal) -> bool:
        """Whether a bare word in the condition of a join names a field. Raises `StatementError` for one of Python."""
        if node.span is not None or not is_field_path(node.text):
            return self._is_field_name(node)
        if self._is_field_name(node.replace(span=Span(0, 0))):
            raise StatementError(
                f'"{node.text}" is ambiguous in the condition of a join: it could be a value or the name of a field',
                code="ambiguous-word",
                hints=(f"for the field: f.{node.text}", f'for the value: imq.text("{node.text}")'),
            )
        return False

    def _is_field_name(self, node: ast.Literal) -> bool:
        """Whether a bare word in the statement names a field, a selected column, or a path of one of them."""
        if node.quoted or node.span is None or not is_field_path(node.text):
            return False
        name, *rest = split_path(node.text)
        if (joined := self.joins.get(casefold_name(name))) is not None:
            return bool(rest) and any(joined.table.find_field(one) is not None for one in (rest[0], ".".join(rest)))
        field = self.table.find_field(name)
        if rest and field is None and self.table.find_field(".".join((name, *rest))) is not None:
            return True
        if not rest:
            return field is not None or casefold_name(name) in self.columns_by_name
        if field is not None and field.type is DataType.MAP:
            return True
        if field is not None and field.type is DataType.VERSION:
            return len(rest) == 1 and self.table.find_field(f"{field.name}_{rest[0]}") is not None
        relation = self.table.find_relation(name)
        return relation is not None and not relation.is_many and TABLES[relation.table].find_field(rest[0]) is not None

    def _bind_in_list(self, node: ast.In, left: ir.Expr, items: tuple[ast.Expr, ...]) -> ir.Expr:
        tests = [bind_comparison(node, "=", left, self._bind_right_operand(item, left)) for item in items]
        values = [
            test.right for test in tests if isinstance(test, ir.Comparison) and isinstance(test.right, ir.Literal)
        ]
        if len(values) == len(tests):
            return ir.InList(left, tuple(values))
        return ir.Or(tuple(tests)) if len(tests) > 1 else tests[0]

    def _bind_time_predicate(self, node: ast.Comparison) -> ir.Expr:
        """Bind `before`, `after`, `since`, `within`: the right operand is a time, a duration ago, or an image."""
        left = self.bind_value(node.left)
        if left.kind is not DataType.TIME:
            raise TypeMismatch(
                f'"{node.operator}" expects a time on its left, but {describe(left)} is {left.kind.value}',
                span=node.span,
            )
        right = node.right
        operator = _TIME_OPERATORS[node.operator]
        if not isinstance(right, ast.Literal):
            value = self.bind_value(right)
            if value.kind is DataType.DURATION:
                return ir.Comparison(operator, left, self._subtract_from_now(value))
            if value.kind is not DataType.TIME or node.operator == "within":
                expected = "a duration" if node.operator == "within" else "a time"
                raise TypeMismatch(f"{describe(value)} is {value.kind.value}, not {expected}", span=right.span)
            return ir.Comparison(operator, left, value)
        literal = self.require_literal(right)
        self._check_word(literal, left)
        ago = parse_duration(literal.text.removesuffix(" ago"))
        if ago is not None:
            self._check_age(literal)
            return ir.Comparison(operator, left, ir.Literal(self.scope.now - ago, DataType.TIME, literal.text))
        moment = parse_named_time(literal.text, self.scope.now, self.scope.zone)
        moment = moment if moment is not None else parse_time(literal.text, self.scope.zone)
        if node.operator == "within":
            raise make_duration_error(literal, "within ") or TypeMismatch(
                '"within" expects a duration', span=literal.span, hints=("example: within 30d",)
            )
        if moment is not None:
            return ir.Comparison(operator, left, ir.Literal(moment, DataType.TIME, literal.text))
        # as in docker: strictly before or after the image, which excludes the image itself
        try:
            created = self._bind_field_of_image("created", literal)
        except (InvalidReference, NotFound):
            if error := _explain_moment(literal, node.operator):
                raise error from None
            raise
        return ir.Comparison({">=": ">"}.get(operator, operator), left, created)

    def _subtract_from_now(self, duration: ir.Expr) -> ir.Expr:
        return ir.Arithmetic("-", ir.FunctionCall(FUNCTIONS["now"], (), DataType.TIME), duration, DataType.TIME)

    def _bind_predicate(self, node: ast.Predicate) -> ir.Expr:
        from imq.engine.catalog.predicates import PREDICATES

        predicate = PREDICATES[node.name]
        if node.name == "contains text" and self.table.find_field("cmd") is None:
            return self._bind_contains_text(node)
        if predicate.expand is not None:
            expanded = predicate.expand(node.arguments)
            if node.name == "outdated" and self.table.name == "containers":
                expanded = expanded.replace(right=ast.Field(("image_digest",)))  # of the image that it was made from
            try:
                return self.bind_value(_set_span(expanded, node))
            except ImqError as error:
                error.span = error.span or node.span
                raise
        if node.name in ("based on", "shares layers with"):
            return self._bind_layer_relation(node)
        created = ir.Column(self.table.get_field("created", node.span))
        (age,) = node.arguments
        if isinstance(age, ast.Literal):
            literal = self.require_literal(age)
            value = convert_literal(literal, DataType.DURATION, self.scope.zone)
            self._check_age(literal)
            assert isinstance(value.value, int)
            moment: ir.Expr = ir.Literal(self.scope.now - value.value, DataType.TIME, f"{literal.text} ago")
        else:
            duration = self.bind_value(age)
            if duration.kind is not DataType.DURATION:
                raise TypeMismatch(f"{describe(duration)} is {duration.kind.value}, not a duration", span=age.span)
            moment = self._subtract_from_now(duration)
        return ir.Comparison("<" if node.name == "older than" else ">", created, moment)

    def _bind_contains_text(self, node: ast.Predicate) -> ir.Expr:
        """Bind `contains text` of rows that are no images: containers have texts too."""
        from imq.engine.catalog.predicates import make_found_query

        if self.table.find_relation("texts") is None:
            content = "content" if self.table.find_field("content") is not None else "text"
            can_search = self.table.find_field(content) is not None
            raise StatementError(
                f'"{node.name}" is a condition on images and containers',
                code="phrase",
                span=node.span,
                hints=(f'for {self.table.name}: {content} like "*…*"' if can_search else "",),
            )
        return self.bind_value(_set_span(ast.Exists(make_found_query(node.arguments)), node))

    def _bind_layer_relation(self, node: ast.Predicate) -> ir.Expr:
        """Bind `based on X` and `shares layers with X`, where X is an image of the same source or a query of images."""
        if self.table.find_field("chain_ids") is None:
            raise StatementError(f'"{node.name}" is a condition on images', code="phrase", span=node.span)
        (images,) = node.arguments
        own, theirs = _LAYER_FIELDS[node.name]
        if isinstance(images, ast.Subquery):
            select = self._bind_related(images.rows, NOTHING, self._make_inner_scope())
            if not select.is_whole_rows or select.table.find_field("chain_ids") is None:
                raise StatementError(
                    f'"{node.name}" expects an image, or a query of images without select',
                    code="phrase",
                    span=images.span,
                    hints=(f"example: {node.name} (images in docker where name = debian:12)",),
                )
            fields = [select.table.get_field(name) for name in theirs]
            columns = tuple(ir.Projection(field.name, ir.Column(field), "", field) for field in fields)
            select = select.replace(columns=columns, is_whole_rows=False)
        elif self.table.is_staged:
            select = self._select_image(theirs, self.require_literal(images))
        else:
            literal = self.require_literal(images)
            return ir.ImageRelation(node.name, self.find_image_key(literal), literal.text)
        return ir.LayerRelation(node.name, tuple(ir.Column(self.table.get_field(name)) for name in own), select)

    # Values

    def require_literal(self, node: ast.Expr) -> ast.Literal:
        """Return a literal. Raises `TypeMismatch` for another expression, and `StatementError` for invalid Unicode."""
        if not isinstance(node, ast.Literal):
            raise TypeMismatch("expected a literal", span=node.span)
        try:
            node.text.encode()
        except UnicodeEncodeError:
            raise StatementError("this string is not valid UTF-8", code="encoding", span=node.span) from None
        return node

    def _bind_field(self, node: ast.Field) -> ir.Expr:
        name, *rest = node.path
        if not rest and casefold_name(name) in self.columns_by_name:
            return self.columns_by_name[casefold_name(name)]
        aggregate = AGGREGATES.get(name.lower()) if not rest else None
        if (
            aggregate is not None
            and aggregate.is_argument_optional
            and (self.allows_aggregates or self.table.find_field(name) is None)
        ):
            return self.bind_call(ast.Call(aggregate.name, (), span=node.span))
        if (joined := self.joins.get(casefold_name(name))) is not None:
            return self._bind_joined_field(joined, rest, node)
        own_field = self.table.find_field(name)
        if rest and own_field is None and (whole := self.table.find_field(".".join(node.path))) is not None:
            return ir.Column(whole)  # a column of a query in parentheses: `o.team`, `label.env`
        if (
            rest
            and (relation := self.table.find_relation(name))
            and (own_field is None or own_field.type is not DataType.MAP)
        ):
            if node.path not in self.relation_fields:
                from .subqueries import bind_relation_field

                self.relation_fields[node.path] = bind_relation_field(self, relation, rest, node)
            return self.relation_fields[node.path]
        if rest and own_field is None and casefold_name(name) in UNAVAILABLE_TABLES:
            raise StatementError(
                f'"{name}": {UNAVAILABLE_TABLES[casefold_name(name)]}', code="unavailable", span=node.span
            )
        if not rest and own_field is None and _is_predicate(name):
            return self._bind_predicate(ast.Predicate(name.lower(), (), node.span))
        if self.table is NOTHING:
            table = name.lower() if name.lower() in TABLES else "images"
            raise StatementError(
                f'"{name}": a field needs a row, and this condition has none',
                code="no-row",
                span=node.span,
                hints=(f"use a query: no {table} where …, any {table} where …, ({table} … count) = 0",),
            )
        if (
            self.table.is_staged
            and (of_images := TABLES["images"].find_field(name))
            and of_images.about_containers
            and not own_field
        ):
            from imq.engine.query.unavailable_fields import make_unavailable_error

            raise make_unavailable_error(of_images, self.table, node.span)
        if not rest and casefold_name(name) == _FOUND[0] and own_field is None and self.table.find_relation("texts"):
            return self._bind_found(node)
        try:
            field = self.table.get_field(name, node.span)
        except UnknownName as error:
            if not rest and (function := FUNCTIONS.get(name.lower())) is not None and not function.is_internal:
                error.hints = (f"{function.name} is a function: {function.name}(…)",)
            raise
        part = _find_part(self.table, field, rest, node.span)
        return ir.Column(part) if part is not None else ir.MapItem(field, self._read_key(rest, node))

    def _bind_found(self, node: ast.Field) -> ir.Expr:
        """Bind `found`: where the images of a query have the strings that `contains text` looks for."""
        from imq.engine.catalog.predicates import make_found_query

        from .found_texts import list_found_texts

        if _FOUND not in self.relation_fields:
            texts = list_found_texts(self.query) if self.query is not None else ()
            if not texts:
                raise StatementError(
                    '"found" says where contains text found its string, and this query has no such condition',
                    code="found",
                    span=node.span,
                    hints=('example: images where contains text "10.0.0.5" select name, found',),
                )
            rows = ast.Subquery(make_found_query(texts), node.span)
            value = self.bind_call(ast.Call("list", (rows,), span=node.span))
            assert isinstance(value, ir.ScalarSubquery)
            (column,) = value.select.columns
            order = tuple(ir.Column(value.select.table.get_field(name)) for name in ("kind", "key", "line", "location"))
            total = column.replace(value=column.value.replace(aligned_with=order))
            self.relation_fields[_FOUND] = value.replace(select=value.select.replace(columns=(total,)))
        return self.relation_fields[_FOUND]

    def _bind_joined_field(self, joined: JoinedRows, path: list[str], node: ast.Field) -> ir.Expr:
        """Bind `o.team`: a field of the row that a join adds."""
        if not path:
            fields = [field.name for field in joined.table.fields]
            raise StatementError(
                f'"{node.path[0]}" is a row, and an expression needs one of its fields',
                code="join",
                span=node.span,
                hints=(f"example: {node.path[0]}.{fields[0]}" if fields else "", f"fields: {join_names(fields)}"),
            )
        whole = joined.table.find_field(".".join(path))
        name, *rest = [".".join(path)] if whole is not None else path
        field = joined.table.get_field(name, node.span)
        part = _find_part(joined.table, field, rest, node.span)
        if part is not None:
            return joined.use(part)
        return ir.MapItem(joined.use(field).field, self._read_key(rest, node), join=joined.name)

    def _read_key(self, path: list[str], node: ast.Field) -> str:
        """Return the key of a map in the path of a field."""
        return self.require_literal(ast.Literal(".".join(path), span=node.span)).text

    def _bind_image_field(self, node: ast.ImageField) -> ir.Expr:
        if len(node.path) > 1:
            path, target = ".".join(node.path), self.require_literal(node.target).text
            raise StatementError(
                "expected one field of an image",
                code="field-of",
                span=node.span,
                hints=(f"for a part of a field: (images where name = {target} select {path} limit 1)",),
            )
        name = node.path[0].lower()
        if name in TABLES and TABLES["images"].find_field(name) is None:
            raise StatementError(
                f'"{name} of …" returns rows, expected a value',
                code="no-row",
                span=node.span,
                hints=(f"use a condition on them: any {name} of … where …, no {name} of …, ({name} of … count) = 0",),
            )
        return self._bind_field_of_image(node.path[0], self.require_literal(node.target), node.span)

    def _bind_field_of_image(self, name: str, literal: ast.Literal, span: Span | None = None) -> ir.Expr:
        """Bind a field of one image: of the store, or of a registry in a query of registries."""
        images = self.scope.fetch.sources.find_native("images") or TABLES["images"]
        field = images.get_field(name, span)
        if not self.table.is_staged and not self._is_without_store():
            try:
                return ir.ImageField(field, self.find_image_key(literal), literal.text)
            except NotFound as error:
                if TABLES["tags"].find_field(field.name) is not None and literal.text.lower() not in TABLES:
                    query = f"(tags of {literal.text} select {field.name} limit 1)"
                    error.hints = (*error.hints, f"this refers to the store; for an image of a registry: {query}")
                raise
        select = self._select_image((field.name,), literal)
        return ir.ScalarSubquery(select, select.columns[0].value.kind)

    def _select_image(self, names: tuple[str, ...], literal: ast.Literal) -> ir.Select:
        """Bind the query of fields of an image: in the sources of this table, or of a tag if one of them has tags."""
        if (found := self._select_image_in_source(names, literal)) is not None:
            return found
        for name in names:
            TABLES["tags"].get_field(name, literal.span)
        tag_query = ast.Query(
            TABLES["tags"].name,
            (ast.Literal(_add_default_tag(literal)),),
            select=_make_columns(names, literal),
            limit=ast.Limit(ast.Literal("1")),
            span=literal.span,
        )
        return self._bind_related(tag_query, NOTHING, self.scope)

    def _select_image_in_source(self, names: tuple[str, ...], literal: ast.Literal) -> ir.Select | None:
        """Bind the query of fields of an image in the sources of this table; None when one of them has tags."""
        if self.table is NOTHING:
            sources = self._list_default_sources()
        else:
            sources = [self.scope.fetch.sources[name] for name in self.scope.fetch.list_sources(self.table)]
        refs = self._list_refs()
        conditions = {source.match_name(literal.text) for source in sources}
        if not refs or None in conditions:
            return None
        parts = tuple(condition for condition in conditions if condition is not None)
        query = ast.Query(
            "images",
            sources=refs,
            where=parts[0] if len(parts) == 1 else ast.Or(parts),
            select=_make_columns(names, literal),
            order=(ast.Ordering(ast.IsKnown(ast.Field(("name",))), descending=True),),
            limit=ast.Limit(ast.Literal("1")),
            span=literal.span,
        )
        return self._bind_related(query, NOTHING, self.scope).replace(image=literal.text)

    def _is_without_store(self) -> bool:
        """Whether a condition without a row is about images of other sources than the store."""
        return self.table is NOTHING and not any(
            isinstance(source.tables.get("images"), NativeTable) for source in self._list_default_sources()
        )

    def _list_default_sources(self) -> list[Source]:
        """Return the sources of a query of images without `in`."""
        return [self.scope.fetch.sources[ref.source] for ref in self.scope.default_refs()]

    def _list_refs(self) -> tuple[ast.Literal, ...]:
        """Return the sources of this table as a statement names them."""
        refs = self.scope.fetch.list_refs(self.table) or tuple(ref.text for ref in self.scope.default_refs())
        return tuple(ast.Literal(ref, quoted=True) for ref in refs)

    def find_image_key(self, literal: ast.Literal) -> int:
        """Return the key of the image that a literal names."""
        try:
            return self.scope.find(literal.text)
        except ImqError as error:
            error.span = error.span or literal.span
            if literal.text.lower() in TABLES:
                error.hints = (f"for a query: of ({literal.text} where …)", *error.hints)
            raise

    # Queries inside

    def _make_inner_scope(self) -> Scope:
        """Return the scope of a query inside an expression."""
        return self.scope.replace(outer=(self.table, *self.scope.outer)) if self.table is not NOTHING else self.scope

    def bind_rows(self, rows: ast.RowSource) -> ir.Select:
        """Bind the rows of a relation of this table, or of another table, with a hint for a field of the outer row."""
        try:
            select = self._bind_related(rows, self.table, self._make_inner_scope())
        except UnknownName as error:
            if (
                isinstance(rows, ast.Query)
                and self.table.find_relation(rows.table)
                and self.table.find_field(error.name or "-")
            ):
                error.hints = (
                    *error.hints,
                    f"where extends to the end; to end it earlier: (any {rows.table} where …) and …",
                )
            raise
        if self.table is not NOTHING:
            from .open_conditions import check_related

            check_related(rows, self.table, self.scope.outer)
        return select

    def bind_call(self, node: ast.Call) -> ir.Expr:
        """Bind a function or an aggregate."""
        from .calls import bind_aggregate, bind_call

        if node.name not in AGGREGATES:
            return bind_call(self, node)
        if node.arguments:
            from .subqueries import bind_relation_aggregate

            if (bound := bind_relation_aggregate(self, node)) is not None:
                return bound
        return bind_aggregate(self, node)

    def _bind_arithmetic(self, node: ast.Arithmetic) -> ir.Expr:
        left = self._bind_number(node.left)
        operand = node.right
        if left.kind is DataType.TIME and isinstance(operand, ast.Literal) and parse_duration(operand.text) is not None:
            self._check_age(operand)
            right: ir.Expr = convert_literal(
                operand, DataType.DURATION, self.scope.zone
            )  # quoted ones too: variables are quoted
        else:
            right = self._bind_number(operand)
        kind = get_arithmetic_type(node.operator, left.kind, right.kind)
        if kind is None:
            raise TypeMismatch(
                f'"{node.operator}" cannot combine {describe(left)}, {left.kind.value}, and {describe(right)},'
                f" {right.kind.value}",
                span=node.span,
            )
        return ir.Arithmetic(node.operator, left, right, kind)

    def _bind_number(self, node: ast.Expr) -> ir.Expr:
        """Bind an operand of arithmetic; a bare word is a number, or else a field."""
        if isinstance(node, ast.Literal) and not node.quoted:
            value = infer_literal(node, self.scope.zone)
            return (
                self._bind_field(ast.Field(split_path(node.text), node.span)) if value.kind is DataType.TEXT else value
            )
        return self.bind_value(node)


def _refuse_null(node: ast.Comparison, literal: ast.Literal) -> None:
    """Raise `TypeMismatch` for `= null` in the text of a statement, unless it is in quotes. In SQL it means unknown."""
    if literal.quoted or literal.span is None:
        return
    from imq.grammar.unparser import unparse

    meant = f"{unparse(node.left)} is {'unknown' if node.operator == '=' else 'known'}"
    error = TypeMismatch(
        f'"{node.operator} {literal.text}" compares with the string "{literal.text}"',
        code="value",
        span=node.span,
        hints=(f'for unknown values: {meant}; for the string: {node.operator} "{literal.text}"',),
    )
    error.replacement = meant
    raise error


def _operator_of(kind: DataType) -> str:
    """Return the operator with which values of a type are mostly compared."""
    return ">" if kind in (DataType.SIZE, DataType.NUMBER, DataType.DURATION, DataType.TIME) else "="


def _find_part(table: Table, field: Field, path: list[str], span: Span | None) -> Field | None:
    """Return the field of a path: `tag`, `version.major`; None for an item of a map."""
    if not path:
        return field
    if field.type is DataType.VERSION and len(path) == 1:
        part = table.find_field(f"{field.name}_{path[0]}")
        if part is not None:
            return part
    if field.type is not DataType.MAP:
        raise TypeMismatch(f'"{field.name}" is {field.type.value} and has no "{".".join(path)}"', span=span)
    return None


def _normalize(value: ir.Literal, other: ir.Expr, literal: ast.Literal) -> ir.Literal:
    """Return a value in the normal form of the field that it is compared with."""
    field = other.field if isinstance(other, ir.Column | ir.ImageField) else None
    if field is None or field.normalise is None or value.kind is not DataType.TEXT:
        return value
    try:
        return value.replace(value=field.normalise(str(value.value)))
    except StatementError as error:
        error.span = literal.span
        raise


def _explain_age(time: ir.Expr, literal: ast.Literal) -> tuple[str, str]:
    """Return hints for both meanings of a comparison of a time with a duration."""
    name, age = describe(time), literal.text
    return f"older: {name} < {age} ago", f"newer: {name} > {age} ago"


def _explain_moment(literal: ast.Literal, operator: str) -> TypeMismatch | None:
    """Return the error of a literal after `before` that is written like a time; None when it may name an image."""
    if error := make_date_error(literal) or make_duration_error(literal, f"{operator} ", " ago"):
        return error
    if literal.text.lower() not in _OTHER_TIMES and " " not in literal.text:
        return None
    return TypeMismatch(
        f'"{literal.text[:80]}" is not a time',
        code="date",
        span=literal.span,
        hints=("times: 2024-01-31, 30d ago, now, today, yesterday, monday, last week, this month",),
    )


def _make_columns(names: tuple[str, ...], literal: ast.Literal) -> tuple[ast.Column, ...]:
    """Return selected fields, with the span of the image that they are of."""
    return tuple(ast.Column(ast.Field((name,), literal.span), span=literal.span) for name in names)


def _is_predicate(name: str) -> bool:
    """Whether a bare word that is no field is a predicate."""
    from imq.engine.catalog.predicates import PREDICATES

    return name.lower() in PREDICATES


def _add_default_tag(literal: ast.Literal) -> str:
    """Return the reference of a literal in a registry, with its tag."""
    from imq.engine.oci.reference import Reference

    try:
        return str(Reference.parse(literal.text).with_default_tag())
    except ImqError as error:
        error.span = literal.span
        raise


def _set_span(node: ast.Expr, predicate: ast.Expr) -> ast.Expr:
    """Return the expansion of a predicate with the span of the predicate."""
    return node.replace(span=predicate.span)
