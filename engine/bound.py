"""A bound query: what the names meant, with types; nothing in it is unresolved.

Made by `bind`, rendered by `sql`. Expressions know their kind; a condition can be unknown in SQL's sense until the
writer of SQL makes it two-valued.
"""

from __future__ import annotations

from imq.grammar.record import TYPE_CHECKING, Record

from .tables.declaration import Field, Kind, Table

if TYPE_CHECKING:
    from .functions import Aggregate, Function


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


class Apply(Record):
    """A function of the row."""

    function: Function
    arguments: tuple[Bound, ...]
    kind: Kind


class Total(Record):
    """An aggregate over the rows of a group. No argument: of the rows themselves."""

    aggregate: Aggregate
    argument: Bound | None
    distinct: bool
    kind: Kind


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
    Column | Item | Value | Lookup | Apply | Total | Compute | Test | Starts | Among | IsKnown | Negation | Every | Any
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


class Select(Record):
    """A query with everything resolved. `images` limits the rows to these images (`layers of X`); None: no limit.

    `count` asks for the number of rows instead of the rows.
    """

    table: Table
    columns: tuple[Selected, ...]
    where: Bound | None = None
    images: tuple[int, ...] | None = None
    group: tuple[Bound, ...] | None = None
    having: Bound | None = None
    order: tuple[Key, ...] = ()
    limit: Cut | None = None
    skip: Cut | None = None
    spared: Spared | None = None
    count: bool = False


def parts(value: Bound) -> tuple[Bound, ...]:
    """Return what an expression is directly made of."""
    match value:
        case Apply(arguments=parts) | Every(parts) | Any(parts):
            return parts
        case Compute(_, left, right) | Test(_, left, right):
            return left, right
        case Among(operand) | Starts(operand) | IsKnown(operand) | Negation(operand):
            return (operand,)
        case Column() | Item() | Value() | Lookup() | Total():
            return ()
