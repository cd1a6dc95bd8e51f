"""A bound query: what the names meant, with types; nothing in it is unresolved.

Made by `bind`, rendered by `sql`. Expressions know their kind; a condition can be unknown in SQL's sense until the
writer of SQL makes it two-valued.
"""

from __future__ import annotations

from imq.engine.catalog.schema import Field, Kind, Table
from imq.grammar.record import TYPE_CHECKING, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from imq.engine.catalog.functions import Aggregate, Function


class Column(Record):
    """A field of the row."""

    field: Field

    @property
    def kind(self) -> Kind:
        """The field's kind."""
        return self.field.kind


class Item(Record):
    """One value of a map field of the row."""

    field: Field
    key: str
    kind: Kind = Kind.TEXT


class Value(Record):
    """A constant: a text, a number, or whether something holds. `said` is how the user wrote it."""

    value: str | int | float | None
    kind: Kind
    said: str = ""


class Lookup(Record):
    """A field of one image of the store, found when the statement was bound. `said` is the user's word for it."""

    field: Field
    image: int
    said: str

    @property
    def kind(self) -> Kind:
        """The field's kind."""
        return self.field.kind


class Single(Record):
    """The one value that a query answers: `(images count)`, `sum(layers.size)`, `base.name`."""

    select: Select
    kind: Kind


class Exists(Record):
    """Whether a query answers any row."""

    select: Select
    kind: Kind = Kind.BOOLEAN


class Within(Record):
    """A value that is one of those in the one column of a query.

    `starts`: the operand is a digest, and the query's texts may be the first digits of one.
    """

    operand: Bound
    select: Select
    starts: bool = False
    kind: Kind = Kind.BOOLEAN


class Keyed(Record):
    """A row whose keys, all together, are those of a row of a query; an unknown key is like another unknown one."""

    keys: tuple[Bound, ...]
    select: Select
    kind: Kind = Kind.BOOLEAN


class Belongs(Record):
    """A row that belongs, by the word `link` of a relation, to one of the rows of a query."""

    link: str
    select: Select
    kind: Kind = Kind.BOOLEAN


class Kin(Record):
    """An image that is based on another one, or shares layers with it (`how`); itself left out."""

    how: str
    image: int
    said: str
    kind: Kind = Kind.BOOLEAN


class Place(Record):
    """The place of a row in the order of the query that it comes from."""

    kind: Kind = Kind.NUMBER


class Apply(Record):
    """A function of the row."""

    function: Function
    arguments: tuple[Bound, ...]
    kind: Kind


class Total(Record):
    """An aggregate over the rows of a group. No argument: of the rows themselves.

    `beside` are what all lists of the same rows list, when this is one of several: then each has an item for every row,
    ordered by these.
    """

    aggregate: Aggregate
    argument: Bound | None
    distinct: bool
    kind: Kind
    beside: tuple[Bound, ...] = ()


class Compute(Record):
    """`left operator right` of numbers, sizes, durations and times."""

    operator: str
    left: Bound
    right: Bound
    kind: Kind


class Test(Record):
    """A comparison; its operands have fitting kinds. `like` has a glob on its right, `has` an item."""

    operator: str
    left: Bound
    right: Bound
    kind: Kind = Kind.BOOLEAN


class Starts(Record):
    """A digest that begins with some hex digits (a short id)."""

    operand: Bound
    prefix: str
    kind: Kind = Kind.BOOLEAN


class Among(Record):
    """A value that is one of a list."""

    operand: Bound
    values: tuple[Value, ...]
    kind: Kind = Kind.BOOLEAN


class IsKnown(Record):
    """Whether a value is known."""

    operand: Bound
    known: bool
    kind: Kind = Kind.BOOLEAN


class Negation(Record):
    """What does not hold, or is unknown."""

    operand: Bound
    kind: Kind = Kind.BOOLEAN


class Every(Record):
    """Conditions that must all hold."""

    operands: tuple[Bound, ...]
    kind: Kind = Kind.BOOLEAN


class Any(Record):
    """Conditions of which one must hold."""

    operands: tuple[Bound, ...]
    kind: Kind = Kind.BOOLEAN


Bound = (
    Column
    | Item
    | Value
    | Lookup
    | Single
    | Exists
    | Within
    | Keyed
    | Belongs
    | Kin
    | Place
    | Apply
    | Total
    | Compute
    | Test
    | Starts
    | Among
    | IsKnown
    | Negation
    | Every
    | Any
)


class Selected(Record):
    """One column of the answer. `field` is the field it shows as it is, if it is one."""

    name: str
    value: Bound
    title: str
    field: Field | None = None


class Key(Record):
    """One key of an order; rows whose key is unknown come last either way."""

    value: Bound
    descending: bool


class Cut(Record):
    """A number of rows, counted within equal `per`."""

    count: int
    per: tuple[Bound, ...]


class Spared(Record):
    """`except newest`: the rows left out, and those whose `by` is unknown, for no age rule matches them."""

    count: int
    per: tuple[Bound, ...]
    by: Bound


class Until(Record):
    """`until total size <= N`: rows are taken until what is left takes no more bytes on disk than this.

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
    columns: tuple[Selected, ...]
    where: Bound | None = None
    of: tuple[int | Select, ...] | None = None
    group: tuple[Bound, ...] | None = None
    having: Bound | None = None
    order: tuple[Key, ...] = ()
    limit: Cut | None = None
    skip: Cut | None = None
    spared: Spared | None = None
    until: Until | None = None
    count: bool = False
    base: Select | Union | None = None
    link: str = ""
    whole: bool = False
    nonempty: str = ""

    @property
    def cut(self) -> bool:
        """Whether which rows it answers depends on their order."""
        return bool(self.limit or self.skip or self.spared or self.until)


def parts(value: Bound) -> tuple[Bound, ...]:
    """Return what an expression is directly made of, in the same row: not what is in a query inside it."""
    match value:
        case Apply(arguments=parts) | Every(parts) | Any(parts) | Keyed(parts):
            return parts
        case Compute(_, left, right) | Test(_, left, right):
            return left, right
        case Among(operand) | Starts(operand) | IsKnown(operand) | Negation(operand) | Within(operand):
            return (operand,)
        case Column() | Item() | Value() | Lookup() | Total() | Single() | Exists() | Belongs() | Kin() | Place():
            return ()


def walk(values: Iterable[Bound]) -> Iterator[Bound]:
    """Yield expressions and all that they are made of, in the same row."""
    pending = list(values)
    while pending:
        value = pending.pop()
        yield value
        pending += parts(value)
        if isinstance(value, Total) and value.argument is not None:
            pending += (value.argument, *value.beside)


def mapped(value: Bound, change: Callable[[Bound], Bound]) -> Bound:
    """Return an expression with a change made to it and to all that it is made of, in the same row."""
    made: dict[str, object] = {}
    for name in type(value).value_names():
        part = getattr(value, name)
        if isinstance(part, Bound):
            made[name] = mapped(part, change)
        elif isinstance(part, tuple) and part and all(isinstance(one, Bound) for one in part):
            made[name] = tuple(mapped(one, change) for one in part)
    return change(value.replace(**made) if made else value)


def inner(value: Bound) -> Select | None:
    """Return the query inside an expression, if it is one with a query."""
    return value.select if isinstance(value, Single | Exists | Within | Keyed | Belongs) else None


def values(select: Select) -> Iterator[Bound]:
    """Yield the expressions of a query, clause by clause."""
    if not select.count:
        yield from (column.value for column in select.columns)
    yield from (value for value in (select.where, select.having) if value is not None)
    yield from select.group or ()
    yield from (key.value for key in select.order)
    for cut in (select.limit, select.skip):
        yield from cut.per if cut is not None else ()
    if select.spared is not None:
        yield from (*select.spared.per, select.spared.by)


def selects(select: Select) -> Iterator[Select]:
    """Yield a query and every query inside it, the inner ones first."""
    for part in (select.base, *(select.of or ())):
        if isinstance(part, Union):
            yield from selects(part.left)
            yield from selects(part.right)
        elif isinstance(part, Select):
            yield from selects(part)
    for value in walk(values(select)):
        if (found := inner(value)) is not None:
            yield from selects(found)
    yield select
