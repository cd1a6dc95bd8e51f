"""Expressions: fields, and conditions and arithmetic built from them with Python's operators.

`==`, `<` and the other operators build conditions; `&`, `|` and `~` join them. Nothing is computed before a session
runs the statement. The right side of an operator is a value, as in text, never a condition.
"""

from __future__ import annotations

import re

from imq.grammar import ast
from imq.grammar._lalr_tables import WORDS
from imq.grammar.lexer import split_path
from imq.grammar.record import TYPE_CHECKING

from .literals import Misuse, Node, describe, to_left_literal, to_literal, to_operand, to_word

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from .literals import Scalar

    Value = Scalar | Node
    """An operand of a comparison or of arithmetic, or an argument of a function."""
    Moment = Value
    """A time, a duration ago, or a reference: the creation time of that image."""

_CONDITIONS = (
    ast.Comparison | ast.Between | ast.In | ast.IsKnown | ast.Predicate | ast.Not | ast.And | ast.Or | ast.Exists
)
_NAME = re.compile(r"[^\W\d]\w*")
_WRITTEN_PATH = re.compile(r"""[^\W\d]\w*(?:\.(?:[\w/-]+|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'))*""")


class Expression(Node):
    """A value or a condition, evaluated when a session runs the statement.

    >>> from imq import field as f, GB
    >>> str((f.size > 1 * GB) & ~f.dangling)
    'size > 1GB and not dangling'
    """

    __slots__ = ()

    node: ast.Expr

    # Conditions

    def __eq__(self, other: Value) -> Expression:  # type: ignore[override]
        return self._compare("=", other)

    def __ne__(self, other: Value) -> Expression:  # type: ignore[override]
        return self._compare("!=", other)

    def __lt__(self, other: Value) -> Expression:
        return self._compare("<", other)

    def __le__(self, other: Value) -> Expression:
        return self._compare("<=", other)

    def __gt__(self, other: Value) -> Expression:
        return self._compare(">", other)

    def __ge__(self, other: Value) -> Expression:
        return self._compare(">=", other)

    def __hash__(self) -> int:
        return hash(self.node)

    def __and__(self, other: Expression) -> Expression:
        return join_conditions((self, other))

    def __or__(self, other: Expression) -> Expression:
        parts = [
            part
            for node in (to_condition(self), to_condition(other))
            for part in (node.operands if isinstance(node, ast.Or) else (node,))
        ]
        return Expression(ast.Or(tuple(parts)))

    def __invert__(self) -> Expression:
        return Expression(self.node.operand if isinstance(self.node, ast.Not) else ast.Not(self.node))

    def like(self, glob: Value) -> Expression:
        """Whether the string matches a glob, whose `*` crosses slashes: `f.name.like("team/*")`."""
        return self._compare("like", glob)

    def matches(self, pattern: Value) -> Expression:
        """Whether a regular expression matches anywhere in the string: `f.tag.matches("^v[0-9]+")`."""
        return self._compare("matches", pattern)

    def has(self, item: Value) -> Expression:
        """Whether the list has the item, the map the key, or the image the layer: `f.label.has("env")`."""
        if isinstance(item, str) and self._is_map():
            return Expression(ast.Comparison("has", self.node, to_word(item)))  # a key of a map is never a field
        return self._compare("has", item)

    def between(self, low: Value, high: Value) -> Expression:
        """Whether the value is between two others, both included: `f.size.between(1 * MB, 1 * GB)`."""
        return Expression(ast.Between(self.node, to_right_operand(low), to_right_operand(high)))

    def in_(self, among: Iterable[Value] | Node) -> Expression:
        """Whether the value is in a list, in the rows of a query, or in a variable `imq.var(…)` that holds a list.

        Raises `Misuse` for an empty list: the language has none, and it is usually a mistake.

        >>> from imq import field as f, lines
        >>> str(f.tag.in_(["latest", "a b"])), str(f.name.in_(lines.of("keep.txt")))
        ('tag in (latest, "a b")', 'name in (lines of keep.txt)')
        """
        if isinstance(among, str | bytes):
            raise Misuse("expected a list of values, not a string", hints=(f"example: .in_([{among!r}])",))
        if isinstance(among, Node):
            if isinstance(among.node, ast.Query | ast.Combination | ast.Variable):
                return Expression(ast.In(self.node, rows=among.node))
            raise Misuse(
                "in_ takes a list, a query or a variable", hints=("for a field that is a list or map: .has(…)",)
            )
        items = tuple(to_right_operand(item) for item in among)
        if not items:
            raise Misuse("in_ does not take an empty list", hints=("omit the condition",))
        return Expression(ast.In(self.node, items))

    def not_in(self, among: Iterable[Value] | Node) -> Expression:
        """Whether the value is not in a list, in the rows of a query, or in a variable `imq.var(…)`."""
        return ~self.in_(among)

    def is_known(self) -> Expression:
        """Whether the value is known."""
        return Expression(ast.IsKnown(self.node))

    def is_unknown(self) -> Expression:
        """Whether the value is unknown. A comparison with an unknown value is false."""
        return Expression(ast.IsKnown(self.node, known=False))

    def before(self, moment: Moment) -> Expression:
        """Whether the time is before a time, a duration ago, or the creation of an image: `f.created.before("30d")`."""
        return self._compare("before", moment)

    def after(self, moment: Moment) -> Expression:
        """Whether the time is after a time, a duration ago, or the creation of an image."""
        return self._compare("after", moment)

    def since(self, moment: Moment) -> Expression:
        """Whether the time is at or after a time, a duration ago, or the creation of an image."""
        return self._compare("since", moment)

    def within(self, moment: Moment) -> Expression:
        """Whether the time is no longer ago than a duration: `f.created.within("2 weeks")`."""
        return self._compare("within", moment)

    def _is_map(self) -> bool:
        from imq.engine.catalog.tables import TABLES, DataType

        name = self.node.path[0] if isinstance(self.node, ast.Field) else ""
        fields = (table.find_field(name) for table in TABLES.values())
        return any(field is not None and field.type is DataType.MAP for field in fields)

    def _compare(self, operator: str, other: Value) -> Expression:
        return Expression(ast.Comparison(operator, self.node, to_right_operand(other)))

    # Arithmetic

    def __add__(self, other: Value) -> Expression:
        return self._compute("+", other)

    def __radd__(self, other: Value) -> Expression:
        return Expression(to_left_operand(other))._compute("+", self)

    def __sub__(self, other: Value) -> Expression:
        return self._compute("-", other)

    def __rsub__(self, other: Value) -> Expression:
        return Expression(to_left_operand(other))._compute("-", self)

    def __mul__(self, other: Value) -> Expression:
        return self._compute("*", other)

    def __rmul__(self, other: Value) -> Expression:
        return Expression(to_left_operand(other))._compute("*", self)

    def __truediv__(self, other: Value) -> Expression:
        return self._compute("/", other)

    def __rtruediv__(self, other: Value) -> Expression:
        return Expression(to_left_operand(other))._compute("/", self)

    def __mod__(self, other: Value) -> Expression:
        return self._compute("%", other)

    def __rmod__(self, other: Value) -> Expression:
        return Expression(to_left_operand(other))._compute("%", self)

    def _compute(self, operator: str, other: Value) -> Expression:
        return Expression(ast.Arithmetic(operator, self.node, to_right_operand(other)))

    # In clauses of queries

    def desc(self) -> Order:
        """Return a sort key in descending order."""
        return Order(ast.Ordering(self.node, descending=True))

    def asc(self) -> Order:
        """Return a sort key in ascending order, the default."""
        return Order(ast.Ordering(self.node))

    def as_(self, name: str) -> Column:
        """Return a column with this name."""
        return Column(ast.Column(self.node, name))


class Order(Node):
    """A sort key: `f.size.desc()`."""

    __slots__ = ()

    node: ast.Ordering


class Column(Node):
    """A selected value with a name: `imq.sum(f.size).as_("total")`."""

    __slots__ = ()

    node: ast.Column


class Path(Expression):
    """A field, by its path: `f.size`, `f.label.env`, `f.base.name`, `f["label", "a.b"]`, `f.label["a.b"]`.

    Brackets reach a name that is also a method of this class, such as `count`.
    """

    __slots__ = ()

    node: ast.Field | ast.ImageField

    if not TYPE_CHECKING:  # the generated stub declares every field

        def __getattr__(self, name: str) -> Path:
            if name.startswith("_"):
                raise AttributeError(name)
            return self[name]

    def __getitem__(self, key: str) -> Path:
        """Return a key of the map, or a field of the relation. Any string can be a key."""
        if not isinstance(key, str):
            raise Misuse(f"a key is a string, not {type(key).__name__}", hints=("to find an item of a list: .has(…)",))
        return Path(self.node.replace(path=(*self.node.path, key)))

    def any(self, *conditions: Expression) -> Expression:
        """Whether the relation has a row for which all conditions hold.

        >>> from imq import field as f, MB
        >>> str(f.layers.any(f.size > 100 * MB)), str(f.containers.none())
        ('any layers where size > 100MB', 'no containers')
        """
        return Expression(ast.Exists(self.relation(*conditions)))

    def none(self, *conditions: Expression) -> Expression:
        """Whether the relation has no row for which all conditions hold: `f.containers.none()`."""
        return Expression(ast.Exists(self.relation(*conditions), negated=True))

    def count(self, *conditions: Expression, distinct: bool = False) -> Expression:
        """Count the rows of the relation for which all conditions hold; for a field, count the known values."""
        if conditions:
            return Expression(ast.Call("count", (ast.Subquery(self.relation(*conditions)),)))
        return Expression(ast.Call("count", (self.node,), distinct=distinct))

    def relation(self, *conditions: Expression) -> ast.Query:
        """Return the tree of the relation's rows for which all conditions hold.

        Raises `Misuse` when the path is not the name of a relation.
        """
        if not isinstance(self.node, ast.Field) or len(self.node.path) > 1 or self.node.path[0].lower() in WORDS:
            raise Misuse(f"{self} is not a relation of the row", hints=("example: f.layers.any(…)",))
        return ast.Query(self.node.path[0].lower(), where=join_conditions(conditions).node if conditions else None)


class Reference(Node):
    """An image by its name. Its fields are values: `imq.ref("redis:latest").created`."""

    __slots__ = ()

    node: ast.Literal | ast.Variable

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Path:
            if name.startswith("_"):
                raise AttributeError(name)
            return self[name]

    def __getitem__(self, path: str | tuple[str, ...]) -> Path:
        """Return a field of the image; see `Fields`."""
        return Path(ast.ImageField(parse_path(path), self.node))


class Fields:
    """The fields: `f.size`, and `f["size"]` or `f["label", "a.b"]` for names that are not Python identifiers."""

    __slots__ = ()

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Path:
            if name.startswith("_"):
                raise AttributeError(name)
            return self[name]

    def __getitem__(self, path: str | tuple[str, ...]) -> Path:
        """Return the field with this name or path. A string is a path as in statements: `label."a.b"`.

        Raises `Misuse` for an invalid name or path.
        """
        return Path(ast.Field(parse_path(path)))

    def __dir__(self) -> list[str]:
        from imq.engine.catalog.tables import TABLES

        return sorted({field.name for table in TABLES.values() for field in table.fields})

    def __repr__(self) -> str:
        return "fields"


def parse_path(path: str | tuple[str, ...]) -> tuple[str, ...]:
    """Return the parts of a path. Raises `Misuse` for an invalid one."""
    if isinstance(path, str) and _WRITTEN_PATH.fullmatch(path):
        return split_path(path)
    if isinstance(path, tuple) and path and _NAME.fullmatch(path[0]) and all(isinstance(part, str) for part in path):
        return path
    raise Misuse(f"{path!r} is not a field", hints=('examples: f["size"], f["label", "any string"]',))


def to_condition(value: object) -> ast.Expr:
    """Return the node of a condition. Raises `Misuse` for other values, such as `True` of Python."""
    if not isinstance(value, Expression):
        raise Misuse(
            f"expected a condition, not {describe(value)}",
            hints=("compare fields, with each side of & and | in parentheses: (f.size > 1 * GB) & f.dangling",),
        )
    return value.node


def join_conditions(conditions: Iterable[Expression]) -> Expression:
    """Join one or more conditions with `and`."""
    parts = [
        part
        for node in map(to_condition, conditions)
        for part in (node.operands if isinstance(node, ast.And) else (node,))
    ]
    return Expression(ast.And(tuple(parts)) if len(parts) > 1 else parts[0])


def to_right_operand(value: object) -> ast.Expr:
    """Return the node of the right operand of an operator: a value. Raises `Misuse` for a condition."""
    node = _expression_node(value)
    if node is None:
        return to_literal(value)
    if not _is_value(node):
        raise Misuse(
            f"expected a value on the right of an operator, not a condition: {value}",
            hints=("put the condition on the left, or in imq.if_(condition, then, otherwise)",),
        )
    return node


def to_left_operand(value: object) -> ast.Expr:
    """Return the node of a left operand, of an argument of a function, or of a key."""
    node = _expression_node(value)
    if isinstance(value, Reference) and isinstance(node, ast.Literal):
        return ast.Literal(node.text, quoted=True)  # here a bare word is a field
    return to_left_literal(value) if node is None else node


def to_key(value: object) -> ast.Expr:
    """Return the node of a key or column. Raises `Misuse` for a string: it would be the same in every row."""
    if isinstance(value, Node):
        return to_left_operand(value)
    example = f"f.{value}" if isinstance(value, str) and _NAME.fullmatch(value) else "f.size"
    raise Misuse(f"expected a field or another expression, not {value!r}", hints=(f"example: {example}",))


def _expression_node(value: object) -> ast.Expr | None:
    if isinstance(value, Expression | Reference):
        return value.node
    if not isinstance(value, Node):
        return None
    if isinstance(value.node, ast.Query | ast.Combination):
        return to_subquery(value.node)
    raise Misuse(f"expected a value, not {value}")


def to_subquery(rows: ast.RowSource) -> ast.Subquery:
    """Return a query as a value. A bare table gets `all`, since its name alone in parentheses would be a field."""
    is_bare_table = isinstance(rows, ast.Query) and rows == ast.Query(rows.table)
    return ast.Subquery(rows.replace(explicit_all=True) if is_bare_table else rows)


def _is_value(node: ast.Expr) -> bool:
    if isinstance(node, ast.Arithmetic):
        return _is_value(node.left) and _is_value(node.right)
    return not isinstance(node, _CONDITIONS)


def variable(name: str) -> Expression:
    """Return the variable `$name`, which is replaced by its value when the statement runs. See `imq.let`.

    Raises `Misuse` for an invalid name.

    >>> import imq
    >>> str(imq.age(imq.field.created) > imq.var("days"))
    'age(created) > $days'
    """
    if not re.fullmatch(r"[^\W\d]\w*(\.\w+)*", name):
        raise Misuse(f"{name!r} is not a valid name of a variable")
    return Expression(ast.Variable(name))


def text(value: str) -> Expression:
    """Return a quoted string. It stays a string where an unquoted one would be a size, a time or a duration.

    >>> import imq
    >>> str(imq.var("x") > "30d"), str(imq.var("x") > imq.text("30d"))
    ('$x > 30d', '$x > "30d"')
    """
    return Expression(ast.Literal(value, quoted=True))


def reference(name: str | Expression) -> Reference:
    """Return an image by its name, or by a variable `imq.var(…)`. Its fields are values.

    >>> import imq
    >>> str(imq.field.created < imq.ref("redis:latest").created)
    'created < created of redis:latest'
    """
    return Reference(to_operand(name))


def call(
    name: str, *arguments: Value, distinct: bool = False, per: Expression | Iterable[Expression] = ()
) -> Expression:
    """Return the call of a function: `imq.lower(f.tag)` is `call("lower", f.tag)`; `per` are keys of `previous`."""
    keys = (per,) if isinstance(per, Node | str) else tuple(per)
    values = tuple(to_left_operand(argument) for argument in arguments)
    return Expression(ast.Call(name, values, distinct=distinct, per=tuple(to_key(key) for key in keys)))


def predicate(words: str, *arguments: Any, names: bool = False) -> Expression:
    """Return a predicate. With `names`, its arguments are images: names, or queries of images."""
    nodes = (to_images(argument) if names else to_right_operand(argument) for argument in arguments)
    return Expression(ast.Predicate(words, tuple(nodes)))


def to_images(argument: object) -> ast.Expr:
    """Return the image or the query of images of a predicate."""
    if isinstance(argument, Node) and isinstance(argument.node, ast.Query | ast.Combination):
        return to_subquery(argument.node)
    return to_operand(argument)


__all__ = [
    "Column",
    "Expression",
    "Fields",
    "Order",
    "Path",
    "Reference",
    "Value",
    "call",
    "join_conditions",
    "parse_path",
    "predicate",
    "reference",
    "text",
    "to_condition",
    "to_key",
    "to_left_operand",
    "to_right_operand",
    "to_subquery",
    "variable",
]  # fmt: skip
