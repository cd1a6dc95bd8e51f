"""The dialect of PostgreSQL: every difference from SQLite.

Its functions are in postgresql_functions.py, and the conversion of patterns is in postgresql_patterns.py.

What has no exact equivalent raises `Unsupported`; the statement is then answered by SQLite. The values of text columns
have the collation "C", which compares code points as SQLite does. Lists and maps are JSON in text columns.
"""

from __future__ import annotations

import re

from imq.engine.catalog.tables import DataType
from imq.grammar.record import TYPE_CHECKING

from .dialect import Dialect
from .postgresql_functions import SCHEMA
from .postgresql_patterns import (
    Unsupported,
    convert_glob_to_regex,
    convert_path_pattern,
    convert_regex,
    require_unambiguous,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .dialect import AddParameter

_NANOSECONDS = 1_000_000_000
_SQL_TYPES = {
    DataType.NUMBER: "bigint",
    DataType.SIZE: "bigint",
    DataType.TIME: "bigint",
    DataType.DURATION: "bigint",
    DataType.BOOLEAN: "boolean",
}
_NUMERIC = frozenset({DataType.NUMBER, DataType.SIZE, DataType.TIME, DataType.DURATION})
_TEXT = 'text COLLATE "C"'


class PostgresqlDialect(Dialect):
    """Writes the parts of SQL that are specific to PostgreSQL 12 and later."""

    shares_parameters = True
    names_group_keys = True
    counts_keys = False
    has_null_tests_in_indexes = False
    truth_values = ("true", "false")
    no_limit = "ALL"

    def write_parameter(self, name: str, value: str | float | None, kind: DataType | None) -> str:
        """Write a placeholder with its type: PostgreSQL would have to guess it."""
        if value is None:
            return f"CAST(NULL AS {get_sql_type(kind)})"
        if kind is DataType.BOOLEAN or isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, str):
            return f'(CAST(:{name} AS text) COLLATE "C")'
        return f"CAST(:{name} AS {'bigint' if isinstance(value, int) else 'double precision'})"

    def write_single_value(self, query: str) -> str:
        """Write the value of the first row: PostgreSQL refuses several."""
        return f"(SELECT * FROM ({query}) AS one LIMIT 1)"

    def write_key(self, values: str) -> str:
        """Write values as one JSON array."""
        return f"jsonb_build_array({values})"

    def write_arithmetic(self, left: str, operator: str, right: str) -> str:
        """Write arithmetic: a division by zero is an error in PostgreSQL, and one of integers an integer."""
        if operator == "/":
            return f"(CAST({left} AS double precision) / nullif(CAST({right} AS double precision), 0))"
        if operator == "%":
            return f"({_truncate(left)} % nullif({_truncate(right)}, 0))"
        return f"({left} {operator} {right})"

    def write_rounded(self, number: str) -> str:
        """Write a rounded number: only numeric values are rounded half away from zero."""
        return f"CAST(round(CAST({number} AS numeric)) AS bigint)"

    def write_unlikely(self, test: str) -> str:
        """Write the test alone: PostgreSQL has statistics of the values."""
        return test

    def write_search_result(self, column: str, key: str) -> str:
        """Write the result of a search."""
        return f"((CAST({column} AS jsonb) ->> {key}) IN ('1', 'true'))"

    def write_any(self, test: str) -> str:
        """Write the aggregate whether a test holds for any row."""
        return f"bool_or({test})"

    def write_pattern_function(
        self, name: str, arguments: list[str], patterns: list[str | None], add_parameter: AddParameter
    ) -> str:
        """Write a call of a function with a pattern. Raises `Unsupported` for one that is not constant."""
        pattern = patterns[1]
        if pattern is None:
            raise Unsupported(f"the function {name} of a pattern that is not constant")
        if name == "path_match":
            return f"{arguments[0]} ~ {add_parameter(convert_path_pattern(pattern))}"
        count = require_unambiguous(pattern)
        regex = add_parameter(convert_regex(pattern))
        if len(arguments) == 2:
            group = str(min(count, 1))
        elif patterns[2] is None or not patterns[2].isdigit() or int(patterns[2]) > count:
            raise Unsupported("capture of a group that is not constant, or not in the pattern")
        else:
            group = patterns[2]
        if group == "0":
            return f'(substring({arguments[0]} from {_whole(regex)}) COLLATE "C")'
        return f'((regexp_match({arguments[0]}, {regex}))[{group}] COLLATE "C")'

    def write_function(self, name: str, arguments: list[str], kinds: list[DataType], now: str) -> str:
        """Write a call of a function of the language. Raises `Unsupported`."""
        match name, arguments:
            case "year" | "month" | "day", (time,):
                return f"CAST(extract({name} FROM {_to_timestamp(time)}) AS bigint)"
            case "date", (time,) if kinds[0] is DataType.TIME:
                return f"(to_char({_to_timestamp(time)}, 'YYYY-MM-DD') COLLATE \"C\")"
            case "age", (time,):
                return f"({now} - {time})"
            case "now", _:
                return now
            case "if", (condition, value, other):
                return f"CASE WHEN {condition} THEN {value} ELSE {other} END"
            case "length", (items,) if kinds[0] is DataType.LIST:
                return f"CAST(jsonb_array_length(CAST({items} AS jsonb)) AS bigint)"
            case "length", (text,):
                return f"CAST(length({text}) AS bigint)"
            case "join", (items, separator):
                values = f"jsonb_array_elements_text(CAST({items} AS jsonb)) WITH ORDINALITY AS item(value, place)"
                return f'(SELECT string_agg(value, {separator} ORDER BY place) COLLATE "C" FROM {values})'
            case "version", (value,):
                text = value if kinds[0] is not DataType.NUMBER else f"{SCHEMA}.number_text({value})"
                return f"{SCHEMA}.version_text({text}, 1)"
            case "version", (text, part):
                kind = "number" if part in ("1", "2", "3") else "text"
                return f"{SCHEMA}.version_{kind}({text}, {int(part) + 1})"
            case "number" | "size" | "duration" | "date", (value,):
                return value if kinds[0] in _NUMERIC else f"{SCHEMA}.parse_{name}({value})"
            case (("lower" | "upper" | "replace" | "coalesce"), _):
                return f"{name}({', '.join(arguments)})"
            case (("basename" | "dirname" | "split" | "bar" | "as_digest" | "as_name" | "as_repository"), _):
                return f"{SCHEMA}.{name}({', '.join(arguments)})"
            case _:
                raise Unsupported(f"the function {name}")

    def write_aggregate(self, name: str, argument: str, kind: DataType, *, distinct: bool) -> str:
        """Write a call of an aggregate of the language."""
        prefix = "DISTINCT " if distinct else ""
        if name == "avg":
            if kind is not DataType.NUMBER:
                return f"CAST(round(avg({prefix}{argument})) AS bigint)"
            return f"avg({prefix}CAST({argument} AS double precision))"
        total = f"{name}({prefix}{argument})"
        return f"CAST({total} AS bigint)" if name == "sum" and kind is not DataType.NUMBER else total

    def write_list(self, argument: str, kind: DataType, aligned_with: list[str], *, distinct: bool) -> str:
        """Write a call that collects values into a JSON array."""
        order = ", ".join(f"{value} NULLS LAST" for value in aligned_with or [argument])
        values = f"array_agg({'DISTINCT ' if distinct else ''}{argument} ORDER BY {order})"
        if not aligned_with:
            values += f" FILTER (WHERE {argument} IS NOT NULL)"
        if kind in (DataType.TIME, DataType.DURATION):
            values = f"{SCHEMA}.format_{kind.name.lower()}s({values})"
        elif kind.is_version:
            values = f"{SCHEMA}.format_versions({values})"
        return f"coalesce(CAST(array_to_json({values}) AS text), '[]')"

    def write_map_item(self, row: str, native: str, column: str, key: str) -> str:
        """Write the value of a key in a map."""
        if native:
            return super().write_map_item(row, native, column, key)
        return f'((CAST({column} AS jsonb) ->> {key}) COLLATE "C")'

    def write_has_key(self, row: str, native: str, column: str, key: str) -> str:
        """Write a test whether a map has a key."""
        return super().write_has_key(row, native, column, key) if native else f"(CAST({column} AS jsonb) ? {key})"

    def write_has_item(self, column: str, item: str) -> str:
        """Write a test whether a list has an item, a string."""
        return f"(CAST({column} AS jsonb) ? {item})"

    def write_any_item(self, column: str, test: Callable[[str], str], *, pairs: bool) -> str:
        """Write whether any item of a list passes a test, or any pair of a map."""
        items = "jsonb_each_text" if pairs else "jsonb_array_elements_text"
        names = "item(key, value)" if pairs else "item(value)"
        text = "item.key || '=' || item.value" if pairs else "item.value"
        tested = test(f'(({text}) COLLATE "C")')
        return f"EXISTS (SELECT 1 FROM {items}(CAST({column} AS jsonb)) AS {names} WHERE {tested})"

    def write_items(self, items: str, kind: DataType) -> str:
        """Write the query for the items of a JSON array."""
        sql_type = get_sql_type(kind) if kind is not DataType.NUMBER else "numeric"
        return f"SELECT CAST(value AS {sql_type}) FROM jsonb_array_elements_text(CAST({items} AS jsonb)) AS item(value)"

    def write_based_on(self, row: str, chains: str, top: str, bases: str, *, is_native: bool) -> str:
        """Write whether any image of `bases` is a base of a row."""
        if is_native:
            return super().write_based_on(row, chains, top, bases, is_native=is_native)
        return f"""EXISTS (SELECT 1 FROM jsonb_array_elements_text(CAST({chains} AS jsonb)) AS item(value)
 WHERE value <> {top} AND value IN (SELECT c0 FROM {bases}))"""

    def write_layer_owners(self, images: str) -> str:
        """Write the query for the layers of images."""
        return f"""SELECT item.value AS layer, min(coalesce(c1, '')) AS low, max(coalesce(c1, '')) AS high
 FROM {images} CROSS JOIN LATERAL jsonb_array_elements_text(CAST(c0 AS jsonb)) AS item(value) GROUP BY item.value"""

    def write_shares_layers(self, row: str, layers: str, id_: str, owners: str, *, is_native: bool) -> str:
        """Write whether a row has a layer that another image has."""
        if is_native:
            return super().write_shares_layers(row, layers, id_, owners, is_native=is_native)
        return f"""EXISTS (SELECT 1 FROM jsonb_array_elements_text(CAST({layers} AS jsonb)) AS item(value)
 WHERE value IN (SELECT layer FROM {owners})
 AND value || coalesce({id_}, '') NOT IN (SELECT layer || low FROM {owners} WHERE low = high))"""

    def write_version_key(self, value: str) -> str:
        """Write the sort key of a version."""
        return f"split_part({value}, chr(31), 1)"

    def write_version_text(self, value: str) -> str:
        """Write the text of a version."""
        return f"split_part({value}, chr(31), 2)"

    def write_regex_match(self, text: str, pattern: str, add_parameter: AddParameter) -> str:
        """Write whether a constant regular expression matches anywhere in a string. Raises `Unsupported`."""
        return f"{text} ~ {add_parameter(convert_regex(pattern))}"

    def write_glob_match(self, text: str, pattern: str, add_parameter: AddParameter) -> str:
        """Write whether a constant glob matches a whole string: by LIKE, or as a regular expression."""
        glob = self.convert_glob(pattern)
        if "[" not in glob:
            escaped = re.sub(r"[\\%_]", r"\\\g<0>", glob).replace("*", "%").replace("?", "_")
            return f"{text} LIKE {add_parameter(escaped)}"
        return f"{text} ~ {add_parameter(convert_glob_to_regex(glob))}"

    def write_dynamic_glob_match(self, text: str, pattern: str) -> str:
        """Write whether a glob that is a value of the row matches a whole string."""
        return f"{text} ~ {SCHEMA}.glob_regex({pattern})"

    def write_until_freed(self, *_: Any, **__: Any) -> str:
        """Raise `Unsupported`: only verbs have such limits, and these choose their rows in SQLite."""
        raise Unsupported("until")

    def write_until_size(self, *_: Any, **__: Any) -> str:
        """Raise `Unsupported`: as above."""
        raise Unsupported("until")


def _whole(regex: str) -> str:
    """Write a regular expression as one group."""
    return f"('(' || {regex} || ')')"


def get_sql_type(kind: DataType | None) -> str:
    """Return the type of the columns that hold values of this type."""
    return _SQL_TYPES.get(kind, "text") if kind is not None else "text"


def get_column_type(kind: DataType) -> str:
    """Return the type of a column with its collation."""
    return _SQL_TYPES.get(kind, _TEXT)


def _truncate(number: str) -> str:
    return f"CAST(trunc(CAST({number} AS numeric)) AS bigint)"


def _to_timestamp(time: str) -> str:
    """Write a time for functions of dates, which use the time zone of the connection."""
    return f"to_timestamp(CAST({time} AS bigint) / {_NANOSECONDS})"
