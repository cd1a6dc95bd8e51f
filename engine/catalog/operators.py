"""The operators of conditions and the values that they take, declared once for help and the reference."""

from __future__ import annotations

from .clauses import Clause

OPERATORS: dict[str, Clause] = {
    operator.name: operator
    for operator in (
        Clause(
            "=",
            "FIELD = VALUE | FIELD != VALUE",
            "a bare word on the right is a value; with a dot before it, it is a field. Both are false when one side is"
            " unknown: label.env != prod leaves out images without the label, and not label.env = prod has them",
            "images where not label.env = prod",
        ),
        Clause(
            "<",
            "FIELD < VALUE | <= | > | >=",
            "compares numbers, sizes, times, durations and versions, and strings by their characters; false when one"
            " side is unknown. version(label.v) and number(label.n) compare a string as a version and a number",
            "images where version >= 1.10 and created < 30d ago",
        ),
        Clause(
            "like",
            "FIELD [not] like GLOB",
            "the whole string matches the glob: * is any characters, slashes included, ? is one, [a-z] is one of"
            " these, and \\* is an asterisk. Of a list or a map, any string matches; an item of a map is KEY=VALUE",
            'images where name like "team/*:1.?"',
        ),
        Clause(
            "matches",
            "FIELD [not] matches REGEX",
            "the regular expression, in the syntax of RE2, matches anywhere in the string; ^ and $ are its ends. Of a"
            " list or a map, any string matches",
            "images where tag matches '^v[0-9]+$'",
        ),
        Clause(
            "in",
            "FIELD [not] in (VALUE, …) | FIELD [not] in (QUERY) | FIELD [not] in $LIST | [not] in (QUERY by FIELD)",
            "the value is one of the list, or of the one column of the query; false when it is unknown, and not in is"
            " true",
            'images where tag in (latest, main) and name not in (nonempty lines of "keep.txt")',
        ),
        Clause(
            "between",
            "FIELD between LOW and HIGH",
            "both ends are included; a date is the midnight at which it begins",
            "images where size between 1MB and 1GB",
        ),
        Clause(
            "has",
            "LIST has ITEM | MAP has KEY | has label KEY",
            "the list has an item that equals the value, or the map has the key",
            "images where ports has 80/tcp and env has PATH",
        ),
        Clause(
            "is",
            "FIELD is known | FIELD is unknown",
            "whether there is a value: a label that an image lacks is unknown, and so is what a source does not report",
            "images where label.maintainer is unknown",
        ),
        Clause(
            "not",
            "not CONDITION | CONDITION and CONDITION | CONDITION or CONDITION",
            "not binds most, then and, then or; parentheses group. A removal leaves out rows for which the condition"
            " depends on a value that a source could not report",
            "images where not (dangling or in use) and size > 1MB",
        ),
        Clause(
            "values",
            "1.5GB | 100MiB | 30d | 2 weeks | 1h30m | 2024-01-31 | 2024-01-31T10:00:00Z | 'a string'",
            "sizes: kB, MB, GB are powers of 1000, KiB, MiB, GiB of 1024; a number alone is in bytes. Durations: s, m"
            " (minutes), h, d, w, y, and words; a month has 30 days. Times: a date is the midnight at which it begins,"
            " in the local time zone, and 30d ago is a time. Strings need quotes for blanks, commas, parentheses and"
            " a leading dot. In a shell, quote the statement: > < * ( ) and $ are the shell's otherwise",
            "images where size > 1.5GB and created < 2 weeks ago and date(created) != 2024-01-31",
        ),
    )
}

OTHER_NAMES = {
    "!=": "=", "<=": "<", ">": "<", ">=": "<", "and": "not", "or": "not", "known": "is", "unknown": "is",
    "is known": "is", "is unknown": "is", "not in": "in", "not like": "like", "glob": "like", "regex": "matches",
    "sizes": "values", "durations": "values", "dates": "values", "times": "values", "quotes": "values", "ago": "values",
}  # fmt: skip
"""Further topics of help, by what describes them."""
