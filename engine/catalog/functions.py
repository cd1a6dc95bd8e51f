"""The functions of the language, declared once: parameters and result. Their SQL is in query/sql/dialect.py."""

from __future__ import annotations

from imq.grammar.record import Record

from .schema import DataType


class Function(Record):
    """A function of one row.

    `parameters` are the accepted types of each argument; empty: any type, and the same for those that follow.
    `returns` None: the type of the argument at position `result_like`. `is_variadic`: the last argument repeats.
    `optional_count` is the number of trailing arguments that may be omitted. `is_internal`: not part of the language.
    `takes_keys`: `per` and keys can follow the argument.
    """

    name: str
    parameters: tuple[tuple[DataType, ...], ...]
    returns: DataType | None
    doc: str
    is_variadic: bool = False
    optional_count: int = 0
    result_like: int = 0
    is_internal: bool = False
    takes_keys: bool = False


class Aggregate(Record):
    """A function of all rows of a group. `parameter` are the accepted types; empty: any.

    `returns` is as in `Function`. `is_argument_optional`: it may be written without an argument.
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
    DataType.PACKAGE_VERSION,
    DataType.PLATFORM,
)

_TEXT, _NUMBER, _TIME, _LIST, _ANY = (DataType.TEXT,), (DataType.NUMBER,), (DataType.TIME,), (DataType.LIST,), ()

FUNCTIONS: dict[str, Function] = {
    function.name: function
    for function in (
        Function("lower", (_TEXT,), DataType.TEXT, "the string in lower case"),
        Function("upper", (_TEXT,), DataType.TEXT, "the string in upper case"),
        Function(
            "length",
            ((DataType.TEXT, DataType.LIST),),
            DataType.NUMBER,
            "the number of characters of a string, or of items of a list",
        ),
        Function(
            "replace",
            (_TEXT, _TEXT, _TEXT),
            DataType.TEXT,
            "the string with every occurrence of the second argument replaced by the third",
        ),
        Function(
            "capture",
            (_TEXT, _TEXT, _NUMBER),
            DataType.TEXT,
            "the match of a regular expression in the string: the group of this number, else the first group, else the"
            " whole match; unknown without a match",
            optional_count=1,
        ),
        Function(
            "path_match",
            (_TEXT, _TEXT),
            DataType.BOOLEAN,
            "whether a pattern of docker's reference filter matches the whole string; * and ? do not match a slash",
        ),
        Function("split", (_TEXT, _TEXT), DataType.LIST, "the parts of the string between the separators"),
        Function("join", (_LIST, _TEXT), DataType.TEXT, "the items of the list with the string between them"),
        Function("basename", (_TEXT,), DataType.TEXT, "the part of the string after its last slash"),
        Function("dirname", (_TEXT,), DataType.TEXT, "the part of the string before its last slash"),
        Function("coalesce", (_ANY, _ANY), None, "the first argument that is not unknown", is_variadic=True),
        Function(
            "if",
            ((DataType.BOOLEAN,), _ANY, _ANY),
            None,
            "the second argument if the first is true, else the third",
            result_like=1,
        ),
        Function("age", (_TIME,), DataType.DURATION, "how long ago the time was"),
        Function("now", (), DataType.TIME, "the start time of the statement"),
        Function("year", (_TIME,), DataType.NUMBER, "the year of the time, in the local time zone"),
        Function("month", (_TIME,), DataType.NUMBER, "the month of the time, 1 to 12, in the local time zone"),
        Function("day", (_TIME,), DataType.NUMBER, "the day of the month of the time, in the local time zone"),
        Function(
            "date",
            ((DataType.TEXT, DataType.TIME),),
            DataType.TIME,
            "of a string: the time that it spells, in the local time zone where it names none; unknown when it is no"
            " time. Of a time: its day, as in 2024-01-31, in the local time zone",
        ),
        Function(
            "number",
            ((DataType.TEXT, DataType.NUMBER, DataType.SIZE),),
            DataType.NUMBER,
            "the string as a number; unknown when it is none",
        ),
        Function(
            "size",
            ((DataType.TEXT, DataType.NUMBER, DataType.SIZE),),
            DataType.SIZE,
            "the string as a size, such as 1.5GiB; a number is in bytes; unknown when it is no size",
        ),
        Function(
            "duration",
            ((DataType.TEXT, DataType.DURATION),),
            DataType.DURATION,
            "the string as a duration, such as 2 weeks or 30d; unknown when it is none",
        ),
        Function(
            "version",
            ((DataType.TEXT, DataType.NUMBER),),
            DataType.VERSION,
            "the string as a version, which compares by its numbers; unknown when it is none",
        ),
        Function(
            "previous",
            (_ANY,),
            None,
            "the value in the row before, in the order of the query; with per, in the row before with equal keys:"
            " previous(size per repository). It is computed before limit and skip, and allowed in select",
            takes_keys=True,
        ),
        Function(
            "bar",
            ((DataType.SIZE, DataType.NUMBER, DataType.DURATION),),
            DataType.TEXT,
            "a bar as long as the value: ten blocks for the largest value of the rows that the query selects before"
            " limit and skip. Allowed in select",
        ),
        Function(
            "as_name",
            (_TEXT,),
            DataType.REFERENCE,
            "the string as a stored name: redis is redis:latest",
            is_internal=True,
        ),
        Function(
            "as_repository", (_TEXT,), DataType.REPOSITORY, "the string as a stored repository name", is_internal=True
        ),
        Function(
            "as_digest", (_TEXT,), DataType.DIGEST, "the string as a digest or the beginning of one", is_internal=True
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
            "the number of rows, or of rows whose argument is known. A row of images is a name, or a platform of one:"
            " count(distinct name) counts each name once, count(distinct images) each image",
            is_argument_optional=True,
        ),
        Aggregate("sum", _SUMMED, None, "the sum of the known values"),
        Aggregate("avg", _SUMMED, None, "the mean of the known values"),
        Aggregate("min", _ORDERED, None, "the smallest known value"),
        Aggregate("max", _ORDERED, None, "the largest known value"),
        Aggregate(
            "list",
            (),
            DataType.LIST,
            "the known values as a sorted list; several lists of the same rows have one item for each row, in the same"
            " order, with null for unknown values",
        ),
    )
}
