"""The syntax tree, which the parser and the Python API build and the unparser writes as text.

Nodes are frozen and compare by content, not by position. Names are not resolved: a `Field` may not exist, and the type
of a `Literal` depends on its context.
"""

from __future__ import annotations

from itertools import islice

from .errors import Span, StatementError
from .record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Expressions


class Literal(Record):
    """A value as written: `redis:latest`, `100MB`, `30d`, `"a string"`."""

    text: str
    quoted: bool = False
    span: Span | None = None


class Field(Record):
    """A field by its path: `size`, `label.env`."""

    path: tuple[str, ...]
    span: Span | None = None


class Variable(Record):
    """`$name`, replaced by its value before binding."""

    name: str
    span: Span | None = None


class Subquery(Record):
    """`(images count)`: the single value of a query. In `count(layers where …)`: the rows that are counted."""

    rows: RowSource
    span: Span | None = None


class Exists(Record):
    """`any containers where …` or `no containers …`: whether a relation of the row, or a table, has matching rows."""

    rows: RowSource
    negated: bool = False
    span: Span | None = None


class ImageField(Record):
    """`created of redis:latest`: a field of a named image."""

    path: tuple[str, ...]
    target: Literal | Variable
    span: Span | None = None


class Call(Record):
    """A function call. `count(*)` has no arguments; with `distinct`, equal arguments count once.

    `per` are the keys of `previous(size per repository)`.
    """

    name: str
    arguments: tuple[Expr, ...]
    distinct: bool = False
    per: tuple[Expr, ...] = ()
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
    """`operand in (item, …)`; with `rows`, a query or a list variable: `operand in QUERY`."""

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
    """A named predicate: `in use`, `older than 30d`. The engine declares its meaning."""

    name: str
    arguments: tuple[Expr, ...] = ()
    span: Span | None = None


class Not(Record):
    """`not operand`."""

    operand: Expr
    span: Span | None = None


class And(Record):
    """A conjunction of two or more conditions."""

    operands: tuple[Expr, ...]
    span: Span | None = None


class Or(Record):
    """A disjunction of two or more conditions."""

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
    """One key of `order by`."""

    key: Expr
    descending: bool = False
    span: Span | None = None


class Limit(Record):
    """The operand of `limit` and `skip`: a number of rows, in each group of rows with equal `per`."""

    count: Expr
    per: tuple[Expr, ...] = ()
    span: Span | None = None


class KeepNewest(Record):
    """`except newest N per F by K`: the rows that a retention rule keeps."""

    count: Expr
    per: tuple[Expr, ...] = ()
    by: Expr | None = None
    span: Span | None = None


class Column(Record):
    """One value of `select`, with an optional name."""

    value: Expr
    name: str | None = None
    span: Span | None = None


class Join(Record):
    """`KIND join (rows) as name on condition`: rows of another query next to those of this one, their fields `name.F`.

    `kind` is `left`, `inner` or `full`.
    """

    kind: str
    rows: RowSource
    name: str
    condition: Expr
    span: Span | None = None


class UntilSize(Record):
    """`until total size <= N`: takes rows in order until what remains satisfies the comparison.

    `measure` is `total size`, or `disk use` or `free` of the disk that holds the images. The size of `disk use` is a
    percentage.
    """

    operator: str
    size: Expr
    measure: str = "total size"
    span: Span | None = None


class When(Record):
    """`when disk use > 85%`: selects no rows unless the disk satisfies the comparison; `measure` as in `UntilSize`."""

    operator: str
    size: Expr
    measure: str
    span: Span | None = None


class Query(Record):
    """A query of a table or view, or of another query in parentheses (`base`). `at` is a path in the file after `of`.

    `explicit_all` records the word `all`. `nonempty` makes an empty result an error.
    """

    table: str
    targets: tuple[Literal | Variable | RowSource, ...] = ()
    sources: tuple[Literal | Variable, ...] = ()
    at: tuple[str, ...] = ()
    base: RowSource | None = None
    joins: tuple[Join, ...] = ()
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
    when: When | None = None
    select: tuple[Column, ...] = ()
    count: bool = False
    span: Span | None = None


class Combination(Record):
    """`left union right`, `except` or `intersect`. Rows are equal by the keys `by`, else by default keys."""

    operator: str
    left: RowSource
    right: RowSource
    by: tuple[Expr, ...] = ()
    span: Span | None = None


RowSource = Query | Combination

# Statements


class Output(Record):
    """The output format or the template of a statement; neither means the default."""

    format: str | None = None
    template: str | None = None
    span: Span | None = None


class QueryStatement(Record):
    """A query as a statement."""

    query: RowSource
    output: Output = Output()
    span: Span | None = None


class Option(Record):
    """An option of an action: `to X`, `as T`, `force`. The values of `with` are names and values in turn."""

    name: str
    values: tuple[Literal | Variable, ...] = ()
    span: Span | None = None


class ActionStatement(Record):
    """A verb, its operand and its options.

    The operand is references or a query; `explicit_all` is the word `all` alone.
    """

    verb: str
    references: tuple[Literal | Variable, ...] = ()
    query: RowSource | None = None
    explicit_all: bool = False
    options: tuple[Option, ...] = ()
    output: Output = Output()
    span: Span | None = None


class Explain(Record):
    """`explain statement`: shows the plan without running it."""

    statement: Statement
    span: Span | None = None


class DryRun(Record):
    """`dry run statement`: lists the actions without running them."""

    statement: Statement
    span: Span | None = None


class Set(Record):
    """`set`, `set name`, `set name = value`: shows all settings, shows one, changes one."""

    name: str | None = None
    value: Expr | None = None
    span: Span | None = None


class ListLiteral(Record):
    """The list value of a variable: `let keep = (latest, stable)`."""

    items: tuple[Expr, ...]
    span: Span | None = None


class Let(Record):
    """`let name = value`: defines `$name` for later statements. Without a name, shows all variables."""

    name: str | None = None
    value: Expr | ListLiteral | None = None
    span: Span | None = None


class View(Record):
    """`view name as query`: names a query, which later statements use as a table. Without a name, shows all views."""

    name: str | None = None
    rows: RowSource | None = None
    span: Span | None = None


class Use(Record):
    """`use source`: sets the default source of later queries. Without a source, shows the current one."""

    source: Literal | None = None
    span: Span | None = None


class Include(Record):
    """`include file`: runs the statements of another file."""

    path: str
    span: Span | None = None


class OnError(Record):
    """`on error stop` or `on error continue`: sets whether a script stops at a failed statement."""

    stops: bool
    span: Span | None = None


class Assert(Record):
    """`assert condition`: fails with exit code 1 when the condition does not hold."""

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
Node = (
    Expr
    | ListLiteral
    | Ordering
    | Limit
    | KeepNewest
    | Join
    | UntilSize
    | When
    | Column
    | RowSource
    | Output
    | Option
    | Statement
)

MAX_DEPTH = 200
"""Maximum nesting of a tree; functions over the tree may recurse this deep."""


def children(node: Record) -> Iterator[Record]:
    """Yield the direct child nodes, in order."""
    for name in node.compared_fields():
        value = getattr(node, name)
        for part in value if isinstance(value, tuple) else (value,):
            if isinstance(part, Record):
                yield part


MAX_NODES = 1 << 18
"""Maximum number of nodes of a tree; variables that contain variables can double it at each level."""


def check_limits(tree: Record) -> None:
    """Refuse a tree that is nested deeper than `MAX_DEPTH` or has more than `MAX_NODES` nodes, without recursion."""
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
        hints=("split it into several statements",),
    )


_ID_DIGITS = frozenset("0123456789abcdef")
_SHORTEST_ID = 4
"""The least number of digits that can be the beginning of the ID of a container."""


def make_container_query(name: Literal | Variable, sources: Sequence[Literal | Variable], span: Span | None) -> Query:
    """Return the query for the container with this name or ID; that it finds none is an error."""
    literal = name.replace(quoted=True) if isinstance(name, Literal) else name
    where: Expr = Comparison("=", Field(("name",)), literal)
    if isinstance(name, Literal) and len(name.text) >= _SHORTEST_ID and _ID_DIGITS.issuperset(name.text):
        where = Or((where, Comparison("=", Field(("id",)), literal)))
    return Query("containers", sources=tuple(sources), nonempty=True, where=where, span=span)
