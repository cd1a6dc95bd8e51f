"""The dialect of PostgreSQL: every difference from SQLite, and the functions that PostgreSQL needs for the language.

What has no exact equivalent raises `Unsupported`; the statement is then answered by SQLite. The values of text columns
have the collation "C", which compares code points as SQLite does. Lists and maps are JSON in text columns.
"""

from __future__ import annotations

import re

from imq.engine.catalog.tables import DataType
from imq.grammar.record import TYPE_CHECKING

from .dialect import Dialect

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .dialect import AddParameter

SCHEMA = "imq"
"""The schema of the functions, and of the tables that all stores share."""
_NANOSECONDS = 1_000_000_000
_SQL_TYPES = {
    DataType.NUMBER: "bigint",
    DataType.SIZE: "bigint",
    DataType.TIME: "bigint",
    DataType.DURATION: "bigint",
    DataType.BOOLEAN: "boolean",
}
_TEXT = 'text COLLATE "C"'
_LONGEST_REPETITION = 255
"""The largest bound of a repetition in a regular expression of PostgreSQL."""
_CLASSES = {"d": "0-9", "w": "0-9A-Za-z_", "s": r"\t\n\f\r "}
_CONTROLS = frozenset("tnrfv")


class Unsupported(Exception):
    """A part of a statement has no exact equivalent in PostgreSQL. The message names it."""


class PostgresqlDialect(Dialect):
    """Writes the parts of SQL that are specific to PostgreSQL 12 and later."""

    shares_parameters = True
    names_group_keys = True
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

    def write_search_result(self, column: str, key: str) -> str:
        """Write the result of a search."""
        return f"((CAST({column} AS jsonb) ->> {key}) IN ('1', 'true'))"

    def write_any(self, test: str) -> str:
        """Write the aggregate whether a test holds for any row."""
        return f"bool_or({test})"

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
            case "version", (text,):
                return f"{SCHEMA}.version_text({text}, 1)"
            case "version", (text, part):
                kind = "number" if part in ("1", "2", "3") else "text"
                return f"{SCHEMA}.version_{kind}({text}, {int(part) + 1})"
            case "size" | "duration", (value,) if kinds[0] is not DataType.TEXT:
                return value
            case "number", (value,):
                return value if kinds[0] is not DataType.TEXT else f"{SCHEMA}.number({value})"
            case (("lower" | "upper" | "replace" | "coalesce"), _):
                return f"{name}({', '.join(arguments)})"
            case (("basename" | "dirname" | "split" | "bar" | "as_digest"), _):
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


def convert_glob_to_regex(glob: str) -> str:
    """Return the regular expression of PostgreSQL for a glob of SQLite, whose classes begin with `[^` or `[`."""
    parts = []
    at = 0
    while at < len(glob):
        character = glob[at]
        at += 1
        if character == "*":
            parts.append(".*")
        elif character == "?":
            parts.append(".")
        elif character != "[":
            parts.append(_escape(character))
        else:
            is_negated = glob[at : at + 1] == "^"
            start = at + is_negated
            end = glob.find("]", start + 1)
            if end < 0:
                return "(?!)"  # SQLite never matches a class without an end
            members = glob[start:end]
            escaped = "".join(f"\\{one}" if one in "\\[]^" else one for one in members)
            parts.append(f"[{'^' * is_negated}{escaped}]")
            at = end + 1
    return f"^(?:{''.join(parts)})$"


def _escape(character: str) -> str:
    return character if character.isalnum() or character in "_ /:@=,;~#%&\"'<>!" else f"\\{character}"


def convert_regex(pattern: str) -> str:
    """Return the regular expression of PostgreSQL for one of RE2 that matches the same strings.

    Both find a match in time that does not grow exponentially. Raises `Unsupported` for syntax that differs.
    """
    parts: list[str] = []
    at, prefix = 0, ""
    if pattern.startswith("(?i)"):
        if not pattern.isascii():
            raise Unsupported("a regular expression that ignores the case of letters other than A to Z")
        prefix, at = "(?i)", 4
    while at < len(pattern):
        character = pattern[at]
        if character == "\\":
            parts.append(_convert_escape(pattern[at + 1 : at + 2], in_class=False))
            at += 2
        elif character == "[":
            text, at = _convert_class(pattern, at + 1)
            parts.append(text)
        elif character == ".":
            parts.append(r"[^\n]")
            at += 1
        elif pattern.startswith("(?", at):
            if not pattern.startswith("(?:", at):
                raise Unsupported("flags and names of groups in a regular expression")
            parts.append("(?:")
            at += 3
        elif character == "{":
            bounds = re.compile(r"\{(\d+)(?:,(\d*))?\}").match(pattern, at)
            if bounds is None or any(int(one or 0) > _LONGEST_REPETITION for one in bounds.groups()):
                raise Unsupported(f"a repetition of more than {_LONGEST_REPETITION} in a regular expression")
            parts.append(bounds[0])
            at = bounds.end()
        else:
            parts.append(character)
            at += 1
    return f"{prefix}(?:{''.join(parts)})"


def _convert_escape(character: str, *, in_class: bool) -> str:
    """Return an escape sequence without its backslash as PostgreSQL writes it."""
    members = _CLASSES.get(character.lower())
    if members is not None and (character.islower() or not in_class):
        return members if in_class else f"[{'^' * character.isupper()}{members}]"
    if character in _CONTROLS and character:
        return f"\\{character}"
    if not in_class and character in ("A", "z", "b", "B"):
        return {"A": r"\A", "z": r"\Z", "b": r"\y", "B": r"\Y"}[character]
    if not character or not character.isascii() or character.isalnum() or character == "_":
        raise Unsupported(f"\\{character} in a regular expression")
    return f"\\{character}"


def _convert_class(pattern: str, at: int) -> tuple[str, int]:
    """Return a class as PostgreSQL writes it, and the offset after it. `at` is the offset after its bracket."""
    text, first = "[", True
    if pattern[at : at + 1] == "^":
        text, at = "[^", at + 1
    while at < len(pattern):
        character = pattern[at]
        if character == "]" and not first:
            return f"{text}]", at + 1
        if character == "\\":
            text += _convert_escape(pattern[at + 1 : at + 2], in_class=True)
            at += 2
        elif pattern.startswith("[:", at):
            named = re.compile(r"\[:[a-z]+:\]").match(pattern, at)
            if named is None or named[0] == "[:word:]":
                raise Unsupported("a class in a regular expression")
            text, at = text + named[0], named.end()
        else:
            text += f"\\{character}" if character in "[]" else character
            at += 1
        first = False
    raise Unsupported("a class without an end in a regular expression")


FUNCTIONS = rf"""
CREATE OR REPLACE FUNCTION {SCHEMA}.iif(condition boolean, value anyelement, other anyelement) RETURNS anyelement
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT CASE WHEN condition THEN value ELSE other END $$;

CREATE OR REPLACE FUNCTION {SCHEMA}.basename(path text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$ SELECT regexp_replace(rtrim(path, '/'), '^.*/', '') COLLATE "C" $$;

CREATE OR REPLACE FUNCTION {SCHEMA}.dirname(path text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT coalesce(substring(rtrim(path, '/') from '^(.*)/'), '') COLLATE "C"
$$;

CREATE OR REPLACE FUNCTION {SCHEMA}.split(value text, separator text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT CAST(CASE WHEN value <> '' THEN to_json(string_to_array(value, nullif(separator, '')))
        WHEN separator = '' THEN '[]' ELSE '[""]' END AS text) COLLATE "C"
$$;

CREATE OR REPLACE FUNCTION {SCHEMA}.bar(value double precision, largest double precision) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT CASE WHEN value <= 0 OR largest <= 0 THEN ''
        ELSE (SELECT repeat('█', eighths / 8) || trim(substr(' ▏▎▍▌▋▊▉', eighths % 8 + 1, 1))
            FROM (SELECT greatest(1, CAST(round(least(value / largest, 1) * 80) AS integer)) AS eighths) AS one) END
$$;

CREATE OR REPLACE FUNCTION {SCHEMA}.bar(value numeric, largest numeric) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT {SCHEMA}.bar(CAST(value AS double precision), CAST(largest AS double precision))
$$;

CREATE OR REPLACE FUNCTION {SCHEMA}.number(value text) RETURNS numeric
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    digits text := regexp_replace(value, '^\s+|\s+$', '', 'g');
    result numeric;
BEGIN
    IF digits ~ '^[-+]?[0-9]+$' THEN
        result := CAST(digits AS numeric);
    ELSIF digits ~* '^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[-+]?[0-9]{{1,3}})?$' THEN
        result := CAST(digits AS numeric) * 1.0;
    ELSE
        RETURN NULL;
    END IF;
    RETURN CASE WHEN result >= -9223372036854775808 AND result < 9223372036854775808 THEN result END;
END $$;

CREATE OR REPLACE FUNCTION {SCHEMA}.as_digest(value text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT (CASE WHEN digest LIKE 'sha512:%' THEN digest
        WHEN digest ~ '^(sha256:)?[0-9a-f]{{1,64}}$' THEN 'sha256:' || regexp_replace(digest, '^sha256:', '') END)
        COLLATE "C"
    FROM (SELECT lower(regexp_replace(value, '^\s+|\s+$', '', 'g') COLLATE "C") AS digest) AS one
$$;

CREATE OR REPLACE FUNCTION {SCHEMA}.glob_regex(glob text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    result text := '';
    rest text := glob;
    class text[];
BEGIN
    WHILE rest <> '' LOOP
        IF left(rest, 1) = '[' THEN
            class := regexp_match(rest, '^\[(\^?)([^\n][^\]]*)\](.*)$');
            IF class IS NULL THEN
                RETURN '(?!)';
            END IF;
            result := result || '[' || class[1] || regexp_replace(class[2], '([\\\[\]^])', '\\\1', 'g') || ']';
            rest := class[3];
        ELSE
            result := result || CASE left(rest, 1) WHEN '*' THEN '.*' WHEN '?' THEN '.'
                ELSE regexp_replace(left(rest, 1), '([^[:alnum:]_ ])', '\\\1') END;
            rest := substr(rest, 2);
        END IF;
    END LOOP;
    RETURN '^(?:' || result || ')$';
END $$;

CREATE OR REPLACE FUNCTION {SCHEMA}.format_time(nanoseconds bigint) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT to_char(to_timestamp(nanoseconds / 1000000000) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS')
        || CASE WHEN nanoseconds % 1000000000 = 0 THEN ''
            ELSE '.' || rtrim(lpad(CAST(nanoseconds % 1000000000 AS text), 9, '0'), '0') END || 'Z'
$$;

CREATE OR REPLACE FUNCTION {SCHEMA}.format_times(times bigint[]) RETURNS text[]
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT array_agg({SCHEMA}.format_time(value) ORDER BY place)
    FROM unnest(times) WITH ORDINALITY AS item(value, place)
$$;

CREATE OR REPLACE FUNCTION {SCHEMA}.format_durations(durations bigint[]) RETURNS numeric[]
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT array_agg(CASE WHEN value % 1000000000 = 0 THEN round(value / 1000000000.0, 1)
        ELSE CAST(rtrim(CAST(value / 1000000000.0 AS text), '0') AS numeric) END ORDER BY place)
    FROM unnest(durations) WITH ORDINALITY AS item(value, place)
$$;

CREATE OR REPLACE FUNCTION {SCHEMA}.format_versions(versions text[]) RETURNS text[]
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT array_agg(split_part(value, chr(31), 2) ORDER BY place)
    FROM unnest(versions) WITH ORDINALITY AS item(value, place)
$$;

CREATE OR REPLACE FUNCTION {SCHEMA}.sortable(digits text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT lpad(CAST(length(short) AS text), 2, '0') || short
    FROM (SELECT CASE WHEN ltrim(digits, '0') = '' THEN '0' ELSE ltrim(digits, '0') END AS short) AS one
$$;

-- The parts of a version in a tag, as oci/tag_version.py returns them; NULL for another tag.
CREATE OR REPLACE FUNCTION {SCHEMA}.parse_version(tag text) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    word CONSTANT text := '^(?:alpha|beta|rc|pre|preview|dev|snapshot|nightly|canary|next|test|eap|ea|cr|milestone'
        || '|m|a|b)(?:[.-]?[0-9]+)*(?=[-_.+]|$)';
    start text[] := regexp_match(tag, '^([vV]?)([0-9]{{1,18}}(?:\.[0-9]{{1,18}}){{0,3}})(?![0-9.])');
    numbers text[];
    count integer;
    key text;
    rest text;
    build text;
    prerelease text;
    variant text;
BEGIN
    IF start IS NULL THEN
        RETURN NULL;
    END IF;
    numbers := string_to_array(start[2], '.');
    count := cardinality(numbers);
    SELECT string_agg({SCHEMA}.sortable(part), '.' ORDER BY place) INTO key
        FROM unnest(numbers) WITH ORDINALITY AS item(part, place);
    key := key || repeat('.010', 4 - count);
    rest := substr(tag, length(start[1]) + length(start[2]) + 1);
    IF rest <> '' THEN
        IF left(rest, 1) IN ('-', '_', '+', '.') THEN
            rest := substr(rest, 2);
            build := substring(rest from '^[0-9]{{1,18}}(?=[-_+]|$)');
            IF build IS NOT NULL THEN
                key := key || '.' || {SCHEMA}.sortable(build);
                rest := substr(rest, length(build) + 2);
            END IF;
        ELSIF count = 1 OR rest !~* word THEN
            RETURN NULL;
        END IF;
        prerelease := (regexp_match(rest, word, 'i'))[1];
    END IF;
    IF prerelease IS NULL THEN
        key := key || '#';
        variant := nullif(rest, '');
    ELSE
        SELECT key || '!' || coalesce(string_agg(CASE WHEN part[1] ~ '^[0-9]' THEN '0' || {SCHEMA}.sortable(part[1])
                ELSE '1' || part[1] END, ' ' ORDER BY place), '') INTO key
            FROM regexp_matches(lower(prerelease), '[0-9]+|[a-z]+', 'g') WITH ORDINALITY AS item(part, place);
        variant := nullif(ltrim(substr(rest, length(prerelease) + 1), '-_.+'), '');
    END IF;
    RETURN ARRAY[key || chr(31) || tag, CAST(CAST(numbers[1] AS bigint) AS text),
        CAST(CAST(numbers[2] AS bigint) AS text), CAST(CAST(numbers[3] AS bigint) AS text), prerelease, variant];
END $$;

CREATE OR REPLACE FUNCTION {SCHEMA}.version_text(tag text, part integer) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$ SELECT ({SCHEMA}.parse_version(tag))[part] COLLATE "C" $$;

CREATE OR REPLACE FUNCTION {SCHEMA}.version_number(tag text, part integer) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$ SELECT CAST(({SCHEMA}.parse_version(tag))[part] AS bigint) $$;

CREATE OR REPLACE FUNCTION {SCHEMA}.to_json_text(items text[]) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT CAST(array_to_json(items) AS text) COLLATE "C" $$;

CREATE OR REPLACE AGGREGATE {SCHEMA}.json_group_array(text) (
    SFUNC = array_append, STYPE = text[], FINALFUNC = {SCHEMA}.to_json_text, INITCOND = '{{}}', PARALLEL = SAFE
)
"""
"""The functions, each ended by `;` and an empty line."""
