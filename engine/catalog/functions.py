"""The functions of the language, declared once: what they take and give. Their SQL stands in sql.py's dialect."""

from __future__ import annotations

from imq.grammar.record import Record

from .schema import DataType


class Function(Record):
    """A function of one row. `takes` are the kinds of each argument; empty: any, after the first any like it.

    `gives` None means: the kind of the argument at `like`. The last argument may come any number of times (`repeats`),
    or the last ones may be left out (`optional`: how many). `inner`: statements have no use for it.
    """

    name: str
    parameters: tuple[tuple[DataType, ...], ...]
    returns: DataType | None
    doc: str
    is_variadic: bool = False
    optional_count: int = 0
    result_like: int = 0
    is_internal: bool = False


class Aggregate(Record):
    """A function of all rows of a group. `takes` are the kinds it accepts; empty: any. `gives` is as in `Function`.

    `bare` says that it may be written without an argument.
    """

    name: str
    parameter: tuple[DataType, ...]
    returns: DataType | None
    doc: str
    is_argument_optional: bool = False


_SUMMED = (DataType.NUMBER, DataType.SIZE, DataType.DURATION)
_ORDERED = (
    *_SUMMED,
    DataType.TIME,
    DataType.TEXT,
    DataType.DIGEST,
    DataType.REFERENCE,
    DataType.REPOSITORY,
    DataType.TAG,
    DataType.VERSION,
    DataType.PLATFORM,
)

_TEXT, _NUMBER, _TIME, _LIST, _ANY = (DataType.TEXT,), (DataType.NUMBER,), (DataType.TIME,), (DataType.LIST,), ()

FUNCTIONS: dict[str, Function] = {
    function.name: function
    for function in (
        Function("lower", (_TEXT,), DataType.TEXT, "the text in lower case"),
        Function("upper", (_TEXT,), DataType.TEXT, "the text in upper case"),
        Function(
            "length",
            ((DataType.TEXT, DataType.LIST),),
            DataType.NUMBER,
            "how many characters a text has, or items a list",
        ),
        Function(
            "replace",
            (_TEXT, _TEXT, _TEXT),
            DataType.TEXT,
            "the text with every occurrence of the second replaced by the third",
        ),
        Function(
            "capture",
            (_TEXT, _TEXT, _NUMBER),
            DataType.TEXT,
            "what a regular expression finds in the text: its group of this number, else its first, else all of it;"
            " unknown when it finds nothing",
            optional_count=1,
        ),
        Function(
            "path_match",
            (_TEXT, _TEXT),
            DataType.BOOLEAN,
            "whether a pattern of docker's reference filter matches the whole text: its * and ? stop at a slash",
        ),
        Function("split", (_TEXT, _TEXT), DataType.LIST, "the parts of the text between the separators"),
        Function("join", (_LIST, _TEXT), DataType.TEXT, "the items of the list with the text between them"),
        Function("basename", (_TEXT,), DataType.TEXT, "what stands behind the last slash of the text"),
        Function("dirname", (_TEXT,), DataType.TEXT, "what stands before the last slash of the text"),
        Function("coalesce", (_ANY, _ANY), None, "the first of its arguments that is known", is_variadic=True),
        Function(
            "if",
            ((DataType.BOOLEAN,), _ANY, _ANY),
            None,
            "the second argument where the first holds, else the third",
            result_like=1,
        ),
        Function("age", (_TIME,), DataType.DURATION, "how long ago the time was"),
        Function("now", (), DataType.TIME, "the time at which the statement began"),
        Function("year", (_TIME,), DataType.NUMBER, "the year of the time, in the local zone"),
        Function("month", (_TIME,), DataType.NUMBER, "the month of the time, 1 to 12, in the local zone"),
        Function("day", (_TIME,), DataType.NUMBER, "the day of the month of the time, in the local zone"),
        Function(
            "as_name",
            (_TEXT,),
            DataType.REFERENCE,
            "the text as names are kept: redis is redis:latest",
            is_internal=True,
        ),
        Function("as_repository", (_TEXT,), DataType.REPOSITORY, "the text as repositories are kept", is_internal=True),
        Function(
            "as_digest", (_TEXT,), DataType.DIGEST, "the text as digests are kept, or their beginning", is_internal=True
        ),
    )
}

AGGREGATES: dict[str, Aggregate] = {
    aggregate.name: aggregate
    for aggregate in (
        Aggregate(
            "count",
            (),
            DataType.NUMBER,
            "how many rows; how many of the argument are known. A row of images is a name: count(distinct images)"
            " counts each image once",
            is_argument_optional=True,
        ),
        Aggregate("sum", _SUMMED, None, "the sum of what is known"),
        Aggregate("avg", _SUMMED, None, "the mean of what is known"),
        Aggregate("min", _ORDERED, None, "the smallest that is known"),
        Aggregate("max", _ORDERED, None, "the largest that is known"),
        Aggregate(
            "list",
            (),
            DataType.LIST,
            "all that are known, as a list in their order; several lists of the same rows have an item for each row,"
            " in one order, with null for what is unknown",
        ),
    )
}
