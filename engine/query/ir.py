"""The typed query: the intermediate representation between the binder and SQL, with every name resolved.

The binder creates it and the SQL generator writes it. Every expression has a type (`kind`). A condition can be
unknown, as in SQL, until the generator makes it two-valued.
"""

from __future__ import annotations

from imq.engine.catalog.schema import DataType, Field, Table
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from imq.engine.catalog.functions import Aggregate, Function


class Column(Record):
    """A field of the row; with `join`, of the row that the join of this name adds."""

    field: Field
    join: str = ""

    @property
    def kind(self) -> DataType:
        """The field's kind."""
        return self.field.type


class MapItem(Record):
    """One value of a map field of the row; with `join`, of the row that the join of this name adds."""

    field: Field
    key: str
    kind: DataType = DataType.TEXT
    join: str = ""


class Literal(Record):
    """A constant: a string, a number or a truth value. `text` is how the user wrote it."""

    value: str | int | float | None
    kind: DataType
    text: str = ""


class ImageField(Record):
    """A field of one image of the store, resolved when the statement is bound. `text` is the name as written."""

    field: Field
    image: int
    text: str

    @property
    def kind(self) -> DataType:
        """The field's kind."""
        return self.field.type


class ScalarSubquery(Record):
    """The single value that a query returns: `(images count)`, `sum(layers.size)`, `base.name`."""

    select: Select
    kind: DataType


class Exists(Record):
    """Whether a query returns any row."""

    select: Select
    kind: DataType = DataType.BOOLEAN


class InSubquery(Record):
    """Whether a value is in the single column of a query.

    `by_prefix`: the operand is a digest, and the strings of the query may be prefixes of digests.
    """

    operand: Expr
    select: Select
    by_prefix: bool = False
    kind: DataType = DataType.BOOLEAN


class RowInSubquery(Record):
    """Whether a query has a row with the same keys. An unknown key equals an unknown key."""

    keys: tuple[Expr, ...]
    select: Select
    kind: DataType = DataType.BOOLEAN


class RelatedTo(Record):
    """Whether a row belongs to a row of a query, by the `join` of a relation."""

    join: str
    select: Select
    kind: DataType = DataType.BOOLEAN


class ImageRelation(Record):
    """Whether an image is based on another one or shares layers with it (`relationship`). The image itself is not."""

    relationship: str
    image: int
    text: str
    kind: DataType = DataType.BOOLEAN


class LayerRelation(Record):
    """Whether an image is based on an image of a query, or shares layers with one (`relationship`).

    The operands are `chain_ids` and `chain_id` for `based on`, of the row, and the query returns chain IDs. They are
    `diff_ids` and `id` for `shares layers with`, of the row and of the query: an image shares no layer with itself.
    """

    relationship: str
    operands: tuple[Expr, ...]
    select: Select
    kind: DataType = DataType.BOOLEAN


class RowNumber(Record):
    """The position of a row in the order of its query; with `join`, of the row that the join of this name adds."""

    kind: DataType = DataType.NUMBER
    join: str = ""


class FunctionCall(Record):
    """A function call on values of the row."""

    function: Function
    arguments: tuple[Expr, ...]
    kind: DataType


class Previous(Record):
    """A value of the row before, in the order of the query; with `per`, of the row before with equal keys.

    The row before is a row that the query selects before its limits. The first row has none: the value is unknown.
    """

    value: Expr
    per: tuple[Expr, ...]
    order: tuple[SortKey, ...]
    kind: DataType


class Largest(Record):
    """The largest value of an expression over the rows that the query selects before its limits."""

    value: Expr
    kind: DataType


class AggregateCall(Record):
    """An aggregate over the rows of a group; without an argument, over the rows themselves.

    `aligned_with` are the arguments of all `list` aggregates over the same rows, if there are several. Each list then
    has one item per row, ordered by these arguments.
    """

    aggregate: Aggregate
    argument: Expr | None
    distinct: bool
    kind: DataType
    aligned_with: tuple[Expr, ...] = ()


class Arithmetic(Record):
    """`left operator right` of numbers, sizes, durations and times."""

    operator: str
    left: Expr
    right: Expr
    kind: DataType


class Comparison(Record):
    """A comparison of two values whose types fit. The right operand of `like` is a glob, that of `has` an item."""

    operator: str
    left: Expr
    right: Expr
    kind: DataType = DataType.BOOLEAN


class HasPrefix(Record):
    """Whether a digest begins with some hex digits (a short ID)."""

    operand: Expr
    prefix: str
    kind: DataType = DataType.BOOLEAN


class InList(Record):
    """Whether a value is in a list."""

    operand: Expr
    values: tuple[Literal, ...]
    kind: DataType = DataType.BOOLEAN


class IsKnown(Record):
    """Whether a value is known."""

    operand: Expr
    known: bool
    kind: DataType = DataType.BOOLEAN


class Not(Record):
    """The negation of a condition: true when the condition is false or unknown."""

    operand: Expr
    kind: DataType = DataType.BOOLEAN


class ShownCondition(Record):
    """A condition as it is shown: true when `certain` holds, false when `possible` does not, else unknown."""

    certain: Expr
    possible: Expr
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
    | LayerRelation
    | RowNumber
    | FunctionCall
    | Previous
    | Largest
    | AggregateCall
    | Arithmetic
    | Comparison
    | HasPrefix
    | InList
    | IsKnown
    | Not
    | ShownCondition
    | And
    | Or
)


class Projection(Record):
    """One column of the result. `field` is set if the column is a field."""

    name: str
    value: Expr
    title: str
    field: Field | None = None


class SortKey(Record):
    """One sort key. Rows with an unknown key come last in both directions."""

    value: Expr
    descending: bool


class Limit(Record):
    """A number of rows, counted separately for each value of `per`."""

    count: int
    per: tuple[Expr, ...]


class KeepNewest(Record):
    """`except newest`: leaves out the newest rows, and rows whose `by` is unknown: no age rule can match them.

    `is_inverted`: takes the rows that it leaves out instead. `counts_names`: the rows of one name count once; false
    where each name has one row.
    """

    count: int
    per: tuple[Expr, ...]
    by: Expr
    is_inverted: bool = False
    counts_names: bool = False


class UntilSize(Record):
    """`until total size <= N`: takes rows until the remaining images occupy at most `size` bytes.

    `is_strict`: fewer than `size` bytes (`<`). With `frees`, `size` is the number of bytes that the rows free instead.
    `layers` returns the layers of all images of the sources: image, source, chain ID and size; None for the store.
    """

    size: int
    is_strict: bool
    frees: bool = False
    layers: Select | None = None


class Join(Record):
    """The rows of `select` next to those of a query, where `condition` holds. Its columns are those that are used.

    `kind` is `left` (rows without a partner stay, with unknown values), `inner`, or `full` (rows of both sides stay).
    """

    name: str
    kind: str
    select: Select
    condition: Expr


class Union(Record):
    """The rows of two queries. Both return whole rows of one table, or the same columns."""

    left: Select
    right: Select


class Select(Record):
    """A query with everything resolved.

    `whole` says that it answers rows of `table` as they are: then `columns` are what is shown of them. `of` limits the
    rows to those of these images (`layers of X`): keys of images, or queries of them; None: no limit. `base` is where
    the rows come from, when it is not the whole table. `link` is the word for how they belong to the row outside
    (see `tables.Relation`). `count` asks for the number of rows instead of the rows; `nonempty` refuses none.
    `image` is the name or ID of the image that the rows are of, when a statement needs it to exist. With `joins`, whole
    rows are those of `table`, each as often as it has partners.
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
    image: str = ""
    joins: tuple[Join, ...] = ()

    @property
    def is_limited(self) -> bool:
        """Whether the order of the rows decides which of them it returns."""
        return bool(self.limit or self.skip or self.keep_newest or self.until)


def children(expression: Expr) -> tuple[Expr, ...]:
    """Return the operands of an expression, without subqueries."""
    match expression:
        case Previous(value, per):
            return (value, *per)
        case Largest(value):
            return (value,)
        case FunctionCall(arguments=parts) | And(parts) | Or(parts) | RowInSubquery(parts):
            return parts
        case Arithmetic(_, left, right) | Comparison(_, left, right) | ShownCondition(left, right):
            return left, right
        case LayerRelation(_, parts):
            return parts
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
    """Yield expressions and their operands at every depth, without subqueries."""
    pending = list(values)
    while pending:
        value = pending.pop()
        yield value
        pending += children(value)
        if isinstance(value, AggregateCall) and value.argument is not None:
            pending += (value.argument, *value.aligned_with)


def has_aggregate(value: Expr) -> bool:
    """Whether an expression contains an aggregate."""
    return isinstance(value, AggregateCall) or any(has_aggregate(part) for part in children(value))


def transform(value: Expr, change: Callable[[Expr], Expr]) -> Expr:
    """Return an expression with `change` applied to it and to its operands at every depth, operands first."""
    changed: dict[str, object] = {}
    for name in type(value).compared_fields():
        part = getattr(value, name)
        if isinstance(part, Expr):
            changed[name] = transform(part, change)
        elif isinstance(part, tuple) and part and all(isinstance(one, Expr) for one in part):
            changed[name] = tuple(transform(one, change) for one in part)
    return change(value.replace(**changed) if changed else value)


def has_previous(value: Expr) -> bool:
    """Whether an expression reads the row before, or all rows, before the limits of its query."""
    return any(isinstance(part, Previous | Largest) for part in walk((value,)))


def get_subquery(value: Expr) -> Select | None:
    """Return the query of an expression; None if it has none."""
    has_query = ScalarSubquery | Exists | InSubquery | RowInSubquery | RelatedTo | LayerRelation
    return value.select if isinstance(value, has_query) else None


def list_expressions(select: Select) -> Iterator[Expr]:
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
    yield from (join.condition for join in select.joins)


def walk_subqueries(select: Select) -> Iterator[Select]:
    """Yield a query and every query inside it, inner queries first."""
    layers = (select.until.layers,) if select.until is not None else ()
    for part in (select.base, *(select.targets or ()), *(join.select for join in select.joins), *layers):
        if isinstance(part, Union):
            yield from walk_subqueries(part.left)
            yield from walk_subqueries(part.right)
        elif isinstance(part, Select):
            yield from walk_subqueries(part)
    for value in walk(list_expressions(select)):
        if (inner := get_subquery(value)) is not None:
            yield from walk_subqueries(inner)
    yield select
