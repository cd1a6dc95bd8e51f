"""The functions of the language, declared once: what they take and give. Their SQL stands in sql.py's dialect."""

from __future__ import annotations

from imq.grammar.record import Record

from .tables.declaration import Kind


class Function(Record):
    """A function of one row. `gives` None means: the kind of the first argument; a `takes` of None: any kind.

    `repeats` says that the last argument may come any number of times.
    """

    name: str
    takes: tuple[Kind | None, ...]
    gives: Kind | None
    doc: str
    repeats: bool = False


class Aggregate(Record):
    """A function of all rows of a group. `takes` are the kinds it accepts; empty: any. `gives` is as in `Function`.

    `bare` says that it may be written without an argument.
    """

    name: str
    takes: tuple[Kind, ...]
    gives: Kind | None
    doc: str
    bare: bool = False


_SUMMED = (Kind.NUMBER, Kind.SIZE, Kind.DURATION)
_ORDERED = (*_SUMMED, Kind.TIME, Kind.TEXT, Kind.DIGEST, Kind.REFERENCE, Kind.REPOSITORY, Kind.TAG)

FUNCTIONS: dict[str, Function] = {
    function.name: function
    for function in (
        Function("lower", (Kind.TEXT,), Kind.TEXT, "the text in lower case"),
        Function("upper", (Kind.TEXT,), Kind.TEXT, "the text in upper case"),
        Function("length", (Kind.TEXT,), Kind.NUMBER, "how many characters the text has"),
        Function(
            "replace",
            (Kind.TEXT, Kind.TEXT, Kind.TEXT),
            Kind.TEXT,
            "the text with every occurrence of the second replaced by the third",
        ),
        Function("coalesce", (None, None), None, "the first of its arguments that is known", repeats=True),
        Function("age", (Kind.TIME,), Kind.DURATION, "how long ago the time was"),
        Function("now", (), Kind.TIME, "the time at which the statement began"),
        Function("year", (Kind.TIME,), Kind.NUMBER, "the year of the time, in the local zone"),
        Function("month", (Kind.TIME,), Kind.NUMBER, "the month of the time, 1 to 12, in the local zone"),
        Function("day", (Kind.TIME,), Kind.NUMBER, "the day of the month of the time, in the local zone"),
    )
}

AGGREGATES: dict[str, Aggregate] = {
    aggregate.name: aggregate
    for aggregate in (
        Aggregate("count", (), Kind.NUMBER, "how many rows; how many of the argument are known", bare=True),
        Aggregate("sum", _SUMMED, None, "the sum of what is known"),
        Aggregate("avg", _SUMMED, None, "the mean of what is known"),
        Aggregate("min", _ORDERED, None, "the smallest that is known"),
        Aggregate("max", _ORDERED, None, "the largest that is known"),
        Aggregate("list", (), Kind.LIST, "all that are known, as a list"),
    )
}
