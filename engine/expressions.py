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
from .render.units import parse_duration, parse_moment
from .tables import TABLES, Field, Kind, Table, folded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import tzinfo

_OF_TEXTS = ("like", "matches", "has")
_SIZED = (Kind.NUMBER, Kind.SIZE, Kind.DURATION)
_ORDERED_ONLY = ("<", "<=", ">", ">=")
_MOMENTS = {"before": "<", "after": ">", "since": ">=", "within": ">="}


class Scope(Record):
    """What a statement is bound against: the time it began, the local zone, `$` values, and where images are found.

    `find` returns the key of the image that a text names, or raises `NotFound`.
    """

    now: int
    zone: tzinfo | None
    variables: Mapping[str, str]
    find: Callable[[str], int]


class Expressions:
    """Binds the expressions of one query.

    `named` are the selected columns by their folded names, for clauses that come after `select`; `totals` says that
    aggregates may stand here.
    """

    def __init__(self, table: Table, scope: Scope) -> None:
        self._table = table
        self._scope = scope
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
            case ast.Literal() | ast.Variable():
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
            case ast.In(operand, items):
                return self._among(node, self.value(operand), items)
            case ast.Known(operand, known):
                return b.IsKnown(self.value(operand), known)
            case ast.Phrase():
                return self._phrase(node)

    def _comparison(self, node: ast.Comparison) -> b.Bound:
        if node.operator in _MOMENTS:
            return self._moment(node)
        if isinstance(node.left, ast.Literal | ast.Variable) and not isinstance(node.right, ast.Literal | ast.Variable):
            right = self.value(node.right)
            return self._test(node, node.operator, self._right(node.left, right), right)
        left = self.value(node.left)
        if node.operator in _OF_TEXTS and isinstance(node.right, ast.Literal | ast.Variable):
            said = self.literal(node.right).text
            return self._test(node, node.operator, left, b.Value(said, Kind.TEXT, said))
        return self._test(node, node.operator, left, self._right(node.right, left))

    def _right(self, node: ast.Expr, other: b.Bound) -> b.Bound:
        """Bind what stands on the right of an operator: a bare word is a value of the other side's kind."""
        if isinstance(node, ast.Literal | ast.Variable):
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
            if operator == "matches":
                raise StatementError(
                    '"matches" is not available: use "like" with * and ?', code="unsupported", span=node.span
                )
            if not is_text(left.kind):
                raise TypeMismatch(
                    f'"{operator}" wants a text, but {_called(left)} is {left.kind.value}', span=node.span
                )
            return b.Test(operator, left, right)
        if Kind.DIGEST in (left.kind, right.kind) and (short := _short_id(operator, left, right)) is not None:
            return short
        fits = (
            left.kind is right.kind
            or (is_text(left.kind) and is_text(right.kind))
            or {left.kind, right.kind} == {Kind.NUMBER, Kind.SIZE}
        )
        if not fits:
            raise TypeMismatch(
                f"{_called(left)} is {left.kind.value}, {_called(right)} {right.kind.value}: they cannot be compared",
                span=node.span,
            )
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
        if not isinstance(right, ast.Literal | ast.Variable):
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
        if node.words == "in use":
            return b.Column(self._table.field("in_use", node.span))
        created = b.Column(self._table.field("created", node.span))
        (age,) = node.arguments
        if isinstance(age, ast.Literal | ast.Variable):
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
        """Return a literal, a variable replaced by its value. Text that is not Unicode is refused: SQL knows none."""
        literal = self._literal(node)
        try:
            literal.text.encode()
        except UnicodeEncodeError:
            raise StatementError("this text is not valid UTF-8", code="encoding", span=node.span) from None
        return literal

    def _literal(self, node: ast.Expr) -> ast.Literal:
        if isinstance(node, ast.Variable):
            value = self._scope.variables.get(node.name)
            if value is None:
                known = sorted(name for name in self._scope.variables if not name.startswith("env."))
                raise UnknownName(
                    f"${node.name} has no value",
                    code="unknown-variable",
                    span=node.span,
                    hints=(nearest(node.name, known),),
                )
            return ast.Literal(value, quoted=False, span=node.span)
        assert isinstance(node, ast.Literal)
        return node

    def _field(self, node: ast.Field) -> b.Bound:
        name, *rest = node.path
        if not rest and folded(name) in self.named:
            return self.named[folded(name)]
        aggregate = AGGREGATES.get(name.lower()) if not rest else None
        if aggregate is not None and aggregate.bare and (self.totals or self._table.find(name) is None):
            return self._call(ast.Call(aggregate.name, (), span=node.span))
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

    def _call(self, node: ast.Call) -> b.Bound:
        if node.name in AGGREGATES:
            return self._total(node)
        function = FUNCTIONS.get(node.name)
        if function is None:
            known = [*FUNCTIONS, *AGGREGATES]
            raise UnknownName(
                f'there is no function "{node.name}"',
                code="unknown-function",
                span=node.span,
                hints=(nearest(node.name, known), "functions: " + listed(known)),
            )
        count, wanted = len(node.arguments), len(function.takes)
        if count < wanted or (count > wanted and not function.repeats):
            many = f"{wanted} argument{'' if wanted == 1 else 's'}{' or more' if function.repeats else ''}"
            raise TypeMismatch(f"{node.name} takes {many}, not {count}", span=node.span)
        arguments: list[b.Bound] = []
        for place, argument in enumerate(node.arguments):
            kind = function.takes[min(place, wanted - 1)]
            if kind is None and arguments:
                kind = arguments[0].kind
            value = (
                typed(self.literal(argument), kind, self._scope.zone)
                if kind and isinstance(argument, ast.Literal | ast.Variable)
                else self.value(argument)
            )
            if kind is not None and value.kind is not kind and not (is_text(kind) and is_text(value.kind)):
                raise TypeMismatch(
                    f"{node.name} wants {kind.value} here, but {_called(value)} is {value.kind.value}",
                    span=argument.span,
                )
            arguments.append(value)
        return b.Apply(function, tuple(arguments), function.gives or arguments[0].kind)

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
        if aggregate.takes and argument.kind not in aggregate.takes:
            raise TypeMismatch(
                f"{node.name} cannot be taken of {_called(argument)}: it is {argument.kind.value}", span=node.span
            )
        return b.Total(aggregate, argument, node.distinct, aggregate.gives or argument.kind)

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
