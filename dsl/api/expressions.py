"""Expressions: fields and what is made of them with Python's operators.

`==`, `<` and the other operators make conditions, `&`, `|` and `~` join them; nothing is computed before a session
runs the statement. What stands on the right of an operator is a value, as in text, never a condition.
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
    """What can be compared, computed with, or given to a function."""
    Moment = Value
    """A time, a duration ago, or a reference, which stands for the time at which that image was created."""

_CONDITIONS = (
    ast.Comparison | ast.Between | ast.In | ast.IsKnown | ast.Predicate | ast.Not | ast.And | ast.Or | ast.Exists
)
_NAME = re.compile(r"[^\W\d]\w*")
_WRITTEN_PATH = re.compile(r"""[^\W\d]\w*(?:\.(?:[\w/-]+|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'))*""")


class Expression(Node):
    """A value or a condition that is still to be asked.

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
        """Whether the text fits a glob; its `*` crosses slashes: `f.name.like("team/*")`."""
        return self._compare("like", glob)

    def matches(self, pattern: Value) -> Expression:
        """Whether a regular expression finds something in the text: `f.tag.matches("^v[0-9]+")`."""
        return self._compare("matches", pattern)

    def has(self, item: Value) -> Expression:
        """Whether the list has the item, the map the key, the image the layer: `f.label.has("env")`."""
        if isinstance(item, str) and self._is_map():
            return Expression(ast.Comparison("has", self.node, to_word(item)))  # no key of a map is taken for a field
        return self._compare("has", item)

    def between(self, low: Value, high: Value) -> Expression:
        """Whether the value lies between two others, both included: `f.size.between(1 * MB, 1 * GB)`."""
        return Expression(ast.Between(self.node, to_right_operand(low), to_right_operand(high)))

    def in_(self, among: Iterable[Value] | Node) -> Expression:
        """Whether the value is one of a list, of what a query answers, or of a list that `imq.var(…)` names.

        An empty list is refused (`Misuse`), as text has none: what it was to name got lost.

        >>> from imq import field as f, lines
        >>> str(f.tag.in_(["latest", "a b"])), str(f.name.in_(lines.of("keep.txt")))
        ('tag in (latest, "a b")', 'name in (lines of keep.txt)')
        """
        if isinstance(among, str | bytes):
            raise Misuse("a list of values is wanted, not one text", hints=(f"such as: .in_([{among!r}])",))
        if isinstance(among, Node):
            if isinstance(among.node, ast.Query | ast.Combination | ast.Variable):
                return Expression(ast.In(self.node, rows=among.node))
            raise Misuse("in_ takes a list, a query or a variable", hints=("for a list or map: .has(…)",))
        items = tuple(to_right_operand(item) for item in among)
        if not items:
            raise Misuse("the list is empty, and nothing is in an empty list", hints=("leave the condition out then",))
        return Expression(ast.In(self.node, items))

    def not_in(self, among: Iterable[Value] | Node) -> Expression:
        """Whether the value is none of a list, of what a query answers, or of a list that `imq.var(…)` names."""
        return ~self.in_(among)

    def is_known(self) -> Expression:
        """Whether there is a value."""
        return Expression(ast.IsKnown(self.node))

    def is_unknown(self) -> Expression:
        """Whether there is no value. Any comparison with such a one is false."""
        return Expression(ast.IsKnown(self.node, known=False))

    def before(self, moment: Moment) -> Expression:
        """Whether the time is before a time, a duration ago, or the creation of an image: `f.created.before("30d")`."""
        return self._compare("before", moment)

    def after(self, moment: Moment) -> Expression:
        """Whether the time is after a time, a duration ago, or the creation of an image."""
        return self._compare("after", moment)

    def since(self, moment: Moment) -> Expression:
        """Whether the time is that of a time, of a duration ago, or later."""
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

    # What queries say of it

    def desc(self) -> Order:
        """As a key to order by, largest first."""
        return Order(ast.Ordering(self.node, descending=True))

    def asc(self) -> Order:
        """As a key to order by, smallest first, as without it."""
        return Order(ast.Ordering(self.node))

    def as_(self, name: str) -> Column:
        """As a column of that name."""
        return Column(ast.Column(self.node, name))


class Order(Node):
    """A key to order by: `f.size.desc()`."""

    __slots__ = ()

    node: ast.Ordering


class Column(Node):
    """A selected value with a name: `imq.sum(f.size).as_("total")`."""

    __slots__ = ()

    node: ast.Column


class Path(Expression):
    """A field, by its path: `f.size`, `f.label.env`, `f.base.name`, `f["label", "a.b"]`, `f.label["a.b"]`.

    Names that this class has methods for, such as `count`, are reached with brackets.
    """

    __slots__ = ()

    node: ast.Field | ast.ImageField

    if not TYPE_CHECKING:  # the generated stub names what there is

        def __getattr__(self, name: str) -> Path:
            if name.startswith("_"):
                raise AttributeError(name)
            return self[name]

    def __getitem__(self, key: str) -> Path:
        """Return a key of the map, or a field of the relation; any text can be a key."""
        if not isinstance(key, str):
            raise Misuse(f"a key is a text, not {type(key).__name__}", hints=("to find an item of a list: .has(…)",))
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
        """How many rows of the relation there are for which all conditions hold; of a field: how many are known."""
        if conditions:
            return Expression(ast.Call("count", (ast.Subquery(self.relation(*conditions)),)))
        return Expression(ast.Call("count", (self.node,), distinct=distinct))

    def relation(self, *conditions: Expression) -> ast.Query:
        """Return the tree of the relation's rows for which all conditions hold. Raises `Misuse` for a longer path."""
        if not isinstance(self.node, ast.Field) or len(self.node.path) > 1 or self.node.path[0].lower() in WORDS:
            raise Misuse(f"{self} is no relation of the row", hints=("such as: f.layers.any(…)",))
        return ast.Query(self.node.path[0].lower(), where=join_conditions(conditions).node if conditions else None)


class Reference(Node):
    """An image by its name, whose fields can be compared with: `imq.ref("redis:latest").created`."""

    __slots__ = ()

    node: ast.Literal | ast.Variable

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Path:
            if name.startswith("_"):
                raise AttributeError(name)
            return self[name]

    def __getitem__(self, path: str | tuple[str, ...]) -> Path:
        """Return a field of the image; see `Fields`."""
        return Path(ast.ImageField(_parse_path(path), self.node))


class Fields:
    """Where fields come from: `f.size`; `f["size"]` and `f["label", "a.b"]` for names that Python cannot write."""

    __slots__ = ()

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Path:
            if name.startswith("_"):
                raise AttributeError(name)
            return self[name]

    def __getitem__(self, path: str | tuple[str, ...]) -> Path:
        """Return the field of this name or path; one text is a path as statements write it, `label."a.b"`.

        Raises `Misuse` when it can be none.
        """
        return Path(ast.Field(_parse_path(path)))

    def __dir__(self) -> list[str]:
        from imq.engine.catalog.tables import TABLES

        return sorted({field.name for table in TABLES.values() for field in table.fields})

    def __repr__(self) -> str:
        return "fields"


def _parse_path(path: str | tuple[str, ...]) -> tuple[str, ...]:
    if isinstance(path, str) and _WRITTEN_PATH.fullmatch(path):
        return split_path(path)
    if isinstance(path, tuple) and path and _NAME.fullmatch(path[0]) and all(isinstance(part, str) for part in path):
        return path
    raise Misuse(f"{path!r} is no field", hints=('fields are named by words: f["size"], f["label", "any text"]',))


def to_condition(value: object) -> ast.Expr:
    """Return the node of a condition. Raises `Misuse` for what is none, such as Python's own `True`."""
    if not isinstance(value, Expression):
        raise Misuse(
            f"a condition is wanted, not {describe(value)}",
            hints=("compare fields, each side of & and | in parentheses: (f.size > 1 * GB) & f.dangling",),
        )
    return value.node


def join_conditions(conditions: Iterable[Expression]) -> Expression:
    """Return the condition that all of these hold, of which there is one or more."""
    parts = [
        part
        for node in map(to_condition, conditions)
        for part in (node.operands if isinstance(node, ast.And) else (node,))
    ]
    return Expression(ast.And(tuple(parts)) if len(parts) > 1 else parts[0])


def to_right_operand(value: object) -> ast.Expr:
    """Return the node of what stands on the right of an operator: a value. Raises `Misuse` for a condition."""
    node = _expression_node(value)
    if node is None:
        return to_literal(value)
    if not _is_value(node):
        raise Misuse(
            f"on the right of an operator stands a value, not a condition: {value}",
            hints=("put the condition on the left, or into imq.if_(condition, then, otherwise)",),
        )
    return node


def to_left_operand(value: object) -> ast.Expr:
    """Return the node of what stands on the left of an operator, in a function or in a list of keys."""
    node = _expression_node(value)
    if isinstance(value, Reference) and isinstance(node, ast.Literal):
        return ast.Literal(node.text, quoted=True)  # here a bare word is a field
    return to_left_literal(value) if node is None else node


def to_key(value: object) -> ast.Expr:
    """Return the node of a key or column. Raises `Misuse` for a text: it would be that text in every row."""
    if isinstance(value, Node):
        return to_left_operand(value)
    advice = f"such as: f.{value}" if isinstance(value, str) and _NAME.fullmatch(value) else "such as: f.size"
    raise Misuse(f"a field or another expression is wanted, not {value!r}", hints=(advice,))


def _expression_node(value: object) -> ast.Expr | None:
    if isinstance(value, Expression | Reference):
        return value.node
    if not isinstance(value, Node):
        return None
    if isinstance(value.node, ast.Query | ast.Combination):
        return to_subquery(value.node)
    raise Misuse(f"this is no value: {value}")


def to_subquery(rows: ast.RowSource) -> ast.Subquery:
    """Return what a query answers as a value. A whole table is called so: alone in parentheses it would be a field."""
    alone = isinstance(rows, ast.Query) and rows == ast.Query(rows.table)
    return ast.Subquery(rows.replace(explicit_all=True) if alone else rows)


def _is_value(node: ast.Expr) -> bool:
    if isinstance(node, ast.Arithmetic):
        return _is_value(node.left) and _is_value(node.right)
    return not isinstance(node, _CONDITIONS)


def variable(name: str) -> Expression:
    """Return what `$name` stands for when the statement is run; see `imq.let`.

    Raises `Misuse` when no variable can be called so.

    >>> import imq
    >>> str(imq.age(imq.field.created) > imq.var("days"))
    'age(created) > $days'
    """
    if not re.fullmatch(r"[^\W\d]\w*(\.\w+)*", name):
        raise Misuse(f"{name!r} is no name for a variable")
    return Expression(ast.Variable(name))


def text(value: str) -> Expression:
    """Return a text that is never anything else, where no field says what a text means.

    >>> import imq
    >>> str(imq.var("x") > "30d"), str(imq.var("x") > imq.text("30d"))
    ('$x > 30d', '$x > "30d"')
    """
    return Expression(ast.Literal(value, quoted=True))


def reference(name: str | Expression) -> Reference:
    """Return an image by its name, whose fields can be compared with; `imq.var(…)` for one that a variable names.

    >>> import imq
    >>> str(imq.field.created < imq.ref("redis:latest").created)
    'created < created of redis:latest'
    """
    return Reference(to_operand(name))


def call(name: str, *arguments: Value, distinct: bool = False) -> Expression:
    """Return a function of its arguments: `imq.lower(f.tag)` is `call("lower", f.tag)`."""
    return Expression(ast.Call(name, tuple(to_left_operand(argument) for argument in arguments), distinct=distinct))


def predicate(words: str, *arguments: Any, names: bool = False) -> Expression:
    """Return a sentence form; with `names` its arguments are images."""
    nodes = (to_operand(argument) if names else to_right_operand(argument) for argument in arguments)
    return Expression(ast.Predicate(words, tuple(nodes)))


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
