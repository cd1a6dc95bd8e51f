"""The typed query: the intermediate representation between the binder and SQL, with every name resolved.

Made by `bind`, rendered by `sql`. Expressions know their kind; a condition can be unknown in SQL's sense until the
writer of SQL makes it two-valued.
"""

from __future__ import annotations

from imq.engine.catalog.schema import DataType, Field, Table
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from imq.engine.catalog.functions import Aggregate, Function


class Column(Record):
    """A field of the row."""

    field: Field

    @property
    def kind(self) -> DataType:
        """The field's kind."""
        return self.field.type


class MapItem(Record):
    """One value of a map field of the row."""

    field: Field
    key: str
    kind: DataType = DataType.TEXT


class Literal(Record):
    """A constant: a string, a number or a truth value. `text` is how the user wrote it."""

    value: str | int | float | None
    kind: DataType
    text: str = ""


class ImageField(Record):
    """A field of one image of the store, found when the statement was bound. `text` is the user's word for it."""

    field: Field
    image: int
    text: str

    @property
    def kind(self) -> DataType:
        """The field's kind."""
        return self.field.type


class ScalarSubquery(Record):
    """The one value that a query answers: `(images count)`, `sum(layers.size)`, `base.name`."""

    select: Select
    kind: DataType


class Exists(Record):
    """Whether a query answers any row."""

    select: Select
    kind: DataType = DataType.BOOLEAN


class InSubquery(Record):
    """A value that is one of those in the one column of a query.

    `by_prefix`: the operand is a digest, and the strings of the query may be prefixes of digests.
    """

    operand: Expr
    select: Select
    by_prefix: bool = False
    kind: DataType = DataType.BOOLEAN


class RowInSubquery(Record):
    """A row whose keys, all together, are those of a row of a query; an unknown key is like another unknown one."""

    keys: tuple[Expr, ...]
    select: Select
    kind: DataType = DataType.BOOLEAN


class RelatedTo(Record):
    """A row that belongs, by the word `link` of a relation, to one of the rows of a query."""

    link: str
    select: Select
    kind: DataType = DataType.BOOLEAN


class ImageRelation(Record):
    """An image that is based on another one, or shares layers with it (`how`); itself left out."""

    relationship: str
    image: int
    text: str
    kind: DataType = DataType.BOOLEAN


class RowNumber(Record):
    """The place of a row in the order of the query that it comes from."""

    kind: DataType = DataType.NUMBER


class FunctionCall(Record):
    """A function of the row."""

    function: Function
    arguments: tuple[Expr, ...]
    kind: DataType


class AggregateCall(Record):
    """An aggregate over the rows of a group. No argument: of the rows themselves.

    `beside` are what all lists of the same rows list, when this is one of several: then each has an item for every row,
    ordered by these.
    """

    aggregate: Aggregate
    argument: Expr | None
    distinct: bool
    kind: DataType
    beside: tuple[Expr, ...] = ()


class Arithmetic(Record):
    """`left operator right` of numbers, sizes, durations and times."""

    operator: str
    left: Expr
    right: Expr
    kind: DataType


class Comparison(Record):
    """A comparison; its operands have fitting kinds. `like` has a glob on its right, `has` an item."""

    operator: str
    left: Expr
    right: Expr
    kind: DataType = DataType.BOOLEAN


class HasPrefix(Record):
    """A digest that begins with some hex digits (a short id)."""

    operand: Expr
    prefix: str
    kind: DataType = DataType.BOOLEAN


class InList(Record):
    """A value that is one of a list."""

    operand: Expr
    values: tuple[Literal, ...]
    kind: DataType = DataType.BOOLEAN


class IsKnown(Record):
    """Whether a value is known."""

    operand: Expr
    known: bool
    kind: DataType = DataType.BOOLEAN


class Not(Record):
    """The negation of a condition; it holds when the condition is false or unknown."""

    operand: Expr
    kind: DataType = DataType.BOOLEAN


class And(Record):
    """A conjunction."""

    operands: tuple[Expr, ...]
    kind: DataType = DataType.BOOLEAN


class Or(Record):
    """A disjunction."""

    operands: tuple[Expr, ...]
    kind: DataType = DataType.BOOLEAN


Expr = (
    Column
    | MapItem
    | Literal
    | ImageField
    | ScalarSubquery
    | Exists
    | InSubquery
    | RowInSubquery
    | RelatedTo
    | ImageRelation
    | RowNumber
    | FunctionCall
    | AggregateCall
    | Arithmetic
    | Comparison
    | HasPrefix
    | InList
    | IsKnown
    | Not
    | And
    | Or
)


class Projection(Record):
    """One column of the answer. `field` is the field it shows as it is, if it is one."""

    name: str
    value: Expr
    title: str
    field: Field | None = None


class SortKey(Record):
    """One key of an order; rows whose key is unknown come last either way."""

    value: Expr
    descending: bool


class Limit(Record):
    """A number of rows, counted within equal `per`."""

    count: int
    per: tuple[Expr, ...]


class KeepNewest(Record):
    """`except newest`: the rows left out, and those whose `by` is unknown, for no age rule matches them."""

    count: int
    per: tuple[Expr, ...]
    by: Expr


class UntilSize(Record):
    """`until total size <= N`: rows are taken until the remaining images occupy at most this many bytes.

    `below`: until it takes fewer.
    """

    size: int
    below: bool


class Union(Record):
    """The rows of one query and those of another; both answer whole rows of one table, or the same columns."""

    left: Select
    right: Select


class Select(Record):
    """A query with everything resolved.

    `whole` says that it answers rows of `table` as they are: then `columns` are what is shown of them. `of` limits the
    rows to those of these images (`layers of X`): keys of images, or queries of them; None: no limit. `base` is where
    the rows come from, when it is not the whole table. `link` is the word for how they belong to the row outside
    (see `tables.Relation`). `count` asks for the number of rows instead of the rows; `nonempty` refuses none.
    """

    table: Table
    columns: tuple[Projection, ...]
    where: Expr | None = None
    targets: tuple[int | Select, ...] | None = None
    group: tuple[Expr, ...] | None = None
    having: Expr | None = None
    order: tuple[SortKey, ...] = ()
    limit: Limit | None = None
    skip: Limit | None = None
    keep_newest: KeepNewest | None = None
    until: UntilSize | None = None
    count: bool = False
    base: Select | Union | None = None
    join: str = ""
    is_whole_rows: bool = False
    nonempty: str = ""

    @property
    def is_limited(self) -> bool:
        """Whether which rows it answers depends on their order."""
        return bool(self.limit or self.skip or self.keep_newest or self.until)


def children(value: Expr) -> tuple[Expr, ...]:
    """Return the operands of an expression; subqueries are not among them."""
    match value:
        case FunctionCall(arguments=parts) | And(parts) | Or(parts) | RowInSubquery(parts):
            return parts
        case Arithmetic(_, left, right) | Comparison(_, left, right):
            return left, right
        case InList(operand) | HasPrefix(operand) | IsKnown(operand) | Not(operand) | InSubquery(operand):
            return (operand,)
        case (
            Column()
            | MapItem()
            | Literal()
            | ImageField()
            | AggregateCall()
            | ScalarSubquery()
            | Exists()
            | RelatedTo()
            | ImageRelation()
            | RowNumber()
        ):
            return ()


def walk(values: Iterable[Expr]) -> Iterator[Expr]:
    """Yield expressions and all that they are made of, in the same row."""
    pending = list(values)
    while pending:
        value = pending.pop()
        yield value
        pending += children(value)
        if isinstance(value, AggregateCall) and value.argument is not None:
            pending += (value.argument, *value.beside)


def mapped(value: Expr, change: Callable[[Expr], Expr]) -> Expr:
    """Return an expression with a change made to it and to all that it is made of, in the same row."""
    made: dict[str, object] = {}
    for name in type(value).compared_fields():
        part = getattr(value, name)
        if isinstance(part, Expr):
            made[name] = mapped(part, change)
        elif isinstance(part, tuple) and part and all(isinstance(one, Expr) for one in part):
            made[name] = tuple(mapped(one, change) for one in part)
    return change(value.replace(**made) if made else value)


def subquery_of(value: Expr) -> Select | None:
    """Return the query inside an expression, if it is one with a query."""
    return value.select if isinstance(value, ScalarSubquery | Exists | InSubquery | RowInSubquery | RelatedTo) else None


def expressions_of(select: Select) -> Iterator[Expr]:
    """Yield the expressions of a query, clause by clause."""
    if not select.count:
        yield from (column.value for column in select.columns)
    yield from (value for value in (select.where, select.having) if value is not None)
    yield from select.group or ()
    yield from (key.value for key in select.order)
    for cut in (select.limit, select.skip):
        yield from cut.per if cut is not None else ()
    if select.keep_newest is not None:
        yield from (*select.keep_newest.per, select.keep_newest.by)


def subqueries(select: Select) -> Iterator[Select]:
    """Yield a query and every query inside it, the inner ones first."""
    for part in (select.base, *(select.targets or ())):
        if isinstance(part, Union):
            yield from subqueries(part.left)
            yield from subqueries(part.right)
        elif isinstance(part, Select):
            yield from subqueries(part)
    for value in walk(expressions_of(select)):
        if (found := subquery_of(value)) is not None:
            yield from subqueries(found)
    yield select
