"""The syntax tree: what text and the Python form both build, and what the printer turns back into text.

Nodes are frozen and compare by what they say, not by where they stood. Names are not resolved here: a `Field` may
name nothing, a `Literal` is a text whose type follows from what it meets.
"""

from __future__ import annotations

from .errors import Span, StatementError
from .record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Iterator

# Expressions


class Literal(Record):
    """A value as written: `redis:latest`, `100MB`, `30d`, `"a text"`."""

    text: str
    quoted: bool = False
    span: Span | None = None


class Field(Record):
    """A field, by its path: `size`, `label.env`."""

    path: tuple[str, ...]
    span: Span | None = None


class Variable(Record):
    """`$name`, replaced by its value before names are bound."""

    name: str
    span: Span | None = None


class FieldOf(Record):
    """`created of redis:latest`: a field of one image that is named here."""

    path: tuple[str, ...]
    target: Literal | Variable
    span: Span | None = None


class Call(Record):
    """A function of its arguments. `count(*)` has no argument; `distinct` says that equal ones count once."""

    name: str
    arguments: tuple[Expr, ...]
    distinct: bool = False
    span: Span | None = None


class Arithmetic(Record):
    """`left operator right` with one of + - * / %."""

    operator: str
    left: Expr
    right: Expr
    span: Span | None = None


class Comparison(Record):
    """`left operator right`: = != < <= > >= like matches has before after since within."""

    operator: str
    left: Expr
    right: Expr
    span: Span | None = None


class Between(Record):
    """`operand between low and high`, both ends included."""

    operand: Expr
    low: Expr
    high: Expr
    span: Span | None = None


class In(Record):
    """`operand in (item, …)`."""

    operand: Expr
    items: tuple[Expr, ...]
    span: Span | None = None


class Known(Record):
    """`operand is known`, or `is unknown`."""

    operand: Expr
    known: bool = True
    span: Span | None = None


class Phrase(Record):
    """A sentence form, by its words: `in use`, `older than 30d`. The engine declares what it means."""

    words: str
    arguments: tuple[Expr, ...] = ()
    span: Span | None = None


class Not(Record):
    """`not operand`."""

    operand: Expr
    span: Span | None = None


class And(Record):
    """Two conditions or more that must all hold."""

    operands: tuple[Expr, ...]
    span: Span | None = None


class Or(Record):
    """Two conditions or more of which one must hold."""

    operands: tuple[Expr, ...]
    span: Span | None = None


Expr = (
    Literal
    | Field
    | Variable
    | FieldOf
    | Call
    | Arithmetic
    | Comparison
    | Between
    | In
    | Known
    | Phrase
    | Not
    | And
    | Or
)

# Queries


class Ordering(Record):
    """One key to order by."""

    key: Expr
    descending: bool = False
    span: Span | None = None


class Window(Record):
    """A number of rows, counted in each group of equal `per` when there are any."""

    count: Expr
    per: tuple[Expr, ...] = ()
    span: Span | None = None


class Newest(Record):
    """`except newest N per F by K`: what a retention rule keeps."""

    count: Expr
    per: tuple[Expr, ...] = ()
    by: Expr | None = None
    span: Span | None = None


class Column(Record):
    """One selected value, and the name it is given."""

    value: Expr
    name: str | None = None
    span: Span | None = None


class Query(Record):
    """A question about one table. `every` records that the word `all` was said."""

    table: str
    targets: tuple[Literal | Variable | Query, ...] = ()
    sources: tuple[Literal | Variable, ...] = ()
    every: bool = False
    where: Expr | None = None
    group: tuple[Expr, ...] = ()
    having: Expr | None = None
    order: tuple[Ordering, ...] = ()
    limit: Window | None = None
    skip: Window | None = None
    newest: Newest | None = None
    select: tuple[Column, ...] = ()
    count: bool = False
    span: Span | None = None


# Statements


class Output(Record):
    """How an answer is to look: a named form, or a template. Neither: the default of the place that shows it."""

    form: str | None = None
    template: str | None = None
    span: Span | None = None


class Ask(Record):
    """A query as a statement."""

    query: Query
    output: Output = Output()
    span: Span | None = None


class Option(Record):
    """Something said beside an action: `to X`, `as T`, `force`."""

    name: str
    values: tuple[Literal | Variable, ...] = ()
    span: Span | None = None


class Act(Record):
    """A verb, what it works on (references or a query; `every`: the word `all` alone), and its options."""

    verb: str
    references: tuple[Literal | Variable, ...] = ()
    query: Query | None = None
    every: bool = False
    options: tuple[Option, ...] = ()
    output: Output = Output()
    span: Span | None = None


class Explain(Record):
    """`explain statement`: say how it would run, and do nothing."""

    statement: Statement
    span: Span | None = None


class DryRun(Record):
    """`dry run statement`: list the actions, and do none."""

    statement: Statement
    span: Span | None = None


class Setting(Record):
    """`set`, `set name`, `set name = value`: show all settings, show one, change one."""

    name: str | None = None
    value: Expr | None = None
    span: Span | None = None


class Help(Record):
    """`help words`."""

    words: tuple[str, ...] = ()
    span: Span | None = None


Statement = Ask | Act | Explain | DryRun | Setting | Help
Node = Expr | Ordering | Window | Newest | Column | Query | Output | Option | Statement

DEEPEST = 200
"""Levels of nesting that are accepted; passes over the tree may recurse this deep."""


def children(node: Record) -> Iterator[Record]:
    """Yield the nodes directly below this one, in order."""
    for name in node.value_names():
        value = getattr(node, name)
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, Record):
                yield part


def check_depth(tree: Record) -> None:
    """Refuse a tree that is nested deeper than `DEEPEST`, without recursing itself."""
    level: list[Record] = [tree]
    for _ in range(DEEPEST):
        level = [child for node in level for child in children(node)]
        if not level:
            return
    raise StatementError(
        f"the statement is nested more than {DEEPEST} levels deep",
        code="too-deep",
        span=getattr(level[0], "span", None),
        hints=("give parts of it a statement of their own",),
    )
