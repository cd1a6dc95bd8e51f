"""The syntax tree: what text and the Python form both build, and what the printer turns back into text.

Nodes are frozen and compare by what they say, not by where they stood. Names are not resolved here: a `Field` may
name nothing, a `Literal` is a text whose type follows from what it meets.
"""

from __future__ import annotations

from itertools import islice

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


class Subquery(Record):
    """`(images count)`: the one value that a query answers; in `count(layers where …)` the rows that are counted."""

    rows: RowSource
    span: Span | None = None


class Exists(Record):
    """`any containers where …`, or `no containers …`: whether a relation of the row, or a table, has such rows."""

    rows: RowSource
    negated: bool = False
    span: Span | None = None


class ImageField(Record):
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
    """`operand in (item, …)`; with `rows` (a query, or a variable that stands for a list) `operand in QUERY`."""

    operand: Expr
    items: tuple[Expr, ...] = ()
    rows: RowSource | Variable | None = None
    span: Span | None = None


class IsKnown(Record):
    """`operand is known`, or `is unknown`."""

    operand: Expr
    known: bool = True
    span: Span | None = None


class Predicate(Record):
    """A sentence form, by its words: `in use`, `older than 30d`. The engine declares what it means."""

    name: str
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
    | Subquery
    | Exists
    | ImageField
    | Call
    | Arithmetic
    | Comparison
    | Between
    | In
    | IsKnown
    | Predicate
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


class Limit(Record):
    """A number of rows, counted in each group of equal `per` when there are any."""

    count: Expr
    per: tuple[Expr, ...] = ()
    span: Span | None = None


class KeepNewest(Record):
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


class UntilSize(Record):
    """`until total size <= N`: rows are taken, in their order, until what is left is as small as this."""

    operator: str
    size: Expr
    span: Span | None = None


class Query(Record):
    """A question about one table or view, or about what another query in parentheses (`base`) answers.

    `every` records that the word `all` was said, `nonempty` that no rows are to be refused.
    """

    table: str
    targets: tuple[Literal | Variable | RowSource, ...] = ()
    sources: tuple[Literal | Variable, ...] = ()
    base: RowSource | None = None
    nonempty: bool = False
    explicit_all: bool = False
    where: Expr | None = None
    group: tuple[Expr, ...] = ()
    having: Expr | None = None
    order: tuple[Ordering, ...] = ()
    limit: Limit | None = None
    skip: Limit | None = None
    keep_newest: KeepNewest | None = None
    until: UntilSize | None = None
    select: tuple[Column, ...] = ()
    count: bool = False
    span: Span | None = None


class Combination(Record):
    """`left union right`, `except`, `intersect`: rows are the same when the keys `by` are; none: the usual ones."""

    operator: str
    left: RowSource
    right: RowSource
    by: tuple[Expr, ...] = ()
    span: Span | None = None


RowSource = Query | Combination

# Statements


class Output(Record):
    """How an answer is to look: a named form, or a template. Neither: the default of the place that shows it."""

    format: str | None = None
    template: str | None = None
    span: Span | None = None


class QueryStatement(Record):
    """A query as a statement."""

    query: RowSource
    output: Output = Output()
    span: Span | None = None


class Option(Record):
    """Something said beside an action: `to X`, `as T`, `force`."""

    name: str
    values: tuple[Literal | Variable, ...] = ()
    span: Span | None = None


class ActionStatement(Record):
    """A verb, what it works on (references or a query; `every`: the word `all` alone), and its options."""

    verb: str
    references: tuple[Literal | Variable, ...] = ()
    query: RowSource | None = None
    explicit_all: bool = False
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


class Set(Record):
    """`set`, `set name`, `set name = value`: show all settings, show one, change one."""

    name: str | None = None
    value: Expr | None = None
    span: Span | None = None


class ListLiteral(Record):
    """A list that a variable stands for: `let keep = (latest, stable)`."""

    items: tuple[Expr, ...]
    span: Span | None = None


class Let(Record):
    """`let name = value`: what `$name` stands for from here on. Nothing: show what has been said so far."""

    name: str | None = None
    value: Expr | ListLiteral | None = None
    span: Span | None = None


class View(Record):
    """`view name as query`: a query that can be asked like a table from here on. Nothing: show them."""

    name: str | None = None
    rows: RowSource | None = None
    span: Span | None = None


class Use(Record):
    """`use source`: where questions without `in` are asked from here on. Nothing: say where that is."""

    source: Literal | None = None
    span: Span | None = None


class Include(Record):
    """`include file`: the statements of another file, in this place."""

    path: str
    span: Span | None = None


class OnError(Record):
    """`on error stop` or `on error continue`: what a script does when a statement fails."""

    stops: bool
    span: Span | None = None


class Assert(Record):
    """`assert condition`: the exit code says whether it holds."""

    condition: Expr
    output: Output = Output()
    span: Span | None = None


class Help(Record):
    """`help words`."""

    words: tuple[str, ...] = ()
    span: Span | None = None


Statement = (
    QueryStatement | ActionStatement | Explain | DryRun | Set | Let | View | Use | Include | OnError | Assert | Help
)
Node = Expr | ListLiteral | Ordering | Limit | KeepNewest | UntilSize | Column | RowSource | Output | Option | Statement

MAX_DEPTH = 200
"""Levels of nesting that are accepted; passes over the tree may recurse this deep."""


def children(node: Record) -> Iterator[Record]:
    """Yield the nodes directly below this one, in order."""
    for name in node.compared_fields():
        value = getattr(node, name)
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, Record):
                yield part


MAX_NODES = 1 << 18
"""Nodes of a tree that are accepted; a variable that stands for two of another doubles it each time."""


def check_limits(tree: Record) -> None:
    """Refuse a tree that is nested deeper than `DEEPEST`, or has more than `MOST` nodes, without recursing itself."""
    level: list[Record] = [tree]
    count = 0
    for _ in range(MAX_DEPTH):
        level = list(islice((child for node in level for child in children(node)), MAX_NODES + 1))
        count += len(level)
        if count > MAX_NODES:
            raise StatementError(
                "the statement is too large", code="too-much", hints=("put long lists into a file: lines of FILE",)
            )
        if not level:
            return
    raise StatementError(
        f"the statement is nested more than {MAX_DEPTH} levels deep",
        code="too-deep",
        span=getattr(level[0], "span", None),
        hints=("give parts of it a statement of their own",),
    )
