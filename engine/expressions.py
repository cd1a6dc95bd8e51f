"""Expressions: names to fields, words to typed values, phrases to what they stand for; every type is checked here.

Left of an operator a bare word is a field; right of one it is a value, read as the kind of what it meets.
"""

from __future__ import annotations

from imq.grammar import ast
from imq.grammar.errors import ImqError, StatementError, TypeMismatch, UnknownName, listed, nearest
from imq.grammar.lexer import split_path
from imq.grammar.printer import write
from imq.grammar.record import TYPE_CHECKING, Record

from . import bound as b
from .functions import AGGREGATES, FUNCTIONS
from .literals import guessed, is_text, typed
from .oci.digest import hex_prefix, is_digest
from .phrases import PHRASES
from .render.units import parse_duration, parse_moment
from .tables import ELSEWHERE, TABLES, Field, Kind, Relation, Table, folded

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import tzinfo

    from imq.grammar.errors import Span

    from .functions import Aggregate, Function

    Related = Callable[[ast.Rows, Table, "Scope"], b.Select]

_OF_TEXTS = ("like", "matches", "has")
_SIZED = (Kind.NUMBER, Kind.SIZE, Kind.DURATION)
_ORDERED_ONLY = ("<", "<=", ">", ">=")
_MOMENTS = {"before": "<", "after": ">", "since": ">=", "within": ">="}


NOTHING = Table("no table", "What a condition is about that is about no row.", (), (), ())
"""The table of an `assert`, and of a query that stands alone in an expression."""


class Scope(Record):
    """What a statement is bound against: the time it began, the local zone, and where images and lists are found.

    `find` returns the key of the image that a text names, or raises `NotFound`. `outside` returns a table that no
    store has (lines of a file, the sources) with what it holds now; `source` refuses a source that is not there.
    """

    now: int
    zone: tzinfo | None
    find: Callable[[str], int]
    outside: Callable[[Table, tuple[str, ...]], Table]
    source: Callable[[ast.Literal], None]


class Expressions:
    """Binds the expressions of one query.

    `related` binds a query inside an expression. `named` are the selected columns by their folded names, for clauses
    that come after `select`; `totals` says that aggregates may stand here.
    """

    def __init__(self, table: Table, scope: Scope, related: Related) -> None:
        self._table = table
        self._scope = scope
        self._related = related
        self.named: dict[str, b.Bound] = {}
        self.totals = False

    def condition(self, node: ast.Expr, clause: str) -> b.Bound:
        """Bind what must be true or false; `clause` names the word that wants it."""
        value = self.value(node)
        if value.kind is not Kind.BOOLEAN:
            raise TypeMismatch(
                f'"{clause}" wants a condition, but {write(node)} is {value.kind.value}',
                span=node.span,
                hints=(f"compare it, or write: {write(node)} is known",),
            )
        return value

    def value(self, node: ast.Expr) -> b.Bound:
        """Bind an expression whose words stand on the left of operators."""
        match node:
            case ast.And(operands):
                return b.Every(tuple(self.condition(operand, "and") for operand in operands))
            case ast.Or(operands):
                return b.Any(tuple(self.condition(operand, "or") for operand in operands))
            case ast.Not(operand):
                return b.Negation(self.condition(operand, "not"))
            case ast.Field():
                return self._field(node)
            case ast.FieldOf():
                return self._field_of(node)
            case ast.Literal():
                return guessed(self.literal(node), self._scope.zone)
            case ast.Call():
                return self._call(node)
            case ast.Arithmetic():
                return self._arithmetic(node)
            case ast.Comparison():
                return self._comparison(node)
            case ast.Between(operand, low, high):
                left = self.value(operand)
                return b.Every(
                    (
                        self._test(node, ">=", left, self._right(low, left)),
                        self._test(node, "<=", left, self._right(high, left)),
                    )
                )
            case ast.Subquery(rows):
                return self._single(self._related(rows, NOTHING, self._scope), node)
            case ast.Exists(rows, negated):
                exists = b.Exists(self._rows(rows))
                return b.Negation(exists) if negated else exists
            case ast.In(operand, _, rows) if rows is not None:
                assert not isinstance(rows, ast.Variable)
                return self._within(node, self.value(operand), self._related(rows, NOTHING, self._scope))
            case ast.In(operand, (ast.Subquery(rows),)):
                return self._within(node, self.value(operand), self._related(rows, NOTHING, self._scope))
            case ast.In(operand, items):
                return self._among(node, self.value(operand), items)
            case ast.Known(operand, known):
                return b.IsKnown(self.value(operand), known)
            case ast.Phrase():
                return self._phrase(node)
            case ast.Variable():
                raise UnknownName(f"${node.name} has no value", code="unknown-variable", span=node.span)

    def _comparison(self, node: ast.Comparison) -> b.Bound:
        if node.operator in _MOMENTS:
            return self._moment(node)
        if isinstance(node.left, ast.Literal) and not isinstance(node.right, ast.Literal):
            right = self.value(node.right)
            return self._test(node, node.operator, self._right(node.left, right), right)
        if node.operator == "has" and (relation := self._owned(node.left)) is not None:
            return self._has_row(relation, node)
        left = self.value(node.left)
        if node.operator in _OF_TEXTS and isinstance(node.right, ast.Literal):
            said = self.literal(node.right).text
            return self._test(node, node.operator, left, b.Value(said, Kind.TEXT, said))
        return self._test(node, node.operator, left, self._right(node.right, left))

    def _right(self, node: ast.Expr, other: b.Bound) -> b.Bound:
        """Bind what stands on the right of an operator: a bare word is a value of the other side's kind."""
        if isinstance(node, ast.Literal):
            literal = self.literal(node)
            try:
                return typed(literal, other.kind, self._scope.zone, _called(other))
            except TypeMismatch as error:
                if not literal.quoted and self._table.find(literal.text):
                    error.hints = (f"to mean the field, put a dot before it: .{literal.text}",)
                raise
        return self.value(node)

    def _test(self, node: ast.Expr, operator: str, left: b.Bound, right: b.Bound) -> b.Bound:
        if operator in _OF_TEXTS and not is_text(right.kind):
            raise TypeMismatch(
                f'"{operator}" wants a text on its right, but {_called(right)} is {right.kind.value}', span=node.span
            )
        if operator == "has":
            if left.kind is not Kind.LIST and not (left.kind is Kind.MAP and isinstance(left, b.Column)):
                raise TypeMismatch(
                    f'"has" wants a list or a map on its left, but {_called(left)} is {left.kind.value}', span=node.span
                )
            return b.Test("has", left, right)
        if left.kind in (Kind.LIST, Kind.MAP):
            advice = f"{_called(left)} has X" if left.kind is Kind.LIST else f"{_called(left)}.KEY {operator} X"
            raise TypeMismatch(
                f'{_called(left)} is {left.kind.value} and cannot be compared with "{operator}"',
                span=node.span,
                hints=(advice,),
            )
        if operator in ("like", "matches"):
            if not is_text(left.kind):
                raise TypeMismatch(
                    f'"{operator}" wants a text, but {_called(left)} is {left.kind.value}', span=node.span
                )
            if operator == "matches":
                self._check_pattern("matches", right, node)
            return b.Test(operator, left, right)
        if Kind.DIGEST in (left.kind, right.kind) and (short := _short_id(operator, left, right)) is not None:
            return short
        self.comparable(left, right, node.span)
        if operator in _ORDERED_ONLY and left.kind is Kind.BOOLEAN:
            raise TypeMismatch(f"{_called(left)} is {left.kind.value} and has no order", span=node.span)
        return b.Test(operator, left, right)

    def _among(self, node: ast.In, left: b.Bound, items: tuple[ast.Expr, ...]) -> b.Bound:
        tests = [self._test(node, "=", left, self._right(item, left)) for item in items]
        values = [test.right for test in tests if isinstance(test, b.Test) and isinstance(test.right, b.Value)]
        if len(values) == len(tests):
            return b.Among(left, tuple(values))
        return b.Any(tuple(tests)) if len(tests) > 1 else tests[0]

    def _moment(self, node: ast.Comparison) -> b.Bound:
        """Bind `before`, `after`, `since`, `within`: the right is a date, a duration ago, or an image's creation."""
        left = self.value(node.left)
        if left.kind is not Kind.TIME:
            raise TypeMismatch(
                f'"{node.operator}" wants a time on its left, but {_called(left)} is {left.kind.value}', span=node.span
            )
        right = node.right
        operator = _MOMENTS[node.operator]
        if not isinstance(right, ast.Literal):
            value = self.value(right)
            if value.kind is Kind.DURATION:
                return b.Test(operator, left, self._ago(value))
            if value.kind is not Kind.TIME or node.operator == "within":
                wanted = "a duration" if node.operator == "within" else "a time"
                raise TypeMismatch(f"{_called(value)} is {value.kind.value}, not {wanted}", span=right.span)
            return b.Test(operator, left, value)
        literal = self.literal(right)
        ago = parse_duration(literal.text.removesuffix(" ago"))
        if ago is not None:
            return b.Test(operator, left, b.Value(self._scope.now - ago, Kind.TIME, literal.text))
        moment = parse_moment(literal.text, self._scope.zone)
        if node.operator == "within":
            raise TypeMismatch('"within" wants a duration', span=literal.span, hints=("such as: within 30d",))
        if moment is not None:
            return b.Test(operator, left, b.Value(moment, Kind.TIME, literal.text))
        # docker's rule: strictly before or after the image, so that it is itself left out
        created = self._lookup(TABLES["images"].field("created"), literal)
        return b.Test({">=": ">"}.get(operator, operator), left, created)

    def _ago(self, duration: b.Bound) -> b.Bound:
        return b.Compute("-", b.Apply(FUNCTIONS["now"], (), Kind.TIME), duration, Kind.TIME)

    def _phrase(self, node: ast.Phrase) -> b.Bound:
        phrase = PHRASES[node.words]
        if phrase.expand is not None:
            try:
                return self.value(_placed(phrase.expand(node.arguments), node))
            except ImqError as error:
                error.span = error.span or node.span
                raise
        if node.words in ("based on", "shares layers with"):
            self._table.field("chain_id", node.span)
            (image,) = node.arguments
            literal = self.literal(image)
            return b.Kin(node.words, self.image(literal), literal.text)
        created = b.Column(self._table.field("created", node.span))
        (age,) = node.arguments
        if isinstance(age, ast.Literal):
            literal = self.literal(age)
            value = typed(literal, Kind.DURATION, self._scope.zone)
            assert isinstance(value.value, int)
            moment: b.Bound = b.Value(self._scope.now - value.value, Kind.TIME, f"{literal.text} ago")
        else:
            duration = self.value(age)
            if duration.kind is not Kind.DURATION:
                raise TypeMismatch(f"{_called(duration)} is {duration.kind.value}, not a duration", span=age.span)
            moment = self._ago(duration)
        return b.Test("<" if node.words == "older than" else ">", created, moment)

    # Values

    def literal(self, node: ast.Expr) -> ast.Literal:
        """Return a literal, or refuse what is none. Text that is not Unicode is refused: SQL knows none."""
        if not isinstance(node, ast.Literal):
            raise TypeMismatch("one word is wanted here", span=node.span)
        try:
            node.text.encode()
        except UnicodeEncodeError:
            raise StatementError("this text is not valid UTF-8", code="encoding", span=node.span) from None
        return node

    def _field(self, node: ast.Field) -> b.Bound:
        name, *rest = node.path
        if not rest and folded(name) in self.named:
            return self.named[folded(name)]
        aggregate = AGGREGATES.get(name.lower()) if not rest else None
        if aggregate is not None and aggregate.bare and (self.totals or self._table.find(name) is None):
            return self._call(ast.Call(aggregate.name, (), span=node.span))
        if rest and (relation := self._table.relation(name)) is not None and self._table.find(name) is None:
            return self._of_relation(relation, rest, node)
        if rest and self._table.find(name) is None and folded(name) in ELSEWHERE:
            raise StatementError(f'"{name}": {ELSEWHERE[folded(name)]}', code="unavailable", span=node.span)
        if not rest and self._table.find(name) is None and name.lower() in PHRASES:
            return self._phrase(ast.Phrase(name.lower(), (), node.span))
        field = self._table.field(name, node.span)
        if not rest:
            return b.Column(field)
        if field.kind is not Kind.MAP:
            raise TypeMismatch(f'"{name}" is {field.kind.value} and has no "{".".join(rest)}"', span=node.span)
        return b.Item(field, self.literal(ast.Literal(".".join(rest), span=node.span)).text)

    def _field_of(self, node: ast.FieldOf) -> b.Bound:
        if len(node.path) > 1:
            raise StatementError("one field of an image is wanted here", code="field-of", span=node.span)
        return self._lookup(TABLES["images"].field(node.path[0], node.span), self.literal(node.target))

    def _lookup(self, field: Field, literal: ast.Literal) -> b.Lookup:
        return b.Lookup(field, self.image(literal), literal.text)

    def image(self, literal: ast.Literal) -> int:
        """Return the key of the image that a literal names."""
        try:
            return self._scope.find(literal.text)
        except ImqError as error:
            error.span = error.span or literal.span
            raise

    # Queries inside

    def _rows(self, rows: ast.Rows) -> b.Select:
        """Bind rows of a relation of this row, else of a table; a field of the row outside is told from a wrong one."""
        try:
            return self._related(rows, self._table, self._scope)
        except UnknownName as error:
            inside = isinstance(rows, ast.Query) and self._table.relation(rows.table) is not None
            if error.name and inside and self._table.find(error.name) is not None:
                error.hints = (
                    *error.hints,
                    f"what follows where goes on to the end: to end it before, (any {rows.table} where …) and …",
                )
            raise

    def _single(self, select: b.Select, node: ast.Expr) -> b.Bound:
        """Return the one value of a query, after seeing that it can have no more than one."""
        if select.count:
            return b.Single(select, Kind.NUMBER)
        if len(select.columns) != 1:
            names = ", ".join(column.name for column in select.columns)
            raise StatementError(
                f"one value is wanted here, and the query has {len(select.columns)} columns: {names}",
                code="one-value",
                span=node.span,
                hints=("select one, or count the rows: (… count)",),
            )
        alone = select.group == () or (select.limit is not None and select.limit.count <= 1 and not select.limit.per)
        if not alone:
            raise StatementError(
                "one value is wanted here, and the query can answer several rows",
                code="one-value",
                span=node.span,
                hints=("take one: limit 1, or max(…); or ask whether a value is among them: FIELD in (…)",),
            )
        return b.Single(select, select.columns[0].value.kind)

    def _within(self, node: ast.In, left: b.Bound, select: b.Select) -> b.Bound:
        """Bind `operand in QUERY`. Texts of a list mean names and ids as they do when they are written out.

        Of a query that chose no columns it is the field of the same name: `id in (images where dangling)`.
        """
        if select.whole and isinstance(left, b.Column) and (same := select.table.find(left.field.name)) is not None:
            select = select.replace(columns=(b.Selected(same.name, b.Column(same), same.heading, same),))
        if select.count or len(select.columns) != 1:
            names = "count" if select.count else ", ".join(column.name for column in select.columns)
            raise StatementError(
                f"one column is wanted here, and the query has: {names}",
                code="one-column",
                span=node.span,
                hints=("add to the query: select FIELD",),
            )
        (column,) = select.columns
        kind = column.value.kind
        if left.kind in (Kind.LIST, Kind.MAP) or kind in (Kind.LIST, Kind.MAP):
            raise TypeMismatch(f"{_called(left)} cannot be looked for: it is {left.kind.value}", span=node.span)
        meant = {Kind.REFERENCE: "as_name", Kind.REPOSITORY: "as_repository", Kind.DIGEST: "as_digest"}.get(left.kind)
        if kind is Kind.TEXT and meant is not None:
            value = b.Apply(FUNCTIONS[meant], (column.value,), left.kind)
            select = select.replace(columns=(column.replace(value=value, field=None),), whole=False)
            return b.Within(left, select, starts=left.kind is Kind.DIGEST)
        self.comparable(left, column.value, node.span)
        return b.Within(left, select.replace(whole=False))

    def comparable(self, left: b.Bound, right: b.Bound, span: Span | None) -> None:
        """Refuse two values that cannot be equal because of their kinds."""
        fits = (
            left.kind is right.kind
            or (is_text(left.kind) and is_text(right.kind))
            or {left.kind, right.kind} == {Kind.NUMBER, Kind.SIZE}
        )
        if not fits:
            raise TypeMismatch(
                f"{_called(left)} is {left.kind.value}, {_called(right)} {right.kind.value}: they cannot be compared",
                span=span,
            )

    def _owned(self, node: ast.Expr) -> Relation | None:
        """Return the relation that `has layer` means: its singular is the name of no field."""
        if not isinstance(node, ast.Field) or len(node.path) != 1 or self._table.find(node.path[0]) is not None:
            return None
        wanted = folded(node.path[0])
        return next((one for one in self._table.relations if one.singular and one.singular == wanted), None)

    def _has_row(self, relation: Relation, node: ast.Comparison) -> b.Bound:
        keys = tuple(ast.Comparison("=", ast.Field((key,)), node.right, node.span) for key in relation.keys)
        return b.Exists(self._rows(ast.Query(relation.name, where=ast.Or(keys), span=node.span)))

    def _of_relation(self, relation: Relation, rest: list[str], node: ast.Field) -> b.Bound:
        """Bind `base.name`: a field of the one row of a relation."""
        if relation.many:
            field = ".".join(rest)
            raise StatementError(
                f'"{".".join(node.path)}": {relation.name} are many',
                code="many",
                span=node.span,
                hints=(
                    f"take them together: sum({relation.name}.{field}), list({relation.name}.{field});"
                    f" or ask for one: any {relation.name} where {field} = …",
                ),
            )
        column = ast.Column(ast.Field(tuple(rest), node.span), span=node.span)
        limit = ast.Window(ast.Literal("1"))
        select = self._rows(ast.Query(relation.name, select=(column,), limit=limit, span=node.span))
        return b.Single(select, select.columns[0].value.kind)

    def _total_of(self, node: ast.Call) -> b.Bound | None:
        """Bind an aggregate over the rows of a relation or a query: `count(layers where …)`, `sum(layers.size)`."""
        if len(node.arguments) != 1:
            return None
        (argument,) = node.arguments
        distinct = node.distinct
        if isinstance(argument, ast.Subquery):
            rows: ast.Rows = argument.rows
        elif isinstance(argument, ast.Field) and (relation := self._table.relation(argument.path[0])) is not None:
            if not relation.many or (len(argument.path) == 1 and node.name != "count"):
                return None
            rest = argument.path[1:]
            columns = (ast.Column(ast.Field(rest, argument.span), span=argument.span),) if rest else ()
            rows = ast.Query(relation.name, select=columns, span=argument.span)
        elif isinstance(argument, ast.Field) and self._table is NOTHING and argument.path[0].lower() in TABLES:
            rows = ast.Query(argument.path[0].lower(), span=argument.span)
        else:
            return None
        select = self._rows(rows)
        aggregate = AGGREGATES[node.name]
        if node.name == "count" and select.whole:
            return b.Single(select.replace(count=True, whole=False), Kind.NUMBER)
        if select.count or len(select.columns) != 1 or select.whole:
            raise StatementError(
                f"{node.name} wants one column of the query", code="one-column", span=node.span, hints=("select it",)
            )
        value = select.columns[0].value
        self._check_total(aggregate, value, node)
        kind = aggregate.gives or value.kind
        if select.cut or select.group is not None:  # of the rows that are left of it
            raise StatementError(
                f"{node.name} takes rows that are neither grouped nor cut", code="one-column", span=node.span
            )
        total = b.Selected("total", b.Total(aggregate, value, distinct, kind), "")
        return b.Single(select.replace(columns=(total,), group=(), order=()), kind)

    # Functions

    def _check_pattern(self, name: str, pattern: b.Bound, node: ast.Expr) -> None:
        """Refuse a constant pattern that is none, before anything runs."""
        if not isinstance(pattern, b.Value):
            return
        from .patterns import path_match, regex_search

        try:
            (path_match if name == "path_match" else regex_search)(str(pattern.value), "")
        except ImqError as error:
            error.span = error.span or node.span
            raise

    def _call(self, node: ast.Call) -> b.Bound:
        if node.name in AGGREGATES:
            return self._total_of(node) or self._total(node)
        function = FUNCTIONS.get(node.name)
        if function is None or function.inner:
            known = [*(name for name, one in FUNCTIONS.items() if not one.inner), *AGGREGATES]
            raise UnknownName(
                f'there is no function "{node.name}"',
                code="unknown-function",
                span=node.span,
                hints=(nearest(node.name, known), "functions: " + listed(known)),
            )
        self._check_count(function, node)
        arguments: list[b.Bound] = []
        for place, argument in enumerate(node.arguments):
            kinds = function.takes[min(place, len(function.takes) - 1)]
            if not kinds and place > function.like:
                kinds = (arguments[function.like].kind,)
            value = (
                typed(self.literal(argument), kinds[0], self._scope.zone)
                if kinds and isinstance(argument, ast.Literal)
                else self.value(argument)
            )
            if place == 1 and function.name in ("path_match", "capture"):
                self._check_pattern(function.name, value, argument)
            if kinds and not any(value.kind is kind or (is_text(kind) and is_text(value.kind)) for kind in kinds):
                wanted = " or ".join(kind.value for kind in kinds)
                raise TypeMismatch(
                    f"{node.name} wants {wanted} here, but {_called(value)} is {value.kind.value}",
                    span=argument.span,
                )
            arguments.append(value)
        return b.Apply(function, tuple(arguments), function.gives or arguments[function.like].kind)

    @staticmethod
    def _check_count(function: Function, node: ast.Call) -> None:
        count, most = len(node.arguments), len(function.takes)
        if most - function.optional <= count and (count <= most or function.repeats):
            return
        least = f"{most - function.optional} or " if function.optional else ""
        many = f"{least}{most} argument{'' if most == 1 else 's'}{' or more' if function.repeats else ''}"
        raise TypeMismatch(f"{node.name} takes {many}, not {count}", span=node.span)

    def _total(self, node: ast.Call) -> b.Bound:
        aggregate = AGGREGATES[node.name]
        if not self.totals:
            raise StatementError(
                f'"{node.name}" counts over rows and cannot stand here',
                code="aggregate",
                span=node.span,
                hints=('use it in "select" or "having"',),
            )
        if not node.arguments:
            if not aggregate.bare:
                raise TypeMismatch(f"{node.name} takes an argument: {node.name}(size)", span=node.span)
            return b.Total(aggregate, None, distinct=False, kind=Kind.NUMBER)
        if len(node.arguments) > 1:
            raise TypeMismatch(f"{node.name} takes one argument", span=node.span)
        named, self.named, self.totals = self.named, {}, False
        argument = self.value(node.arguments[0])
        self.named, self.totals = named, True
        self._check_total(aggregate, argument, node)
        return b.Total(aggregate, argument, node.distinct, aggregate.gives or argument.kind)

    def _check_total(self, aggregate: Aggregate, argument: b.Bound, node: ast.Call) -> None:
        if aggregate.takes and argument.kind not in aggregate.takes:
            raise TypeMismatch(
                f"{node.name} cannot be taken of {_called(argument)}: it is {argument.kind.value}", span=node.span
            )

    def _arithmetic(self, node: ast.Arithmetic) -> b.Bound:
        left, right = self._number(node.left), self._number(node.right)
        kind = _result(node.operator, left.kind, right.kind)
        if kind is None:
            raise TypeMismatch(
                f'"{node.operator}" cannot join {_called(left)}, {left.kind.value}, and {_called(right)},'
                f" {right.kind.value}",
                span=node.span,
            )
        return b.Compute(node.operator, left, right, kind)

    def _number(self, node: ast.Expr) -> b.Bound:
        """Bind an operand of arithmetic; a bare word that is no number can only be a field."""
        if isinstance(node, ast.Literal) and not node.quoted:
            value = guessed(node, self._scope.zone)
            return self._field(ast.Field(split_path(node.text), node.span)) if value.kind is Kind.TEXT else value
        return self.value(node)


def _result(operator: str, left: Kind, right: Kind) -> Kind | None:
    """Return the kind of an arithmetic result; None when the two do not go together."""
    if left is Kind.TIME or right is Kind.TIME:
        return {("-", Kind.TIME, Kind.TIME): Kind.DURATION}.get((operator, left, right)) or (
            Kind.TIME if operator in "+-" and (left, right) == (Kind.TIME, Kind.DURATION) else None
        )
    if left not in _SIZED or right not in _SIZED:
        return None
    if Kind.DURATION in (left, right) and left is not right and operator in "+-%":
        return None
    if left is right:
        return Kind.NUMBER if operator == "/" else left if operator != "*" or left is Kind.NUMBER else None
    if right is Kind.NUMBER:
        return left
    return right if left is Kind.NUMBER and operator != "/" else None


def _short_id(operator: str, left: b.Bound, right: b.Bound) -> b.Bound | None:
    """Return the test of a digest against the start of one, when that is what is compared."""
    operand, value = (left, right) if isinstance(right, b.Value) else (right, left)
    if operator not in ("=", "!=") or not isinstance(value, b.Value) or is_digest(str(value.value)):
        return None
    digits = hex_prefix(str(value.value))
    if digits is None:
        return None
    starts = b.Starts(operand, f"sha256:{digits}")
    return starts if operator == "=" else b.Every((b.IsKnown(operand, known=True), b.Negation(starts)))


def _placed(node: ast.Expr, at: ast.Expr) -> ast.Expr:
    """Return what a phrase stands for, in the place where the phrase stood."""
    return node.replace(span=at.span)


def _called(value: b.Bound) -> str:
    """Return how an error calls a value."""
    match value:
        case b.Column(field):
            return field.name
        case b.Item(field, key):
            return f"{field.name}.{key}"
        case b.Value(said=said):
            return f'"{said}"'
        case b.Lookup(field, _, said):
            return f"{field.name} of {said}"
        case b.Apply(function):
            return f"{function.name}(…)"
        case b.Total(aggregate):
            return f"{aggregate.name}(…)"
        case _:
            return "this"
